--- What stands in for an answer that did not come: `fallback = function(err, request) … end` of a client or
--- of a call.

local core = require "neap.core.http"
local json = require "neap.json"

local M = {}

---What a fallback returns: a text (the body of a 200), a table like a response, or one of a client's
---responses; nil, and perhaps another error, where it has nothing either.
---@alias neap.http.Fallback fun(err: neap.Error, request: neap.http.FailedRequest): any, neap.Error?

---@class neap.http.FailedRequest
---@field method string
---@field target string path and query
---@field headers table<string, any> by lower-case name
---@field body? string

-- A whole body, for who reads it in pieces.
local function readable(res)
  local body = res.body
  function res:read() -- luacheck: ignore 212
    local piece = body
    body = nil
    return piece ~= "" and piece or nil
  end
  function res:close() body = nil end -- luacheck: ignore 212
end

local function response(value)
  if type(value) == "string" then value = { body = value } end
  if type(value) ~= "table" then
    error("fallback: expected a string or a table like a response, got " .. type(value), 0)
  end
  local headers = {}
  for name, v in pairs(value.headers or {}) do headers[name:lower()] = v end
  local body = value.body
  if type(body) == "table" then
    body = assert(json.encode(body))
    headers["content-type"] = headers["content-type"] or "application/json"
  end
  return {
    status = value.status or 200, reason = value.reason or "", headers = headers, body = body or "",
    attempts = value.attempts or 0, fallback = true,
  }
end

---@param call table
---@param err neap.Error
---@return neap.http.Response?
---@return neap.Error?
function M.answer(call, err)
  local wire = call.wire
  local value, why = call.fallback(err, {
    method = wire.method, target = wire.target, headers = wire.headers,
    body = type(wire.body) == "string" and wire.body or nil,
  })
  if value == nil then return nil, why or err end
  if core.is_response(value) then return value end
  local res = response(value)
  if wire.stream then readable(res) end
  return core.as_response(res)
end

return M
