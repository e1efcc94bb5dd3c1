--- What a client's response can do beyond its fields.

local core = require "neap.core.http"
local json = require "neap.json"
local task = require "neap.task"

local methods = core.response_methods

---@class neap.http.Response
---@field status integer
---@field reason string
---@field headers table<string, any> by lower-case name; repeated ones joined by ", ", `set-cookie` an array
---@field body? string unless the call was made with `stream = true`
---@field trailers? table<string, any> what stood behind a chunked body; of a stream, once it is read
---@field coding? string what the body was decoded from: "gzip", "br" …; the headers tell of it no more
---@field attempts integer how many it took
---@field endpoint? neap.Endpoint the instance that answered, of a client for a service
---@field sticky? string stands for that instance, of a client with `sticky`: for a later call's option
---@field fallback? true it is what the client's fallback gave

---`for piece in res:chunks() do … end`. Raises the error when the body breaks off, as a loop cannot see it.
---@return fun(): string?
function methods:chunks()
  return function()
    local piece, err = self:read()
    if piece == nil and err ~= nil then error(err, 0) end
    return piece
  end
end

---The body as JSON.
---@return any value nil on failure only
---@return neap.Error? err
function methods:json()
  if not self.body then
    local pieces = {}
    local piece, err = self:read()
    while piece do
      pieces[#pieces + 1] = piece
      piece, err = self:read()
    end
    if err then return nil, err end
    self.body = table.concat(pieces)
  end
  if self.body == "" then return nil, task.error("EINVAL", "JSON: the answer has no body") end
  return json.decode(self.body)
end

return methods
