--- The shapes of Consul's HTTP API, as far as the registry's server and its client speak it.

local json = require "neap.json"

local M = {}

local units = { ns = 1e-9, us = 1e-6, ["µs"] = 1e-6, ms = 1e-3, s = 1, m = 60, h = 3600 }

---A duration as Go writes it ("1m30s", "500ms"), in seconds. A bare number is seconds.
---@param text any
---@return number? seconds nil when it is none
function M.seconds(text)
  if type(text) == "number" then return text >= 0 and text or nil end
  if type(text) ~= "string" then return nil end
  if text:find "^%d+$" then return tonumber(text) end
  local sum, at = 0, 1
  while at <= #text do
    local number, unit, after = text:match("^([%d.]+)([^%d.]+)()", at)
    if not number or not tonumber(number) or not units[unit] then return nil end
    sum, at = sum + tonumber(number) * units[unit], after
  end
  return at > 1 and sum or nil
end

---Seconds as a duration.
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds == math.floor(seconds) then return ("%ds"):format(seconds) end
  return ("%dms"):format(math.max(1, math.floor(seconds * 1000 + 0.5)))
end

---An address in the form the registry takes.
---@param host string
---@param port integer
---@return string
function M.join(host, port)
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return ("%s:%d"):format(host, port)
end

---What is PUT to /v1/agent/service/register for an endpoint.
---@param id string
---@param endpoint neap.Endpoint
---@param ttl number seconds, 0 for none
---@return table
function M.registration(id, endpoint, ttl)
  local meta
  for key, value in pairs(endpoint.meta) do
    meta = meta or {}
    meta[key] = value
  end
  if endpoint.zone ~= "" then
    meta = meta or {}
    meta.zone = endpoint.zone
  end
  return {
    ID = id,
    Name = endpoint.name,
    Address = endpoint.host,
    Port = endpoint.port,
    SocketPath = endpoint.path,
    Tags = json.array(table.move(endpoint.tags, 1, #endpoint.tags, 1, {})),
    Meta = meta,
    Weights = { Passing = endpoint.weight, Warning = 1 },
    Check = ttl > 0 and { TTL = M.duration(ttl), Status = "passing" } or nil,
  }
end

---The id under which an instance is announced whose own was made up: one that is its own in a whole fleet.
---@param endpoint neap.Endpoint|neap.registry.Registration
---@return string
function M.announced_id(endpoint)
  return endpoint.name .. "-" .. endpoint.address
end

---A service as /v1/agent/services and the like show it.
---@param endpoint neap.Endpoint
---@return table
function M.service(endpoint)
  return {
    ID = endpoint.id,
    Service = endpoint.name,
    Address = endpoint.host or "",
    Port = endpoint.port or 0,
    SocketPath = endpoint.path,
    Tags = json.array(table.move(endpoint.tags, 1, #endpoint.tags, 1, {})),
    Meta = endpoint.meta,
    Weights = { Passing = endpoint.weight, Warning = 1 },
  }
end

---An entry of /v1/health/service/:name. What has a lease here is passing, what had none is gone.
---@param endpoint neap.Endpoint
---@param node string
---@return table
function M.health(endpoint, node)
  return {
    Node = { Node = node, Address = endpoint.host or "127.0.0.1", Datacenter = "dc1" },
    Service = M.service(endpoint),
    Checks = json.array {
      {
        Node = node,
        CheckID = "service:" .. endpoint.id,
        Name = ("Service '%s' check"):format(endpoint.name),
        Status = "passing",
        ServiceID = endpoint.id,
        ServiceName = endpoint.name,
      },
    },
  }
end

local function text_map(value)
  if type(value) ~= "table" then return nil end
  local out = {}
  for key, v in pairs(value) do
    if type(key) == "string" and type(v) == "string" then out[key] = v end
  end
  return out
end

local function text_list(value)
  if type(value) ~= "table" then return nil end
  local out = {}
  for _, v in ipairs(value) do
    if type(v) == "string" then out[#out + 1] = v end
  end
  return out
end

---An entry of /v1/health/service/:name as what registry.put takes; nil for one without an address.
---@param entry table
---@return table? options
function M.from_health(entry)
  local service, node = entry.Service, entry.Node
  if type(service) ~= "table" then return nil end
  if type(service.ID) ~= "string" or type(service.Service) ~= "string" then return nil end
  local address
  if type(service.SocketPath) == "string" and service.SocketPath ~= "" then
    address = "unix:" .. service.SocketPath
  else
    local host = service.Address
    if (host == nil or host == "") and type(node) == "table" then host = node.Address end
    if type(host) ~= "string" or host == "" or math.type(service.Port) ~= "integer" then return nil end
    address = M.join(host, service.Port)
  end
  local weight = type(service.Weights) == "table" and math.tointeger(service.Weights.Passing) or 1
  return {
    name = service.Service,
    id = service.ID,
    address = address,
    tags = text_list(service.Tags),
    meta = text_map(service.Meta),
    weight = math.max(1, math.min(weight, 65535)),
    ttl = false,
  }
end

return M
