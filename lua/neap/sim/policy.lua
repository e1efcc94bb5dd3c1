-- Policies: the rules that a scenario's clients go by, as options of the cluster that they run.

local balancer = require "neap.balancer"
local refuse = require("neap.sim.problems").refuse
local schema = require "neap.schema"

local M = {}

---What a client is told, by the names that neap.http.client has. What is not said is as a client of a service
---has it (peak_ewma, outlier detection, three attempts within a budget, adaptive concurrency); with `plain`,
---nothing is on that is not said.
---@class neap.sim.Policy
---@field name string what the results are called
---@field plain? boolean default false
---@field balancer? string|neap.balancer.Policy|function default "peak_ewma"; of a plain one "p2c"
---@field config? any for the `init` of a balancer's policy written in Lua
---@field retry? boolean|table
---@field hedge? boolean|table
---@field outlier? boolean|table
---@field breaker? boolean|table
---@field concurrency? boolean|table
---@field rate_limit? false|table
---@field slow_start? table
---@field panic_threshold? number
---@field choices? integer and the other options of balancers

local NOT_HERE = { service = true, endpoints = true, tags = true, share = true, seed = true, policy = true }

local function names()
  local list = balancer.policies()
  list[#list + 1] = "default"
  return list
end

local function built_in(name)
  for _, known in ipairs(require("neap.core.balancer").policies()) do
    if known == name then return true end
  end
  return false
end

-- A name alone is a policy with nothing but that balancer; "default" is what a client gets that says nothing.
local function from_name(name, path)
  if name == "default" then return { name = name } end
  for _, known in ipairs(balancer.policies()) do
    if known == name then return { name = name, balancer = name, plain = true } end
  end
  local near = schema.nearest(name, names())
  refuse(path, "there is no policy %q%s", name, near and (" (did you mean %s?)"):format(near) or "")
end

-- What the balancer is: a name that C knows, or a policy in Lua with what it wraps.
local function balancer_of(given, path)
  if given == nil then return nil end
  if type(given) == "string" and built_in(given) then return given end
  if type(given) == "string" and not balancer.defined(given) then
    local near = schema.nearest(given, balancer.policies())
    refuse(path, "there is no policy %q%s", given, near and (" (did you mean %s?)"):format(near) or "")
  end
  if type(given) ~= "string" and type(given) ~= "table" and type(given) ~= "function" then
    refuse(path, "expected string, table or function, got %s", type(given))
  end
  local ok, whole = pcall(balancer.compose, given)
  if not ok then
    refuse(path, "%s", (tostring(whole):gsub("^[^:]+:%d+: ", ""):gsub("^policy:?%.?", "")))
  end
  return whole.base, whole
end

-- --- policies written in Lua

local PRIORITIES = { [0] = "sheddable", "low", "normal", "high", "critical" }

---Makes the hooks through which the simulator asks a policy. Each caller has a state of its own, as each
---process has. `faults.first` is the first error.
local function hooks_of(policy, config)
  local states, faults = {}, {}
  local pick, update, release = policy.pick, policy.update, policy.release

  local function state_of(caller)
    local state = states[caller]
    if state == nil then
      state = policy.state(config)
      states[caller] = state
    end
    return state
  end

  local function noted(ok, ...)
    if ok then return ... end
    faults.first = faults.first or tostring((...))
    error((...), 0)
  end

  local function ask(caller, endpoints, fresh, inner, tried, attempt, now, deadline, priority, key)
    local state = state_of(caller)
    if fresh and update then update(endpoints, state) end
    local picked = pick({
      key = key, exclude = tried, previous = tried, attempts = attempt - 1, now = now, deadline = deadline,
      priority = PRIORITIES[priority], caller = caller,
    }, endpoints, state, inner)
    local kind = picked ~= nil and math.type(picked) ~= "integer" and type(picked)
    if kind and kind ~= "userdata" then error("pick: expected an endpoint or its place, got " .. kind, 0) end
    return picked
  end

  local function tell(caller, endpoint, ok, latency) release(endpoint, ok, latency, state_of(caller)) end

  local hooks = {
    pick = function(...) return noted(pcall(ask, ...)) end,
    faults = faults,
  }
  if release then
    hooks.release = function(...) return noted(pcall(tell, ...)) end
  end
  return hooks
end

-- --- reading

local function copy_options(given, path)
  local options = {}
  for key, value in pairs(given) do
    if NOT_HERE[key] then refuse(("%s.%s"):format(path, tostring(key)), "is the scenario's to say") end
    options[key] = value
  end
  options.name, options.balancer, options.config = nil, nil, nil
  return options
end

---Reads a policy: its name, the options of core.cluster, and the hooks of one that is written in Lua.
---@param given string|neap.sim.Policy
---@param path string
---@return { name: string, options: table, hooks: table? }
function M.read(given, path)
  if type(given) == "string" then given = from_name(given, path) end
  if type(given) ~= "table" then refuse(path, "expected string or table, got %s", type(given)) end
  if type(given.name) ~= "string" or given.name == "" then
    refuse(path .. ".name", "expected string, got %s", type(given.name))
  end
  local options = copy_options(given, path)
  local name, written = balancer_of(given.balancer, path .. ".balancer")
  options.policy = name -- of one in Lua: what it wraps, which picks where it fails
  return { name = given.name, options = options, written = written, config = given.config, path = path }
end

---The hooks for one run: with states of their own.
function M.hooks(policy) return policy.written and hooks_of(policy.written, policy.config) or nil end

return M
