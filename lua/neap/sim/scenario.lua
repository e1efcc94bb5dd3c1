-- Scenarios: what one says, checked with paths, and written out in full for the simulator.

local problems = require "neap.sim.problems"
local read_load = require("neap.sim.load").read
local schema = require "neap.schema"

local read_distribution, refuse = problems.read_distribution, problems.refuse

local M = {}

---A group of endpoints that are alike. With a count above 1 their names are numbered: "app1", "app2" …
---@class neap.sim.Endpoints
---@field name? string default "app"
---@field count? integer default 1
---@field latency neap.sim.Distribution seconds of work a request; waiting and the network come on top
---@field concurrency? integer requests it works on at a time; default 8
---@field queue? integer|false requests that wait beyond those; more are refused. Default 64; false: no bound
---@field contention? number n requests take 1 + contention * (n - 1) / concurrency times as long; default 0
---@field network? number seconds of a round trip; default 0.0005
---@field zone? string
---@field weight? integer default 1
---@field meta? table<string, string>
---@field refusal? neap.sim.Refusal how it refuses when it is full
---@field cancels? boolean it notices that a caller has left, and drops what waits; default false
---@field absent? boolean it is not there until a fault with `join`; default false

---@class neap.sim.Refusal
---@field status? integer 503 (default) or 429 …
---@field latency? number seconds, beside the network's; default 0.0005
---@field retry_after? number seconds that its answer asks for; default none

---Something that befalls endpoints. Those that overlap add up.
---@class neap.sim.Fault
---@field at number seconds since the begin
---@field lasts? number seconds; default: to the end
---@field endpoints? string|integer|(string|integer)[] names, names of groups, numbers; default: all
---@field zone? string those in this zone
---@field share? number of those that are meant, so many (0 … 1), evenly spread
---@field slow? number work takes so many times as long
---@field capacity? number so large a share of their concurrency is left
---@field delay? number seconds more on the network
---@field error_rate? number so large a share of the answers are errors
---@field error_status? integer default 500
---@field error_latency? number|false seconds an error takes; default 0.001, false: as long as a good answer
---@field refuse? boolean|number connections are refused at once; a number: a share of them
---@field black_hole? boolean|number nothing is answered; a number: a share is not
---@field restart? boolean what is in flight breaks, connections are refused while it lasts
---@field cold? { lasts: number, slow: number } after a restart: so much slower at first, which wears off
---@field leave? boolean out of the set of endpoints while it lasts (a deploy that drains)
---@field join? boolean into it
---@field ramp? number seconds in which it comes on gradually; default 0

---@class neap.sim.Arrival
---@field rate? number requests a second, over all callers: they come whatever happens
---@field process? string "poisson" (default) or "even"
---@field steps? { at: number, rate: number, ramp: boolean? }[] other rates from then on; `ramp`: gradual
---@field bursts? { at: number, lasts: number, factor: number }[] the rate is so many times as much
---@field users? integer instead of a rate: each sends a request, waits for the answer, thinks
---@field think? neap.sim.Distribution seconds; default exponential with mean 1

---@class neap.sim.Class
---@field share? number of the requests, by proportion; default 1
---@field cost? neap.sim.Distribution work takes so many times as long; default 1
---@field priority? string "sheddable", "low", "normal" (default), "high" or "critical"
---@field safe? boolean it may be made twice (retries, hedges); default true

---@class neap.sim.UserRetries
---@field attempts integer
---@field delay? neap.sim.Distribution seconds; default 1

---@class neap.sim.Scenario
---@field name? string
---@field description? string
---@field endpoints neap.sim.Endpoints[]
---@field arrival neap.sim.Arrival
---@field faults? neap.sim.Fault[]
---@field requests? neap.sim.Class[] kinds of requests; default: one
---@field keys? integer|{ count: integer, skew: number? } requests carry a key, for policies that hash
---@field timeout? number seconds a call may take; default 1
---@field slo? number a good answer comes within this; default: the timeout
---@field user_retries? neap.sim.UserRetries users whose call failed call again
---@field clients? integer processes that call; they share nothing. Default 1
---@field shared? boolean the clients are workers of one process, with one set of statistics and rules
---@field zone? string|string[] the clients', in turn
---@field zone_latency? number seconds more for a request into another zone; default 0
---@field discovery? number seconds until clients learn that the set has changed; default 1
---@field duration? number seconds of the virtual clock; default 60
---@field warmup? number what began before counts for nothing; default 0
---@field max_requests? integer it ends after so many
---@field buckets? integer of the time series; default one a second, 30 to 120
---@field seed? integer default 1
---@field policies? (string|neap.sim.Policy)[] default { "default", "p2c", "round_robin" }

local share = { "number", min = 0, max = 1 }
local seconds = { "number", min = 0, max = 1e7 }
local share_or_flag = "boolean|number"

