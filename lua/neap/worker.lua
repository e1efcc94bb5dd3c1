-- Workers: the threads that run a host's scripts, each with Lua states of its own.
--
-- What they share lives in the host: the registry, the bus, listening ports, `neap.shared`. Values go from
-- one to another as copies.

local core = require "neap.core.worker"
local task = require "neap.task"
local log = require "neap.log"

local BACK_OFF_MIN, BACK_OFF_MAX = 1, 30 -- seconds before a job that failed is tried again

local M = { id = core.id, count = core.count, generation = core.generation }

local handlers = {} -- in the order of their coming

local function dispatch(value, from)
  for _, handler in ipairs { table.unpack(handlers) } do
    task.spawn(handler.fn, value, from)
  end
end

local function check_function(fn, name, position)
  if type(fn) == "function" then return end
  error(("bad argument #%d to '%s' (function expected, got %s)"):format(position, name, type(fn)), 3)
end

function M.on_message(fn)
  check_function(fn, "on_message", 1)
  if #handlers == 0 then core.listen(dispatch) end
  local handler = { fn = fn }
  handlers[#handlers + 1] = handler
  return function()
    for i, other in ipairs(handlers) do
      if other == handler then return table.remove(handlers, i) and nil end
    end
  end
end

function M.broadcast(value) return core.send(nil, value) end

function M.send(id, value)
  if math.type(id) ~= "integer" or id < 0 then error("bad argument #1 to 'send' (worker expected)", 2) end
  return core.send(id, value)
end

-- One turn at the job: whether it is over for good.
local function take_turn(name, fn)
  local claim <close> = core.claim(name)
  local mine, err = claim:wait()
  if err then error(err) end
  if not mine then return true end
  local ok, failure = xpcall(fn, debug.traceback)
  if ok then
    claim:finish(true)
    return true
  end
  if task.cancelled() then error(failure, 0) end
  log.error("a job failed and will be tried again", { job = name, error = tostring(failure) })
  return false
end

local function work(name, fn)
  local pause = BACK_OFF_MIN
  while not take_turn(name, fn) do
    task.sleep(pause)
    pause = math.min(pause * 2, BACK_OFF_MAX)
  end
end

function M.once(name, fn)
  if type(name) ~= "string" or name == "" then
    error("bad argument #1 to 'once' (a name expected)", 2)
  end
  check_function(fn, "once", 2)
  task.spawn(work, name, fn)
end

M.reload = core.reload
M.ready = core.ready

return M
