--- Hedging: where an answer is slower than nearly all others were lately, the same request is sent to
--- another endpoint as well, and the first good answer wins ("The Tail at Scale", Dean and Barroso, 2013).
---
--- Each attempt is a child task of the call's. Who has lost is cancelled, which closes its connection; a
--- body of an answer that nobody wants any more is closed, too. When there is a hedge, how long it waits
--- and what the budget has to say are the machine's.

local attempt = require "neap.http.attempt"
local resilience = require "neap.http.resilience"
local retry_after = require "neap.http.retry_after"
local task = require "neap.core.task"

local M = {}

---@class neap.http.Race
---@field c any the machine's call; nil once an answer has taken it over
---@field running table<integer, neap.Future> by the attempt's number
---@field results table[] of attempts that have ended, not looked at yet
---@field over boolean nobody looks at results any more
local Race = {}
Race.__index = Race

-- What a loser was sent is not wanted.
local function throw_away(res)
  if res and res.call then res:close() end
end

function Race:cancel_others()
  for number, future in pairs(self.running) do
    future:cancel()
    self.running[number] = nil
    if self.c then resilience.finish(self.up, self.call, self.c, number, nil) end
  end
  for _, result in ipairs(self.results) do throw_away(result.res) end
end

function Race:__close()
  self.over = true
  self:cancel_others()
  if self.c then self.c:close() end
end

-- A wire of its own: attempts that run at the same time differ in where they go, and hooks may change
-- the headers.
local function copy_of(wire)
  local copy, headers = {}, {}
  for k, v in next, wire do copy[k] = v end
  for k, v in next, wire.headers do headers[k] = v end
  copy.headers = headers
  return copy
end

-- One attempt, in a task of its own.
local function run(race, result, wire, timeout)
  local ok, res, err = pcall(attempt.send, race.client, race.call, wire, race.up:place(result.endpoint),
    timeout, result.number)
  if not ok and task.cancelled() then error(res, 0) end
  if ok then
    result.res, result.err = res, err
  else
    result.raised = res
  end
  if race.over then return throw_away(result.res) end
  race.results[#race.results + 1] = result
  race.signal:resolve()
end

function Race:launch(endpoint, timeout, number)
  local wire = number == 1 and self.call.wire or copy_of(self.call.wire)
  local result = { endpoint = endpoint, number = number }
  self.running[number] = task.spawn(run, self, result, wire, timeout)
end

-- The next attempt that has ended; nil when a hedge is due first.
function Race:next_result()
  while not self.results[1] do
    local delay = not self.spent and self.c:hedge_delay() or nil
    if self.signal:done() then self.signal = task.future() end
    local _, err = self.signal:await(delay)
    if err and not self.results[1] then return nil end
  end
  return table.remove(self.results, 1)
end

function Race:hedge()
  local kept = self.call.kept
  if kept and not kept.complete then -- its body is still being read by the first
    self.spent = true
    return
  end
  local endpoint, timeout, number = self.c:hedge()
  if endpoint then
    self:launch(endpoint, timeout, number)
  else
    self.spent = true
  end
end

-- The answer is the call's, whoever else is running.
function Race:win(result)
  local res, c = result.res, self.c
  res.attempts = c:attempts()
  resilience.tell(self.up, res, result.endpoint)
  if not self.call.wire.stream then return res end
  resilience.hold(self.up, self.call, res, c, result.number)
  self:cancel_others()
  self.c = nil
  return res
end

-- What becomes of an attempt's end: true and the call's result, or nothing yet.
function Race:settle(result)
  local call, c, number = self.call, self.c, result.number
  self.running[number] = nil
  if result.raised ~= nil then error(result.raised, 0) end
  local res, err, again = result.res, result.err, resilience.again(call)
  if res and call.wire.stream and not (again and c:retriable(res.status)) then
    return true, self:win(result)
  end
  if not again then c:answered(number) end
  local delay = resilience.finish(self.up, call, c, number, resilience.outcome(call, res, err),
    res and retry_after.of(res), res and res.body and #res.body)
  if delay == nil then
    if not res then return true, nil, err end
    res.attempts = c:attempts()
    resilience.tell(self.up, res, result.endpoint)
    return true, res
  end
  if not delay then -- another one may still do better
    throw_away(res)
    return false
  end
  if not resilience.pause(self.up, call, c, delay) then return true, res, err end
  local endpoint, timeout, next_number = resilience.start(self.up, call, c)
  if not endpoint then return true, res, err end
  throw_away(res)
  self:launch(endpoint, timeout, next_number)
  return false
end

---The attempts of a call that may be hedged.
---@return neap.http.Response?
---@return neap.Error?
function M.race(up, client, call, c, endpoint, timeout)
  local race <close> = setmetatable({
    up = up, client = client, call = call, c = c,
    running = {}, results = {}, signal = task.future(), over = false, spent = false,
  }, Race)
  local number = 1
  if type(endpoint) ~= "userdata" then
    endpoint, timeout, number = resilience.first(up, call, c, endpoint)
    if not endpoint then return nil, timeout end
  end
  race:launch(endpoint, timeout, number)
  while true do
    local result = race:next_result()
    if result then
      local done, res, err = race:settle(result)
      if done then return res, err end
    else
      race:hedge()
    end
  end
end

return M
