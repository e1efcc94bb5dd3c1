--- What stands in front of a server's handler: a rate limit, admission control, a concurrency limit.
---
--- Where a header or the address says whose a request is, C decides before there is a task. Where a
--- function of the script's does, or answers tell what is left, it is decided at the beginning of the
--- request's task, before the handler runs.

local core = require "neap.core.http"
local priority = require "neap.http.priority"

local M = {}

local NORMAL = 2

---How many requests may come. More are answered 429 with Retry-After. Of servers at one address there is one
---for all workers, and it stays what it is through a reload. `key`: "address" (of an IPv6 address its /64),
---the name of a header, or what a function gives (nil: it is not limited); without one all share one limit.
---@class neap.http.ServeRateLimit : neap.limiter.Options
---@field key? "address"|string|fun(req: neap.http.Request): string?
---@field cost? number|fun(req: neap.http.Request): number default 1
---@field headers? boolean answers tell what is left: RateLimit, RateLimit-Policy; default false

---How many requests may be in flight, found out from their latency (to the answer's head) and from answers
---of 503 and 504. More are answered 503 with Retry-After, low priority classes first. A streamed answer is in
---flight until it ends; what was upgraded is not any more. `priority` is the name of a header whose value is
---a class or an urgency ("low", "u=6"), or a function that gives one; what says nothing is "normal". The time
---a client takes to send its body counts; a 504 because of its own deadline (`x-neap-deadline`) does not.
---@class neap.http.ServeConcurrency : neap.concurrency.Options
---@field priority? string|fun(req: neap.http.Request): neap.Priority? default "x-neap-priority"

---Envoy's admission control: the share of answers that are not 5xx is counted, and while it is below the
---threshold requests are answered 503 by chance, the more the worse it is; "critical" ones are not.
---@class neap.http.ServeAdmission
---@field name? string default: the server's address
---@field window? number seconds; default 30
---@field success_threshold? number default 0.95
---@field aggression? number 1: in proportion; default 1
---@field max_rejection? number default 0.8
---@field min_rate? number requests a second below which none is refused; default 0
---@field shadow? boolean decides and counts, and lets all pass; default false

-- --- headers that tell what is left (draft-ietf-httpapi-ratelimit-headers)

-- The policy as a structured field, and the name that goes with it.
local function policy_of(limit)
  local quota, window
  if limit.algorithm == "sliding_window" then
    window = limit.window or 1
    quota = limit.rate * window
  else
    quota = limit.burst or math.max(limit.rate, 1)
    if limit.algorithm == "leaky_bucket" then quota = (limit.queue or quota) + 1 end
    window = quota / limit.rate
  end
  local name = ('"%s"'):format((limit.name or "default"):gsub("[^%w%-_. ]", "_"))
  return ("%s;q=%d;w=%d"):format(name, quota // 1, math.ceil(window)), name
end

local function telling(limit)
  local policy, name = policy_of(limit)
  return function(remaining, reset)
    return ("%s;r=%d;t=%d"):format(name, remaining // 1, math.ceil(reset)), policy
  end
end
M.telling = telling

-- --- by the script's functions

local words = { [429] = "too many requests", [503] = "overloaded" }

local function refusal(status, after, tell, remaining, reset)
  local headers = {}
  if after then headers["retry-after"] = tostring(after) end
  if tell then headers.ratelimit, headers["ratelimit-policy"] = tell(remaining, reset) end
  return status, { error = words[status] }, headers
end
M.refusal = refusal

---What a rule's option gives for a request: a function's result, or the option itself.
local function ask(option, req)
  if type(option) == "function" then return option(req) end
  return option
end
M.ask = ask

local function table_of(rule) return type(rule) == "table" and rule or {} end

local function class_of(by, req)
  if type(by) ~= "function" then return nil end -- C reads the header
  return priority.class(by(req)) or NORMAL
end

local function work(gate, limit, concurrency, handler)
  local tell = limit.headers and telling(limit)
  local key, cost = limit.key, limit.cost
  local by = concurrency.priority
  if type(key) == "string" then key = true end
  return function(req, method, path)
    local whose, price = ask(key, req), ask(cost, req) or 1
    if whose == nil and key ~= nil then price = 0 end
    local ok, status, after, remaining, reset = gate:admit(req, whose, class_of(by, req), price)
    if ok == nil then return nil end -- the client has left
    if not ok then return refusal(status, after, tell, remaining, reset) end
    if tell then
      local left, policy = tell(remaining, reset)
      req:add_header("ratelimit", left)
      req:add_header("ratelimit-policy", policy)
    end
    return handler(req, method, path)
  end
end

local function needs_script(limit, concurrency)
  return limit.headers or limit.cost ~= nil or type(limit.key) == "function" or
    type(concurrency.priority) == "function"
end

local nameless = 0 -- servers of this state that take any port

local function name_of(opts)
  if opts.unix then return "http " .. opts.unix end
  local at = ("http %s:%d"):format(opts.host or "127.0.0.1", opts.port or 0)
  if opts.port and opts.port ~= 0 then return at end
  nameless = nameless + 1
  return at .. "/" .. nameless
end

local function check(limit, path)
  local cost = limit.cost
  if limit.headers ~= nil and type(limit.headers) ~= "boolean" then
    error(path .. ".headers: expected boolean, got " .. type(limit.headers), 0)
  end
  if cost ~= nil and type(cost) ~= "function" and not (type(cost) == "number" and cost >= 0) then
    error(path .. ".cost: expected function or number from 0, got " .. type(cost), 0)
  end
end
M.check = check

---The gate that a server's options ask for, and its handler behind it. Raises misuse as text.
---@param opts table of `neap.http.serve`
---@param handler neap.http.Handler
---@return any gate nil: none; false: it could not be made
---@return neap.http.Handler|neap.Error handler
function M.around(opts, handler)
  if not (opts.rate_limit or opts.concurrency or opts.admission) then return nil, handler end
  local limit, concurrency = table_of(opts.rate_limit), table_of(opts.concurrency)
  check(limit, "opts.rate_limit")
  local by_script = needs_script(limit, concurrency)
  local gate, err = core.gate(opts, name_of(opts), by_script)
  if not gate then return false, err end
  return gate, by_script and work(gate, limit, concurrency, handler) or handler
end

return M
