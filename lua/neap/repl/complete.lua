-- Completion of what is typed: keywords, globals, fields and methods (through __index tables too), and
-- neap's modules. It calls nothing of the script's own: a metamethod that is a function is not asked.

local runtime = require "neap.core.runtime"

local M = {}

local KEYWORDS = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local",
  "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
}
local INTERNAL = { core = true, prelude = true, repl = true, test = true }
local MAX_LEVELS = 16 -- of __index

local function index_of(v)
  local meta = debug.getmetatable(v)
  if type(meta) ~= "table" then return end
  local index = rawget(meta, "__index")
  return type(index) == "table" and index or nil
end

-- A field, as an expression would find it, but without running anything.
local function field(v, name)
  for _ = 1, MAX_LEVELS do
    if type(v) == "table" then
      local found = rawget(v, name)
      if found ~= nil then return found end
    end
    v = index_of(v)
    if v == nil then return end
  end
end

local function module_or_field(v, path, name)
  local found = field(v, name)
  if found ~= nil or path ~= "neap" then return found end
  local ok, module = pcall(require, "neap." .. name)
  return ok and module or nil
end

local function resolve(env, path)
  local v, so_far = env, nil
  for name in path:gmatch "[^%.:]+" do
    if so_far then
      v = module_or_field(v, so_far, name)
      so_far = so_far .. "." .. name
    else
      v, so_far = field(env, name), name
      if v == nil and env ~= _G then v = field(_G, name) end
    end
    if v == nil then return end
  end
  return v
end

local function collect(v, methods_only, found)
  for _ = 1, MAX_LEVELS do
    if type(v) == "table" then
      for key, value in next, v do
        local named = type(key) == "string" and key:find "^[%a_][%w_]*$"
        if named and (not methods_only or type(value) == "function") then found[key] = value end
      end
    end
    v = index_of(v)
    if v == nil then return end
  end
end

local function with_prefix(found, prefix)
  local names = {}
  local hidden = prefix:sub(1, 1) ~= "_"
  for name in pairs(found) do
    local fits = name:sub(1, #prefix) == prefix
    if fits and not (hidden and name:sub(1, 1) == "_") then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function of_globals(env, prefix)
  local found = {}
  for _, word in ipairs(KEYWORDS) do found[word] = true end
  collect(_G, false, found)
  if env ~= _G then collect(env, false, found) end
  return with_prefix(found, prefix)
end

local function of_value(env, path, separator, prefix)
  local found = {}
  local v = resolve(env, path)
  if v ~= nil then collect(v, separator == ":", found) end
  if path == "neap" and separator == "." then
    for _, name in ipairs(runtime.modules()) do
      local first = name:match "^neap%.([%w_]+)$"
      if first and not INTERNAL[first] then found[first] = true end
    end
  end
  return with_prefix(found, prefix)
end

---The words that what is typed may go on with.
---@param text string up to the cursor
---@param env? table default _G
---@return integer length of the part of the text that each candidate stands for
---@return string[] candidates sorted
function M.complete(text, env)
  env = env or _G
  local quoted = text:match "require%s*%(?%s*[\"']([%w_%.]*)$"
  if quoted then
    local found = {}
    for _, name in ipairs(runtime.modules()) do found[name] = true end
    for name in pairs(package.loaded) do found[name] = true end
    return #quoted, with_prefix(found, quoted)
  end
  local path, separator, prefix = text:match "([%a_][%w_%.]*)([%.:])([%w_]*)$"
  if path then return #prefix, of_value(env, path, separator, prefix) end
  prefix = text:match "[%a_][%w_]*$"
  if not prefix or text:match "[%.:]%s*[%w_]*$" then return 0, {} end
  return #prefix, of_globals(env, prefix)
end

return M
