--- Active checks: every endpoint of a service, a list or a balancer is asked how it is, again and again.
---
--- ```lua
--- local check = neap.health.check { service = "goods", path = "/health", interval = 1 }
--- neap.health.check { service = "db", type = "tcp" }
--- neap.health.check { service = "rates", type = "grpc", service_name = "rates.Rates" }
--- neap.health.check { service = "cache", type = function(endpoint) return ping(endpoint.host) end }
--- ```
---
--- An endpoint is unhealthy after `fall` failures in a row and healthy again after `rise` successes; what is
--- found stands in the endpoint's statistics, so every balancer and client of the host, in all workers,
--- passes it over. One worker checks, and when that one is gone another goes on with what is known, as does
--- the code after a reload. Intervals are drawn, so that checks do not come in step; so many run at a time at
--- most, and with more endpoints than that allows all are checked less often. An endpoint whose checks end
--- (`stop`, or it leaves the set) is held to be unhealthy no longer. One endpoint should be checked in one
--- way only.

local core = require "neap.core.health"
local core_worker = require "neap.core.worker"
local log = require "neap.log"
local monotonic = require("neap.core.runtime").monotonic
local probe = require "neap.health.probe"
local schema = require "neap.schema"
local task = require "neap.task"

---@class neap.health
local M = {}

local POLL = 1 -- seconds between two looks at the set, at most
local LOG_EVERY = 10 -- seconds between two log lines on a check function that raises

---@alias neap.health.State "unknown"|"healthy"|"unhealthy"

---One of `service`, `endpoints` and `balancer`. Times are seconds.
---@class neap.health.Options
---@field service? string whose instances are checked, as they come and go
---@field tags? string[] of a service: those that carry each of these
---@field endpoints? (string|neap.Endpoint|neap.balancer.EndpointOptions)[]
---@field balancer? neap.Balancer all that it has
---@field name? string whose checks are one in all workers; default: made of what is checked, and how
---@field type? "http"|"tcp"|"tls"|"grpc"|fun(endpoint: neap.Endpoint): any, any default "http"
---@field interval? number from check to check of an endpoint; default 1
---@field unhealthy_interval? number while it is unhealthy; default: the same
---@field timeout? number of a check in all; default 1
---@field rise? integer successes in a row until it is healthy; default 2. Of a new one the first decides
---@field fall? integer failures in a row until it is unhealthy; default 3
---@field http_failures? integer a count of their own for answers that are not as they should be (Kong: 5)
---@field tcp_failures? integer … for connections that fail (Kong: 2); default: they count towards `fall`
---@field timeouts? integer … for checks without an answer in time (Kong: 3)
---@field jitter? number share of the interval that is drawn, each way; default 0.2
---@field concurrency? integer checks at a time, default 10, at most 10000
---@field initial? neap.health.State what is held of a new one; "unhealthy": not used yet; default "unknown"
---@field leader? boolean one worker of the host checks; false: each does; default true
---@field shadow? boolean tells and counts, and leaves the endpoints as they are; default false
---@field on_change? fun(endpoint: neap.Endpoint, healthy: boolean, why: string) in the worker that checks
---@field path? string HTTP: what is asked for; default "/"
---@field method? string HTTP: default "GET"
---@field headers? table<string, any> HTTP: beside the usual ones, `host` in their place
---@field status? integer|string|(integer|string)[] HTTP: that are well, default { "200-399" }
---@field body? string HTTP: text that the answer has to contain
---@field keep_alive? boolean HTTP: a check uses the last one's connection; default false: each opens its own
---@field send? string TCP, TLS: what is written first
---@field expect? string TCP, TLS: text that has to come
---@field service_name? string gRPC: which of its services; default "": the server as a whole
---@field authority? string gRPC: default the endpoint's address
---@field tls? true|neap.tls.Context|neap.TlsOptions HTTP, gRPC: over TLS, with verification; TLS: how
---@field tls_name? string whom the certificate must be for; default: the endpoint's host

