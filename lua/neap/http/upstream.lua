--- Where a client's calls go: one origin, or the instances of a service as a balancer picks them.

local runtime = require "neap.core.runtime"

local M = {}

---@class neap.http.Place
---@field scheme string "http" or "https"
---@field host? string
---@field port? integer
---@field unix? string
---@field authority string "host:port", as it stands in URLs

local function authority(host, port)
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return host .. ":" .. port
end

---The place that a parsed URL names.
---@param url table from core.parse_url
---@return neap.http.Place
function M.place(url)
  if url.scheme == "unix" then return { scheme = "http", unix = url.unix, authority = "localhost" } end
  return { scheme = url.scheme, host = url.host, port = url.port, authority = authority(url.host, url.port) }
end

---One pick of a balancer, released once: by `done`, or, when its task is cancelled or its answer
---forgotten, as neither a success nor a failure.
---@class neap.http.Lease
local Lease = {}
Lease.__index = Lease

function Lease:__close()
  self:done(nil)
end
Lease.__gc = Lease.__close

-- One that is held by a `<close>` variable for all of its life: no finaliser, which would cost more than
-- the rest of it.
local Scoped = { __index = Lease, __close = Lease.__close }

---@param ok boolean? nil: it says nothing about the endpoint
function Lease:done(ok)
  local picked = self.endpoint
  if not picked then return end
  self.endpoint = nil
  local latency
  if ok ~= nil then latency = (self.answered or runtime.monotonic()) - self.began end
  self.balancer:release(picked, ok, latency)
end

---The latency ends here: the head of the answer has come.
function Lease:head()
  self.answered = runtime.monotonic()
end

-- The service's instances.
local Service = {}
Service.__index = Service

-- A place is made once for an endpoint that stays where it is.
local function place_of(self, endpoint)
  local id, host, port = endpoint.id, endpoint.host, endpoint.port
  local place = self.places[id]
  if place and place.host == host and place.port == port then return place end
  place = { scheme = self.scheme, host = host, port = port, authority = authority(host, port) }
  if self.nplaces >= 4096 then self.places, self.nplaces = {}, 0 end
  self.places[id], self.nplaces = place, self.nplaces + 1
  return place
end

---@param scoped boolean? the lease goes into a `<close>` variable at once
---@return neap.http.Place? place
---@return neap.http.Lease|neap.Error lease
function Service:take(call, tried, scoped)
  local exclude, how = tried[1] and tried or nil, nil
  if exclude or call.hash_key ~= nil then how = { key = call.hash_key, exclude = exclude } end
  local endpoint, err = self.balancer:pick(how)
  if not endpoint then return nil, err end
  local lease = setmetatable(
    { balancer = self.balancer, endpoint = endpoint, picked = endpoint, began = runtime.monotonic() },
    scoped and Scoped or Lease
  )
  if endpoint.path then
    return { scheme = self.scheme, unix = endpoint.path, authority = self.name }, lease
  end
  return place_of(self, endpoint), lease
end

local function over(name, balancer, scheme)
  local of = { name = name, balancer = balancer, scheme = scheme, places = {}, nplaces = 0 }
  return setmetatable(of, Service)
end

---@param service string
---@param policy? string|neap.balancer.Policy|function|neap.Balancer a policy, or a balancer that stands
---@param secure boolean its instances are called by https
---@param level integer whose fault an unknown policy is
function M.service(service, policy, secure, level)
  local scheme = secure and "https" or "http"
  if type(policy) == "userdata" or (type(policy) == "table" and getmetatable(policy) ~= nil) then
    return over(service, policy, scheme)
  end
  local balancer = require "neap.balancer"
  local ok, b, err = pcall(balancer.new, policy or "p2c", { service = service })
  if not ok then error((tostring(b):gsub("^[^:]+:%d+: ", "")), level + 1) end
  if not b then error(tostring(err), level + 1) end
  return over(service, b, scheme)
end

-- One origin.
local Origin = {}
Origin.__index = Origin

function Origin:take() return self.at end

---@param place neap.http.Place
function M.origin(place)
  return setmetatable({ at = place, scheme = place.scheme }, Origin)
end

return M
