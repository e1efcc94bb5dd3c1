--- Option tables: declared once, checked in one place.
---
--- A schema is made from a table of fields when a module loads; checking an options table with it
--- then costs one walk over what the caller gave. An unknown key or an ill-typed value is misuse: it
--- is raised at the level of the function's caller, with its path, as in
--- `opts.tls.verify: expected boolean, got string` and
--- `opts.tiemout: unknown option (did you mean timeout?)`.
---
--- A field is the name of a type (`"string"`: optional, no default), a union of some
--- (`"string|function"`), or a table, see neap.schema.Field.

local M = {}

---What a field of a schema may say. Its type is one of `any`, `boolean`, `number`, `integer`,
---`string`, `function`, `table`, `userdata`, `callable`, `seconds` (a number from 0, or `false` for
---none), `bytes` (an integer from 0), `array`, `map` and `nil`, or a union of some (`"string|number"`).
---@class neap.schema.Field
---@field [1] string type or union
---@field required? boolean the caller must give it
---@field default? any what stands for an absent field (a table is copied for each caller)
---@field min? number smallest number, or fewest bytes of a string or items of an array
---@field max? number largest number, or most bytes of a string or items of an array
---@field enum? string[] the values allowed
---@field pattern? string a Lua pattern that a string must match as a whole
---@field fields? table<string, string|neap.schema.Field> of a table: its own schema
---@field of? string|neap.schema.Field of an array or map: what each value must be
---@field check? fun(value: any): string? a check of one's own: returns what is wrong, or nil

local math_type, type, pairs, next = math.type, type, pairs, next

-- Each returns nothing for a value that fits, and the words for what was expected otherwise.
local function of_type(name)
  return function(v)
    if type(v) ~= name then return name end
  end
end

local types = {
  any = function() end,
  boolean = of_type "boolean",
  number = function(v)
    if type(v) ~= "number" or v ~= v then return "number" end
  end,
  integer = function(v)
    if math_type(v) == "integer" then return end
    if type(v) ~= "number" or math.tointeger(v) == nil then return "integer" end
  end,
  string = of_type "string",
  ["function"] = of_type "function",
  table = of_type "table",
  userdata = of_type "userdata",
  callable = function(v)
    if type(v) == "function" then return end
    local meta = getmetatable(v)
    if type(meta) ~= "table" or not meta.__call then return "function" end
  end,
  seconds = function(v)
    if v == false then return end
    if type(v) ~= "number" or v ~= v or v < 0 then return "seconds (a number from 0)" end
  end,
  bytes = function(v)
    if type(v) ~= "number" or math.tointeger(v) == nil or v < 0 then return "bytes (an integer from 0)" end
  end,
  ["nil"] = of_type "nil",
  array = of_type "table",
  map = of_type "table",
}

local function describe(v)
  local t = type(v)
  if t == "number" then
    if v ~= v then return "nan" end
    return t .. " " .. tostring(v)
  end
  if t == "string" then
    if #v > 24 then v = v:sub(1, 21) .. "..." end
    return ("string %q"):format(v):gsub("\\\n", "\\n")
  end
  return t
end

local function expected(words, v)
  local got = type(v)
  if words == "integer" or words:find("from 0", 1, true) then got = describe(v) end
  return ("expected %s, got %s"):format(words, got)
end

