--- Balancers: which instance of a service takes the next request.
---
--- The policies round_robin, weighted_round_robin, random, weighted_random, least_request, p2c, ring_hash (or
--- consistent_hash) and peak_ewma are written in C; `define` adds policies written in Lua, which may be named
--- wherever a policy is. A Lua policy sees the endpoints' live statistics as fields, and may wait. When it
--- fails, P2C picks in its stead, so that a mistake in it costs balance, not requests.

local core = require "neap.core.balancer"
local log = require "neap.log"
local registry = require "neap.registry"
local runtime = require "neap.core.runtime"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {}

local LOG_EVERY = 10 -- seconds between two log lines on a policy's faults

local built_in = {}
for _, name in ipairs(core.policies()) do built_in[name] = true end

local defined = {} -- policies written in Lua, by name

---@class neap.balancer.Policy
---@field pick fun(ctx: neap.balancer.Context, endpoints: neap.Endpoint[], state): neap.Endpoint?, neap.Error?
---@field init? fun(config: any): any makes the state of one balancer; default: an empty table
---@field release? fun(endpoint: neap.Endpoint, ok: boolean?, latency: number?, state: any) a request ended
---@field update? fun(endpoints: neap.Endpoint[], state: any) called before the first pick from a changed set

local policy_fields = schema.new {
  pick = { "callable", required = true },
  init = "callable",
  release = "callable",
  update = "callable",
}

---Lists that name one address share what is known of it (requests in flight, latency, errors): in all
---workers, and with the code before a reload.
---@class neap.balancer.Options
---@field service? string the service whose instances it follows
---@field tags? string[] only instances that carry each of these
---@field endpoints? (string|neap.Endpoint|neap.balancer.EndpointOptions)[] a list instead of a service
---@field seed? integer of the draws; default 0: random
---@field choices? integer least_request, p2c, peak_ewma: draws per pick; default 2
---@field full_scan? boolean least_request: look at all; default false
---@field active_bias? number least_request with weights: weight / (active + 1) ^ bias; default 1
---@field ring_points? integer ring_hash: points per unit of weight; default 160
---@field ring_max? integer ring_hash: points in all; default 262144
---@field load_factor? number ring_hash: most requests in flight, in averages; default 0: no bound
---@field config? any for the `init` of a policy written in Lua

-- --- policies written in Lua

---@class neap.balancer.Scripted: neap.Balancer
local Scripted = {}
Scripted.__index = Scripted
Scripted.__name = "neap.balancer"

local function canceled(err)
  return task.cancelled() and type(err) == "table" and err.code ~= nil
end

-- Counts a fault; the first is logged at once, then one line every ten seconds with how many there were.
local function fault(self, err)
  self.faults = self.faults + 1
  local now = runtime.monotonic()
  if self.logged and now - self.logged < LOG_EVERY then return end
  log.error("a balancer's policy failed; P2C picks instead", {
    policy = self.policy.name,
    faults = self.faults,
    error = tostring(err),
  })
  self.logged = now
end

local function with_traceback(err)
  if type(err) ~= "string" then return err end
  return debug.traceback(err, 2)
end

-- Calls a hook of the policy. A fault is counted; being cancelled goes on.
local function call(self, fn, ...)
  local ok, a, b = xpcall(fn, with_traceback, ...)
  if ok then return true, a, b end
  if canceled(a) then error(a, 0) end
  fault(self, a)
  return false
end

local no_wishes = {}

---Picks an endpoint for a request, which is then counted as in flight there until it is released.
---@param ctx? neap.balancer.Context
---@return neap.Endpoint? endpoint
---@return neap.Error? err ENOENDPOINT, or what the policy gave
function Scripted:pick(ctx)
  local endpoints = self.source:endpoints()
  if not endpoints[1] then return self.source:pick(ctx) end
  local policy = self.policy
  if endpoints ~= self.seen then
    self.seen = endpoints
    if policy.update then call(self, policy.update, endpoints, self.state) end
  end
  local ok, endpoint, err = call(self, policy.pick, ctx or no_wishes, endpoints, self.state)
  if not ok then return self.source:pick(ctx) end
  if endpoint == nil then return nil, err or task.error("ENOENDPOINT", "the policy picked none") end
  if core.begin(endpoint) then return endpoint end
  fault(self, "pick: expected an endpoint, got " .. type(endpoint))
  return self.source:pick(ctx)
