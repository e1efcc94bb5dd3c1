-- `neap eval CODE [ARGS]`: runs a line of Lua and prints what it gives, strings as they are and the rest
-- as the REPL does.

local compile = require("neap.repl.compile").compile
local runtime = require "neap.core.runtime"

local M = {}

local function show(...)
  local n = select("#", ...)
  if n == 0 then return end
  local inspect = require("neap.inspect").inspect
  for i = 1, n do
    local v = select(i, ...)
    print(type(v) == "string" and v or inspect(v))
  end
end

---@param args table as the global `arg`; args[0] is the code
function M.main(args)
  local env = setmetatable({}, { __index = _G, __newindex = _G })
  env.neap = require "neap"
  local fn, err = compile(args[0], "=eval", env)
  if not fn then
    io.stderr:write("neap: ", err, "\n")
    runtime.exit_code(1)
    return
  end
  show(fn(table.unpack(args)))
end

return M