-- The number of edits (insert, delete, replace, swap of neighbours) between two words.
local function distance(a, b)
  local before, last = nil, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local d = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        d = math.min(d, before[j - 2] + 1)
      end
      row[j] = d
    end
    before, last = last, row
  end
  return last[#b]
end

---The candidate that a mistyped word most likely stands for.
---@param word string
---@param candidates string[]
---@return string? nearest nil when none is near
function M.nearest(word, candidates)
  local best, best_distance
  for _, candidate in ipairs(candidates) do
    local d = distance(word:lower(), candidate:lower())
    if not best or d < best_distance then best, best_distance = candidate, d end
  end
  if best and best_distance <= math.max(1, (math.max(#word, #best) + 1) // 3) then return best end
end

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then return ta < tb end
    if ta == "number" or ta == "string" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

-- No path is built while all is well: the first pass over a table goes without one.
local function join(path, key)
  if not path then return "" end
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return path .. "." .. key end
  if type(key) == "string" then return ("%s[%q]"):format(path, key) end
  return ("%s[%s]"):format(path, tostring(key))
end

local compile_field

-- What is expected of a value, as a function that returns nothing for one that fits.
local function type_check(names)
  local checks, words = {}, {}
  for name in names:gmatch "[^|%s]+" do
    checks[#checks + 1] = types[name] or error(("schema: unknown type %q"):format(name), 0)
    words[#words + 1] = name
  end
  if #checks == 1 then return checks[1] end
  return function(v)
    for i = 1, #checks do
      if not checks[i](v) then return end
    end
    return table.concat(words, " or ")
  end
end

local function range_check(field)
  local min, max = field.min, field.max
  return function(v)
    local n, unit = v, ""
    if type(v) == "string" then
      n, unit = #v, " bytes"
    elseif type(v) == "table" then
      n, unit = #v, " items"
    elseif type(v) ~= "number" then
      return
    end
    if min and n < min then return ("expected at least %s%s, got %s"):format(min, unit, n) end
    if max and n > max then return ("expected at most %s%s, got %s"):format(max, unit, n) end
  end
end

local function enum_check(values)
  local set = {}
  for _, v in ipairs(values) do set[v] = true end
  return function(v)
    if set[v] or type(v) ~= "string" then return end
    local near = M.nearest(v, values)
    local hint = near and (" (did you mean %s?)"):format(near) or ""
    return ("expected one of %s, got %q%s"):format(table.concat(values, ", "), v, hint)
  end
end

local function pattern_check(pattern)
  local whole = "^" .. pattern .. "$"
  return function(v)
    if type(v) == "string" and not v:find(whole) then return ("%q has the wrong form"):format(v) end
  end
end

local function items_check(field)
  local item = compile_field(field.of)
  return function(v, path, key)
    if type(v) ~= "table" then return end
    path = join(path, key)
    local n = #v
    for i = 1, n do
      local message = item(v[i], path, i)
      if message then return message, true end
    end
    for k in pairs(v) do
      if math_type(k) ~= "integer" or k < 1 or k > n then
        return ("%s: not an index of an array"):format(join(path, k)), true
      end
    end
  end
end

local function map_check(field)
  local item = compile_field(field.of)
  return function(v, path, key)
    if type(v) ~= "table" then return end
    path = join(path, key)
    local bad
    for k, x in pairs(v) do
      if type(k) ~= "string" then
        return ("%s: expected a string as key, got %s"):format(join(path, k), type(k)), true
      end
      if item(x, path, k) and (not bad or k < bad) then bad = k end
    end
    if bad then return item(v[bad], path, bad), true end
  end
end

-- The checks after that of the type; each gives a message, and true if it begins with the path.
local function further_checks(field)
  local list = {}
  if field.min or field.max then list[#list + 1] = range_check(field) end
  if field.enum then list[#list + 1] = enum_check(field.enum) end
  if field.pattern then list[#list + 1] = pattern_check(field.pattern) end
  if field.of then list[#list + 1] = (field[1] == "map" and map_check or items_check)(field) end
  if field.fields then
    local inner = M.new(field.fields)
    field.schema = inner
    list[#list + 1] = function(v, path, key)
      if type(v) == "table" then return inner:problem(v, join(path, key)), true end
    end
  end
  if field.check then list[#list + 1] = field.check end
  return list
end

---@return fun(value: any, path: string, key: any): string?
function compile_field(field)
  if type(field) == "string" then field = { field } end
  local check = type_check(field[1])
  local more = further_checks(field)
  return function(v, path, key)
    local words = check(v)
    if words then return join(path, key) .. ": " .. expected(words, v) end
    for i = 1, #more do
      local message, whole = more[i](v, path, key)
      if message then return whole and message or join(path, key) .. ": " .. message end
    end
  end
end

---@class neap.Schema
local Schema = {}
Schema.__index = Schema

---Declares an options table.
---@param fields table<string, string|neap.schema.Field>
---@return neap.Schema
function M.new(fields)
  local self = setmetatable({ checks = {}, names = {}, defaults = {}, nested = {} }, Schema)
  local required = {}
  for _, name in ipairs(sorted_keys(fields)) do
    local field = fields[name]
    if type(field) == "table" then
      local copy = {}
      for k, v in pairs(field) do copy[k] = v end
      field = copy
    else
      field = { field }
    end
    self.checks[name] = compile_field(field)
    self.names[#self.names + 1] = name
    self.defaults[name] = field.default
    self.nested[name] = field.schema
    if field.required then required[#required + 1] = name end
  end
  self.required = required[1] and required or nil
  return self
end

-- The first problem in order of the keys, so that the same mistake always reads the same.
local function explain(self, opts, path)
  for _, key in ipairs(sorted_keys(opts)) do
    local check = self.checks[key]
    if not check then
      local near = type(key) == "string" and M.nearest(key, self.names)
      local hint = near and (" (did you mean %s?)"):format(near) or ""
      return ("%s: unknown option%s"):format(join(path, key), hint)
    end
    local message = check(opts[key], path, key)
    if message then return message end
  end
end

---What is wrong with an options table, as a message that begins with its path; nil if nothing is.
---@param opts table?
---@param path? string how the script's author would call the table ("opts")
---@return string?
function Schema:problem(opts, path)
  if opts ~= nil and type(opts) ~= "table" then
    return ("%s: expected table, got %s"):format(path, type(opts))
  end
  if opts then
    local checks = self.checks
    for key, value in next, opts do
      local check = checks[key]
      if not check or check(value) then return explain(self, opts, path) end
    end
  end
  if self.required then
    for _, name in ipairs(self.required) do
      if not opts or opts[name] == nil then return ("%s.%s: required"):format(path, name) end
    end
  end
end

local function copy_of(v)
  if type(v) ~= "table" then return v end
  local copy = {}
  for k, x in pairs(v) do copy[k] = copy_of(x) end
  return copy
end

local function fill(self, opts)
  local out = {}
  if opts then
    for key, value in next, opts do
      local nested = self.nested[key]
      out[key] = nested and type(value) == "table" and fill(nested, value) or value
    end
  end
  for key, value in next, self.defaults do
    if out[key] == nil then out[key] = copy_of(value) end
  end
  return out
end

---Checks an options table and gives it back as it is. For calls on a hot path.
---@param opts table?
---@param level? integer whose fault a problem is: 2 (default) the caller of the function that calls this
---@param path? string default "opts"
---@return table? opts
function Schema:check(opts, level, path)
  local message = self:problem(opts, path or "opts")
  if message then error(message, (level or 2) + 1) end
  return opts
end

---Checks an options table and gives a copy with the defaults filled in.
---@param opts table?
---@param level? integer as in check
---@param path? string default "opts"
---@return table options
function Schema:read(opts, level, path)
  local message = self:problem(opts, path or "opts")
  if message then error(message, (level or 2) + 1) end
  return fill(self, opts)
end

local argument_checks = {}

---Checks one positional argument: raises `name: expected string, got nil` at the caller's level.
---@generic T
---@param name string
---@param value T
---@param what string type or union, as in a field
---@param level? integer as in check
---@return T value
function M.arg(name, value, what, level)
  local check = argument_checks[what]
  if not check then
    check = type_check(what)
    argument_checks[what] = check
  end
  local words = check(value)
  if words then error(("%s: %s"):format(name, expected(words, value)), (level or 2) + 1) end
  return value
end

return M
