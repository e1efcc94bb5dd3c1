-- The simulator from Lua: what a scenario may say, what a run gives, policies written in Lua.

local neap = require "neap"

-- Ten endpoints, a few thousand requests. Fields of `more` replace those here.
local function scenario(more)
  local s = {
    endpoints = {
      { count = 10, latency = { "lognormal", median = 0.010, p99 = 0.050 }, concurrency = 8 },
    },
    arrival = { rate = 500 },
    duration = 10,
    policies = { "round_robin" },
  }
  for key, value in pairs(more or {}) do s[key] = value end
  return s
end

local function run(more) return neap.sim.run(scenario(more)) end

describe("neap.sim.scenario", function()
  local function problem(more)
    local ok, err = pcall(neap.sim.scenario, scenario(more))
    assert.is_false(ok)
    return (tostring(err):gsub("^[^:]+:%d+: ", ""))
  end

  it("says what is wrong, and where", function()
    assert.equal("scenario.durration: unknown option (did you mean duration?)", problem { durration = 3 })
    assert.equal("scenario.endpoints[1].latency: required", problem { endpoints = { {} } })
    assert.equal("scenario.arrival: expected rate, or users", problem { arrival = {} })
    assert.equal('scenario.arrival.process: expected one of poisson, even, got "poison" '
      .. "(did you mean poisson?)", problem { arrival = { rate = 1, process = "poison" } })
    assert.equal("scenario.faults[1].endpoints: there is no endpoint ap (did you mean app?)",
      problem { faults = { { at = 1, endpoints = "ap", slow = 2 } } })
    assert.equal("scenario.faults[1].endpoints[2]: there is no endpoint 11",
      problem { faults = { { at = 1, endpoints = { 1, 11 }, slow = 2 } } })
    assert.equal("scenario.faults[1]: it befalls no endpoint",
      problem { faults = { { at = 1, zone = "x", slow = 2 } } })
    assert.equal("scenario.faults[1].lasts: required of a restart",
      problem { faults = { { at = 1, restart = true } } })
    assert.equal("scenario.warmup: is not below the duration", problem { warmup = 10 })
  end)

  it("says what is wrong with a distribution", function()
    local function of(latency)
      return problem { endpoints = { { latency = latency } } }
    end
    assert.equal('scenario.endpoints[1].latency[1]: expected one of constant, empirical, exponential, '
      .. 'lognormal, normal, pareto, uniform, got "log"', of { "log" })
    assert.equal("scenario.endpoints[1].latency.median: expected number, got string",
      of { "lognormal", median = "x", p99 = 1 })
    assert.equal("scenario.endpoints[1].latency.p99: is below the median",
      of { "lognormal", median = 1, p99 = 0.5 })
    assert.equal("scenario.endpoints[1].latency.max: is below min", of { "uniform", min = 2, max = 1 })
    assert.equal("scenario.endpoints[1].latency: expected a number from 0", of(-1))
    assert.equal("scenario.endpoints[1].latency.tail.share: required",
      of { "exponential", mean = 1, tail = { factor = 2 } })
    assert.equal("scenario.endpoints[1].latency.quantiles[2]: expected shares and values that grow",
      of { "empirical", quantiles = { { 0, 2 }, { 1, 1 } } })
  end)

  it("says what is wrong with a policy", function()
    assert.equal('scenario.policies[1]: there is no policy "p2" (did you mean p2c?)',
      problem { policies = { "p2" } })
    assert.equal('scenario.policies[2].name: "p2c" is there already', problem { policies = { "p2c", "p2c" } })
    assert.equal("scenario.policies[1].service: is the scenario's to say",
      problem { policies = { { name = "x", service = "y" } } })
    local function at_run(policy)
      local ok, err = pcall(neap.sim.run, scenario { policies = { policy } })
      assert.is_false(ok)
      return (tostring(err):gsub("^[^:]+:%d+: ", ""))
    end
    assert.matches("^scenario.policies%[1%].retry.attempts: ",
      at_run { name = "x", retry = { attempts = 99 } })
    assert.matches("^scenario.policies%[1%].outlayer: unknown option", at_run { name = "x", outlayer = true })
  end)

  it("names the line that made the mistake", function()
    local ok, err = pcall(function() neap.sim.scenario(scenario { nonsense = 1 }) end)
    assert.is_false(ok)
    assert.matches("sim_spec.lua:%d+: scenario.nonsense", err)
  end)
end)

