--- Ranges of bodies that a handler makes itself (RFC 9110, 14): `req:ranges` says what is asked for,
--- `req:respond_ranged` answers with it.

local core = require "neap.core.file"
local schema = require "neap.schema"

local M = {}

---@class neap.http.RangedOptions
---@field etag? string for If-Range
---@field last_modified? number for If-Range, seconds since 1970
---@field type? string Content-Type; default application/octet-stream
---@field headers? table<string, string>
---@field size? integer bytes in all, when the body is a function

local options = schema.new {
  etag = "string",
  last_modified = "number",
  type = { "string", default = "application/octet-stream" },
  headers = { "map", of = "string" },
  size = "bytes",
}

---Which bytes a GET asks for: nil, all of them; false, none that there are (answer 416); else an array of
---`{ first, last }`, counted from 0, inside of `size`, without overlaps.
---@param req neap.http.Request
---@param size integer bytes
---@param etag? string for If-Range
---@param last_modified? number
---@return { [1]: integer, [2]: integer }[]|false|nil ranges
function M.ranges(req, size, etag, last_modified)
  local ok, result = pcall(core.ranges, req, size, etag, last_modified)
  if not ok then error(result, 2) end
  return result
end

local function reader(body)
  if type(body) == "string" then
    return function(first, last) return body:sub(first + 1, last + 1) end
  end
  return body
end

local function content_range(first, last, size) return ("bytes %d-%d/%d"):format(first, last, size) end

local function boundary()
  return ("%016x%016x"):format(math.random(0), math.random(0))
end

-- The parts' heads are known beforehand, so the answer's length is.
local function send_parts(req, ranges, size, read, headers)
  local mark, heads, length = boundary(), {}, 0
  local kind = headers["content-type"]
  for i, r in ipairs(ranges) do
    heads[i] = ("\r\n--%s\r\nContent-Type: %s\r\nContent-Range: %s\r\n\r\n")
      :format(mark, kind, content_range(r[1], r[2], size))
    length = length + #heads[i] + r[2] - r[1] + 1
  end
  local tail = ("\r\n--%s--\r\n"):format(mark)
  headers["content-type"] = "multipart/byteranges; boundary=" .. mark
  local ok, err = req:start(206, headers, length + #tail)
  for i, r in ipairs(ranges) do
    if ok then ok, err = req:write(heads[i]) end
    if ok then ok, err = req:write(read(r[1], r[2])) end
  end
  if ok then ok, err = req:write(tail) end
  if not ok then return nil, err end
  req:finish()
  return true
end

---Answers 200, 206 or 416 with what the client asks for of a body: a string, or a function that gives the
---bytes from `first` to `last` (with `size`). It may wait.
---@param req neap.http.Request
---@param body string|fun(first: integer, last: integer): string
---@param opts? neap.http.RangedOptions
---@return true? ok
---@return neap.Error? err
function M.respond(req, body, opts)
  schema.arg("body", body, "string|callable")
  opts = options:read(opts)
  local size = type(body) == "string" and #body or opts.size
  if not size then error("opts.size: required where the body is a function", 2) end
  local ok, ranges = pcall(core.ranges, req, size, opts.etag, opts.last_modified)
  if not ok then error(ranges, 2) end
  local headers = {}
  for name, value in pairs(opts.headers or {}) do headers[name:lower()] = value end
  headers["content-type"] = headers["content-type"] or opts.type
  headers["accept-ranges"] = "bytes"
  headers["etag"] = opts.etag
  if opts.last_modified then headers["last-modified"] = core.format_date(opts.last_modified) end
  if ranges == false then
    return req:respond(416, nil, { ["content-range"] = ("bytes */%d"):format(size) })
  end
  local read = reader(body)
  if ranges and #ranges > 1 then return send_parts(req, ranges, size, read, headers) end
  local status, first, last = 200, 0, size - 1
  if ranges then
    status, first, last = 206, ranges[1][1], ranges[1][2]
    headers["content-range"] = content_range(first, last, size)
  end
  local head_only = req.method == "HEAD" or size == 0
  local started, err = req:start(status, headers, last - first + 1)
  if started and not head_only then started, err = req:write(read(first, last)) end
  if not started then return nil, err end
  req:finish()
  return true
end

return M