end

---Ends a request. `ok` nil says nothing about the endpoint.
---@param endpoint neap.Endpoint
---@param ok? boolean|{ ok: boolean?, latency: number? }
---@param latency? number seconds
function Scripted:release(endpoint, ok, latency)
  if type(ok) == "table" then
    ok, latency = ok.ok, ok.latency
  end
  core.finish(endpoint, ok, latency)
  local hook = self.policy.release
  if hook then call(self, hook, endpoint, ok, latency, self.state) end
end

---The endpoints the next pick chooses from: the same table until they change.
---@return neap.Endpoint[]
function Scripted:endpoints() return self.source:endpoints() end

---Takes another list of endpoints, for a balancer that was made from one.
---@param endpoints (string|neap.Endpoint|neap.balancer.EndpointOptions)[]
---@return true? ok
---@return neap.Error? err
function Scripted:update(endpoints) return self.source:update(endpoints) end

function Scripted:close() self.source:close() end
Scripted.__close = Scripted.close

function Scripted:__tostring() return tostring(self.source) .. " by " .. self.policy.name end

local function scripted(policy, opts)
  local inner = {}
  for key, value in pairs(opts) do
    if key ~= "config" then inner[key] = value end
  end
  local source, err = core.new("p2c", inner)
  if not source then return nil, err end
  -- `lone`: how a request ends is nobody's business but the endpoint's (see core.finish)
  local lone = policy.release == nil
  local self = setmetatable({ source = source, policy = policy, faults = 0, lone = lone }, Scripted)
  if policy.init then
    self.state = policy.init(opts.config)
  else
    self.state = {}
  end
  return self
end

-- --- what scripts call

local function read_policy(policy, name, level)
  if type(policy) == "function" then policy = { pick = policy } end
  policy_fields:check(policy, level + 1, "policy")
  local copy = { name = name }
  for key, value in pairs(policy) do copy[key] = value end
  return copy
end

---Defines a policy. Balancers that were made by that name before keep the policy they have.
---@param name string not that of a built-in one
---@param policy neap.balancer.Policy
function M.define(name, policy)
  schema.arg("name", name, "string")
  schema.arg("policy", policy, "table")
  if built_in[name] then error(("name: %s is built in"):format(name), 2) end
  defined[name] = read_policy(policy, name, 2)
end

local function policy_names()
  local names = core.policies()
  for name in pairs(defined) do names[#names + 1] = name end
  return names
end

---The names of all policies, built in and defined.
---@return string[]
function M.policies()
  local names = policy_names()
  table.sort(names)
  return names
end

local function unknown(name)
  local near = schema.nearest(name, policy_names())
  return ("unknown policy '%s'%s"):format(name, near and (" (did you mean %s?)"):format(near) or "")
end

-- What is wrong with the options is told where the balancer is made.
local function make(policy, opts, level)
  local ok, b, err
  if type(policy) == "string" and built_in[policy] then
    ok, b, err = pcall(core.new, policy, opts)
  else
    local known = type(policy) == "string" and defined[policy] or read_policy(policy, "policy", level + 1)
    ok, b, err = pcall(scripted, known, opts)
  end
  if not ok then
    if type(b) == "string" then b = b:gsub("^%S+:%d+: ", "") end
    error(b, level + 1)
  end
  return b, err
end

---Makes a balancer over a service, whose changes it follows, or over a list of endpoints.
---
--- ```lua
--- local b = neap.balancer.new("peak_ewma", { service = "goods" })
--- local endpoint, err = b:pick { key = user_id, exclude = tried }
--- b:release(endpoint, true, seconds)
--- ```
---@param policy string|neap.balancer.Policy|function a name, a policy, or its `pick`
---@param opts neap.balancer.Options
---@return neap.Balancer? balancer
---@return neap.Error? err
function M.new(policy, opts)
  schema.arg("policy", policy, "string|table|function")
  schema.arg("opts", opts, "table")
  if type(policy) == "string" and not built_in[policy] and not defined[policy] then
    error(unknown(policy), 2)
  end
  local b, err = make(policy, opts, 2)
  if not b then return nil, err end
  if opts.service then registry.follow(opts.service) end
  return b
end

return M
