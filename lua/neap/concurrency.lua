--- Concurrency limits: how many may be at it at a time, found out from their latency or set by hand, and
--- who is let in first when that is reached.
---
--- ```lua
--- local c = neap.concurrency.new { name = "search" }
--- local found, err = c:call(function() return index:find(words) end, { priority = "high" })
---
--- local seats = neap.concurrency.new { adaptive = false, initial = 4, max_waiting = 100 }   -- a bulkhead
--- ```
---
--- Adaptive: the gradient controller of Netflix's concurrency-limits and Envoy's adaptive concurrency. In a
--- window the median of the latency is compared with the latency without queues: limit = gradient × limit +
--- √limit, where the gradient, 0.5 to 2, is (that latency + buffer) / median. Answers of overload shrink it
--- by a factor where they are more than a twentieth. Priority classes share it: sheddable may fill half of
--- it, low 70 %, normal 90 %, high all, critical a tenth more. Of one name there is one for all workers of a
--- host, and it stays what it is through a reload; the options of who comes last hold.
---
--- With `max_waiting`, who finds no room waits: the highest class first, and in a class who came first. When
--- the queue is full, whoever came last of a lower class gives way. Each worker has a queue of its own.

local core = require "neap.core.concurrency"
local task = require "neap.task"
local schema = require "neap.schema"

---@class neap.concurrency
local M = {}

---@alias neap.Priority "sheddable"|"low"|"normal"|"high"|"critical"

---@class neap.concurrency.Options
---@field name? string one for all workers; default: this object's alone
---@field adaptive? boolean false: the limit stays at `initial`, a bulkhead; default true
---@field initial? integer default 20
---@field min? integer default 3
---@field max? integer default 1000
---@field window? number seconds of a sample; default 0.1 (Envoy)
---@field min_samples? integer a window goes on until it has so many; default 50
---@field quantile? number of a window's latencies; default 0.5 (Envoy)
---@field buffer? number latency above the least that is no queue, as a share; default 0.25
---@field backoff? number of the limit at overload; default 0.9
---@field forget? number seconds that the least latency is remembered; default 60 (Envoy)
---@field max_waiting? integer that may wait, on each worker; default 0: none
---@field shadow? boolean decides and counts (`would_refuse`), and lets all pass; default false

---@class neap.concurrency.CallOptions
---@field priority? neap.Priority default "normal"
---@field timeout? number seconds to wait for room, where there is a queue; 0: not at all; default: no bound

---@class neap.concurrency.Stats
---@field limit integer
---@field inflight integer
---@field min_latency number seconds, without queues; 0: not known yet
---@field latency number seconds, of the last window
---@field admitted integer
---@field refused? integer
---@field would_refuse? integer in shadow mode, instead of `refused`
---@field classes table<neap.Priority, { admitted: integer, refused?: integer, would_refuse?: integer }>
---@field waiting integer on this worker, through this object
---@field queued integer that have waited so
---@field displaced integer that gave way to a higher class
---@field gave_up integer whose time was over, or who were cancelled
---@field shadow boolean

local classes = { sheddable = 0, low = 1, normal = 2, high = 3, critical = 4 }
local NAMES = { "sheddable", "low", "normal", "high", "critical" }
local NORMAL = classes.normal

local call_options = schema.new {
  priority = { "string", enum = NAMES },
  timeout = { "number", min = 0 },
}

local middleware_options = schema.new { priority = "string|callable", timeout = { "number", min = 0 } }

---@class neap.Concurrency
---@field private core any
local Concurrency = {}
Concurrency.__index = Concurrency
Concurrency.__name = "neap.concurrency"

---Makes a limit, or joins the one of that name.
---@param opts? neap.concurrency.Options
---@return neap.Concurrency? limit
---@return neap.Error? err ELIMIT: too many names; ENOMEM
function M.new(opts)
  local ok, inner, err = pcall(core.new, opts)
  if not ok then error((tostring(inner):gsub("^%S+:%d+: ", "")), 2) end
  if not inner then return nil, err end
  return setmetatable({ core = inner }, Concurrency)
end

---A place inside: to be left once.
---@class neap.concurrency.Ticket
---@field private core any
---@field private began integer
local Ticket = {}
Ticket.__index = Ticket
Ticket.__name = "neap.concurrency.ticket"

