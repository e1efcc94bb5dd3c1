-- What was typed, as a function: an expression gives its values, a statement is a statement, and what is
-- not finished yet says so.

local M = {}

local function is_incomplete(message)
  return message:find("<eof>'?$") ~= nil
end

-- Names that a chunk declares at its top level are kept as globals, so that the next line sees them. The
-- call of `keep` stands at the chunk's end, where all of them are in scope.
local KEEP = "__neap_keep_locals"

local function keeper(env)
  return function()
    env[KEEP] = nil
    for i = 1, 200 do
      local name, value = debug.getlocal(2, i)
      if not name then return end
      if name:find "^[%a_]" then env[name] = value end
    end
  end
end

local function with_locals_kept(text, name, env)
  if not text:find "%f[%a]local%f[%A]" then return end
  local fn = load(text .. "\n" .. KEEP .. "()", name, "t", env)
  if not fn then return end -- it ends in a return
  return function(...)
    env[KEEP] = keeper(env)
    return fn(...)
  end
end

---@param text string
---@param name? string of the chunk; default "=input"
---@param env? table default _G
---@return function? fn
---@return string? err
---@return boolean? incomplete the text is the beginning of something
function M.compile(text, name, env)
  name = name or "=input"
  env = env or _G
  local expression = text:match "^%s*=(.*)$"
  local fn, as_expression = load("return " .. (expression or text), name, "t", env)
  if fn then return fn end
  local err = as_expression
  if not expression then
    fn, err = load(text, name, "t", env)
    if fn then return with_locals_kept(text, name, env) or fn end
  end
  if is_incomplete(as_expression) then return nil, as_expression, true end
  return nil, err, is_incomplete(err)
end

return M
