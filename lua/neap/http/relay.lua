--- Forwarding by way of a call: for requests that may be on their way to two endpoints at once, as those are
--- that are hedged. neap.core.forward joins a request to one upstream; here the attempts are a client's, and
--- the answer that won is passed on, head and body, without what belongs to one connection. Lua sees each
--- piece of the body, and 1xx answers are not passed on.

local answer = require "neap.http.answer"
local core = require "neap.core.http"
local resilience = require "neap.http.resilience"
local task = require "neap.core.task"

local M = {}

local DEADLINE = "x-neap-deadline"
local collected_only = { decompress = true, max_body = true, expect_continue = true } -- of a client's wire

---The fields that a request is passed on with.
---@param req neap.http.Request
---@param changes? table<string, any> by lower-case name; `false` leaves one out
---@param keep_host? boolean
---@return table<string, any>
function M.headers(req, changes, keep_host)
  local headers = answer.end_to_end(req.headers)
  headers["expect"] = nil
  if not keep_host then headers["host"] = nil end
  for name, value in next, changes or {} do headers[name] = value or nil end
  return headers
end

-- --- the answer

local function pass_body(req, res)
  while true do
    local piece, err = res:read()
    if piece == nil then return err == nil or nil, err end
    local ok
    ok, err = req:write(piece)
    if not ok then return nil, err end
  end
end

local Closing = {
  __close = function(self) self[1]:close() end,
}

---Answers with a client's response, collected or not, and ends that. What breaks off is broken off.
---@param req neap.http.Request
---@param res neap.http.Response
---@return true? ok
---@return neap.Error? err
function M.pass(req, res)
  local open <close> = not res.body and setmetatable({ res }, Closing) or nil -- luacheck: ignore 211
  local headers, head_only = answer.end_to_end(res.headers), req.method == "HEAD"
  if res.body and not head_only then return req:respond(res.status, res.body, headers) end
  local length = math.tointeger(tonumber(res.headers["content-length"]))
  local ok, err = req:start(res.status, headers, length)
  if ok and not res.body then
    ok, err = pass_body(req, res)
    if not ok then core.break_off(req) end
  end
  if not ok then return nil, err end
  req:finish(res.trailers)
  return true
end

-- --- the request

local function wire_of(req, through, opts, target, changes)
  local wire = {}
  for name, value in next, through.wire do
    if not collected_only[name] then wire[name] = value end
  end
  wire.method, wire.target = opts.method or req.method, target or req.target
  wire.headers = M.headers(req, changes, opts.preserve_host)
  wire.body, wire.stream = opts.body, true
  return wire
end

---Forwards a request that may be made twice, whose body is in `opts` if it has one.
---@param req neap.http.Request
---@param through neap.http.Client one that has a cluster
---@param opts table as checked by neap.http.forward
---@param call table what the machine and a chooser are told
---@param target? string default: the request's
---@param changes? table of its headers
---@return true? ok
---@return neap.Error? err
---@return boolean? unanswered of a failure: the request is as it was
function M.forward(req, through, opts, call, target, changes)
  local up = through.upstream
  call.wire = wire_of(req, through, opts, target, changes)
  call.safe, call.attempts = true, 0
  if task.deadline() and not (changes and changes[DEADLINE]) then -- what came is of another moment
    call.wire.headers[DEADLINE], call.tell = nil, "task"
  end
  through.relay = through.relay or { way = through.way } -- its hooks are for calls
  local res, err = resilience.perform(up, through.relay, call)
  if not res then return nil, err, true end
  local stick = up.sticky
  if stick and res.sticky and res.sticky ~= call.sticky then
    req:add_header(stick.name, stick:text(res.sticky))
  end
  local ok, why = M.pass(req, res)
  return ok, why, false
end

return M
