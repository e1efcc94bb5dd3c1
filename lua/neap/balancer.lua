--- Balancers: which instance of a service takes the next request.
---
--- The policies round_robin, weighted_round_robin, random, weighted_random, least_request, p2c, peak_ewma,
--- ring_hash (or consistent_hash), maglev, first and client_side_weighted_round_robin are written in C;
--- `define` adds policies written in Lua, which may be named wherever a policy is.
---
--- Whatever the policy, a balancer narrows the endpoints before it, in this order: the request's subset; the
--- priority level, with fail-over and spill-over by health as Envoy has them; the caller's zone, likewise;
--- then those that are available, or all of them when too few are (panic).
---
--- A policy in Lua sees the endpoints' live statistics as fields, may wait, and may wrap another. When it
--- fails, the one that it wraps (P2C, if none) picks in its stead, so that a mistake in it costs balance, not
--- requests.
---
--- ```lua
--- neap.balancer.define("idlest", {
---   pick = function(ctx, endpoints) return endpoints:least("active", ctx.exclude) end,
--- })
--- ```

local core = require "neap.core.balancer"
local registry = require "neap.registry"
local schema = require "neap.schema"

local M = {}

local MOST_WRAPPED = 16 -- policies in a row

local built_in = {}
for _, name in ipairs(core.policies()) do built_in[name] = true end

local defined = {} -- policies written in Lua, by name

---A policy written in Lua.
---
---`pick` gives an endpoint, or its place in `endpoints`, or nil and an error when none will do. `ctx` is the
---caller's own table; `endpoints` the array it may choose from, the same table until it changes (with zones,
---levels or subsets there are several such arrays); `state` what `init` made, one for each balancer;
---`inner(ctx)` gives the endpoint that the wrapped policy picks of the same array, and begins nothing.
---A pick of whom `ctx.exclude` names gives way to the wrapped policy's, while another is there.
---`release` hears of the end of each request; `result` is the table that `balancer:release` was given, if so.
---
---On a hot path reading `endpoint.active` of each endpoint costs more than the rest of the policy.
---`endpoints.active` is the whole column, an array of numbers that is read anew, in one go, each time it is
---asked for: take it into a local first. `endpoints:least("active")` is a scan in C.
---@class neap.balancer.Policy
---@field pick fun(ctx: neap.balancer.Context, endpoints: neap.Endpoints, state, inner): any, any
---@field init? fun(config: any): any makes the state of one balancer; default: an empty table
---@field release? fun(endpoint: neap.Endpoint, ok: boolean?, latency: number?, state: any, result: table?)
---@field update? fun(endpoints: neap.Endpoints, state: any) comes before the first pick from a new array
---@field wraps? string|neap.balancer.Policy the policy inside, which `inner` asks; default "p2c"

local policy_fields = schema.new {
  pick = { "callable", required = true },
  init = "callable",
  release = "callable",
  update = "callable",
  wraps = "string|table",
}

---How new and readmitted endpoints are spared.
---@class neap.balancer.SlowStart
---@field duration number seconds until an endpoint has its whole weight
---@field min? number share of its weight that it begins with; default 0.1 (Envoy)
---@field aggression? number default 1: linear in time; greater: more at the beginning (Envoy)
---@field curve? "envoy"|"linear" weight · max(min, t ^ (1 / aggression)), or HAProxy's weight · max(min, t)

---Which requests may go to which endpoints, by metadata.
---@class neap.balancer.Subset
---@field keys string[] metadata that requests may ask for with `ctx.subset`; at most 8
---@field fallback? "any"|"none" when no endpoint matches: any other, or ENOENDPOINT; default "any"

---How clients stay with an endpoint while it is available. The value stands for the endpoint's id without
---telling it; see `balancer:sticky`.
---@class neap.balancer.Sticky
---@field cookie? string name of a cookie that answers set and requests bring; or
---@field header? string name of a header that answers carry and requests bring
---@field ttl? number seconds a cookie lasts; default: the session
---@field secret? string of all who shall understand the values; without, who knows an id knows its value
---@field path? string of the cookie; default "/"
---@field secure? boolean the cookie's attribute
---@field same_site? string the cookie's attribute

---Lists that name one address share what is known of it (requests in flight, latency, errors, ejection): in
---all workers, and with the code before a reload.
---@class neap.balancer.Options
---@field service? string the service whose instances it follows
---@field tags? string[] only instances that carry each of these
---@field endpoints? (string|neap.Endpoint|neap.balancer.EndpointOptions)[] a list instead of a service
---@field seed? integer of the draws; default 0: random
---@field choices? integer least_request, p2c, peak_ewma: draws per pick; default 2
---@field full_scan? boolean least_request: look at all; default false
---@field active_bias? number least_request with weights: weight / (active + 1) ^ bias; default 1 (Envoy)
---@field ring_points? integer ring_hash: points per unit of weight; default 160 (ketama)
---@field ring_max? integer ring_hash: points in all; default 262144
---@field table_size? integer maglev: slots, a prime; default 65537
---@field load_factor? number ring_hash, maglev: most requests in flight, in averages; default 0: no bound
---@field max_active? integer first: requests in flight an endpoint takes before the next is used; default 100
---@field error_penalty? number client_side_weighted_round_robin (gRPC A58): default 1
---@field blackout? number the same: seconds of reports before they count; default 10
---@field expiry? number the same: seconds after which a report counts no more; default 180
---@field update_interval? number the same: seconds between new weights; default 1
---@field panic_threshold? number share available below which all are used; default 0.5 (Envoy), 0: never
---@field overprovisioning? number a level's load is its health times this, 1 at most; default 1.4 (Envoy)
---@field zone? string the caller's; endpoints there come first; default: zones do not matter
---@field zone_min_endpoints? integer a level with fewer has no zones; default 6 (Envoy)
---@field zone_spill? number an own zone sends some elsewhere when less of it is available; default 0.7
---@field zone_callers? number share of all callers in this zone; more callers than endpoints spill over
---@field subset? neap.balancer.Subset
---@field slow_start? neap.balancer.SlowStart default: none
---@field sticky? "key"|neap.balancer.Sticky "key": requests with a `ctx.key` go by ring_hash
---@field config? any for the `init` of a policy written in Lua