local options = schema.new {
  service = { "string", min = 1 },
  tags = { "array", of = "string" },
  endpoints = "array",
  balancer = "table|userdata",
  name = { "string", min = 1, max = 200 },
  type = "string|callable",
  interval = { "number", min = 0.001, max = 86400 },
  unhealthy_interval = { "number", min = 0.001, max = 86400 },
  timeout = { "number", min = 0.001, max = 86400, default = 1 },
  rise = { "integer", min = 1, max = 1000000 },
  fall = { "integer", min = 1, max = 1000000 },
  http_failures = { "integer", min = 0, max = 1000000 },
  tcp_failures = { "integer", min = 0, max = 1000000 },
  timeouts = { "integer", min = 0, max = 1000000 },
  jitter = { "number", min = 0, max = 0.99 },
  concurrency = { "integer", min = 1, max = 10000 },
  initial = { "string", enum = { "unknown", "healthy", "unhealthy" } },
  leader = "boolean",
  shadow = "boolean",
  on_change = "callable",
  path = { "string", pattern = "/[^%c ]*", default = "/" },
  method = { "string", pattern = "[%w!#$%%&'*+.^_`|~-]+", default = "GET" },
  headers = { "map", of = "string|number|table" },
  status = { "integer|string|array", default = { "200-399" } },
  body = { "string", min = 1 },
  keep_alive = "boolean",
  send = { "string", min = 1 },
  expect = { "string", min = 1 },
  service_name = { "string", max = 1024, default = "" },
  authority = { "string", min = 1, max = 1024 },
  tls = "boolean|table|userdata",
  tls_name = "string",
}

local core_options = {
  "interval", "unhealthy_interval", "rise", "fall", "http_failures", "tcp_failures", "timeouts", "jitter",
  "concurrency", "initial", "shadow",
}

local types = { "http", "tcp", "tls", "grpc" }

-- --- the options

local function check_sources(opts, level)
  local n = (opts.service and 1 or 0) + (opts.endpoints and 1 or 0) + (opts.balancer and 1 or 0)
  if n ~= 1 then error("opts: expected one of service, endpoints and balancer", level + 1) end
  if opts.tags and not opts.service then error("opts.tags: expected a service", level + 1) end
end

local function read_type(opts, level)
  if type(opts.type) ~= "string" then
    opts.fn = opts.type
    return opts.type and "function" or "http"
  end
  for _, name in ipairs(types) do
    if name == opts.type then return name end
  end
  local near = schema.nearest(opts.type, types)
  local hint = near and (" (did you mean %s?)"):format(near) or ""
  error(("opts.type: expected one of %s or a function%s"):format(table.concat(types, ", "), hint), level + 1)
end

local function read_options(opts, level)
  local read = options:read(opts, level + 1)
  check_sources(read, level + 1)
  read.kind = read_type(read, level + 1)
  local is_well, problem = probe.statuses(read.status)
  if not is_well then error("opts.status" .. problem, level + 1) end
  read.is_well = is_well
  return read
end

-- All that a balancer has, the unavailable ones too.
local function all_of(balancer)
  return balancer.all and balancer:all() or balancer:endpoints()
end

-- What the checks of all workers are known by.
local function name_of(opts)
  if opts.name then return opts.name end
  local what = opts.service
  if not what then
    local list = opts.endpoints or all_of(opts.balancer)
    local ids = {}
    for i, e in ipairs(list) do ids[i] = type(e) == "string" and e or e.id or e.address end
    table.sort(ids)
    local crypto = require "neap.crypto"
    what = crypto.encode("hex", crypto.digest("sha256", table.concat(ids, "\0"))):sub(1, 32)
  end
  local place = opts.kind == "http" and opts.path or opts.service_name
  local how = { what, opts.kind, place, table.concat(opts.tags or {}, ",") }
  return table.concat(how, " "):sub(1, 200)
end

-- --- checks

---@class neap.health.Check
---@field private core any
---@field private probe fun(endpoint: neap.Endpoint): string?, string?
---@field private driver? neap.Future
---@field private idle? neap.Future what the driver waits for
local Check = {}
Check.__index = Check
Check.__name = "neap.health.check"

local function wake(self)
  local idle = self.idle
  if idle then idle:resolve() end
end

local function complain(self, what, err)
  self.faults = (self.faults or 0) + 1
  local now = monotonic()
  if self.logged and now - self.logged < LOG_EVERY then return end
  self.logged = now
  log.error(what, { check = self.name, faults = self.faults, error = tostring(err) })
end

local function tell(self, endpoint, state, before, why)
  local healthy = state == "healthy"
  local level = not healthy and "warn" or before == "unknown" and "debug" or "info"
  log[level](healthy and "an endpoint is healthy" or "an endpoint is unhealthy", {
    check = self.name, endpoint = endpoint.id, address = endpoint.address, why = why, shadow = self.shadow,
  })
  if not self.on_change then return end
  task.spawn(function()
    local ok, err = xpcall(self.on_change, debug.traceback, endpoint, healthy, why)
    if not ok and not task.cancelled() then complain(self, "a health check's on_change failed", err) end
  end)
end

-- A check that is cut off says nothing.
local Place = {}
function Place:__close()
  if not self.ended and self.check.driver then self.check.core:done(self.place, "canceled") end
end

