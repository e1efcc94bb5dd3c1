--- Content negotiation: what a client likes best of what a handler can give (RFC 9110, 12.5).

local core = require "neap.core.file"
local schema = require "neap.schema"

local M = {}

local best, type_of = core.best, core.type

-- What is short for a media type: an extension, "json", "html".
local function media_type(name)
  if name:find("/", 1, true) then return name end
  return type_of("x." .. name) or error(("no media type is called %q"):format(name), 0)
end

local function check(names)
  if names.n == 0 then error("expected at least one candidate", 3) end
  for i = 1, names.n do schema.arg("candidate " .. i, names[i], "string", 3) end
  return names
end

---@param req neap.http.Request
---@param ... string media types or extensions ("json"), what the server likes best first
---@return string? best as it was given; nil when the client wants none of them
function M.accepts(req, ...)
  local names, types = check(table.pack(...)), {}
  for i = 1, names.n do
    local ok, kind = pcall(media_type, names[i])
    if not ok then error(kind, 2) end
    types[i] = kind
  end
  local i = best(req, "media", types)
  return i and names[i]
end

---@param req neap.http.Request
---@param ... string "br", "gzip", "identity"
---@return string? best
function M.accepts_encoding(req, ...)
  local names = check(table.pack(...))
  local i = best(req, "encoding", names)
  return i and names[i]
end

---@param req neap.http.Request
---@param ... string "utf-8"
---@return string? best
function M.accepts_charset(req, ...)
  local names = check(table.pack(...))
  local i = best(req, "charset", names)
  return i and names[i]
end

---@param req neap.http.Request
---@param ... string "de", "en-GB"
---@return string? best
function M.accepts_language(req, ...)
  local names = check(table.pack(...))
  local i = best(req, "language", names)
  return i and names[i]
end

---Answers in the form that the client likes best: `return req:negotiate { { "json", function() … end },
---{ "html", function() … end } }`. What that function returns is returned, with `Vary: Accept` and the
---form's Content-Type where it names none; when the client wants none of the forms the answer is 406.
---@param req neap.http.Request
---@param forms { [1]: string, [2]: fun(req: neap.http.Request): string|table, table? }[]
---@return integer status
---@return any body
---@return table headers
function M.negotiate(req, forms)
  schema.arg("forms", forms, "array")
  local types = {}
  for i, form in ipairs(forms) do
    schema.arg(("forms[%d]"):format(i), form, "array")
    schema.arg(("forms[%d][1]"):format(i), form[1], "string")
    schema.arg(("forms[%d][2]"):format(i), form[2], "callable")
    local ok, kind = pcall(media_type, form[1])
    if not ok then error(kind, 2) end
    types[i] = kind
  end
  local i = best(req, "media", types)
  if not i then return M.not_acceptable(table.unpack(types)) end
  local body, given = forms[i][2](req)
  local headers = { ["vary"] = "Accept" }
  if type(body) ~= "table" then
    headers["content-type"] = types[i]:find "^text/" and types[i] .. "; charset=utf-8" or types[i]
  elseif types[i] ~= "application/json" then
    headers["content-type"] = types[i]
  end
  for name, value in pairs(given or {}) do headers[name:lower()] = value end
  return 200, body, headers
end

---What to return when nothing will do: 406, with what there is.
---@param ... string
---@return integer status
---@return table body
---@return table headers
function M.not_acceptable(...)
  return 406, { error = "not acceptable", available = { ... } }, { ["vary"] = "Accept" }
end

return M
