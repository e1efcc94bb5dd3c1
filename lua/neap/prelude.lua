-- What every script state begins with: coroutines and `require` that let a wait pass through.
--
-- A binding that waits yields the wait mark. Inside a coroutine of the script's own that yield would
-- reach the script's `resume`; here it is passed up, level by level, until the scheduler has it, and the
-- resumption is passed down again. So a generator may wait, and its consumer never notices.

local core = require "neap.core.task"
local mark = core.wait_mark
local raw_resume, raw_yield = coroutine.resume, coroutine.yield
local raw_create, raw_close = coroutine.create, coroutine.close

local function pass(co, ok, first, ...)
  if ok and first == mark then
    raw_yield(mark)
    return pass(co, raw_resume(co))
  end
  return ok, first, ...
end

local function resume(co, ...)
  return pass(co, raw_resume(co, ...))
end

local function wrapped(co, ok, ...)
  if ok then return ... end
  raw_close(co)
  local err = ...
  error(err, 0)
end

coroutine.resume = resume

function coroutine.wrap(fn)
  local co = raw_create(fn)
  return function(...)
    return wrapped(co, resume(co, ...))
  end
end

-- `require` in Lua, so that a module may wait while it loads. A second task that wants a module which is
-- being loaded waits for it; a module that requires itself in a circle is refused, as a wait would never end.

local loading = {} -- name → { task = the task that loads it, waiting = future or nil }

local function find_loader(name)
  local tried = {}
  for _, search in ipairs(package.searchers) do
    local loader, extra = search(name)
    if type(loader) == "function" then return loader, extra end
    if type(loader) == "string" then tried[#tried + 1] = "\n\t" .. loader:gsub("^\n\t", "") end
  end
  error(("module '%s' not found:%s"):format(name, table.concat(tried)), 3)
end

local function finish(name, ok, value, ...)
  local entry = loading[name]
  loading[name] = nil
  if ok then
    if value ~= nil then package.loaded[name] = value end
    if package.loaded[name] == nil then package.loaded[name] = true end
  end
  if entry and entry.waiting then entry.waiting:resolve(true) end
  if not ok then error(value, 0) end
  return package.loaded[name], ...
end

local function await_other(name, entry)
  if entry.task == core.current_id() then
    error(("loop or previous error loading module '%s'"):format(name), 3)
  end
  entry.waiting = entry.waiting or core.future()
  entry.waiting:await()
end

function require(name) -- luacheck: ignore 121 (the global is meant)
  if type(name) ~= "string" then
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(type(name)), 2)
  end
  local loaded = package.loaded[name]
  if loaded ~= nil and loaded ~= false then return loaded end
  local entry = loading[name]
  if entry then
    await_other(name, entry)
    return require(name)
  end
  local loader, extra = find_loader(name)
  loading[name] = { task = core.current_id() }
  local ok, value = pcall(loader, name, extra)
  return finish(name, ok, value, extra)
end

return true
