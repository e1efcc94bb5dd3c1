-- What came of a run, as scripts and specs see it.

local M = {}

---How a policy did. Latencies are of all requests in seconds, where one that failed counts as the timeout, or
---as the time its user spent, if that is more: an error is not a fast answer. (`success` has the good ones.)
---@class neap.sim.Result
---@field name string the policy's
---@field requests integer of users
---@field ok integer answered well
---@field throughput number answered, well or not, a second
---@field goodput number answered well within the objective, a second
---@field error_rate number share of the requests that failed
---@field p50 number
---@field p90 number
---@field p95 number
---@field p99 number
---@field p999 number
---@field latency neap.sim.Latency
---@field success neap.sim.Latency
---@field errors { timeout: integer, refused: integer, status: integer, full: integer, shed: integer }
---@field attempts integer requests that went to endpoints
---@field amplification number attempts for each request
---@field retries integer
---@field hedges integer
---@field refused table<string, integer> calls that the client's own rules refused, by rule
---@field ejections { total: integer, right: integer, wrong: integer } of endpoints; right: it was at fault
---@field classes { requests: integer, good: integer }[] by class, as the scenario's `requests` has them
---@field wasted integer answers that nobody waited for any more
---@field fairness number Jain's index of the load by capacity: 1 is even, 1/n all on one
---@field faults integer picks of a policy written in Lua that failed; P2C picked instead
---@field fault? string the first one's error
---@field series neap.sim.Series
---@field endpoints neap.sim.EndpointResult[]

---@class neap.sim.EndpointResult
---@field name string
---@field attempts integer requests that came to it
---@field served integer
---@field failed integer served with an error
---@field refused integer for its queue was full, or it took no connection
---@field queued_most integer requests that waited at once
---@field busy number the mean share of its concurrency that worked
---@field load? integer[] attempts by bucket; nil where there are more than 1000 endpoints

---@class neap.sim.Latency
---@field mean number
---@field p50 number
---@field p90 number
---@field p95 number
---@field p99 number
---@field p999 number
---@field max number
---@field count integer

---Arrays by bucket of time; requests by when they began.
---@class neap.sim.Series
---@field time number[] each bucket's begin
---@field requests integer[]
---@field ok integer[]
---@field good integer[]
---@field attempts integer[]
---@field p50 number[]
---@field p99 number[]
---@field limit number[] the concurrency limit, the callers' mean; 0: none
---@field ejected integer[] endpoints, over all callers

local function rate(n, span) return span > 0 and n / span or 0 end

local function series_of(sim, spec)
  local series = sim:series()
  series.time = {}
  for i = 1, spec.buckets do series.time[i] = (i - 1) * spec.duration / spec.buckets end
  return series
end

local function endpoints_of(sim, spec)
  local list = sim:servers()
  for i, server in ipairs(list) do
    server.name = spec.servers[i].name
    if #list <= 1000 then server.load = sim:load(i) end
  end
  return list
end

---@return neap.sim.Result
function M.read(sim, spec, policy, hooks)
  local t = sim:totals()
  local failed = 0
  for _, n in pairs(t.errors) do failed = failed + n end
  local ended = t.ok + failed
  local r = {
    name = policy.name, requests = t.requests, ok = t.ok, errors = t.errors, attempts = t.attempts,
    retries = t.retries, hedges = t.hedges, hedges_won = t.hedges_won, refused = t.refused,
    would_refuse = t.would_refuse, wasted = t.wasted, fairness = t.fairness, latency = t.latency,
    success = t.success, faults = t.policy_faults, fault = hooks and hooks.faults.first, calls = t.calls,
    events = t.events, span = t.span,
  }
  r.classes = {}
  for i = 1, #spec.load.classes do r.classes[i] = t.classes[i] end
  r.throughput = rate(ended, t.span)
  r.goodput = rate(t.good, t.span)
  r.error_rate = ended > 0 and failed / ended or 0
  r.amplification = t.requests > 0 and t.attempts / t.requests or 0
  r.ejections = {
    total = t.ejections, right = t.ejections_right, wrong = t.ejections - t.ejections_right,
  }
  for _, q in ipairs { "p50", "p90", "p95", "p99", "p999" } do r[q] = t.latency[q] end
  r.series = series_of(sim, spec)
  r.endpoints = endpoints_of(sim, spec)
  return r
end

return M
