-- Values as a person reads them: nested tables with sorted keys, cycles named, long things cut with a
-- note. What the REPL and `neap eval` print with. Calls nothing of the value's own but __tostring and
-- __name; never raises.

local M = {}

---@class neap.inspect.Options
---@field width? integer columns that a table on one line may take; default 80
---@field depth? integer tables in tables that are shown; default 6
---@field items? integer of one table; default 100
---@field string? integer bytes of one string; default 400
---@field total? integer items in all; default 2000

local DEFAULTS = { width = 80, depth = 6, items = 100, string = 400, total = 2000 }

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return
then true until while]]):gmatch "%a+" do
  KEYWORDS[word] = true
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function escape(byte)
  return ESCAPES[byte] or ("\\x%02x"):format(byte:byte())
end

-- Text that is UTF-8 stays as it is; of other bytes only what is printable does.
local function quote(text, limit)
  local cut = #text > limit and #text
  if cut then
    local stop = utf8.offset(text, 0, limit + 1) or limit + 1
    text = text:sub(1, stop - 1)
  end
  local shown = text:gsub(utf8.len(text) and '[%c\\"]' or '[%c\\"\x80-\xff]', escape)
  if cut then return ('"%s…" (%d bytes)'):format(shown, cut) end
  return '"' .. shown .. '"'
end

local function number(v)
  if math.type(v) == "integer" or v ~= v or v == math.huge or v == -math.huge then return tostring(v) end
  local short = ("%.14g"):format(v)
  if tonumber(short) ~= v then short = ("%.17g"):format(v) end
  return short:find "[%.eEn]" and short or short .. ".0"
end

local function is_name(key)
  return type(key) == "string" and key:find "^[%a_][%w_]*$" and not KEYWORDS[key]
end

local function describe_function(f)
  local info = debug.getinfo(f, "S")
  if info.what == "C" then return "<" .. tostring(f):gsub("builtin: ", "") .. ">" end
  return ("<function %s:%d>"):format(info.short_src, info.linedefined)
end

local function own_text(v)
  local meta = debug.getmetatable(v)
  if type(meta) ~= "table" or rawget(meta, "__tostring") == nil then return end
  local ok, text = pcall(tostring, v)
  if ok and type(text) == "string" then return text end
end

local RANK = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local ra, rb = RANK[type(a)] or 4, RANK[type(b)] or 4
  if ra ~= rb then return ra < rb end
  if ra <= 2 then return a < b end
  return tostring(a) < tostring(b)
end

-- The keys that are not of the sequence 1 … n, sorted. Raw: no metamethod is asked.
local function other_keys(t, n)
  local keys = {}
  for k in next, t do
    if math.type(k) ~= "integer" or k < 1 or k > n then keys[#keys + 1] = k end
  end
  local sorted = pcall(table.sort, keys, before)
  return sorted and keys or keys
end

local Writer = {}
Writer.__index = Writer

local function join_path(path, key)
  if is_name(key) then return path .. "." .. key end
  if type(key) == "string" then return path .. "[" .. quote(key, 40) .. "]" end
  return path .. "[" .. tostring(key) .. "]"
end

function Writer:key(k, path, depth)
  if is_name(k) then return k end
  if type(k) == "string" then return "[" .. quote(k, self.string) .. "]" end
  if type(k) == "table" then return "[" .. (own_text(k) or "<table>") .. "]" end
  return "[" .. self:value(k, path, depth) .. "]"
end

-- Puts the items on one line if they fit, else on one each.
local function lay_out(items, indent, width, name)
  local flat = name .. "{ " .. table.concat(items, ", ") .. " }"
  if #indent + #flat <= width and not flat:find "\n" then return flat end
  local inner = indent .. "  "
  return name .. "{\n" .. inner .. table.concat(items, ",\n" .. inner) .. "\n" .. indent .. "}"
end

function Writer:items(t, path, depth, indent)
  local items, n = {}, rawlen(t)
  local function add(text)
    self.count = self.count + 1
    items[#items + 1] = text
  end
  local function full()
    return #items >= self.items_max or self.count >= self.total
  end
  local shown = 0
  for i = 1, n do
    if full() then break end
    add(self:value(rawget(t, i), join_path(path, i), depth + 1, indent .. "  "))
    shown = i
  end
  local keys = other_keys(t, n)
  local left = n - shown + #keys
  for _, k in ipairs(keys) do
    if full() then break end
    local key = self:key(k, path, depth + 1)
    add(key .. " = " .. self:value(rawget(t, k), join_path(path, k), depth + 1, indent .. "  "))
    left = left - 1
  end
  if left > 0 then items[#items + 1] = ("… %d more"):format(left) end
  return items
end

function Writer:table(t, path, depth, indent)
  local text = own_text(t)
  if text then return text end
  if self.seen[t] then return ("<%s>"):format(self.seen[t]) end
  local meta = debug.getmetatable(t)
  local name = type(meta) == "table" and rawget(meta, "__name")
  name = type(name) == "string" and name .. " " or ""
  if next(t) == nil then return name .. "{}" end
  if depth > self.depth then return name .. "{ … }" end
  self.seen[t] = path == "" and "the table itself" or "same as " .. path:gsub("^%.", "")
  return lay_out(self:items(t, path, depth, indent), indent, self.width, name)
end

function Writer:value(v, path, depth, indent)
  local kind = type(v)
  if kind == "string" then return quote(v, self.string) end
  if kind == "number" then return number(v) end
  if kind == "table" then return self:table(v, path, depth, indent or "") end
  if kind == "function" then return describe_function(v) end
  if kind == "nil" or kind == "boolean" then return tostring(v) end
  return own_text(v) or "<" .. tostring(v) .. ">"
end

---A value as text.
---@param v any
---@param options? neap.inspect.Options
---@return string
function M.inspect(v, options)
  local writer = setmetatable({ seen = {}, count = 0 }, Writer)
  for key, default in pairs(DEFAULTS) do
    writer[key == "items" and "items_max" or key] = options and options[key] or default
  end
  return writer:value(v, "", 1, "")
end

return setmetatable(M, {
  __call = function(_, v, options) return M.inspect(v, options) end,
})