---Leaves. How it went teaches the limit: a latency if it was good, "overload" (a 503, a 429, a time-out)
---shrinks it. A second time does nothing. A ticket that leaves its block as a `<close>` variable without
---this, or is forgotten, says nothing of how it went.
---@param how? boolean|"overload" nil: nothing is said
function Ticket:done(how)
  local inner = self.core
  if not inner then return end
  self.core = nil
  if how == true then how = "ok" elseif how == false then how = "failed" end
  inner:leave(self.began, how)
end

function Ticket:__close() self:done() end

Ticket.__gc = Ticket.__close

---Enters, or waits for it where there is a queue.
---
--- ```lua
--- local ticket <close>, err = c:enter { priority = "low" }
--- if not ticket then return nil, err end
--- …
--- ticket:done(true)
--- ```
---@param opts? neap.concurrency.CallOptions
---@return neap.concurrency.Ticket? ticket
---@return neap.Error? err ELIMIT: no room, and the queue is full; ETIMEDOUT; ECLOSED. `status` is 503
function Concurrency:enter(opts)
  call_options:check(opts)
  local class, timeout = NORMAL, nil
  if opts then
    class, timeout = classes[opts.priority] or NORMAL, opts.timeout
  end
  local inner = self.core
  local began, err = inner:enter(class, timeout)
  if not began then
    err.status = 503
    return nil, err
  end
  return setmetatable({ core = inner, began = began }, Ticket)
end

local overload = { ETIMEDOUT = true, ELIMIT = true, EBUSY = true }

-- What a result, or what was raised, says of the peer.
local function judge(value, err)
  if type(value) == "table" and (value.status == 503 or value.status == 429) then return "overload" end
  if value ~= nil or err == nil then return true end
  if type(err) ~= "table" then return false end
  if err.status == 503 or err.status == 429 or overload[err.code] then return "overload" end
  return false
end

local function finish(judging, ticket, ok, ...)
  if ok then
    ticket:done(judging(...))
    return ...
  end
  if not task.cancelled() then ticket:done(judge(nil, (...))) end
  ticket:done()
  error((...), 0)
end

---Calls the function inside and returns what it does. A result with a `status` of 503 or 429, or an error
---that says so, or ETIMEDOUT, ELIMIT or EBUSY, counts as overload; another `nil, err` as a failure.
---@param fn fun(): any, any
---@param opts? neap.concurrency.CallOptions
---@return any ...
function Concurrency:call(fn, opts)
  schema.arg("fn", fn, "callable")
  local ticket <close>, err = self:enter(opts)
  if not ticket then return nil, err end
  return finish(judge, ticket, pcall(fn))
end

---What a middleware takes besides.
---@class neap.concurrency.MiddlewareOptions : neap.concurrency.Options
---@field priority? string|fun(req: neap.http.Request): neap.Priority? a header; default "x-neap-priority"
---@field timeout? number seconds to wait for room, where there is a queue; default: no bound

-- What a handler's results say: their first is a status, an answer, or nil with an error.
local function judge_answer(first, ...)
  if math.type(first) ~= "integer" then return judge(first, ...) end
  if first == 503 or first == 504 then return "overload" end
  return first < 500
end

---A middleware for an app, or for one route, that limits how many of its requests are handled at a time:
---`app:get("/report", neap.concurrency.middleware { adaptive = false, initial = 4 }, report)`.
---Who finds no room is answered 503 with Retry-After. The latency that counts is the handler's.
---@param opts? neap.concurrency.MiddlewareOptions
---@return neap.http.Middleware
function M.middleware(opts)
  if opts ~= nil then schema.arg("opts", opts, "table") end
  local gate = require "neap.http.gate"
  local class_of = require("neap.http.priority").class
  local terms = {}
  for k, v in pairs(opts or {}) do terms[k] = v end
  local by, timeout = terms.priority or "x-neap-priority", terms.timeout
  terms.priority, terms.timeout = nil, nil
  middleware_options:check { priority = by, timeout = timeout }
  local ok, made, err = pcall(core.new, terms)
  if not ok or not made then error((tostring(made or err):gsub("^%S+:%d+: ", "")), 2) end
  return function(req, next)
    local text
    if type(by) == "function" then text = by(req) else text = req:header(by) end
    local began = made:enter(class_of(text) or NORMAL, timeout)
    if not began then return gate.refusal(503, 1) end
    local ticket <close> = setmetatable({ core = made, began = began }, Ticket)
    return finish(judge_answer, ticket, pcall(next, req))
  end
end

---@return neap.concurrency.Stats
function Concurrency:stats() return self.core:stats() end

---Gives it up; who waits through this object hears ECLOSED. One with a name goes with its last user.
function Concurrency:close() self.core:close() end

Concurrency.__close = Concurrency.close

return M
