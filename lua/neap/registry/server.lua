--- The registry over HTTP: the part of Consul's API that registering, renewing and finding need.
---
--- PUT /v1/agent/service/register, /v1/agent/service/deregister/:id, /v1/agent/check/pass/:check
--- GET /v1/health/service/:name (?passing, tag, index, wait), /v1/catalog/services,
---     /v1/catalog/service/:name, /v1/agent/services, /v1/agent/service/:id, /v1/agent/self,
---     /v1/status/leader, /v1/status/peers
---
--- Where it differs from Consul: a service is passing from its registration on, and one whose time to
--- live ends is gone, not critical.

local core = require "neap.core.registry"
local http = require "neap.http"
local json = require "neap.json"
local log = require "neap.log"
local schema = require "neap.schema"
local task = require "neap.task"
local wire = require "neap.registry.wire"

local M = {}

---@class neap.registry.ServeOptions
---@field host? string default "127.0.0.1"
---@field port? integer default 8500; 0 for one that is free
---@field node? string the name this agent gives itself; default "neap"
---@field token? string callers must send it, as X-Consul-Token or bearer token; default: none is asked for
---@field max_wait? number seconds, the longest a blocking query may wait; default 600
---@field max_waiting? integer blocking queries at the same time; default 4096

local serve_options = schema.new {
  host = { "string", default = "127.0.0.1" },
  port = { "integer", min = 0, max = 65535, default = 8500 },
  node = { "string", min = 1, default = "neap" },
  token = { "string", min = 1 },
  max_wait = { "number", min = 0, default = 600 },
  max_waiting = { "integer", min = 1, default = 4096 },
}

local DEFAULT_WAIT = 300 -- seconds, as Consul's
local MAX_BODY = 64 * 1024

local function refuse(status, text)
  return status, text, { ["content-type"] = "text/plain" }
end

-- --- blocking queries

-- Waits until the index is not the one the caller knows, or its time is over.
local function block(state, query, name, index)
  local known = math.tointeger(tonumber(query.index or 0)) or 0
  if known == 0 or known ~= index() then return true end
  local wait = math.min(wire.seconds(query.wait) or DEFAULT_WAIT, state.opts.max_wait)
  if state.waiting >= state.opts.max_waiting or state.closed then return state.closed end
  local watch <close>, err = core.watch(name, 1)
  if not watch then
    log.warn("a blocking query cannot wait", { error = tostring(err) })
    return false
  end
  local count <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      state.waiting, state.watches[watch] = state.waiting - 1, nil
    end,
  })
  state.waiting, state.watches[watch] = state.waiting + 1, true
  -- As Consul: a sixteenth more at random, so that callers do not come back all at once.
  local ends = core.now() + wait + math.random() * wait / 16
  while known == index() do
    local left = ends - core.now()
    if left <= 0 or not watch:next(left) then break end
  end
  return true
end

local function with_index(index, body)
  return 200, body, { ["x-consul-index"] = tostring(index), ["x-consul-knownleader"] = "true",
    ["x-consul-lastcontact"] = "0" }
end

local function health_service(state, req)
  local name, query = req.params.name, req.query
  if query.filter then return refuse(400, "filter is not implemented") end
  local function index() return core.index(name) end
  if not block(state, query, name, index) then return refuse(429, "too many blocking queries") end
  local tags = query.tag
  if type(tags) == "string" then tags = { tags } end
  local list, at = core.lookup(name, tags)
  if not list then return nil, at end
  local out = json.array()
  for i, endpoint in ipairs(list) do out[i] = wire.health(endpoint, state.opts.node) end
  return with_index(at, out)
end

