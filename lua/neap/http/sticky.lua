--- Sticky sessions: a client of a gateway stays with its endpoint while that is available.
---
--- The endpoint's value (64 bits that stand for its id and do not tell it) is given in a cookie or a header
--- of the answer and comes back with the next request. `"key"` needs none: requests with a `hash_key` go by
--- a hash of it, others by the client's policy.

local cookie = require "neap.http.cookie"
local schema = require "neap.schema"

local M = {}

local options = schema.new {
  cookie = { "string", min = 1 },
  header = { "string", min = 1, pattern = "[%w!#$%%&'*+.^_`|~-]+" },
  ttl = { "number", min = 0 },
  secret = "string",
  path = "string",
  secure = "boolean",
  same_site = "string",
}

---@class neap.http.Stickiness
---@field name? string of the header that the answer gets
---@field cookie? string
---@field header? string
---@field how table the cookie's attributes
local Sticky = {}
Sticky.__index = Sticky

---@param opts neap.balancer.Sticky
---@param level integer
---@return neap.http.Stickiness
function M.new(opts, level)
  options:check(opts, level + 1, "opts.sticky")
  if (opts.cookie == nil) == (opts.header == nil) then
    error("opts.sticky: expected cookie or header", level + 1)
  end
  local how = {
    path = opts.path or "/", max_age = opts.ttl and math.ceil(opts.ttl), secure = opts.secure,
    same_site = opts.same_site, http_only = true,
  }
  local self = setmetatable({ cookie = opts.cookie, header = opts.header, how = how }, Sticky)
  self.name = opts.header and opts.header:lower() or "set-cookie"
  if opts.cookie then
    local ok, words = pcall(cookie.serialize, opts.cookie, "0", how)
    if not ok then error("opts.sticky: " .. tostring(words):gsub("^%S+:%d+: ", ""), level + 1) end
  end
  return self
end

---What a request brings.
---@param req neap.http.Request
---@return string? value
function Sticky:of(req)
  if self.header then return req:header(self.header) end
  return req.cookies[self.cookie]
end

---The header's value that tells of an endpoint's.
---@param value string
---@return string
function Sticky:text(value)
  if self.header then return value end
  return cookie.serialize(self.cookie, value, self.how)
end

return M
