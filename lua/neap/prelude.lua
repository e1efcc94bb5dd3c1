-- What every script state begins with: coroutines and `require` that let a wait pass through.
--
-- A binding that waits yields the wait mark. Inside a coroutine of the script's own that yield would
-- reach the script's `resume`; here it is passed up, level by level, until the scheduler has it, and the
-- resumption is passed down again. So a generator may wait, and its consumer never notices. Meanwhile the
-- coroutine is the waiting task's alone: for everybody else it is "normal", as one that resumed another is,
-- and so is a task's own coroutine. In all else these functions do what Lua's own do, messages included.

local core = require "neap.core.task"
local mark = core.wait_mark
local raw_resume, raw_yield = core.resume, coroutine.yield
local raw_create, raw_close = coroutine.create, core.close
local raw_status, isyieldable = coroutine.status, coroutine.isyieldable

local held = core.held -- coroutine → true: a task's own; or a wait in it is being passed up

local function pass(co, ok, first, ...)
  if ok and first == mark then
    if isyieldable() then
      held[co] = true
      raw_yield(mark)
      held[co] = nil
    else
      core.refuse_wait() -- it raises inside the coroutine, where the wait was
    end
    return pass(co, raw_resume(co))
  end
  return ok, first, ...
end

local function status_of(co)
  local status = raw_status(co)
  return status == "suspended" and held[co] and "normal" or status
end

local function resume(co, ...)
  if held[co] then return false, "cannot resume non-suspended coroutine" end
  return pass(co, raw_resume(co, ...))
end

local function check(co, fn, wanted)
  if type(co) ~= wanted then
    error(("bad argument #1 to '%s' (%s expected, got %s)"):format(fn, wanted, type(co)), 3)
  end
end

-- An error leaves a wrapped coroutine with what its closing made of it, and with the caller's place.
local function unwrap(co, ok, ...)
  if ok then return ... end
  local err = ...
  if raw_status(co) == "dead" then
    local closed, last = raw_close(co)
    if not closed then err = last end
  end
  error(err, err == "not enough memory" and 0 or 2)
end

-- As Lua's own, too; but they, like core.resume and core.close, know the error of a stopped script.
pcall, xpcall = core.pcall, core.xpcall -- luacheck: ignore 121 (the globals are meant)
core.pcall, core.xpcall, core.resume, core.close = nil, nil, nil, nil -- tracebacks name what is in a module

function coroutine.resume(co, ...)
  check(co, "resume", "thread")
  return resume(co, ...)
end

function coroutine.wrap(fn)
  check(fn, "wrap", "function")
  local co = raw_create(fn)
  return function(...) return unwrap(co, resume(co, ...)) end
end

function coroutine.status(co)
  check(co, "status", "thread")
  return status_of(co)
end

function coroutine.close(co)
  check(co, "close", "thread")
  local status = status_of(co)
  if status == "normal" or status == "running" then
    error(("cannot close a %s coroutine"):format(status), 2)
  end
  return raw_close(co)
end

-- `require` in Lua, so that a module may wait while it loads. A second task that wants a module which is
-- being loaded waits for it; a module that requires itself in a circle is refused, as a wait would never end.

local loading = {} -- name → the Loading of it
local awaited = {} -- task → the Loading it waits for

---@class neap.prelude.Loading
---@field name string
---@field task userdata that loads it
---@field over? neap.Future for those who wait
local Loading = {}

function Loading:__close()
  loading[self.name] = nil
  if self.over then self.over:resolve() end
end

local function find_loader(name)
  local searchers = package.searchers
  if type(searchers) ~= "table" then error("'package.searchers' must be a table", 3) end
  local tried = {}
  for _, search in ipairs(searchers) do
    local loader, extra = search(name)
    if type(loader) == "function" then return loader, extra end
    if type(loader) == "string" then tried[#tried + 1] = "\n\t" .. loader:gsub("^\n\t", "") end
  end
  error(("module '%s' not found:%s"):format(name, table.concat(tried)), 3)
end

local function load_with(name, loader, extra)
  local entry <close> = setmetatable({ name = name, task = core.current_id() }, Loading)
  loading[name] = entry
  local value = loader(name, extra)
  if value ~= nil then package.loaded[name] = value end
  if package.loaded[name] == nil then package.loaded[name] = true end
  return package.loaded[name], extra
end

-- Whether this task's waiting for the module would be waiting for itself.
local function in_circle(entry)
  local me = core.current_id()
  while entry do
    if entry.task == me then return true end
    entry = awaited[entry.task]
  end
  return false
end

local function await_other(name, entry)
  if in_circle(entry) then error(("loop or previous error loading module '%s'"):format(name), 3) end
  local me = core.current_id()
  local note <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() awaited[me] = nil end,
  })
  awaited[me] = entry
  entry.over = entry.over or core.future()
  entry.over:await()
end

function require(name) -- luacheck: ignore 121 (the global is meant)
  if type(name) == "number" then name = tostring(name) end
  check(name, "require", "string")
  local loaded = package.loaded[name]
  if loaded then return loaded end
  local entry = loading[name]
  if entry then
    await_other(name, entry)
    return require(name)
  end
  return load_with(name, find_loader(name))
end

return true
