-- Ways out of a sandbox that were thought of. Each is a chunk that must fail, or give nothing away: it
-- returns nothing (nil or false) when it has been refused without an error. `says`: what the error or the
-- message (its second result) must have in it. For spec/e2e/sandbox_test.sh, which runs them in a service,
-- and spec/lua/sandbox_spec.lua, which runs them as a guest.
local attempts = {
  -- processes and the environment
  { [[os.execute "true"]], "os.execute is not available" },
  { [[os.exit(3)]], "os.exit is not available" },
  { [[os.exit(true, true)]], "os.exit is not available" },
  { [[os.getenv "PATH"]], "os.getenv is not available" },
  { [[os.setlocale "C"]], "os.setlocale is not available" },
  { [[io.popen "id"]], "io.popen is not available" },
  -- files
  { [[os.remove "/tmp/x"]], "os.remove is not available" },
  { [[os.rename("/tmp/x", "/tmp/y")]], "os.rename is not available" },
  { [[os.tmpname()]], "os.tmpname is not available" },
  { [[io.open "/etc/passwd"]], "io.open is not available" },
  { [[io.lines "/etc/passwd"]], "io.lines is not available" },
  { [[io.input "/etc/passwd"]], "io.input is not available" },
  { [[io.output "/tmp/x"]], "io.output is not available" },
  { [[io.read "a"]], "io.read is not available" },
  { [[io.stdin:read "a"]], "io.stdin:read is not available" },
  { [[io.tmpfile()]], "io.tmpfile is not available" },
  { [[io.close()]], "io.close is not available" },
  { [[return loadfile "/etc/passwd"]], "not available|outside of the script's directory" },
  { [[local f, err = loadfile "/dev/stdin" error(err)]], "not available|outside|no file" },
  { [[loadfile()]], "not available|standard input" },
  { [[dofile "/etc/passwd"]], "not available|outside of the script's directory" },
  { [[dofile "../../../../../../etc/passwd"]], "not available|outside of the script's directory" },
  { [[dofile()]], "not available|standard input" },
  { [[require "../../../../../../etc/passwd"]], "not found|not allowed" },
  { [[require "/etc/passwd"]], "not found|not allowed" },
  { [[require "..etc.passwd"]], "not found|not allowed" },
  { [[return require "neap.http".multipart { f = { path = "/etc/passwd" } }]],
    "a sandbox has no files|not found|not allowed" },
  { [[local body = require "neap.http".multipart { f = { body = "x" } }
      local type = "multipart/form-data; boundary=" .. body:match "^%-%-([^\r]*)"
      local function once() local b = body body = nil return b end
      return require("neap.http.multipart").reader(once, type):next_part():save "/tmp/x"]],
    "a sandbox has no files|not found|not allowed" },
  -- bytecode
  { [[return load("\27Lua")]], "bytecode|binary chunk" },
  { [[return load("\27Lua", "x", "b")]], "bytecode" },
  { [[return load("\27Lua", "x", "bt")]], "binary chunk" },
  { [[local n = 0 return load(function() n = n + 1 return n == 1 and "\27" or n == 2 and "Lua" or nil end)]],
    "binary chunk" },
  { [[string.dump(function() end)]], "string.dump is not available" },
  { [[("").dump(function() end)]], "string.dump is not available" },
  { [[local s = "x" s.dump(print)]], "string.dump is not available" },
  -- debug
  { [[debug.getregistry()]], "debug.getregistry is not available" },
  { [[debug.getinfo(1)]], "debug.getinfo is not available" },
  { [[debug.getlocal(1, 1)]], "debug.getlocal is not available" },
  { [[debug.getupvalue(load, 1)]], "debug.getupvalue is not available" },
  { [[debug.setupvalue(load, 1, 1)]], "debug.setupvalue is not available" },
  { [[debug.upvaluejoin(load, 1, load, 1)]], "debug.upvaluejoin is not available" },
  { [[debug.sethook(function() end, "l")]], "debug.sethook is not available" },
  { [[debug.getmetatable("")]], "debug.getmetatable is not available" },
  { [[debug.setmetatable(0, {})]], "debug.setmetatable is not available" },
  { [[require "debug".getregistry()]], "debug.getregistry is not available" },
  { [[require "io".open "/etc/passwd"]], "io.open is not available" },
  { [[require "os".execute()]], "os.execute is not available" },
  { [[require "_G".io.open "/etc/passwd"]], "io.open is not available" },
  -- C modules and the loader itself
  { [[package.loadlib("libc.so.6", "system")]], "package" },
  { [[package.searchpath("x", "/etc/?")]], "package" },
  { [[package.cpath = "/tmp/?.so"]], "package" },
  { [[package.path = "/etc/?"]], "package" },
  { [[package.searchers[4] "x"]], "nil value|package" },
  { [[package.loaded["neap.task"] = {}]], "package" },
  { [[package.loaded["io"] = {}]], "package" },
  { [[return package.loaded["neap.core.runtime"] ]], "package|^nil$" },
  { [[return package.loaded._G.io.open "/etc/passwd"]], "package|io.open is not available" },
  { [[return package.loaded.debug.getregistry()]], "package|debug.getregistry is not available" },
  { [[for _, m in pairs(package.loaded) do
        if type(m) == "table" and m.getregistry then m.getregistry() end
      end
      error "none"]], "package|debug.getregistry is not available" },
  { [[getmetatable(package).__index.path = "x"]], "boolean|nil value" },
  { [[require "neap.core.runtime"]], "not available|not allowed" },
  { [[require "neap.core.sandbox"]], "not available|not allowed" },
  { [[require "neap.core.runtime\0"]], "not available|not allowed" },
  { [[require "neap.sandbox.env"]], "not available|not allowed" },
  { [[require "neap.sandbox.process"]], "not available|not allowed" },
  { [[require "neap.prelude"]], "not available|not allowed" },
  { [[require "neap.repl.compile"]], "not available|not allowed" },
  { [[require "neap.test.runner"]], "not available|not allowed" },
  { [[return require "neap".repl]], "not found|not allowed" },
  { [[require "lfs"]], "not found|not allowed" },
  { [[package.preload["neap.task"] = function() return "mine" end
      return require "neap.task" == "mine"]], "package|not allowed|^false$" },
  { [[require "neap.runtime".exit(1)]], "os.exit is not available|not allowed" },
  { [[require "neap.runtime".stop()]], "neap.runtime.stop is not available|not allowed" },
  -- metatables that others use
  { [[getmetatable("").__index = {}]], "boolean" },
  { [[getmetatable("").__index.format = print]], "boolean" },
  { [[setmetatable("", {})]], "table expected" },
  { [[getmetatable(io.stdout or error "none").__gc(io.stdout)]], "nil value|none" },
  { [[local stop <close> = io.stdout]], "nil value|non%-closable|^nil$" },
  { [[io.stdout:close()]], "not available|nil value" },
  { [[io.stderr:setvbuf "no"]], "not available|nil value" },
  { [[return getmetatable(coroutine.running())]], "^nil$|^false$" },
  -- the collector
  { [[collectgarbage "stop"]], "is not available" },
  { [[collectgarbage("incremental", 1)]], "is not available" },
  { [[collectgarbage "generational"]], "is not available" },
  { [[collectgarbage("setpause", 1000)]], "is not available" },
  -- what a refusal itself might give away
  { [[local ok, err = pcall(os.execute) return type(err) ~= "string"]], "^false$" },
  { [[local _, env = pcall(load, "return _ENV") return env() ~= _G]], "^false$" },
  { [[return load "return _G"() ~= _G]], "^false$" },
  { [[return load("return io.open", "x", "t", { io = io })() "/etc/passwd"]], "io.open is not available" },
  { [[return load("return io", "x", "t", nil)()]], "upvalue|nil value" },
  { [[local co = coroutine.create(function() return io.open end) local _, f = coroutine.resume(co) f()]],
    "io.open is not available" },
  { [[local f
      setmetatable({}, { __gc = function() f = io.open end })
      f = f or io.open
      f()]],
    "a finaliser %(__gc%) is not available" },
  { [[local meta = { __gc = false }
      setmetatable({}, meta)
      meta.__gc = print]],
    "a finaliser %(__gc%) is not available" },
  { [[xpcall(error, function() io.open() end)
      local _, err = xpcall(error, function() return io.open end)
      err()]],
    "io.open is not available|C stack overflow|nil value|string value" },
  { [[local t = table.pack(debug.traceback()) return #t ~= 1 or type(t[1]) ~= "string"]], "^false$" },
}

return attempts
