--- Conditional requests and ranges for answers that a handler makes itself (RFC 9110, 13 and 14).

local core = require "neap.core.file"
local schema = require "neap.schema"

local M = {}

---What the client may have already. `etag` with its quotes, `'"v1"'`, or `'W/"v1"'` where equal tags mean
---equal content but not equal bytes; `last_modified` in seconds since 1970. `headers` go with a 304.
---@class neap.http.Validators
---@field etag? string
---@field last_modified? number
---@field absent? boolean there is nothing yet: for `If-None-Match: *` of a PUT that creates
---@field headers? table<string, string> of a 304: Cache-Control, Vary …

local validators = schema.new {
  etag = "string",
  last_modified = "number",
  absent = "boolean",
  headers = { "map", of = "string" },
}

-- C's misuse, at the level of the caller of the function that calls this.
local function condition(req, opts)
  local ok, result = pcall(core.condition, req, opts.etag, opts.last_modified, opts.absent)
  if ok then return result end
  error(result, 3)
end

local function headers_of(opts)
  local headers = {}
  for name, value in pairs(opts.headers or {}) do headers[name] = value end
  headers["etag"] = opts.etag
  if opts.last_modified then headers["last-modified"] = core.format_date(opts.last_modified) end
  return headers
end

---Whether the client needs no answer of the handler's: it has it already (304 was answered), or it made a
---condition that does not hold (412 was answered). `if req:fresh { etag = tag } then return end`; else set
---the same `etag` and `last-modified` on the answer.
---@param req neap.http.Request
---@param opts neap.http.Validators
---@return boolean answered
function M.fresh(req, opts)
  validators:check(opts)
  local is = condition(req, opts)
  if is == "holds" then return false end
  if is == "same" then
    req:respond(304, nil, headers_of(opts))
  else
    req:respond(412, nil)
  end
  return true
end

---The headers that name these validators, for an answer.
---@param opts neap.http.Validators
---@return table<string, string>
function M.headers(opts) return headers_of(validators:check(opts)) end

---Seconds since 1970 as an HTTP date: "Sun, 06 Nov 1994 08:49:37 GMT".
M.format_date = core.format_date
---An HTTP date, in any of its three forms, as seconds since 1970; nil, err for anything else.
M.parse_date = core.parse_date

return M
