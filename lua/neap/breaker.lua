--- Circuit breakers: calls to what surely fails are refused at once, until a probe goes well.
---
--- ```lua
--- local b = neap.breaker.new { name = "billing", consecutive_failures = 5 }
--- local bill = b:call(function() return billing:get "/bills/1" end, function() return cached end)
--- ```
---
--- A breaker is closed: calls pass. It opens after so many failures in a row, or when, in a sliding window
--- that has seen enough calls, the share of failures reaches a threshold (as resilience4j and linkerd have
--- it). Open, it refuses, for a span that doubles with each failed probe. Then it is half open: so many
--- probes may pass, and as many successes close it while one failure opens it again. Beside that it caps what
--- is in flight (Envoy's circuit breaking). Breakers of one name are one for all workers of a host, and stay
--- what they are through a reload; the options of who comes last hold.
---
--- `neap.http.client{ breaker = … }` has one built in; this is for everything else that may fail.

local core = require "neap.core.breaker"
local log = require "neap.log"
local schema = require "neap.schema"
local task = require "neap.task"

---@class neap.breaker
local M = {}

---@alias neap.breaker.State "closed"|"open"|"half_open"

---@class neap.breaker.Options
---@field name? string one for all workers; default: this object's alone
---@field consecutive_failures? integer opens after so many in a row; default 0: off
---@field failure_rate? number 0 … 1: opens when this share of the window failed; default 0.5, 0: off
---@field minimum_calls? integer in the window before its rate counts; default 20 (resilience4j: 100)
---@field window? number seconds the rate is of; default 10
---@field open? number seconds it is open the first time, doubled with each failed probe; default 5
---@field max_open? number seconds it is open at most; default 60, or `open` if that is more
---@field jitter? number share of the span that is drawn by chance; default 0.2
---@field half_open_probes? integer calls that pass half open, and must go well to close it; default 1
---@field max_requests? integer in flight at most; default 0: no cap (Envoy: 1024)
---@field shadow? boolean decides and counts, and lets all pass; default false
---@field is_failure? fun(result: any, err: any): any of what a call returned; default: nil and an error
---@field on_change? fun(state: neap.breaker.State) in a task of its own, when a call here meets another state

local options = schema.new {
  name = { "string", min = 1, max = 255 },
  consecutive_failures = { "integer", min = 0, max = 2147483647 },
  failure_rate = { "number", min = 0, max = 1 },
  minimum_calls = { "integer", min = 1, max = 2147483647 },
  window = { "number", min = 0.001, max = 86400 },
  open = { "number", min = 0.001, max = 1e6 },
  max_open = { "number", min = 0.001, max = 1e6 },
  jitter = { "number", min = 0, max = 1 },
  half_open_probes = { "integer", min = 1, max = 1000 },
  max_requests = { "integer", min = 0, max = 2147483647 },
  shadow = "boolean",
  is_failure = "callable",
  on_change = "callable",
}

local scripts_own = { is_failure = true, on_change = true }

---@class neap.Breaker
---@field private core any
---@field private is_failure fun(result: any, err: any): any
---@field private on_change? fun(state: string)
---@field private seen integer changes of state that on_change knows of
---@field private told string the state it was told
local Breaker = {}
Breaker.__index = Breaker
Breaker.__name = "neap.breaker"

local function returned_error(result, err) return result == nil and err ~= nil end

---Makes a breaker, or joins the one of that name.
---@param opts? neap.breaker.Options
---@return neap.Breaker? breaker
---@return neap.Error? err ELIMIT (too many names), ENOMEM
function M.new(opts)
  options:check(opts)
  opts = opts or {}
  if opts.open and opts.max_open and opts.max_open < opts.open then
    error("opts.max_open: expected at least `open`", 2)
  end
  local rules = {}
  for key, value in pairs(opts) do
    if not scripts_own[key] then rules[key] = value end
  end
  local inner, err = core.new(rules)
  if not inner then return nil, err end
  return setmetatable({
    core = inner,
    name = opts.name,
    is_failure = opts.is_failure or returned_error,
    on_change = opts.on_change,
    seen = inner:changes(),
    told = inner:state(),
  }, Breaker)
end

-- --- telling of changes

local function tell(self)
  local state = self.core:state()
  if state == self.told then return end
  self.told = state
  task.spawn(function()
    local ok, err = xpcall(self.on_change, debug.traceback, state)
    if ok or task.cancelled() then return end
    log.error("a breaker's on_change failed", { breaker = self.name, error = tostring(err) })
  end)
end

local function look(self)
  local seen = self.core:changes()
  if seen == self.seen then return end
  self.seen = seen
  tell(self)
end

-- --- calls

---What a call was let in as: to be ended once.
---@class neap.breaker.Pass
---@field probe boolean it decides whether the breaker closes
---@field private breaker? neap.Breaker
---@field private code integer
local Pass = {}
Pass.__index = Pass
Pass.__name = "neap.breaker.pass"

---The call has ended. A second time does nothing. One that is forgotten, or leaves its block as a `<close>`
---variable without this, says nothing of what was called.
---@param ok? boolean nil: neither a success nor a failure (it was cancelled)
function Pass:done(ok)
  local breaker = self.breaker
  if not breaker then return end
  self.breaker = nil
  breaker.core:leave(self.code, ok)
  if breaker.on_change then look(breaker) end
end

function Pass:__close() self:done() end

function Pass:__gc()
  local breaker = self.breaker
  self.breaker = nil
  if breaker then breaker.core:leave(self.code) end
end

local PROBE = 3

local function refusal(self, wait, why)
  local words = why == "cap" and "too many calls are in flight" or "the circuit breaker is open"
  if self.name then words = ("%s (%s)"):format(words, self.name) end
  local err = task.error("EBUSY", words)
  err.retry_after = wait
  err.reason = why
  return err
end

---Lets a call in, or not.
---
--- ```lua
--- local pass <close>, err = b:enter()
--- if not pass then return nil, err end
--- local row, failure = db:query(…)
--- pass:done(row ~= nil)
--- ```
---@return neap.breaker.Pass? pass
---@return neap.Error? err EBUSY, with `retry_after` in seconds and `reason`, "open" or "cap"
function Breaker:enter()
  local code, wait, why = self.core:enter()
  if self.on_change then look(self) end
  if not code then return nil, refusal(self, wait, why) end
  return setmetatable({ breaker = self, code = code, probe = code == PROBE }, Pass)
end

-- nil, the error; or with a fallback what that gives.
local function instead(fallback, err, ...)
  if fallback == nil then return nil, err end
  if type(fallback) == "function" then return fallback(err, ...) end
  return fallback
end

local function is_error(err) return type(err) == "table" and err.code ~= nil end

-- What it raised, as an outcome: being cancelled says nothing of who was called, a deadline does.
local function ended_by(err)
  if is_error(err) and err.code == "ECANCELED" and task.cancelled() then return nil end
  return false
end

local function judge(self, pass, fallback, ok, ...)
  if not ok then
    local err = ...
    local outcome = ended_by(err)
    pass:done(outcome)
    -- A mistake in the script is not for a fallback to hide, nor is the task's own end.
    if fallback == nil or outcome == nil or not is_error(err) or task.cancelled() then error(err, 0) end
    return instead(fallback, err)
  end
  local failed = self.is_failure(...)
  pass:done(not failed)
  if not failed or fallback == nil then return ... end
  local result, err = ...
  return instead(fallback, err, result)
end

local function with_traceback(err)
  if type(err) ~= "string" then return err end
  return debug.traceback(err, 2)
end

---Calls `fn`, if it may be called, and learns from how that ends: raising is a failure, and so is what
---`is_failure` says is one; being cancelled says nothing. What stands in for a call that was refused or has
---failed is the fallback: a value, or a function of the error (and the result, where that was judged to be a
---failure).
---@param fn fun(): ...
---@param fallback? any
---@return any ... what `fn` or the fallback gave
---@return neap.Error? err EBUSY where the call was refused and there is no fallback
function Breaker:call(fn, fallback)
  schema.arg("fn", fn, "callable")
  local pass <close>, err = self:enter()
  if not pass then return instead(fallback, err) end
  return judge(self, pass, fallback, xpcall(fn, with_traceback))
end

-- --- what is asked of it, and told by hand

---@return neap.breaker.State state
function Breaker:state() return self.core:state() end

---@class neap.breaker.Stats
---@field state neap.breaker.State
---@field retry_after number seconds until a call may pass; 0: now
---@field shadow boolean
---@field calls integer that were let in, in all workers
---@field failures integer
---@field in_flight integer
---@field opened integer how often it has opened
---@field closed integer
---@field refused_open? integer
---@field refused_cap? integer
---@field would_refuse_open? integer in shadow mode
---@field would_refuse_cap? integer

---@return neap.breaker.Stats
function Breaker:stats() return self.core:stats() end

---Closes it, as if all had gone well.
function Breaker:reset()
  self.core:reset()
  if self.on_change then look(self) end
end

---Opens it, for `open` seconds.
function Breaker:trip()
  self.core:trip()
  if self.on_change then look(self) end
end

function Breaker:__tostring()
  return ("neap.breaker: %s%s"):format(self.name and self.name .. ", " or "", self.core:state())
end

return M