-- --- policies written in Lua

local resolve

-- One that wraps another policy in Lua: the inner function of each array, kept while that is.
local function around(policy, inner)
  local functions = setmetatable({}, { __mode = "k" })
  local pick, inner_pick = policy.pick, inner.pick
  local function function_for(endpoints, state, innermost)
    local fn = function(ctx)
      local picked, err = inner_pick(ctx or {}, endpoints, state, innermost)
      if math.type(picked) == "integer" then picked = endpoints[picked] end
      return picked, err
    end
    functions[endpoints] = fn
    return fn
  end
  return {
    pick = function(ctx, endpoints, state, innermost)
      local fn = functions[endpoints] or function_for(endpoints, state.inner, innermost)
      return pick(ctx, endpoints, state.own, fn)
    end,
    update = (policy.update or inner.update) and function(endpoints, state)
      if inner.update then inner.update(endpoints, state.inner) end
      if policy.update then policy.update(endpoints, state.own) end
    end,
    release = (policy.release or inner.release) and function(endpoint, ok, latency, state, result)
      if inner.release then inner.release(endpoint, ok, latency, state.inner, result) end
      if policy.release then policy.release(endpoint, ok, latency, state.own, result) end
    end,
    state = function(config) return { own = policy.state(config), inner = inner.state(config) } end,
    base = inner.base,
    name = policy.name,
  }
end

-- A policy with all that it wraps as one: its hooks, and `base`, the policy in C inside of it.
local function compose(policy, depth)
  if depth > MOST_WRAPPED then error("policy.wraps: more than " .. MOST_WRAPPED .. " in a row", 0) end
  local own = {
    name = policy.name,
    pick = policy.pick,
    update = policy.update,
    release = policy.release,
    state = policy.init or function() return {} end,
    base = "p2c",
  }
  local wraps = policy.wraps
  if wraps == nil then return own end
  if built_in[wraps] then
    own.base = wraps
    return own
  end
  return around(own, compose(resolve(wraps, "policy.wraps", 1), depth + 1))
end

-- What core.new wants to know of it.
local function hooks_of(policy, config)
  local pick, update = policy.pick, policy.update
  return {
    name = policy.name,
    pick = pick,
    first = update and function(ctx, endpoints, state, inner)
      update(endpoints, state)
      return pick(ctx, endpoints, state, inner)
    end or pick,
    release = policy.release,
    state = policy.state(config),
  }
end

local function scripted(policy, opts)
  local whole = compose(policy, 1)
  local inner = {}
  for key, value in pairs(opts) do
    if key ~= "config" then inner[key] = value end
  end
  return core.new(whole.base, inner, hooks_of(whole, opts.config))
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
---
--- ```lua
--- -- peak_ewma, but a customer's requests stay where they were while that endpoint is not too busy
--- -- (examples/policy.lua has one that forgets customers in time)
--- neap.balancer.define("loyal", {
---   wraps = "peak_ewma",
---   init = function() return { last = {} } end,
---   pick = function(ctx, endpoints, state, inner)
---     local last = ctx.customer and state.last[ctx.customer]
---     if last and last.available and last.active < 8 then return last end
---     local picked = inner(ctx)
---     if ctx.customer then state.last[ctx.customer] = picked end
---     return picked
---   end,
--- })
--- ```
---@param name string not that of a built-in one
---@param policy neap.balancer.Policy
function M.define(name, policy)
  schema.arg("name", name, "string")
  schema.arg("policy", policy, "table")
  if built_in[name] then error(("name: %s is built in"):format(name), 2) end
  defined[name] = read_policy(policy, name, 2)
end

---A policy that was defined, as it was given, with its name; nil for another. For tools that run policies.
---@param name string
---@return neap.balancer.Policy?
function M.defined(name)
  local policy = defined[name]
  if not policy then return nil end
  local copy = {}
  for key, value in pairs(policy) do copy[key] = value end
  return copy
end

---A policy with all that it wraps as one: for tools that run policies by themselves.
---@param policy string|neap.balancer.Policy|function one that was defined, or written down
---@return table { pick =, update =, release =, state = function(config), base = name of the policy in C }
function M.compose(policy) return compose(resolve(policy, "policy", 2), 1) end

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

function resolve(policy, path, level)
  if type(policy) ~= "string" then return read_policy(policy, "policy", level + 1) end
  if not defined[policy] then error(path .. ": " .. unknown(policy), 0) end
  return defined[policy]
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
--- local b = neap.balancer.new("peak_ewma", { service = "goods", zone = "eu-1" })
--- local endpoint, err = b:pick { key = user_id, exclude = tried }
--- b:release(endpoint, { status = 200, latency = seconds })
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
