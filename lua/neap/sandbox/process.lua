-- `neap run --sandbox`: makes the globals of a whole state, once, before its first script; called by
-- script/sandbox.c. What is built in goes on with the globals it had: a script can neither reach them nor
-- change what they do.

local core = require "neap.core.sandbox"
local env = require "neap.sandbox.env"

local find, gsub = string.find, string.gsub
local loaded, real_require = package.loaded, require
local refuse = env.refuse

local G = env.new(false)
local libraries = {
  _G = G,
  coroutine = G.coroutine,
  debug = G.debug,
  io = G.io,
  math = G.math,
  os = G.os,
  string = G.string,
  table = G.table,
  utf8 = G.utf8,
}

local function is_hidden(name) return core.hidden(name) or find(name, "\0", 1, true) ~= nil end

local function is_ours(name)
  return libraries[name] ~= nil or name == "neap" or find(name, "^neap%.") ~= nil
end

local function module_of(name)
  if type(name) ~= "string" then return end
  local library = libraries[name]
  if library ~= nil then return library end
  if not is_hidden(name) then return loaded[name] end
end

-- package.loaded as scripts may see it: to look at all, to change what is theirs.
local loaded_view = setmetatable({}, {
  __index = function(_, name) return module_of(name) end,
  __newindex = function(_, name, value)
    if type(name) ~= "string" or is_ours(name) or is_hidden(name) then
      error(("package.loaded[%q] is locked in a sandbox"):format(tostring(name)), 2)
    end
    loaded[name] = value
  end,
  __pairs = function()
    return function(_, name)
      repeat
        name = next(loaded, name)
      until name == nil or module_of(name) ~= nil
      return name, module_of(name)
    end, nil, nil
  end,
  __metatable = false,
})
env.proxies[loaded_view] = true
libraries.package = setmetatable({}, {
  __index = {
    config = package.config,
    cpath = "",
    loaded = loaded_view,
    loadlib = refuse "package.loadlib",
    path = "./?.lua;./?/init.lua",
    preload = package.preload,
    searchpath = refuse "package.searchpath",
  },
  __newindex = function(_, name)
    error(("package.%s is locked in a sandbox"):format(tostring(name)), 2)
  end,
  __metatable = false,
})
env.proxies[libraries.package] = true
G.package = libraries.package

function G.require(name)
  if type(name) == "number" then name = tostring(name) end
  if type(name) ~= "string" then
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(type(name)), 2)
  end
  local library = libraries[name]
  if library ~= nil then return library end
  if is_hidden(name) then error(("module '%s' is not available in a sandbox"):format(name), 2) end
  return real_require(name)
end

-- A script's own modules: text, at or below the directory of the script.
local function search_own(name)
  if not core.base() then return "no file: the script has no directory" end
  local path = gsub(name, "%.", "/")
  local tried = {}
  for i, form in ipairs { "%s/%s.lua", "%s/%s/init.lua" } do
    local file = form:format(core.base(), path)
    local fn, err, absent = core.load_file(file)
    if fn then return fn, file end
    if not absent then
      error(("error loading module '%s' from file '%s':\n\t%s"):format(name, file, err), 0)
    end
    tried[i] = ("no file '%s'"):format(file)
  end
  return table.concat(tried, "\n\t")
end

-- Of the searchers, what is built in comes first: nobody takes its names. None is left that opens C modules.
local function replace_searchers()
  local old = package.searchers
  local kept = table.move(old, 2, #old - 3, 1, {})
  kept[#kept + 1] = old[1] -- package.preload
  kept[#kept + 1] = search_own
  package.searchers = kept
end

local function load_path(path, ...)
  if type(path) ~= "string" then error("a sandbox reads no program from standard input", 3) end
  return core.load_file(path, ...)
end

function G.loadfile(path, mode, ...)
  if mode ~= nil and not find(mode, "t", 1, true) then return nil, "a sandbox loads no bytecode" end
  local fn, err = load_path(path, ...)
  return fn, err
end

function G.dofile(path)
  local fn, err = load_path(path)
  if not fn then error(err, 0) end
  return fn()
end

replace_searchers()
env.lock_strings(G.string).__metatable = false
env.guest_require = G.require

return G
