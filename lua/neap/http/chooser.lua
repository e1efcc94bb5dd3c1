--- Picks that are not the cluster's own: by a balancer that stands by itself, or by a policy written in Lua.
--- The cluster counts what is in flight and knows the endpoints; the chooser but says which one.

local deadline = require "neap.http.deadline"

local M = {}

---@class neap.http.Chooser
---@field balancer neap.Balancer
---@field stands boolean it was given as an object, whose endpoints the cluster takes over
local Chooser = {}
Chooser.__index = Chooser

---Whether it is a balancer, which may have endpoints of its own, and no policy.
function M.is_balancer(value)
  return type(value) == "userdata" or (type(value) == "table" and getmetatable(value) ~= nil)
end

---@param opts neap.http.ClientOptions
---@param level integer
---@return neap.http.Chooser
function M.new(opts, level)
  if M.is_balancer(opts.balancer) then
    return setmetatable({ balancer = opts.balancer, stands = true }, Chooser)
  end
  local of = { service = opts.service, endpoints = opts.endpoints, tags = opts.tags, zone = opts.zone }
  local ok, balancer, err = pcall(require("neap.balancer").new, opts.balancer, of)
  if not ok then error((tostring(balancer):gsub("^[^:]+:%d+: ", "")), level + 1) end
  if not balancer then error(tostring(err), level + 1) end
  return setmetatable({ balancer = balancer, stands = false }, Chooser)
end

---The endpoints of one that stands by itself.
function Chooser:endpoints()
  self.seen = self.balancer:endpoints()
  return self.seen
end

-- What a call brings to its pick.
local function context(c, call)
  local made = c:attempts()
  local tried = made > 0 and c:tried() or nil
  local wire = call.wire
  return {
    key = call.hash_key,
    exclude = tried,
    previous = tried,
    attempts = made,
    deadline = deadline.left(call) or nil,
    priority = call.priority,
    subset = call.subset,
    request = { method = wire.method, target = wire.target, headers = wire.headers },
  }
end

---The next attempt's endpoint. Nil without an error: the cluster is to pick.
---@return neap.Endpoint? endpoint
---@return neap.Error? err
function Chooser:choose(cluster, c, call)
  local balancer = self.balancer
  if self.stands then
    local now = balancer:endpoints()
    if now ~= self.seen then
      self.seen = now
      local ok, err = cluster:update(now)
      if not ok then return nil, err end
    end
  end
  local endpoint, err = balancer:pick(context(c, call))
  if not endpoint then return nil, err end
  balancer:release(endpoint) -- it has chosen; what is in flight is the cluster's to count
  return endpoint
end

---Of one that was made for the client.
function Chooser:close()
  if not self.stands then self.balancer:close() end
end

return M
