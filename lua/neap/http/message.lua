--- What a call sends: its target, headers and body, made from its options.

local core = require "neap.core.http"
local json = require "neap.json"

local M = {}

local encode = core.encode

local function add_pair(out, name, value, part)
  local kind = type(value)
  if kind == "table" then
    for _, item in ipairs(value) do add_pair(out, name, item, part) end
  elseif kind == "string" or kind == "number" or kind == "boolean" then
    out[#out + 1] = encode(name, part) .. "=" .. encode(tostring(value), part)
  else
    error(("%s: expected string, number, boolean or array, got %s"):format(name, kind), 0)
  end
end

---A table as a query or a form: in order of the names, arrays as repeated names. Raises for a value of
---another kind.
---@param fields table<string, any>
---@param part "component"|"form"
---@return string
function M.encode_fields(fields, part)
  local names, out = {}, {}
  for name in pairs(fields) do
    if type(name) ~= "string" then error("expected strings as names, got " .. type(name), 0) end
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do add_pair(out, name, fields[name], part) end
  return table.concat(out, "&")
end

---A path with a query after what it has already.
---@param path string
---@param query string|table<string, any>|nil
---@return string
function M.with_query(path, query)
  if query == nil then return path end
  if type(query) == "table" then query = M.encode_fields(query, "component") end
  if query == "" then return path end
  return path .. (path:find("?", 1, true) and "&" or "?") .. query
end

---Headers by lower-case name: those of `base`, then those of `more`, where `false` removes one.
---@param base table<string, string>
---@param more? table<string, any>
---@return table<string, string|string[]>
function M.headers(base, more)
  local out = {}
  for name, value in pairs(base) do out[name] = value end
  if more then
    for name, value in pairs(more) do out[name:lower()] = value or nil end
  end
  return out
end

local PIECE = 64 * 1024 -- bytes of a file that are read at a time

-- What gives the pieces of a body that is an object.
local function reader(body)
  if io.type and io.type(body) then return function() return body:read(PIECE) end end
  local ok, read = pcall(function() return body.read end)
  if not ok or type(read) ~= "function" then
    error(("body: expected string, function or something with a method read, got %s"):format(type(body)), 0)
  end
  return function()
    local piece, err = read(body)
    if piece == nil and type(err) == "table" and err.code == "EOF" then err = nil end -- as streams end
    return piece, err
  end
end

---The body that the options ask for; sets its content type unless there is one. Raises for what is none.
---@param opts { body?: any, json?: any, form?: table }
---@param headers table<string, any> lower-case names
---@return string|function|nil body
---@return neap.Error? err what has no JSON form
function M.body(opts, headers)
  if opts.json ~= nil then
    local text, err = json.encode(opts.json)
    if not text then return nil, err end
    headers["content-type"] = headers["content-type"] or "application/json"
    return text
  end
  if opts.form then
    headers["content-type"] = headers["content-type"] or "application/x-www-form-urlencoded"
    local ok, text = pcall(M.encode_fields, opts.form, "form")
    if not ok then error("form." .. text, 0) end
    return text
  end
  local body = opts.body
  if type(body) == "table" or type(body) == "userdata" then return reader(body) end
  return body
end

return M
