--- The simulator: policies against a cluster that exists on paper, on a clock of its own.
---
--- The same C code that balances, retries, ejects and limits for neap.http.client, and the same policies
--- written in Lua, run against endpoints with latencies, queues and faults that a scenario declares. A run
--- is the same every time for one seed, and with another policy the same users come at the same moments.
---
--- ```lua
--- local r = neap.sim.run {
---   endpoints = { { count = 10, latency = { "lognormal", median = 0.010, p99 = 0.040 } } },
---   arrival = { rate = 2000 },
---   faults = { { at = 20, lasts = 20, endpoints = "app3", slow = 10 } },
---   policies = { "default", "round_robin" },
--- }
--- assert(r.default.p99 < r.round_robin.p99)
--- ```
---
--- `neap sim FILE` shows the results of a file that returns a scenario; docs/simulator.md tells the rest.

local core = require "neap.core.sim"
local policy = require "neap.sim.policy"
local results = require "neap.sim.results"
local scenario = require "neap.sim.scenario"
local task = require "neap.task"

local M = {}

local EVENTS = 50000 -- between two looks at the loop, some tens of milliseconds

local DEFAULT_POLICIES = { "default", "p2c", "round_robin" }

---@class neap.sim.Results
---@field [integer] neap.sim.Result in the order of the policies
---@field [string] neap.sim.Result by their names

-- Checks all of it; what is wrong is said at `level` of the caller.
local function read(given, level, path)
  local s, spec = scenario.read(given, path)
  if not s then error(spec, level + 1) end
  local policies, seen = {}, {}
  for i, p in ipairs(s.policies or DEFAULT_POLICIES) do
    local at = ("%s.policies[%d]"):format(path, i)
    local ok, one = pcall(policy.read, p, at)
    if not ok then
      if type(one) == "table" and one.problem then error(one.problem, level + 1) end
      error(one, 0)
    end
    if seen[one.name] then error(("%s.name: %q is there already"):format(at, one.name), level + 1) end
    seen[one.name] = true
    policies[i] = one
  end
  return s, spec, policies
end

-- The simulator for one policy. What C refuses is said with the policy's path.
local function make(spec, one, level)
  local hooks = policy.hooks(one)
  local full = {}
  for key, value in pairs(spec) do full[key] = value end
  full.policy = one.options
  if hooks then full.pick, full.release = hooks.pick, hooks.release end
  local ok, sim = pcall(core.new, full)
  if not ok then
    local words = tostring(sim):gsub("^[^:]+:%d+: ", ""):gsub("^opts", one.path)
    error(words, level + 1)
  end
  return sim, hooks
end

-- Runs to the end. In a task the loop has its turns meanwhile.
local function run_one(sim, on_progress)
  local over, progress
  repeat
    over, progress = sim:step(EVENTS)
    if on_progress then on_progress(progress) end
    if not over and coroutine.isyieldable() then task.yield() end
  until over
end

---Checks a scenario and gives it back: what a file for `neap sim` returns.
---@param given neap.sim.Scenario
---@return neap.sim.Scenario scenario
function M.scenario(given)
  read(given, 2, "scenario")
  return given
end

---Runs a scenario once for each of its policies.
---@param given neap.sim.Scenario
---@param opts? { on_progress: fun(policy: string, share: number)? }
---@return neap.sim.Results
function M.run(given, opts)
  local _, spec, policies = read(given, 2, "scenario")
  local all = {}
  -- All are made before the first runs: what is wrong with the last is said at once.
  for _, one in ipairs(policies) do
    local sim = make(spec, one, 2)
    sim:close()
  end
  for i, one in ipairs(policies) do
    local sim <close>, hooks = make(spec, one, 2)
    run_one(sim, opts and opts.on_progress and function(share) opts.on_progress(one.name, share) end)
    local result = results.read(sim, spec, one, hooks)
    all[i], all[one.name] = result, result
  end
  return all
end

return M