local endpoint_fields = {
  name = { "string", min = 1, max = 100, default = "app" },
  count = { "integer", min = 1, max = 65535, default = 1 },
  latency = { "any", required = true },
  concurrency = { "integer", min = 1, max = 1000000, default = 8 },
  queue = "integer|boolean",
  contention = { "number", min = 0, max = 1000, default = 0 },
  network = { "number", min = 0, max = 3600, default = 0.0005 },
  zone = { "string", min = 1 },
  weight = { "integer", min = 1, max = 65535, default = 1 },
  meta = { "map", of = "string" },
  refusal = {
    "table",
    fields = {
      status = { "integer", min = 400, max = 599, default = 503 },
      latency = { "number", min = 0, max = 3600, default = 0.0005 },
      retry_after = { "number", min = 0, max = 86400, default = 0 },
    },
  },
  cancels = "boolean",
  absent = "boolean",
}

local fault_fields = {
  at = { "number", min = 0, max = 1e7, required = true },
  lasts = { "number", min = 1e-9, max = 1e7 },
  endpoints = "string|integer|table",
  zone = "string",
  share = share,
  slow = { "number", min = 0, max = 1e6 },
  capacity = share,
  delay = seconds,
  error_rate = share,
  error_status = { "integer", min = 400, max = 599 },
  error_latency = "number|boolean",
  refuse = share_or_flag,
  black_hole = share_or_flag,
  restart = "boolean",
  cold = {
    "table",
    fields = {
      lasts = { "number", min = 1e-9, max = 1e7, required = true },
      slow = { "number", min = 1, max = 1e6, required = true },
    },
  },
  leave = "boolean",
  join = "boolean",
  ramp = seconds,
}

local arrival_fields = {
  rate = { "number", min = 0, max = 1e8 },
  process = { "string", enum = { "poisson", "even" }, default = "poisson" },
  steps = {
    "array",
    of = {
      "table",
      fields = {
        at = { "number", min = 0, max = 1e7, required = true },
        rate = { "number", min = 0, max = 1e8, required = true },
        ramp = "boolean",
      },
    },
  },
  bursts = {
    "array",
    of = {
      "table",
      fields = {
        at = { "number", min = 0, max = 1e7, required = true },
        lasts = { "number", min = 1e-9, max = 1e7, required = true },
        factor = { "number", min = 0, max = 1e6, required = true },
      },
    },
  },
  users = { "integer", min = 1, max = 1000000 },
  think = "any",
}

local class_fields = {
  share = { "number", min = 0, max = 1e9 },
  cost = "any",
  priority = { "string", enum = { "sheddable", "low", "normal", "high", "critical" } },
  safe = "boolean",
}

local fields = schema.new {
  name = "string",
  description = "string",
  endpoints = { "array", min = 1, required = true, of = { "table", fields = endpoint_fields } },
  arrival = { "table", required = true, fields = arrival_fields },
  faults = { "array", of = { "table", fields = fault_fields }, default = {} },
  requests = { "array", min = 1, max = 16, of = { "table", fields = class_fields } },
  keys = "integer|table",
  timeout = { "number", min = 1e-6, max = 1e6, default = 1 },
  slo = { "number", min = 1e-6, max = 1e6 },
  user_retries = {
    "table",
    fields = { attempts = { "integer", min = 1, max = 100, required = true }, delay = "any" },
  },
  clients = { "integer", min = 1, max = 1024, default = 1 },
  shared = { "boolean", default = false },
  zone = "string|table",
  zone_latency = { "number", min = 0, max = 3600, default = 0 },
  discovery = { "number", min = 0, max = 86400, default = 1 },
  duration = { "number", min = 1e-3, max = 1e7, default = 60 },
  warmup = { "number", min = 0, max = 1e7, default = 0 },
  max_requests = { "integer", min = 1 },
  buckets = { "integer", min = 1, max = 10000 },
  seed = { "integer", min = 0, max = 1 << 53, default = 1 },
  policies = { "array", min = 1 },
}

-- --- endpoints

local endpoint_schema = schema.new(endpoint_fields)

local function read_queue(queue, path)
  if queue == nil then return 64 end
  if queue == false then return 1e9 end
  if queue == true or queue < 0 then refuse(path, "expected an integer from 0, or false for no bound") end
  return queue
end

