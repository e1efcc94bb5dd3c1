--- Forms that clients send: `req:parts` and `req:form`.

local core = require "neap.core.http"
local multipart = require "neap.http.multipart"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {}

---@class neap.http.FormOptions
---@field max_fields? integer fields and files; default 1000
---@field max_field_bytes? integer of a field, as it is on the wire; default 1 MiB
---@field max_file_bytes? integer of a file; default 8 MiB; 0: none may be sent
---@field max_bytes? integer of the whole body; default 16 MiB

local options = schema.new {
  max_fields = { "bytes", default = 1000 },
  max_field_bytes = { "bytes", default = 1 << 20 },
  max_file_bytes = { "bytes", default = 8 << 20 },
  max_bytes = { "bytes", default = 16 << 20 },
}

---A file that came with a form.
---@class neap.http.FormFile
---@field name string of the field
---@field filename string without path; see neap.http.Part
---@field raw_filename string
---@field content_type? string
---@field headers table<string, string>
---@field body string

local function client_error(code, message)
  return multipart.blame(task.error(code, message))
end

local begun = setmetatable({}, { __mode = "k" }) -- requests whose form is being read, or was

-- The pieces of a request's body, though `req:body()` may have collected it. Once: they are not kept.
local function source_of(req)
  if begun[req] then error("the request's form was read before", 3) end
  begun[req] = true
  local first = true
  return function()
    local piece, err = req:read()
    if piece == nil and err == nil and first then
      piece, err = req:body()
      if piece == "" then piece = nil end
    end
    first = false
    return piece, err
  end
end

---`for part in req:parts(limits) do … end`: the parts of a multipart form as they come. Raises the error when
---the form is malformed, too large or breaks off.
---@param req neap.http.Request
---@param limits? neap.http.PartLimits
---@return fun(): neap.http.Part?
function M.parts(req, limits)
  multipart.limits:check(limits)
  local reader, err = multipart.reader(source_of(req), req:header "content-type", limits)
  if not reader then error(err, 0) end
  return function()
    local part
    part, err = reader:next_part()
    if part == nil and err ~= nil then error(err, 0) end
    return part
  end
end

local function add(fields, name, value)
  local old = fields[name]
  if old == nil then
    fields[name] = value
  elseif type(old) == "table" then
    old[#old + 1] = value
  else
    fields[name] = { old, value }
  end
end

-- --- a=1&b=2

local Fields = {}
Fields.__index = Fields

-- One "name=value" is complete.
function Fields:take(text)
  if text == "" then return end
  self.count = self.count + 1
  if self.count > self.max_fields then
    return client_error("ELIMIT", ("more than %d fields"):format(self.max_fields))
  end
  local name, value = text:match "^([^=]*)=?(.*)$"
  name, value = core.decode(name, true), core.decode(value, true)
  if not name or not value then
    return client_error("EINVAL", "the form has a '%' that is not followed by two hex digits")
  end
  add(self.fields, name, value)
end

-- What belongs to a field that is not complete; its pieces are joined once.
function Fields:keep(text)
  self.size = self.size + #text
  if self.size > self.max_field_bytes then
    return client_error("ELIMIT", ("a field is larger than %d bytes"):format(self.max_field_bytes))
  end
  self.begun[#self.begun + 1] = text
end

function Fields:complete()
  local text = table.concat(self.begun)
  self.begun, self.size = {}, 0
  return self:take(text)
end

function Fields:push(piece)
  local from = 1
  while true do
    if not self.begun[1] then from = piece:find("[^&]", from) or #piece + 1 end -- nothing between two '&'
    local at = piece:find("&", from, true)
    local err = self:keep(piece:sub(from, at and at - 1))
    if err then return err end
    if not at then return end
    err = self:complete()
    if err then return err end
    from = at + 1
  end
end

local function urlencoded(source, o)
  local state = setmetatable({
    fields = {}, begun = {}, size = 0, count = 0,
    max_fields = o.max_fields, max_field_bytes = o.max_field_bytes,
  }, Fields)
  local total = 0
  local piece, err = source()
  while piece do
    total = total + #piece
    if total > o.max_bytes then
      return nil, client_error("ELIMIT", ("the form is larger than %d bytes"):format(o.max_bytes))
    end
    err = state:push(piece)
    if err then return nil, err end
    piece, err = source()
  end
  err = err or state:complete()
  if err then return nil, err end
  return state.fields, {}
end

-- --- multipart

local function is_nothing(part, body)
  return part.filename == "" and body == "" -- what browsers send when no file was chosen
end

local function collect(source, content_type, o)
  local fields, files = {}, {}
  local reader, err = multipart.reader(source, content_type, {
    max_parts = o.max_fields,
    max_field_bytes = o.max_field_bytes,
    max_file_bytes = o.max_file_bytes,
    max_bytes = o.max_bytes,
  })
  if not reader then return nil, err end
  local part
  part, err = reader:next_part()
  while part do
    local body
    body, err = part:body()
    if not body then return nil, err end
    if not part.filename then
      add(fields, part.name, body)
    elseif not is_nothing(part, body) then
      local file = {
        name = part.name, filename = part.filename, raw_filename = part.raw_filename,
        content_type = part.content_type, headers = part.headers, body = body,
      }
      files[#files + 1] = file
      files[part.name] = files[part.name] or file
    end
    part, err = reader:next_part()
  end
  if err then return nil, err end
  return fields, files
end

-- --- both

local known = setmetatable({}, { __mode = "k" }) -- request → what its form was

---Waits for a whole form, `a=1&b=2` or multipart. Asked again, gives the same.
---@param req neap.http.Request
---@param opts? neap.http.FormOptions|integer an integer is `max_bytes`
---@return table<string, string|string[]>? fields decoded; of a name that is repeated, all values
---@return table|neap.Error files a list of neap.http.FormFile; also by the field's name: of several the
---first. Or why there is no form: ELIMIT, EPROTO, EINVAL, ENOTSUP (another content type), ECONNRESET …
function M.form(req, opts)
  if math.type(opts) == "integer" then opts = { max_bytes = opts } end
  local o = options:read(opts)
  if known[req] then return table.unpack(known[req], 1, 2) end
  local content_type = req:header "content-type"
  local kind = (content_type or ""):match("^%s*([^;%s]*)"):lower()
  local fields, files
  if kind == "multipart/form-data" then
    fields, files = collect(source_of(req), content_type, o)
  elseif kind == "" or kind == "application/x-www-form-urlencoded" then
    fields, files = urlencoded(source_of(req), o)
  else
    return nil, client_error("ENOTSUP", "the request's body is no form")
  end
  known[req] = { fields, files }
  return fields, files
end

return M
