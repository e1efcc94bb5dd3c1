-- Tasks: doing several things at once, with an end to all of them.
--
-- A task is a function that runs beside others and may wait anywhere. Tasks form a tree: a task that is
-- cancelled takes its children with it. An expected failure is `nil, err`; being cancelled, or passing a
-- deadline, raises out of whatever the task waits for.

local core = require "neap.core.task"

local M = {
  spawn = core.spawn,
  sleep = core.sleep,
  yield = core.yield,
  future = core.future,
  deadline = core.deadline,
  cancelled = core.cancelled,
  shield = core.shield,
  error = core.error,
  current = core.current,
  account_cpu = core.account_cpu,
}

local MANY = 32 -- members, at which those that have ended begin to be forgotten

---@class neap.task.Group
---@field private members neap.Future[]
---@field private full integer how many members there may be before the next clearing
---@field private failure? neap.Error
local Group = {}
Group.__index = Group
Group.__name = "neap.group"

local function note_failure(group, err)
  if group.failure == nil then
    group.failure = err
    group:cancel()
  end
end

-- Runs a member so that its failing, in either way, is the group's.
local function run_member(group, fn, ...)
  local ended = false
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function(_, err)
      if ended or core.cancelled() then return end
      note_failure(group, err == nil and core.error("ESCRIPT", "nil") or err)
    end,
  })
  local results = table.pack(fn(...))
  ended = true
  if results[1] == nil and results[2] ~= nil then note_failure(group, results[2]) end
  return table.unpack(results, 1, results.n)
end

local function forget_ended(group)
  local live = {}
  for _, future in ipairs(group.members) do
    if not future:done() then live[#live + 1] = future end
  end
  group.members = live
  group.full = math.max(MANY, 2 * #live)
end

local function check_function(where, i, fn)
  if type(fn) == "function" then return end
  error(("%s: bad argument #%d (function expected, got %s)"):format(where, i, type(fn)), 3)
end

--- Starts `fn(...)` as a member. If it raises, or returns `nil, err`, the others are cancelled.
---@param fn function
---@return neap.Future
function Group:spawn(fn, ...)
  check_function("spawn", 1, fn)
  if self.closed then error("the group has ended", 2) end
  if #self.members >= self.full then forget_ended(self) end
  local future = core.spawn(run_member, self, fn, ...)
  self.members[#self.members + 1] = future
  return future
end

--- Cancels every member.
function Group:cancel()
  for _, future in ipairs(self.members) do future:cancel() end
end

local function as_error(err)
  if type(err) == "table" and err.code then return err end
  return core.error("ESCRIPT", tostring(err))
end

--- Waits until every member has ended, those that were added meanwhile too.
---@return true? ok
---@return neap.Error? err the first failure
function Group:wait()
  while self.members[1] do
    self.members[#self.members]:await()
    local members = self.members -- another list, maybe, after the wait
    while members[1] and members[#members]:done() do members[#members] = nil end
  end
  if self.failure ~= nil then return nil, as_error(self.failure) end
  return true
end

function Group:__close()
  self.closed = true
  self:cancel()
  core.shield(self.wait, self)
end

--- A group of tasks that ends as one: it waits for its members, and one failing cancels the rest. With a
--- function, calls it with the group, waits for the members and returns its results, or `nil, err`.
--- Without, returns the group; declare it `local g <close>` so that leaving the block ends it.
---@param fn? fun(group: neap.task.Group): ...
---@return any
function M.group(fn)
  local group = setmetatable({ members = {}, full = MANY }, Group)
  if fn == nil then return group end
  local guard <close> = group -- luacheck: ignore 211
  local results = table.pack(fn(group))
  local ok, err = group:wait()
  if not ok then return nil, err end
  return table.unpack(results, 1, results.n)
end

--- Runs the functions at the same time and waits for all. Returns the first value of each, in order. When one
--- raises or returns `nil, err`, the others are cancelled and the result is `nil, err`.
---@param ... fun(): any, neap.Error?
---@return any ...
function M.all(...)
  local n = select("#", ...)
  for i = 1, n do check_function("all", i, (select(i, ...))) end
  local group <close> = M.group()
  local futures = {}
  for i = 1, n do futures[i] = group:spawn((select(i, ...))) end
  local ok, err = group:wait()
  if not ok then return nil, err end
  local results = {}
  for i = 1, n do results[i] = futures[i]:await() end
  return table.unpack(results, 1, n)
end

local function first_to_succeed(fns, n)
  local done, failures, last = core.future(), 0, nil
  local futures = {}
  local function failed(err)
    failures, last = failures + 1, err
    if failures == n then done:fail(last) end
  end
  for i = 1, n do
    futures[i] = core.spawn(function()
      local results = table.pack(pcall(fns[i]))
      if not results[1] then
        failed(as_error(results[2]))
      elseif results[2] == nil and results[3] ~= nil then
        failed(results[3])
      else
        done:resolve(table.unpack(results, 2, results.n))
      end
    end)
  end
  return done, futures
end

--- Runs the functions at the same time; the first that succeeds wins and its results are returned, the
--- others are cancelled. When all fail: `nil, err` of the last.
---@param ... fun(): ...
---@return any ...
function M.any(...)
  local fns, n = { ... }, select("#", ...)
  if n == 0 then error("any: expected at least one function", 2) end
  for i = 1, n do check_function("any", i, fns[i]) end
  local done, futures = first_to_succeed(fns, n)
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      for _, future in ipairs(futures) do future:cancel() end
    end,
  })
  return done:await()
end

--- Runs `fn(...)` with a deadline `seconds` from now, which everything it waits for inherits.
---@param seconds number
---@param fn function
---@return any ... its results, or `nil, err` with code ETIMEDOUT
function M.timeout(seconds, fn, ...)
  return core.spawn_within(seconds, fn, ...):await()
end

--- Calls `fn` every `seconds`, the first time after that span, until the future is cancelled. Calls do not
--- overlap; a call that raises is logged and the next comes as planned.
---@param seconds number
---@param fn function
---@return neap.Future
function M.every(seconds, fn, ...)
  if type(seconds) ~= "number" or seconds <= 0 then
    error("every: seconds must be a positive number", 2)
  end
  return core.spawn(function(...)
    while true do
      core.sleep(seconds)
      core.spawn(fn, ...):await()
    end
  end, ...)
end

--- Calls `fn(...)` once, `seconds` from now, unless the future is cancelled before.
---@param seconds number
---@param fn function
---@return neap.Future
function M.after(seconds, fn, ...)
  return core.spawn(function(...)
    core.sleep(seconds)
    return fn(...)
  end, ...)
end

return M