local function catalog_services(state, req)
  local function index() return core.index() end
  if not block(state, req.query, nil, index) then return refuse(429, "too many blocking queries") end
  local at, out = core.index(), {}
  for _, service in ipairs(core.services()) do
    local seen, tags = {}, json.array()
    for _, endpoint in ipairs(core.lookup(service.name) or {}) do
      for _, tag in ipairs(endpoint.tags) do
        if not seen[tag] then
          seen[tag], tags[#tags + 1] = true, tag
        end
      end
    end
    out[service.name] = tags
  end
  return with_index(at, out)
end

local function catalog_service(state, req)
  local name = req.params.name
  local function index() return core.index(name) end
  if not block(state, req.query, name, index) then return refuse(429, "too many blocking queries") end
  local list, at = core.lookup(name)
  if not list then return nil, at end
  local out = json.array()
  for i, endpoint in ipairs(list) do
    out[i] = {
      Node = state.opts.node,
      Address = endpoint.host or "127.0.0.1",
      Datacenter = "dc1",
      ServiceID = endpoint.id,
      ServiceName = endpoint.name,
      ServiceAddress = endpoint.host or "",
      ServicePort = endpoint.port or 0,
      ServiceTags = json.array(table.move(endpoint.tags, 1, #endpoint.tags, 1, {})),
      ServiceMeta = endpoint.meta,
      ServiceWeights = { Passing = endpoint.weight, Warning = 1 },
    }
  end
  return with_index(at, out)
end

-- --- registering

local registration_fields = schema.new {
  ID = "string",
  Name = { "string", required = true, min = 1 },
  Address = "string",
  Port = { "integer", min = 0, max = 65535 },
  SocketPath = "string",
  Tags = { "array", of = "string" },
  Meta = { "map", of = "string" },
  Weights = { "table", fields = { Passing = { "integer", min = 1, max = 65535 }, Warning = "integer" } },
  Check = "table",
  Checks = "array",
}

local function without_nulls(value)
  if type(value) ~= "table" then return value end
  for key, v in pairs(value) do
    if v == json.null then value[key] = nil else without_nulls(v) end
  end
  return value
end

-- What is known of a registration: JSON's nulls are what is not there, other fields are left aside.
local function known_fields(body)
  local known = {}
  for name in pairs(registration_fields.checks) do known[name] = without_nulls(body[name]) end
  for name, value in pairs(known) do
    if value == json.null then known[name] = nil end
  end
  return known
end

-- The time to live, in seconds (false: none); or nil and what is wrong.
local function ttl_of(body)
  local check = body.Check or (body.Checks and body.Checks[1])
  if body.Checks and #body.Checks > 1 then return nil, "more than one check" end
  if not check then return false end
  if type(check) ~= "table" then return nil, "Check: expected an object" end
  if check.Args or check.Script then return nil, "Scripts are disabled on this agent" end
  if check.TTL == nil or check.TTL == "" then return nil, "only TTL checks are implemented" end
  local seconds = wire.seconds(check.TTL)
  if not seconds or seconds <= 0 then return nil, "Check.TTL: bad duration" end
  return seconds
end

local unspecified = { ["0.0.0.0"] = true, ["::"] = true, [""] = true }

local function address_of(body, remote)
  if body.SocketPath and body.SocketPath ~= "" then return "unix:" .. body.SocketPath end
  local host = body.Address or ""
  if unspecified[host] then
    -- Who listens on every address is reached where it calls from.
    host = remote and (remote:match "^%[(.-)%]" or remote:match "^(.-):%d+$") or "127.0.0.1"
  end
  return wire.join(host, body.Port or 0)
end

local function register(_, req)
  local body, err = req:json(MAX_BODY)
  if type(body) ~= "table" then
    return refuse(400, "Request decode failed: " .. tostring(err or "expected an object"))
  end
  body = known_fields(body)
  local problem = registration_fields:problem(body, "service")
  if problem then return refuse(400, "Request decode failed: " .. problem) end
  local ttl, why = ttl_of(body)
  if ttl == nil then return refuse(400, why) end
  local endpoint, failure = core.put {
    name = body.Name,
    id = body.ID ~= "" and body.ID or body.Name,
    address = address_of(body, req.remote),
    tags = body.Tags,
    meta = body.Meta,
    weight = body.Weights and body.Weights.Passing,
    ttl = ttl,
  }
  if not endpoint then
    return refuse(failure.code == "EINVAL" and 400 or 500, failure.message)
  end
  return 200, ""
end

-- In Consul's words, which its clients look for.
local function unknown(what, id)
  local text = "Unknown %s ID %q. Ensure that the %s ID is passed, not the %s name."
  return refuse(404, text:format(what, id, what, what))
end

local function deregister(_, req)
  local id = req.params.id
  local ok, err = core.deregister(id)
  if ok then return 200, "" end
  if err.code ~= "ENOTFOUND" then return nil, err end
  return unknown("service", id)
end

local function pass(_, req)
  local check = req.params.check
  local id = check:match "^service:(.+)$"
  if id and core.heartbeat(id) then return 200, "" end
  return unknown("check", check)
end

-- --- this agent

local function agent_services()
  local out = {}
  for _, service in ipairs(core.services()) do
    for _, endpoint in ipairs(core.lookup(service.name) or {}) do
      out[endpoint.id] = wire.service(endpoint)
    end
  end
  return 200, out
end

local function agent_service(_, req)
  local endpoint = core.get(req.params.id)
  if not endpoint then return refuse(404, "unknown service ID: " .. req.params.id) end
  return 200, wire.service(endpoint)
end

local function agent_self(state)
  return { Config = { Datacenter = "dc1", NodeName = state.opts.node, Server = true, Version = "neap" } }
end

local function json_text(text)
  return 200, assert(json.encode(text)), { ["content-type"] = "application/json" }
end

local routes = {
  { "put", "/v1/agent/service/register", register },
  { "put", "/v1/agent/service/deregister/:id", deregister },
  { "put", "/v1/agent/check/pass/:check", pass },
  { "get", "/v1/agent/services", agent_services },
  { "get", "/v1/agent/service/:id", agent_service },
  { "get", "/v1/agent/self", agent_self },
  { "get", "/v1/catalog/services", catalog_services },
  { "get", "/v1/catalog/service/:name", catalog_service },
  { "get", "/v1/health/service/:name", health_service },
  { "get", "/v1/status/leader", function(state) return json_text(state.address) end },
  { "get", "/v1/status/peers", function(state) return 200, json.array { state.address } end },
}

local function authorize(token)
  return function(req, next_handler)
    local given = req:header "x-consul-token" or (req:header "authorization" or ""):match "^[Bb]earer (.+)$"
    if given ~= token then return refuse(403, "Permission denied") end
    return next_handler(req)
  end
end

---@class neap.registry.Server
---@field address string
---@field port integer
local Server = {}
Server.__index = Server

-- Blocking queries are answered at once, with what there is.
local function end_waiting(state)
  state.closed = true
  for watch in pairs(state.watches) do watch:close() end
end

---Stops serving; the registry itself stays. It may be called twice.
---@param opts? { grace: number? } as an HTTP server's close
function Server:close(opts)
  end_waiting(self.state)
  self.drainer:cancel()
  self.hold:done()
  return self.http:close(opts)
end
Server.__close = function(self) self:close() end

function Server:__tostring() return "neap.registry.server: " .. self.address end

-- The host is stopping: what waits here shall not hold it up.
local function drain(hold, state)
  hold:wait()
  end_waiting(state)
  hold:done()
end

---@param opts? neap.registry.ServeOptions
---@return neap.registry.Server? server
---@return neap.Error? err
function M.serve(opts)
  opts = serve_options:read(opts, 3)
  local app = http.app()
  local state = { opts = opts, waiting = 0, watches = {}, address = "" }
  if opts.token then app:use(authorize(opts.token)) end
  for _, route in ipairs(routes) do
    local method, path, handler = route[1], route[2], route[3]
    app[method](app, path, function(req) return handler(state, req) end)
  end
  local server, err = http.serve { app = app, host = opts.host, port = opts.port, max_body_bytes = MAX_BODY }
  if not server then return nil, err end
  state.address = server.address
  local hold = core.hold()
  return setmetatable({
    address = server.address,
    port = server.port,
    http = server,
    state = state,
    hold = hold,
    drainer = task.spawn(drain, hold, state),
  }, Server)
end

return M
