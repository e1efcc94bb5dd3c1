--- Workers: the threads that run a host's scripts (`neap run --workers N`), each with a Lua state of its own.
---
--- Every worker runs the same script. What they share lives in the host: listening ports, the registry, the
--- bus, `neap.shared`. Everything else is a worker's own; values go from one to another as copies.

local core = require "neap.core.worker"
local task = require "neap.task"
local log = require "neap.log"

local BACK_OFF_MIN, BACK_OFF_MAX = 1, 30 -- seconds before a job that failed is tried again

---@class neap.worker
---@field id integer the worker that this script runs in: 0 … count - 1
---@field count integer how many workers the host has
---@field generation integer how often the host had been reloaded when this script was loaded
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

---Calls `fn(value, from)` with each value that another worker sends here, in a task of its own.
---@param fn fun(value: any, from: integer)
---@return fun() stop ends it
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

---Sends a copy of a plain value (nil, boolean, number, string, or a table of such, nested at most 32 deep) to
---every other worker. In each, values of one sender come in their order; a worker that listens to nothing
---drops them. Anything else in it, a function say, raises.
---@param value any
---@return true? ok
---@return neap.Error? err ENOMEM; ELIMIT: 64 MiB are on their way to one worker, which does not get this one
function M.broadcast(value) return core.send(nil, value) end

---The same, to one worker; to itself as well.
---@param id integer
---@param value any
---@return true? ok
---@return neap.Error? err ENOTFOUND: no such worker; ENOMEM, ELIMIT
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

---Runs `fn` in one worker of the host: for a heartbeat, a scheduled job, whatever only one should do. Each
---worker's script calls this with the same name; one gets it, and when that one is gone or its state is
---closed, another does. When `fn` returns, the job is done, until the code is reloaded. When it raises, that
---is logged, and it is tried again after 1 s, then 2, 4 … 30 s. At a reload or a stop its task is cancelled,
---so that newer code can take over. Returns at once.
---@param name string
---@param fn fun()
function M.once(name, fn)
  if type(name) ~= "string" or name == "" then
    error("bad argument #1 to 'once' (a name expected)", 2)
  end
  check_function(fn, "once", 2)
  task.spawn(work, name, fn)
end

---As `neap.reload`.
M.reload = core.reload
---As `neap.ready`.
M.ready = core.ready

return M
