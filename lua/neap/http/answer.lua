--- Answers that take time to send: a function's pieces, and a client's response passed on. The binding
--- of the server calls these for what a handler returned.

local task = require "neap.core.task"

local M = {}

local gone = { ECONNRESET = true, ECONNABORTED = true, EPIPE = true, ECLOSED = true }

-- True when the client has left, and nobody is there to be told; what else keeps a piece from being sent
-- is raised.
local function cannot_send(err)
  if gone[err.code] then return true end
  error(err, 0)
end

---Streams what a function gives until it gives nil. If it raises, or gives `nil, err`, the connection is
---broken off, so that the client knows the answer is not whole.
---@param req neap.http.Request
---@param status integer
---@param body fun(): string?, any
---@param headers? table
function M.stream(req, status, body, headers)
  local head_only = req.method == "HEAD"
  local ok, err = req:start(status, headers)
  if not ok then return cannot_send(err) end
  while not head_only do
    local piece
    piece, err = body()
    if piece == nil then
      if err ~= nil then error(err, 0) end
      break
    end
    ok, err = req:write(piece)
    if not ok then return cannot_send(err) end
  end
  req:finish()
end

-- --- long bodies that are compressed: other tasks have their turns in between

local PIECE = 32768

---Writes what is long in pieces.
---@param req neap.http.Request
---@param data string
---@return true? ok
---@return neap.Error? err
function M.write_pieces(req, data)
  for i = 1, #data, PIECE do
    if i > 1 then task.yield() end
    local ok, err = req:write(data:sub(i, i + PIECE - 1))
    if not ok then return nil, err end
  end
  return true
end

---Answers with a whole body in pieces, and with `content_type` if there is one.
---@param req neap.http.Request
---@param status integer
---@param body string
---@param headers? table
---@param content_type? string
---@return true? ok
---@return neap.Error? err
function M.respond_pieces(req, status, body, headers, content_type)
  if content_type then
    local typed = { ["content-type"] = content_type }
    for name, value in pairs(headers or {}) do typed[name] = value end
    headers = typed
  end
  local ok, err = req:start(status, headers, #body)
  if ok and req.method ~= "HEAD" then ok, err = M.write_pieces(req, body) end
  if not ok then return nil, err end
  req:finish()
  return true
end

---The same for a body that a handler returned.
---@param req neap.http.Request
---@param status integer
---@param body string
---@param headers? table
---@param content_type? string
function M.pieces(req, status, body, headers, content_type)
  local ok, err = M.respond_pieces(req, status, body, headers, content_type)
  return ok or cannot_send(err)
end

-- What belongs to one connection (RFC 9110, 7.6.1), and what our server writes itself.
local dropped = {
  ["connection"] = true,
  ["keep-alive"] = true,
  ["proxy-connection"] = true,
  ["proxy-authenticate"] = true,
  ["te"] = true,
  ["trailer"] = true,
  ["transfer-encoding"] = true,
  ["upgrade"] = true,
  ["content-length"] = true,
}

---The headers that are not of one connection.
---@param headers table<string, any> by lower-case name
---@return table<string, any>
local function end_to_end(headers)
  local named = {}
  for name in (headers["connection"] or ""):gmatch "[^,%s]+" do named[name:lower()] = true end
  local out = {}
  for name, value in pairs(headers) do
    if not dropped[name] and not named[name] then out[name] = value end
  end
  return out
end
M.end_to_end = end_to_end

---Passes a client's response on: its status, its headers but for those of the connection, its body, which
---is streamed if it was not collected.
---@param req neap.http.Request
---@param res neap.http.Response
function M.pass(req, res)
  local headers = end_to_end(res.headers)
  if req.method == "HEAD" then -- has the length of what GET would get
    local ok, err = req:start(res.status, headers, math.tointeger(tonumber(res.headers["content-length"])))
    if not ok then return cannot_send(err) end
    if not res.body then res:close() end
    return req:finish()
  end
  if res.body then
    local ok, err = req:respond(res.status, res.body, headers)
    return ok or cannot_send(err)
  end
  local answer <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() res:close() end,
  })
  local length = math.tointeger(tonumber(res.headers["content-length"]))
  local ok, err = req:start(res.status, headers, length)
  if not ok then return cannot_send(err) end
  while true do
    local piece
    piece, err = res:read()
    if piece == nil then
      if err ~= nil then error(err, 0) end
      break
    end
    ok, err = req:write(piece)
    if not ok then return cannot_send(err) end
  end
  req:finish(res.trailers)
end

return M
