-- What a sandboxed chunk has for its globals: copies of Lua's libraries without what reaches files,
-- processes, other people's functions, or bytecode. For neap.sandbox (a module's sandbox, `strict`) and
-- neap.sandbox.process (a whole state's); scripts in a sandbox cannot load this.

local find = string.find
local getmetatable, setmetatable, rawset, load = getmetatable, setmetatable, rawset, load
local rawget = rawget

local M = {}

---Everything handed out read-only, by the proxies that stand for it.
M.proxies = setmetatable({}, { __mode = "k" })

---The libraries that `require` gives as they stand among the globals.
M.libraries = {}
for _, name in ipairs { "coroutine", "debug", "io", "math", "os", "string", "table", "utf8" } do
  M.libraries[name] = true
end

local PLAIN = {
  "_VERSION", "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal",
  "rawget", "rawlen", "select", "setmetatable", "tonumber", "tostring", "type", "warn", "xpcall",
}
local WHOLE = { "coroutine", "math", "table", "utf8" }
local REFUSED = {
  os = { "execute", "exit", "getenv", "remove", "rename", "setlocale", "tmpname" },
  io = { "close", "input", "lines", "open", "output", "popen", "read", "tmpfile", "type", "write" },
  debug = {
    "debug", "gethook", "getinfo", "getlocal", "getmetatable", "getregistry", "getupvalue", "getuservalue",
    "setcstacklimit", "sethook", "setlocal", "setmetatable", "setupvalue", "setuservalue", "upvalueid",
    "upvaluejoin",
  },
  stream = { "close", "lines", "read", "seek", "setvbuf" },
}
local OS_ALLOWED = { "clock", "date", "difftime", "time" }

---@param name string
---@return fun() that raises
function M.refuse(name)
  return function() error(name .. " is not available in a sandbox", 2) end
end
local refuse = M.refuse

local function copy(from)
  local t = {}
  for k, v in next, from do
    t[k] = v
  end
  return t
end

local function refusing(prefix, names, t)
  for _, name in ipairs(names) do
    t[name] = refuse(prefix .. name)
  end
  return t
end

local function safe_string()
  local t = copy(string)
  t.dump = refuse "string.dump"
  return t
end

---What `("x"):upper()` finds: not what string.dump is, nor the table that the host uses itself. Names that
---are missing there are looked for in `more`.
function M.lock_strings(more)
  local meta = getmetatable("")
  if type(meta) ~= "table" or M.strings_locked then return end
  M.strings_locked = true
  meta.__index = setmetatable(safe_string(), { __index = more })
  return meta
end

-- A FILE* would be the script's to close.
local function stream_of(name)
  local t = refusing("io." .. name .. ":", REFUSED.stream, {})
  function t.write(self, ...)
    io[name]:write(...)
    return self
  end
  function t.flush(self)
    io[name]:flush()
    return self
  end
  return t
end

local function make_io(strict)
  local t = refusing("io.", REFUSED.io, {})
  t.stdin = refusing("io.stdin:", REFUSED.stream, {})
  if strict then return t end
  t.stdout, t.stderr = stream_of "stdout", stream_of "stderr"
  function t.write(...) return t.stdout:write(...) end
  return t
end

local function make_load(env)
  return function(chunk, name, mode, ...)
    if mode ~= nil and not find(mode, "t", 1, true) then return nil, "a sandbox loads no bytecode" end
    if select("#", ...) == 0 then return load(chunk, name, "t", env) end
    return load(chunk, name, "t", (...))
  end
end

local function make_collectgarbage(strict)
  return function(what, ...)
    if what == "count" or not strict and (what == nil or what == "collect" or what == "step") then
      return collectgarbage(what, ...)
    end
    error(("collectgarbage(%q) is not available in a sandbox"):format(tostring(what or "collect")), 2)
  end
end

local function guarded_rawset(t, k, v)
  if M.proxies[t] then error("attempt to change a read-only table", 2) end
  return rawset(t, k, v)
end

-- A finaliser runs inside of whatever asks for memory, where the watchdog's hook does not reach: who is not
-- trusted gets none. Whether there is one is decided when the metatable is set.
local function guarded_setmetatable(t, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then
    error("a finaliser (__gc) is not available in a sandbox", 2)
  end
  return setmetatable(t, meta)
end

-- The host's own metatables, which error objects have too, are not for a guest to see.
local function own_metatables(env)
  local own = setmetatable({}, { __mode = "k" })
  function env.setmetatable(t, meta)
    local done = guarded_setmetatable(t, meta)
    if type(meta) == "table" then own[meta] = true end
    return done
  end
  function env.getmetatable(v)
    local meta = getmetatable(v)
    if meta == nil or own[meta] then return meta end
    return false
  end
end

---A new table of globals. `strict`: for guests in a state that is not theirs alone.
---@param strict boolean
---@return table
function M.new(strict)
  local env = {}
  for _, name in ipairs(PLAIN) do
    env[name] = _G[name]
  end
  for _, name in ipairs(WHOLE) do
    env[name] = copy(_G[name])
  end
  env._G = env
  env.string = safe_string()
  env.os = refusing("os.", REFUSED.os, {})
  for _, name in ipairs(OS_ALLOWED) do
    env.os[name] = os[name]
  end
  env.io = make_io(strict)
  env.debug = refusing("debug.", REFUSED.debug, { traceback = debug.traceback })
  env.rawset = guarded_rawset
  env.setmetatable = guarded_setmetatable
  env.load = make_load(env)
  env.loadstring = nil
  env.loadfile, env.dofile = refuse "loadfile", refuse "dofile"
  env.collectgarbage = make_collectgarbage(strict)
  if strict then
    env.math.randomseed = refuse "math.randomseed"
    own_metatables(env)
  end
  return env
end

---A table that cannot be written to, for `t`, and the same for every table that is found in it.
function M.readonly(t)
  if type(t) ~= "table" or M.proxies[t] then return t end
  local known = M.views[t]
  if known then return known end
  local proxy = {}
  local function read(_, key)
    local value = t[key]
    return type(value) == "table" and M.readonly(value) or value
  end
  setmetatable(proxy, {
    __index = read,
    __newindex = function() error("attempt to change a read-only table", 2) end,
    __len = function() return #t end,
    __call = function(_, ...) return t(...) end,
    __tostring = function() return tostring(t) end,
    __pairs = function()
      return function(_, key)
        local next_key = next(t, key)
        if next_key ~= nil then return next_key, read(nil, next_key) end
      end, proxy, nil
    end,
    __metatable = false,
  })
  M.proxies[proxy] = true
  M.views[t] = proxy
  return proxy
end
M.views = setmetatable({}, { __mode = "kv" })

return M