local function run(self, endpoint, place)
  local guard <close> = setmetatable({ check = self, place = place }, Place)
  local failed, words, raised = self.probe(endpoint)
  guard.ended = true
  if not self.driver then return end -- it was stopped meanwhile
  local state, before = self.core:done(place, failed or "success")
  if raised then complain(self, "a health check raised", raised) end
  if state then tell(self, endpoint, state, before, words or "it answers") end
  wake(self)
end

-- A balancer does not say when its list has changed.
local function look(self)
  if self.balancer then
    local now = monotonic()
    if not self.looked or now - self.looked >= POLL then
      self.looked = now
      self.core:read(all_of(self.balancer))
    end
  end
  self.core:poll()
end

local function wait(self, seconds)
  self.idle = task.future()
  self.idle:await(math.min(seconds or POLL, POLL))
  self.idle = nil
end

-- Drives the checks until its task is cancelled; then all of theirs have ended.
local function drive(self)
  local group <close> = task.group()
  while self.driver do
    look(self)
    local endpoint, place = self.core:next()
    if endpoint then
      group:spawn(run, self, endpoint, place)
    else
      wait(self, place)
    end
  end
end

local Driving = {}
function Driving:__close() self.core:halt() end

local function lead(self)
  if not self.leader then
    local driving <close> = setmetatable({ core = self.core }, Driving) -- luacheck: ignore 211
    self.core:start()
    return drive(self)
  end
  local claim <close> = core_worker.claim("neap.health " .. self.name)
  local mine, err = claim:wait()
  if not mine then
    if err then log.error("health checks do not run", { check = self.name, error = tostring(err) }) end
    return
  end
  if not self.driver then return end
  local driving <close> = setmetatable({ core = self.core }, Driving) -- luacheck: ignore 211
  self.core:start()
  self.core:poll(true)
  return drive(self)
end

-- The core's part, with the set it begins with.
local function make_core(opts, name)
  local told = { name = opts.leader ~= false and name or nil }
  for _, key in ipairs(core_options) do told[key] = opts[key] end
  local checks, err = core.new(told)
  if not checks then return nil, err end
  local ok
  if opts.service then
    ok, err = checks:follow(opts.service, opts.tags)
  else
    ok, err = checks:read(opts.endpoints or all_of(opts.balancer))
  end
  if not ok then return nil, err end
  return checks
end

-- `driver` stands while it is not stopped.
local function start(self)
  self.driver = true
  self.driver = task.spawn(lead, self)
  return self
end

---Begins to check. Goes on until `stop`, or the end of the task that began it, if that is cancelled.
---@param opts neap.health.Options
---@return neap.health.Check? check
---@return neap.Error? err what the option `tls` could not load; ELIMIT, ENOMEM
function M.check(opts)
  schema.arg("opts", opts, "table")
  local read = read_options(opts, 2)
  local name = name_of(read)
  local fn, err = probe.make(read.kind, read)
  if not fn then return nil, err end
  local ok, checks, failed = pcall(make_core, read, name)
  if not ok then error((tostring(checks):gsub("^%S+:%d+: ", "")), 2) end
  if not checks then return nil, failed end
  if read.service then require("neap.registry").follow(read.service, 0) end
  return start(setmetatable({
    core = checks,
    name = name,
    probe = fn,
    balancer = read.balancer,
    leader = read.leader ~= false,
    shadow = read.shadow,
    on_change = read.on_change,
  }, Check))
end

---@class neap.health.EndpointStats
---@field id string
---@field address string
---@field state neap.health.State
---@field last? "success"|"http_failure"|"tcp_failure"|"timeout" nil: it was not checked yet
---@field row integer results in a row that were as the last: successes, or failures
---@field for_seconds number how long it has been in that state

---@class neap.health.Stats
---@field leader boolean it is checked in this worker; what follows is only told there
---@field checks? integer begun
---@field successes? integer
---@field http_failures? integer
---@field tcp_failures? integer
---@field timeouts? integer
---@field changes? integer
---@field healthy? integer endpoints
---@field unhealthy? integer
---@field unknown? integer
---@field running? integer checks just now
---@field late? number seconds by which the last check came after its time: too many for `concurrency`?
---@field endpoints? neap.health.EndpointStats[]

---@return neap.health.Stats
function Check:stats()
  if not self.driver then return { leader = false } end
  return self.core:stats()
end

---Ends it, at once: what it held to be unhealthy is so no longer, unless another checks the same, who goes
---on. It may be called twice, from inside a check too; also by leaving the scope of a `<close>` variable.
function Check:stop()
  local driver = self.driver
  if not driver then return end
  self.driver = nil
  self.core:close()
  driver:cancel()
end

Check.__close = Check.stop
function Check:__tostring() return "neap.health.check: " .. self.name end

return M
