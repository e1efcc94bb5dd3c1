-- `neap test`: busted inside the host. Every `it`, and every function around it, runs in a task of its
-- own with a deadline, so specs simply wait; what a test leaves behind fails it.
--
-- busted's own runner does the work. Three things of it are replaced: how a function of a spec is called
-- (in a task), how an `it` goes (after its `after_each` comes the look for leaks), and how it ends (no
-- os.exit: the host closes first).

local runtime = require "neap.core.runtime"
local task = require "neap.core.task"
local leaks = require "neap.test.leaks"

local M = {}

---@class neap.test.Options
---@field timeout number seconds for each function of a spec; 0: no bound
---@field leak_check boolean

-- What busted runs in its own task: it loads files and blocks, which only say what tests there are.
local NOT_IN_TASK = { suite = true, file = true, describe = true, insulate = true, expose = true }

-- The status that busted.safe gave in the task; an error there is a defect of the runner.
local function finish(status, ...)
  if status == nil then error((...), 0) end
  return status, ...
end

-- Not by a deadline: what a `setup` starts would inherit it.
local function run_in_task(timeout, element, fn, ...)
  local future = task.spawn(fn, ...)
  if timeout == 0 then return finish(future:await()) end
  future:await(timeout)
  if not future:done() then
    element.neap_timeout = timeout
    future:cancel()
  end
  return finish(future:await())
end

-- A test that was out of time says so, and not that it was cancelled.
local function name_timeouts(busted)
  local publish = busted.publish
  function busted.publish(channel, element, parent, message, ...)
    local timeout = type(element) == "table" and element.neap_timeout
    if timeout and type(message) == "string" then
      local words = ("timed out after %g seconds"):format(timeout)
      message = message:gsub("ECANCELED: the task was canceled", words, 1)
    end
    return publish(channel, element, parent, message, ...)
  end
end

-- The whole of busted's protected call goes into the task, so that tracebacks are those of the spec.
local function call_in_tasks(busted, options)
  local safe = busted.safe
  name_timeouts(busted)
  function busted.safe(descriptor, run, element)
    local of_spec = run == element.run or descriptor == "finally"
    if not of_spec or NOT_IN_TASK[descriptor] then return safe(descriptor, run, element) end
    return run_in_task(options.timeout, element, safe, descriptor, run, element)
  end
end

local function fail_for_leak(busted, element, before)
  local leak = leaks.find(before)
  if not leak then return "success" end
  local at = element.trace
  if at then leak = ("%s:%d: %s"):format(at.short_src, at.currentline, leak) end
  return busted.safe("it", function() busted.fail(leak, 0) end, element)
end

local function run_body(busted, block, element)
  local finally
  element.env.finally = function(fn) finally = fn end
  element.env.pending = busted.pending
  local status = busted.status "success"
  status:update(busted.safe("it", element.run, element))
  if finally then
    block.reject("pending", element)
    status:update(busted.safe("finally", finally, element))
  end
  return status
end

local function it_executor(busted, options)
  local block = require "busted.block"(busted)
  return function(element)
    local parent = busted.context.parent(element)
    if not block.lazySetup(parent) then return end
    element.env = element.env or {}
    block.rejectAll(element)
    local before = options.leak_check and leaks.snapshot()
    local ready, ancestor = block.execAll("before_each", parent, true)
    local status
    if ready then
      if busted.safe_publish("test", { "test", "start" }, element, parent) then
        status = run_body(busted, block, element)
      else
        status = busted.status "error"
      end
    end
    block.dexecAll("after_each", ancestor, true)
    if not status then return end
    if before and status:success() then status:update(fail_for_leak(busted, element, before)) end
    busted.safe_publish("test", { "test", "end" }, element, parent, tostring(status))
  end
end

-- What busted registers as `it` is replaced by ours; its aliases follow.
local function replace_it(busted, options)
  local register = busted.register
  function busted.register(descriptor, executor, attributes)
    if descriptor == "it" and type(executor) == "function" then
      executor = it_executor(busted, options)
    end
    return register(descriptor, executor, attributes)
  end
end

local function prepare(options)
  local core = require "busted.core"
  package.loaded["busted.core"] = function()
    local busted = core()
    busted.sleep = task.sleep
    call_in_tasks(busted, options)
    replace_it(busted, options)
    return busted
  end
end

-- busted names itself in messages after the file that calls its runner.
local launcher = [[
local runner = ...
local result = runner { standalone = false }
return result
]]

local function run_busted()
  local exit_mark = {}
  local exit = os.exit
  local code = 0
  os.exit = function(status) -- luacheck: ignore 122
    code = status == true and 0 or math.tointeger(status) or 1
    error(exit_mark, 0)
  end
  local launch = load(launcher, "@neap test", "t")
  local ok, err = xpcall(launch, function(e)
    if e == exit_mark then return e end
    return debug.traceback(tostring(e), 2)
  end, require "busted.runner")
  os.exit = exit -- luacheck: ignore 122
  if ok or err == exit_mark then return code end
  error(err, 0)
end

---Runs the specs that `arg` names; sets the host's exit code and stops it.
---@param options neap.test.Options
function M.main(options)
  local found, err = pcall(require, "busted.core")
  if not found then
    if not tostring(err):find "module 'busted" then error(err, 0) end
    io.stderr:write "neap: test: busted is not installed (Debian: apt install lua-busted)\n"
    runtime.exit_code(1)
    return
  end
  require "neap.task"
  prepare(options)
  runtime.exit_code(run_busted())
  io.stdout:flush()
  runtime.stop(true)
end

return M
