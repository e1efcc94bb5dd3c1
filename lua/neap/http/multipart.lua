--- Multipart forms (RFC 7578): those that clients send, part by part, and those that are sent.
---
--- ```lua
--- app:post("/photos", function(req)
---   for part in req:parts { max_file_bytes = 20 << 20 } do
---     if part.filename then assert(part:save("/srv/photos/" .. id())) end
---   end
--- end)
---
--- local body, headers = neap.http.multipart { title = "A cat", photo = { path = "cat.jpg" } }
--- client:post("/photos", { body = body, headers = headers })
--- ```
---
--- Nothing but what is asked for is kept in memory: a part that is not read is skipped, and the sender waits
--- while nobody reads. What is malformed or too large ends the loop with an error that answers 400 or 413.

local core = require "neap.core.http"
local crypto = require "neap.core.crypto"
local sandbox = require "neap.core.sandbox"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {}

---What a form may have. A request's body is bounded by the server's `max_body_bytes` as well.
---@class neap.http.PartLimits
---@field max_parts? integer default 1000
---@field max_header_bytes? integer of one part's headers; default 8 KiB
---@field max_field_bytes? integer of a part that is no file; default 1 MiB
---@field max_file_bytes? integer of a file; default 64 MiB
---@field max_bytes? integer of the whole body; default 256 MiB

M.limits = schema.new {
  max_parts = "bytes",
  max_header_bytes = "bytes",
  max_field_bytes = "bytes",
  max_file_bytes = "bytes",
  max_bytes = "bytes",
}

local statuses = { ELIMIT = 413, EPROTO = 400, EINVAL = 400, ENOTSUP = 415 }

---Says which status an error answers with, when it is the fault of who sent the body.
---@param err neap.Error
---@return neap.Error err
function M.blame(err)
  err.status = statuses[err.code]
  return err
end

-- --- reading

---A part of a form. Its data is read once, before the next part is asked for.
---@class neap.http.Part
---@field name string of the field
---@field filename? string of a file: the last component of what the sender says, without control characters;
---empty when there is no usable name. Two senders may say the same.
---@field raw_filename? string as the sender wrote it, path and all: never a place to write to
---@field content_type? string nil means text/plain
---@field headers table<string, string> by lower-case name
local Part = {}
Part.__index = Part
Part.__name = "neap.http.part"

local Reader = {}
Reader.__index = Reader

---Reads parts from a source of pieces.
---@param source fun(): string?, neap.Error? gives the next piece of the body, nil at its end
---@param content_type? string with the boundary
---@param limits? neap.http.PartLimits
---@return table? reader
---@return neap.Error? err ENOTSUP: no multipart/form-data; EPROTO: without a good boundary
function M.reader(source, content_type, limits)
  local parser, err = core.multipart_parser(content_type or "", limits)
  if not parser then return nil, M.blame(err) end
  return setmetatable({ parser = parser, source = source }, Reader)
end

local function fail(self, err)
  self.failure = err
  return nil, err
end

-- The parser's next event: its name and value; nil at the end of the body; nil, err.
local function next_event(self)
  if self.failure then return nil, self.failure end
  while not self.ended do
    local event, value = self.parser:next()
    if event then return event, value end
    if value then return fail(self, M.blame(value)) end
    local piece, err = self.source()
    if piece == nil and err then return fail(self, err) end
    if piece then
      self.parser:push(piece)
    else
      self.ended = true
      local ok
      ok, err = self.parser:finish()
      if not ok then return fail(self, M.blame(err)) end
    end
  end
end

---The next part; what was not read of the one before is skipped.
---@return neap.http.Part? part nil when there are no more
---@return neap.Error? err
function Reader:next_part()
  while true do
    local event, value = next_event(self)
    if not event then
      self.current = nil
      return nil, value
    end
    if event == "part" then
      value.reader, self.current = self, value
      return setmetatable(value, Part)
    end
  end
end