describe("neap.sim.run", function()
  it("gives results by number and by name, the same for one seed", function()
    local a = run { policies = { "p2c", "round_robin" } }
    local b = run { policies = { "round_robin", "p2c" } }
    assert.equal(a[1], a.p2c)
    assert.equal("round_robin", a[2].name)
    assert.equal(a.p2c.requests, a.round_robin.requests)
    assert.same(a.p2c.latency, b.p2c.latency)
    assert.same(a.round_robin.series, b.round_robin.series)
    assert.not_equal(a.p2c.requests, run({ seed = 2 }).round_robin.requests)
  end)

  it("tells how a policy did", function()
    local fault = { at = 5, endpoints = "app3", error_rate = 1, error_status = 503 }
    local r = run({ faults = { fault } }).round_robin
    assert.equal(r.requests, r.ok + r.errors.status + r.errors.full)
    assert.near(500, r.throughput, 50)
    assert.near(0.05, r.error_rate, 0.01)
    assert.near(r.goodput, r.throughput * (1 - r.error_rate), 1)
    assert.is_true(r.p50 < r.p95 and r.p95 <= r.p99 and r.p99 <= r.p999)
    assert.near(0.010, r.success.p50, 0.002)
    assert.near(1, r.p99, 0.02) -- of all requests, where a failed one counts as the time-out
    assert.equal(1, r.amplification)
    assert.near(1, r.fairness, 0.001)
    assert.equal(30, #r.series.time)
    assert.equal("app3", r.endpoints[3].name)
    local load = 0
    for _, n in ipairs(r.endpoints[3].load) do load = load + n end
    assert.equal(r.endpoints[3].attempts, load)
  end)

  it("draws from what distributions say", function()
    for _, case in ipairs {
      { 0.02, 0.02 },
      { { "uniform", min = 0.01, max = 0.03 }, 0.02 },
      { { "normal", mean = 0.02, stdev = 0.002 }, 0.02 },
      { { "lognormal", mean = 0.02, sigma = 0.5 }, 0.02 },
      { { "exponential", mean = 0.02 }, 0.02 },
      { { "pareto", min = 0.01, alpha = 2.5 }, 0.0166 },
      { { "empirical", samples = { 0.03, 0.01, 0.02 } }, 0.02 },
      { { "empirical", quantiles = { { 0, 0 }, { 0.5, 0.01 }, { 1, 0.03 } } }, 0.0125 },
      { { "constant", 0.01, tail = { share = 0.1, factor = 11 } }, 0.02 },
    } do
      local r = run { endpoints = { { latency = case[1], concurrency = 1000, network = 0 } } }
      assert.near(case[2], r[1].latency.mean, case[2] * 0.06)
    end
  end)

  it("has closed loops, steps, ramps and bursts", function()
    local closed = run {
      arrival = { users = 20, think = 0.1 },
      endpoints = { { latency = 0.1, network = 0, concurrency = 20 } },
    }
    assert.near(100, closed[1].throughput, 3)
    local r = run {
      buckets = 5,
      arrival = {
        rate = 100, process = "even",
        steps = { { at = 4, rate = 300, ramp = true }, { at = 6, rate = 0 } },
        bursts = { { at = 2, lasts = 2, factor = 2 } },
      },
    }
    assert.same({ 300, 1000, 600, 0, 0 }, (function()
      local rounded = {}
      for i, n in ipairs(r[1].series.requests) do rounded[i] = math.floor(n / 10 + 0.5) * 10 end
      return rounded
    end)())
  end)

  it("sees classes of requests apart", function()
    local r = run({
      endpoints = { { latency = 0.010, concurrency = 2, queue = 200 } },
      requests = { { share = 1, priority = "sheddable" }, { share = 1, priority = "critical" } },
      arrival = { rate = 350 },
      slo = 0.5,
      policies = { "default" },
    }).default
    local low, high = r.classes[1], r.classes[2]
    assert.is_true(high.good / high.requests > low.good / low.requests + 0.2)
  end)

  it("hedges, retries and limits as it is told to", function()
    local slow_tail = {
      { count = 10, latency = { "constant", 0.01, tail = { share = 0.02, factor = 40 } }, concurrency = 32 },
    }
    local r = run {
      endpoints = slow_tail,
      policies = {
        { name = "bare", plain = true, balancer = "p2c" },
        { name = "hedged", plain = true, balancer = "p2c", hedge = { quantile = 0.9, min_delay = 0.02 } },
        { name = "limited", plain = true, rate_limit = { rate = 100, burst = 20 } },
      },
    }
    assert.is_true(r.bare.p99 > 0.3)
    assert.is_true(r.hedged.p99 < 0.1)
    assert.is_true(r.hedged.hedges > 50)
    assert.near(100, r.limited.goodput, 8)
    assert.is_true(r.limited.refused.rate_limit > 3000)
  end)

  it("lets the loop go on meanwhile", function()
    local ticks = 0
    local ticker = neap.task.spawn(function()
      while true do
        neap.task.yield()
        ticks = ticks + 1
      end
    end)
    run { arrival = { rate = 20000 }, duration = 5 }
    ticker:cancel()
    assert.is_true(ticks > 1)
  end)

  it("keeps ten thousand endpoints", function()
    local r = neap.sim.run {
      endpoints = { { count = 10000, latency = 0.01 } },
      arrival = { rate = 5000 },
      duration = 1,
      policies = { "default" },
    }
    assert.equal(0, r.default.error_rate)
  end)
end)

describe("a policy written in Lua", function()
  local function least_active(_, endpoints)
    local best = endpoints[1]
    for _, e in ipairs(endpoints) do
      if e.active < best.active then best = e end
    end
    return best
  end

  it("picks by the live statistics of the simulated endpoints", function()
    local r = run {
      faults = { { at = 0, endpoints = "app3", slow = 20 } },
      policies = { { name = "mine", plain = true, balancer = least_active }, "round_robin" },
    }
    assert.equal(0, r.mine.faults)
    assert.is_true(r.mine.endpoints[3].attempts < r.round_robin.endpoints[3].attempts / 2)
    assert.is_true(r.mine.p99 < r.round_robin.p99)
  end)

  it("has a state for each client, and hears of changes and ends", function()
    local states, seen = 0, {}
    local policy = {
      init = function(config)
        states = states + 1
        return { config = config, updates = 0, released = 0, ok = 0 }
      end,
      update = function(endpoints, state)
        state.updates, state.size = state.updates + 1, #endpoints
      end,
      pick = function(ctx, endpoints, state)
        seen[ctx.caller] = state
        assert(ctx.attempts == 0 and ctx.deadline > ctx.now and ctx.priority == "normal")
        return endpoints[math.floor(ctx.now * 1000) % #endpoints + 1]
      end,
      release = function(endpoint, ok, latency, state)
        state.released = state.released + 1
        if ok then state.ok = state.ok + 1 end
        assert(endpoint.id:find "^app" and latency > 0)
      end,
    }
    local r = run {
      clients = 3, discovery = 0,
      faults = { { at = 2, lasts = 4, endpoints = "app1", leave = true } },
      policies = { { name = "mine", plain = true, balancer = policy, config = "x" } },
    }
    assert.is_nil(r.mine.fault)
    assert.equal(3, states)
    local released = 0
    for _, state in ipairs(seen) do
      assert.equal("x", state.config)
      assert.equal(3, state.updates)
      assert.equal(10, state.size)
      released = released + state.released
    end
    assert.equal(r.mine.requests, released)
  end)

  it("goes by the virtual clock", function()
    local first, last
    run {
      policies = { {
        name = "mine", plain = true,
        balancer = function(_, endpoints)
          last = neap.runtime.monotonic()
          first = first or last
          return endpoints[1]
        end,
      } },
    }
    assert.near(10, last - first, 0.1)
    assert.is_true(math.abs(neap.runtime.monotonic() - last) > 1) -- and no longer
  end)

  it("is replaced by P2C where it fails, or waits", function()
    local r = run {
      policies = {
        { name = "fails", plain = true, balancer = function() error "no idea" end },
        { name = "waits", plain = true, balancer = function() neap.task.sleep(1) end },
        { name = "none", plain = true, balancer = function() return nil end },
        { name = "other", plain = true, balancer = function() return "app1" end },
      },
    }
    assert.equal(r.fails.requests, r.fails.ok)
    assert.equal(r.fails.requests, r.fails.faults)
    assert.matches("no idea", r.fails.fault)
    assert.equal(r.waits.requests, r.waits.ok)
    assert.is_true(r.waits.faults > 0)
    assert.equal(r.none.requests, r.none.errors.shed)
    assert.matches("expected an endpoint or its place, got string", r.other.fault)
  end)

  it("may wrap another", function()
    local asked = 0
    local r = run {
      policies = { {
        name = "mine", plain = true,
        balancer = {
          wraps = "round_robin",
          pick = function(_, _, _, inner)
            asked = asked + 1
            return asked % 2 == 0 and 1 or inner()
          end,
        },
      } },
    }
    assert.equal(0, r.mine.faults)
    assert.near(0.55, r.mine.endpoints[1].attempts / r.mine.attempts, 0.02)
    assert.near(0.05, r.mine.endpoints[7].attempts / r.mine.attempts, 0.005)
  end)

  it("may be one that neap.balancer.define has defined", function()
    neap.balancer.define("spec_first", { pick = function(_, endpoints) return endpoints[1] end })
    local r = run { policies = { { name = "mine", plain = true, balancer = "spec_first" }, "spec_first" } }
    assert.equal(r.mine.attempts, r.mine.endpoints[1].attempts)
    assert.equal(r.spec_first.attempts, r.spec_first.endpoints[1].attempts)
  end)
end)

-- Two of the shipped scenarios, shortened; spec/e2e/sim_defaults_test.py has all of them.
describe("the shipped default", function()
  for _, name in ipairs { "slow_one_of_ten", "black_hole" } do
    it("beats round robin and P2C in " .. name, function()
      local scenario_of = dofile(("examples/sim/%s.lua"):format(name))
      scenario_of.duration = 25
      local r = neap.sim.run(scenario_of)
      for _, other in ipairs { "round_robin", "p2c" } do
        assert.is_true(r.default.p99 < r[other].p99,
          ("p99 %g, %s %g"):format(r.default.p99, other, r[other].p99))
        assert.is_true(r.default.goodput > r[other].goodput,
          ("goodput %g, %s %g"):format(r.default.goodput, other, r[other].goodput))
      end
    end)
  end
end)
