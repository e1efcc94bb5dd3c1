--- The rules that a client's calls are under: what there is, and what is on where nothing is said.
---
--- They stand in this order (src/mesh/cluster.h draws it): deadline, rate limit, concurrency by priority,
--- circuit breaker; then each attempt is given an endpoint by the selector (subset, priority level, zone,
--- health) and the policy, and is told to the statistics and to outlier detection when it has ended; then
--- comes a retry, or a hedge, within the budget. Of a client of a service or of a list outlier detection,
--- retries and adaptive concurrency are on; of another, what its options name. `shadow = true` in a rule's
--- table: it decides and counts and does not act.

local schema = require "neap.schema"
local sticky = require "neap.http.sticky"

local M = {}

---Another attempt for calls that may safely be made twice: the method is one of `methods` or the call says
---`idempotent`, and its body can be sent again. Any call is tried again whose request surely reached no
---server. Each call deposits `budget` of a token, each retry and each hedge takes one out; deposits lapse
---after ten seconds (Finagle's RetryBudget; Envoy's share and minimum are the same). A random part of
---`backoff`, doubled for each further attempt up to `max_backoff`, is waited (Envoy's full jitter); another
---endpoint is taken where there is one. As a function `backoff` gets the number of attempts made and gives
---seconds.
---@class neap.http.RetryOptions
---@field attempts? integer in all, the first one included; default 3 (at most 16), 1: no retry
---@field budget? number retries as a share of calls; default 0.2
---@field reserve? integer retries in ten seconds that need no budget; default 3
---@field methods? string[] that are idempotent; default GET, HEAD, OPTIONS, TRACE, PUT, DELETE
---@field statuses? integer[] answers that count as failures; default 502, 503, 504
---@field backoff? number|fun(attempt: integer): number seconds; default 0.025
---@field max_backoff? number seconds; default 0.25
---@field retry_after? boolean a server that asks to be left alone is; default true
---@field timeout? number seconds for each attempt; default: what the call has left
---@field max_body? integer bytes kept of a body that is a function, or of a forwarded one; default 65536
---@field shadow? boolean

---A second request to another endpoint when the answer is later than nearly all were lately, inside the
---budget of the retries; the first good answer wins, the other is cancelled. For safe calls alone, and for
---requests that are forwarded (`req:forward`) when they are safe and have no body or a kept one (see
---`retry.max_body`). What is forwarded by a client that hedges passes through Lua, piece by piece: it costs
---more, its handler's task waits, and 1xx answers are not passed on.
---@class neap.http.HedgeOptions
---@field quantile? number of the service's latencies that is waited; default 0.95
---@field min_delay? number seconds that are waited at least; default 0.001
---@field max? integer hedges a call; default 1
---@field min_samples? integer answers before there is a hedge; default 50
---@field window? number seconds of latencies that count; default 10
---@field shadow? boolean

---Endpoints that fail more than they should get no calls for a while: Envoy's detectors, names and defaults.
---@class neap.http.OutlierOptions
---@field consecutive_5xx? integer default 5; 0: off, as for all of these
---@field consecutive_gateway_failure? integer 502, 503, 504, or no answer; default 5
---@field consecutive_local_failure? integer no answer; default 5
---@field interval? number seconds between two looks at rates; default 10
---@field base_ejection_time? number seconds, times the number of ejections so far; default 30
---@field max_ejection_time? number seconds; default 300
---@field max_ejection_jitter? number seconds; default 0
---@field max_ejection_percent? number of the endpoints, but one may be; default of a service 50, else 10
---@field success_rate_stdev_factor? number below the mean; default 1.9
---@field success_rate_minimum_hosts? integer default 5
---@field success_rate_request_volume? integer default 100
---@field failure_percentage_threshold? number default 85
---@field failure_percentage_minimum_hosts? integer default 5
---@field failure_percentage_request_volume? integer default 50
---@field retry_after? boolean who asks to be left alone is ejected so long; default true
---@field shadow? boolean

---Calls to what surely fails are refused at once (EBUSY, `err.rule` "breaker") until a probe goes well.
---@class neap.http.BreakerOptions
---@field consecutive_failures? integer that open it; default 0: off
---@field failure_rate? number share of the window's calls that opens it; default 0.5; 0: off
---@field minimum_calls? integer in the window before the rate counts; default 20
---@field window? number seconds; default 10
---@field open? number seconds the first time, doubled with each failed probe; default 5
---@field max_open? number seconds; default 60
---@field jitter? number share of a span that is drawn; default 0.2
---@field half_open_probes? integer at once, and to close it; default 1
---@field max_requests? integer in flight at most; default 0: no cap
---@field shadow? boolean

---How many calls may be in flight, found out from their latency (the gradient of Netflix and Envoy); more
---are refused (ELIMIT, `err.rule` "concurrency"), of low priority first.
---@class neap.http.ConcurrencyOptions
---@field adaptive? boolean false: the limit stays at `initial`, a bulkhead; default true
---@field initial? integer default of a service 100, else 20
---@field min? integer default 3
---@field max? integer default of a service 100000, else 1000
---@field window? number seconds of a sample; default 0.1
---@field min_samples? integer of a window; default 50
---@field quantile? number of a window's latencies; default 0.5
---@field buffer? number latency above the least that is no queue, as a share; default 0.25
---@field backoff? number of the limit at overload; default 0.9
---@field forget? number seconds that the least latency is remembered; default 60
---@field shadow? boolean

---@class neap.http.RateLimitOptions
---@field algorithm? "token_bucket"|"gcra"|"sliding_window"|"leaky_bucket" default "token_bucket"
---@field rate number calls a second; more are refused (ELIMIT, `err.rule` "rate_limit")
---@field burst? number default: the rate
---@field window? number seconds, of the sliding window; default 1
---@field queue? number calls that wait for their turn, of the leaky bucket; default: burst
---@field shadow? boolean

---@class neap.http.SlowStartOptions
---@field duration number seconds that a new endpoint, or one that is readmitted, is spared
---@field min? number its weight's least share; default 0.1
---@field aggression? number default 1
---@field curve? "envoy"|"linear" default "envoy"

---Calls may ask for endpoints with certain metadata, by their option `subset`.
---@class neap.http.SubsetOptions
---@field keys string[] of the metadata that calls may ask for, at most 8
---@field fallback? "any"|"none" where none has it; default "any"

local DEFAULT_METHODS = { "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE" }
local DEFAULT_STATUSES = { 502, 503, 504 }
local DEFAULT_MAX_BODY = 64 * 1024

---What stands in the schema of a client's options. What is in the tables is checked where they are read,
---in C, with the same words.
M.fields = {
  retry = "table|boolean",
  hedge = "table|boolean",
  outlier = "table|boolean",
  breaker = "table|boolean",
  concurrency = "table|boolean",
  rate_limit = "table|boolean",
  zone = { "string", min = 1 },
  panic_threshold = "number",
  slow_start = "table",
  subset = {
    "table",
    fields = {
      keys = { "array", of = "string", required = true, min = 1, max = 8 },
      fallback = { "string", enum = { "any", "none" } },
    },
  },
  seed = "integer", choices = "integer", full_scan = "boolean", active_bias = "number",
  ring_points = "integer", ring_max = "integer", load_factor = "number", table_size = "integer",
  max_active = "integer", error_penalty = "number", blackout = "number", expiry = "number",
  update_interval = "number", overprovisioning = "number", zone_min_endpoints = "integer",
  zone_spill = "number", zone_callers = "number",
  sticky = "string|table",
}

local of_retry = schema.new {
  attempts = "any", budget = "any", reserve = "any", max_backoff = "any", retry_after = "any",
  timeout = "any", shadow = "any",
  methods = { "array", of = "string" },
  statuses = { "array", of = "integer" },
  backoff = { "number|function" },
  max_body = "bytes",
}

local function set_of(list)
  local set = {}
  for _, v in ipairs(list) do set[v] = true end
  return set
end

-- What of `retry` is the machine's.
local function machine_retry(retry, rules)
  if type(retry) ~= "table" then return retry end
  local out = { attempts = 3 }
  for key, value in next, retry do
    if key ~= "methods" and key ~= "max_body" then out[key] = value end
  end
  if type(retry.backoff) == "function" then
    rules.backoff, out.backoff = retry.backoff, 0
  end
  if out.timeout == false then out.timeout = nil end
  return out
end

local function read_sticky(value, rules, level)
  if value == nil then return end
  if value == "key" then
    rules.cluster.keyed = "ring_hash"
    return
  end
  if type(value) ~= "table" then error('opts.sticky: expected "key" or a table', level + 1) end
  rules.sticky = sticky.new(value, level + 1)
  rules.cluster.sticky = value.secret or ""
end

---Reads what of a client's options are rules.
---@param opts neap.http.ClientOptions checked against M.fields
---@param level integer
---@return table rules `cluster` (its options), `any` (whether one is named), `methods` (a set), `max_body`,
---`keep`, `statuses`, `backoff`, `hedges`
function M.read(opts, level)
  local retry = opts.retry
  if type(retry) == "table" then of_retry:check(retry, level + 1, "opts.retry") end
  local rules = { cluster = {} }
  for key in next, M.fields do rules.cluster[key] = opts[key] end
  rules.cluster.subset, rules.cluster.sticky, rules.cluster.update_interval = nil, nil, nil
  rules.cluster.update = opts.update_interval
  read_sticky(opts.sticky, rules, level + 1)
  if opts.subset then
    rules.cluster.subset_keys, rules.cluster.subset_fallback = opts.subset.keys, opts.subset.fallback
  end
  rules.cluster.retry = machine_retry(retry, rules)
  local table_of_retry = type(retry) == "table" and retry or {}
  rules.methods = set_of(table_of_retry.methods or DEFAULT_METHODS)
  rules.max_body = table_of_retry.max_body or DEFAULT_MAX_BODY
  rules.statuses = retry ~= false and (table_of_retry.statuses or DEFAULT_STATUSES) or nil
  rules.hedges = opts.hedge and true or false
  local any = false
  for _, name in ipairs { "retry", "hedge", "outlier", "breaker", "concurrency", "rate_limit" } do
    if opts[name] then any = true end
  end
  rules.any = any
  rules.keep = (any or opts.service or opts.endpoints) and rules.max_body or 0 -- of a body that is a function
  return rules
end

return M