---The next piece of the part's data.
---@return string? piece nil at the end
---@return neap.Error? err
function Part:read()
  local reader = self.reader
  if self.complete then return nil end
  if reader.current ~= self then
    return nil, reader.failure or task.error("ECLOSED", "the part was skipped: another one was asked for")
  end
  local event, value = next_event(reader)
  if event == "data" then return value end
  self.complete = event ~= nil
  if not event then return nil, value end
end

---`for piece in part:chunks() do … end`. Raises the error when the data breaks off.
---@return fun(): string?
function Part:chunks()
  return function()
    local piece, err = self:read()
    if piece == nil and err ~= nil then error(err, 0) end
    return piece
  end
end

local function too_large(self, max)
  local what = self.filename and "file" or "field"
  return M.blame(task.error("ELIMIT", ("the %s '%s' is larger than %d bytes"):format(what, self.name, max)))
end

---All of the part's data.
---@param max? integer bytes, if fewer than the limits allow
---@return string? data
---@return neap.Error? err ELIMIT, EPROTO, ECONNRESET …
function Part:body(max)
  if max ~= nil then schema.arg("max", max, "bytes") end
  local pieces, size = {}, 0
  local piece, err = self:read()
  while piece do
    size = size + #piece
    if max and size > max then return nil, too_large(self, max) end
    pieces[#pieces + 1] = piece
    piece, err = self:read()
  end
  if err then return nil, err end
  return table.concat(pieces)
end

---@class neap.http.SaveOptions
---@field overwrite? boolean a file of that name is replaced; default false: EEXIST
---@field mode? integer permissions; default 384 (octal 600)

local save_options = schema.new {
  overwrite = "boolean",
  mode = { "integer", min = 0, max = 511, default = 384 },
}

---Writes the part's data to a file, which is there when all of it is, or not at all.
---@param path string where the service wants it: not what the sender says
---@param opts? neap.http.SaveOptions
---@return integer? bytes
---@return neap.Error? err EEXIST, ENOENT, EACCES …, or as of `read`
function Part:save(path, opts)
  schema.arg("path", path, "string")
  opts = save_options:read(opts)
  if sandbox.active then return nil, task.error("EACCES", "a sandbox has no files") end
  local file <close>, err = core.new_upload(path, opts.mode)
  if not file then return nil, err end
  local size = 0
  while true do
    local piece, problem = self:read()
    if problem then return nil, problem end
    local ok
    if piece == nil then
      ok, err = file:commit(opts.overwrite)
      return ok and size, err
    end
    ok, err = file:write(piece)
    if not ok then return nil, err end
    size = size + #piece
  end
end

-- --- building

---A file of a form that is sent. One of `body` and `path` is given.
---@class neap.http.FileField
---@field body? string|fun(): string?, neap.Error? a function gives it piece by piece
---@field path? string of a file, which is read while it is sent
---@field filename? string default: the last component of `path`, else "file"
---@field content_type? string default "application/octet-stream"
---@field headers? table<string, string> of the part

local file_schema = schema.new {
  body = "string|function",
  path = { "string", min = 1 },
  filename = "string",
  content_type = "string",
  headers = { "map", of = "string|number" },
}

local PIECE <const> = 65536

local function open_file(path)
  if sandbox.active then return nil, task.error("EACCES", "a sandbox has no files") end
  local file, message, code = io.open(path, "rb")
  if not file then
    local missing = code == 2 or code == 20
    return nil, task.error(missing and "ENOENT" or code == 13 and "EACCES" or "EIO", message)
  end
  local size = file:seek "end"
  file:seek "set"
  return function()
    local piece, problem = file:read(PIECE)
    if piece == nil then
      file:close()
      if problem then return nil, task.error("EIO", problem) end
    end
    return piece
  end, nil, size
end

local function quoted(text, what)
  return core.multipart_quote(text) or error(what .. ": has control characters", 0)
end

local function header_lines(out, headers, path)
  for name, value in pairs(headers) do
    value = tostring(value)
    if not name:find "^[%w!#$%%&'*+.^_`|~-]+$" or value:find "[\0-\8\10-\31\127]" then
      error(("%s.headers[%q]: is no header"):format(path, name), 0)
    end
    out[#out + 1] = ("%s: %s\r\n"):format(name, value)
  end
end

-- Adds one field: texts, and functions for what is streamed. Returns nothing, or an error to give back.
local function add_field(out, boundary, name, value, path)
  local kind = type(value)
  local head = { ("--%s\r\nContent-Disposition: form-data; name=%s"):format(boundary, quoted(name, path)) }
  if kind == "string" or kind == "number" or kind == "boolean" then
    out[#out + 1] = head[1] .. "\r\n\r\n" .. tostring(value) .. "\r\n"
    return
  end
  if kind ~= "table" then
    error(("%s: expected string, number, boolean or file, got %s"):format(path, kind), 0)
  end
  local problem = file_schema:problem(value, path)
  if problem then error(problem, 0) end
  if (value.body == nil) == (value.path == nil) then error(path .. ": expected one of body and path", 0) end
  local body, err, size = value.body, nil, nil
  if value.path then body, err, size = open_file(value.path) end
  if err then return err end
  local filename = value.filename or (value.path and value.path:match "[^/]*$") or "file"
  head[2] = ("; filename=%s\r\n"):format(quoted(filename, path .. ".filename"))
  header_lines(head, { ["Content-Type"] = value.content_type or "application/octet-stream" }, path)
  header_lines(head, value.headers or {}, path)
  head[#head + 1] = "\r\n"
  out[#out + 1] = table.concat(head)
  out[#out + 1] = body
  if type(body) == "function" then out.streamed = (out.streamed or 0) + (size or math.huge) end
  out[#out + 1] = "\r\n"
end

local function add_fields(out, boundary, name, value, path)
  if type(value) == "table" and (value[1] ~= nil or next(value) == nil) then
    for i, item in ipairs(value) do
      local err = add_field(out, boundary, name, item, ("%s[%d]"):format(path, i))
      if err then return err end
    end
    return
  end
  return add_field(out, boundary, name, value, path)
end

-- In the order of the list, or of the names.
local function each_field(fields, visit)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  if fields[1] ~= nil then
    for i, field in ipairs(fields) do
      if type(field) ~= "table" or type(field.name) ~= "string" or field.value == nil then
        error(("fields[%d]: expected { name = …, value = … }"):format(i), 0)
      end
      local err = visit(field.name, field.value, ("fields[%d].value"):format(i))
      if err then return err end
    end
    return
  end
  for _, name in ipairs(names) do
    if type(name) ~= "string" then error("fields: expected strings as names, got " .. type(name), 0) end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local err = visit(name, fields[name], "fields." .. name)
    if err then return err end
  end
end

local function streamed(items)
  local i = 1
  return function()
    while items[i] do
      local item = items[i]
      if type(item) == "string" then
        i = i + 1
        return item
      end
      local piece, err = item()
      if piece ~= nil then return piece end
      if err ~= nil then return nil, err end
      i = i + 1
    end
  end
end

---Makes the body of a form that is sent.
---@param fields table by name: strings, numbers, booleans, files (neap.http.FileField) or arrays of them; or,
---to say their order, a list of `{ name = …, value = … }`
---@return string|fun(): string? body a function when something is streamed: good for one call
---@return table headers with the content type; an error (ENOENT, EACCES) after nil
---@return integer? length of a body that is streamed, if it is known: for the call's `content_length`
local function build(_, fields)
  schema.arg("fields", fields, "table")
  local boundary = "neap-" .. crypto.encode("hex", crypto.random(16))
  local items = {}
  local ok, err = pcall(each_field, fields, function(name, value, path)
    return add_fields(items, boundary, name, value, path)
  end)
  if not ok then error(err, 2) end
  if err then return nil, err end
  items[#items + 1] = ("--%s--\r\n"):format(boundary)
  local headers = { ["content-type"] = "multipart/form-data; boundary=" .. boundary }
  if not items.streamed then return table.concat(items), headers end
  local length = items.streamed
  for _, item in ipairs(items) do
    if type(item) == "string" then length = length + #item end
  end
  return streamed(items), headers, math.tointeger(length)
end

return setmetatable(M, { __call = build })
