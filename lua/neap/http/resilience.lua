--- A call through the rules of a cluster (neap.core.cluster): admitted or refused, sent to the endpoint
--- that was picked, made once more where that is safe and within the budget, and told how it went.
---
--- What is safe: the method is idempotent, or the script says so, and the body can be sent again. Which
--- failures are worth another attempt, and when, is the machine's to say.

local attempt = require "neap.http.attempt"
local deadline = require "neap.http.deadline"
local retry_after = require "neap.http.retry_after"
local task = require "neap.core.task"

local M = {}

local send = attempt.send

local hedge -- neap.http.hedge, for clients that do

-- --- what the attempts of a call have in common, one after the other or at once

---How an attempt ended, as the machine takes it: the status, the error, nil for what tells nothing.
local function outcome(call, res, err)
  if res then return res.status end
  if call.kept and call.kept.failed then return nil end -- it is the script's body that broke off
  return err
end
M.outcome = outcome

---Tells the machine, and whoever chose the endpoint, of an attempt's end; gives what the machine says.
function M.finish(up, call, c, number, how, after, bytes)
  local delay = c:finish(number, how, nil, after, bytes)
  if up.chooser then up.chooser:ended(call, number, how) end
  return delay
end

---Whether the request may be sent again if need be.
function M.again(call)
  if call.once then return false end
  return not call.kept or call.kept:again()
end

---The next attempt's endpoint, its seconds and number; nil, err.
local function start(up, call, c)
  local chooser = up.chooser
  if not chooser then return c:start() end
  return chooser:start(up.cluster, c, call)
end
M.start = start

---The first one, where the machine has not begun it: it waits for its turn, or the policy is a script's.
function M.first(up, call, c, wait)
  if wait and wait > 0 then task.sleep(wait) end
  return start(up, call, c)
end

---Waits before another attempt. False where there is no time for that.
function M.pause(up, call, c, delay)
  if up.backoff then
    delay = math.max(delay, up.backoff(c:attempts()))
    local left = deadline.left(call)
    if left == false or left and delay >= left then return false end
  end
  if delay > 0 then task.sleep(delay) end
  return true
end

---Who answered.
function M.tell(up, res, endpoint)
  res.endpoint = endpoint
  if up.sticky then res.sticky = up.cluster:sticky(endpoint) end
  if up.reports then
    local report = res.headers["endpoint-load-metrics"]
    if report then endpoint:report(report) end
  end
end

---A streamed answer holds its attempt until its body has ended or is closed; the latency is its head's.
function M.hold(up, call, res, c, number)
  local class, bytes = getmetatable(res).__index, 0
  local function over(how)
    local ended = c
    if not ended then return end
    c = nil
    M.finish(up, call, ended, number, how, nil, bytes)
    ended:close()
  end
  c:answered(number)
  function res:read(timeout)
    local piece, err = class.read(self, timeout)
    if piece then
      bytes = bytes + #piece
    elseif not (err and err.code == "ETIMEDOUT" and timeout) then
      over(err or self.status)
    end
    return piece, err
  end
  function res:close()
    over(nil)
    class.close(self)
  end
end

-- --- one after the other

-- `slot` holds the machine's call for an answer that is read piece by piece, which may take it over.
local function attempts(up, client, call, c, endpoint, timeout, slot)
  local number = 1
  if type(endpoint) ~= "userdata" then
    endpoint, timeout, number = M.first(up, call, c, endpoint)
    if not endpoint then return nil, timeout end
  end
  while true do
    local res, err = send(client, call, call.wire, up:place(endpoint), timeout, number)
    local again, after = M.again(call), nil
    if res then
      M.tell(up, res, endpoint)
      after = retry_after.of(res)
      if slot and not (again and c:retriable(res.status)) then
        slot[1] = nil
        M.hold(up, call, res, c, number)
        return res
      end
    end
    if not again then c:answered(number) end
    local bytes = res and res.body and #res.body
    local delay = M.finish(up, call, c, number, outcome(call, res, err), after, bytes)
    if not delay or not M.pause(up, call, c, delay) then return res, err end
    endpoint, timeout, number = start(up, call, c)
    if not endpoint then return res, err end
    if slot and res then res:close() end
  end
end

local function collected(up, client, call, c, endpoint, timeout)
  local held <close> = c -- luacheck: ignore 211
  return attempts(up, client, call, c, endpoint, timeout)
end

-- Ends the call unless its answer has taken it over.
local Slot = {
  __close = function(self)
    if self[1] then self[1]:close() end
  end,
}

local function streamed(up, client, call, c, endpoint, timeout)
  local slot <close> = setmetatable({ c }, Slot)
  return attempts(up, client, call, c, endpoint, timeout, slot)
end

-- --- all of it

local function run(up, client, call, c, endpoint, timeout)
  if up.hedges and call.safe and not call.once then
    hedge = hedge or require "neap.http.hedge"
    return hedge.race(up, client, call, c, endpoint, timeout)
  end
  if call.wire.stream then return streamed(up, client, call, c, endpoint, timeout) end
  return collected(up, client, call, c, endpoint, timeout)
end

-- What a chooser chose for attempts that nobody ended, as when the caller was cancelled.
local Left = {
  __close = function(self)
    self.chooser:abandon(self.call)
  end,
}

local function by_chooser(up, client, call, c, wait)
  local left <close> = setmetatable({ chooser = up.chooser, call = call }, Left)
  local res, err = run(up, client, call, c, wait)
  -- a streamed answer's goes on
  if res and res.call then left.call = {} end
  return res, err
end

---Makes a call through the upstream's cluster.
---@param up neap.http.Upstream
---@param client table
---@param call table
---@return neap.http.Response?
---@return neap.Error?
function M.perform(up, client, call)
  local cluster = up.cluster
  local begin = up.chooser and cluster.begin or cluster.pick
  local c, endpoint, timeout = begin(cluster, call.priority, call.safe, call.ends, call.hash_key, call.subset,
    call.sticky)
  if not c then return nil, endpoint end
  if up.chooser then return by_chooser(up, client, call, c, endpoint) end
  return run(up, client, call, c, endpoint, timeout)
end

return M