local function read_endpoints(groups, path)
  local servers, by_name = {}, {}
  for g, given in ipairs(groups) do
    local at = ("%s.endpoints[%d]"):format(path, g)
    local group = endpoint_schema:read(given, 2, at)
    local refusal = group.refusal or { status = 503, latency = 0.0005, retry_after = 0 }
    local latency = read_distribution(group.latency, at .. ".latency")
    local queue = read_queue(group.queue, at .. ".queue")
    local members = by_name[group.name] or {}
    if group.count > 1 and members[1] then refuse(at .. ".name", "%q is there already", group.name) end
    by_name[group.name] = members
    for i = 1, group.count do
      local name = group.count > 1 and group.name .. i or group.name
      local index = #servers + 1
      if name ~= group.name then
        if by_name[name] then refuse(at .. ".name", "%q is there already", name) end
        by_name[name] = { index }
      elseif members[1] then
        refuse(at .. ".name", "%q is there already", name)
      end
      members[#members + 1] = index
      servers[index] = {
        name = name, group = group.name, zone = group.zone, weight = group.weight, meta = group.meta,
        service = latency, servers = group.concurrency, queue = queue, contention = group.contention,
        rtt = group.network,
        reject = refusal.latency, reject_status = refusal.status, retry_after = refusal.retry_after,
        cancels = group.cancels or false, absent = group.absent or false,
      }
    end
  end
  if #servers > 65535 then refuse(path .. ".endpoints", "more than 65535") end
  return servers, by_name
end

-- --- faults

local function targets_of(given, world, path)
  local picked = {}
  local function add(what, at)
    if math.type(what) == "integer" then
      if not world.servers[what] then refuse(at, "there is no endpoint %d", what) end
      picked[what] = true
      return
    end
    local members = world.by_name[what]
    if not members then
      local names = {}
      for name in pairs(world.by_name) do names[#names + 1] = name end
      local near = type(what) == "string" and schema.nearest(what, names)
      local hint = near and (" (did you mean %s?)"):format(near) or ""
      refuse(at, "there is no endpoint %s%s", tostring(what), hint)
    end
    for _, i in ipairs(members) do picked[i] = true end
  end
  if type(given) == "table" then
    for i, what in ipairs(given) do add(what, ("%s[%d]"):format(path, i)) end
  elseif given ~= nil then
    add(given, path)
  else
    for i = 1, #world.servers do picked[i] = true end
  end
  return picked
end

local function narrow(picked, fault, world, path)
  local list = {}
  for i = 1, #world.servers do
    local fits = picked[i] and (fault.zone == nil or world.servers[i].zone == fault.zone)
    if fits then list[#list + 1] = i end
  end
  if #list == 0 then refuse(path, "it befalls no endpoint") end
  if not fault.share then return list end
  local n = math.max(1, math.floor(#list * fault.share + 0.5))
  local some = {}
  for k = 1, n do some[k] = list[(k - 1) * #list // n + 1] end
  return some
end

local function as_share(value, path)
  if value == true then return 1 end
  if value and (value < 0 or value > 1) then refuse(path, "expected a share, 0 … 1") end
  return value or 0
end

local function read_fault(fault, world, path)
  local error_time = fault.error_latency
  if error_time == nil then error_time = 0.001 end
  if error_time == true then refuse(path .. ".error_latency", "expected seconds, or false") end
  if fault.cold and not fault.restart then refuse(path .. ".cold", "only after a restart") end
  if fault.restart and not fault.lasts then refuse(path .. ".lasts", "required of a restart") end
  local picked = targets_of(fault.endpoints, world, path .. ".endpoints")
  return {
    at = fault.at,
    ["until"] = fault.lasts and fault.at + fault.lasts or nil,
    ramp = fault.ramp,
    servers = narrow(picked, fault, world, path),
    slow = fault.slow,
    capacity = fault.capacity,
    delay = fault.delay,
    error_rate = fault.error_rate,
    error_status = fault.error_status or 500,
    error_time = error_time or nil,
    refuse = as_share(fault.refuse, path .. ".refuse"),
    black_hole = as_share(fault.black_hole, path .. ".black_hole"),
    restart = fault.restart,
    cold = fault.cold and fault.cold.lasts or nil,
    cold_slow = fault.cold and fault.cold.slow or nil,
    leave = fault.leave,
    join = fault.join,
  }
end

-- --- all of it

local function read_zones(zone, path)
  if zone == nil then return {} end
  if type(zone) == "string" then return { zone } end
  for i, z in ipairs(zone) do
    local at = ("%s.zone[%d]"):format(path, i)
    if type(z) ~= "string" then refuse(at, "expected string, got %s", type(z)) end
  end
  return zone
end

local function write_out(s, path)
  local servers, by_name = read_endpoints(s.endpoints, path)
  local world = { servers = servers, by_name = by_name }
  local changes = {}
  for i, fault in ipairs(s.faults) do
    changes[i] = read_fault(fault, world, ("%s.faults[%d]"):format(path, i))
  end
  s.buckets = s.buckets or math.tointeger(math.min(math.max(math.ceil(s.duration), 30), 120))
  if s.warmup >= s.duration then refuse(path .. ".warmup", "is not below the duration") end
  return {
    seed = s.seed, duration = s.duration, warmup = s.warmup, requests = s.max_requests, buckets = s.buckets,
    callers = s.clients, shared = s.shared, zones = read_zones(s.zone, path), zone_rtt = s.zone_latency,
    discovery = s.discovery, servers = servers, changes = changes, load = read_load(s, path),
  }
end

---Checks a scenario. Gives what it says with its defaults, and the simulator's form of it.
---@param given neap.sim.Scenario
---@param path string
---@return table? scenario
---@return table|string spec, or what is wrong, with its path
function M.read(given, path)
  local problem = fields:problem(given, path)
  if problem then return nil, problem end
  local s = fields:read(given, 2, path)
  local ok, spec = pcall(write_out, s, path)
  if ok then return s, spec end
  if type(spec) == "table" and spec.problem then return nil, spec.problem end
  error(spec, 0)
end

return M
