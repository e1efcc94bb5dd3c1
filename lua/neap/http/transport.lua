--- A call whose body comes piece by piece from a function, or whose 1xx answers somebody wants to hear of.
--- The first is used by neap.core.http.request.

local core = require "neap.core.http"
local task = require "neap.task"

local M = {}

-- Sends what `body` gives until it gives nil, or until the answer is complete and no more is wanted.
local function send(call, body)
  while true do
    local piece, err = body()
    if piece == nil then
      if err ~= nil then error(err, 0) end
      break
    end
    if piece ~= "" then
      local wanted
      wanted, err = call:write(piece)
      if wanted == nil and err.code ~= "ECLOSED" then error(err, 0) end -- it is longer than announced
      if not wanted then return true end -- the call has ended: its response says how
    end
  end
  call:finish()
  return true
end

-- A body that fails breaks the call off; the caller is told why.
local function send_or_close(call, body)
  local ok, sent = pcall(send, call, body)
  if ok then return sent end
  call:close()
  if type(sent) == "table" and sent.code then return nil, sent end
  return nil, task.error("ESCRIPT", tostring(sent))
end

local function tell(call, on_interim)
  for status, headers in call.interim, call do on_interim(status, headers) end
end

---Makes a call with a streamed body. The body is sent by a task of its own, so that the answer may come
---while it is still being sent.
---@param opts table as for neap.core.http.request, `body` being a function or not
---@param on_interim? fun(status: integer, headers: table<string, any>) called in a task of its own
---@return neap.http.Response?
---@return neap.Error?
function M.request(opts, on_interim)
  local start = {}
  for k, v in pairs(opts) do start[k] = v end
  local body = type(opts.body) == "function" and opts.body or nil
  if body then start.body, start.stream_body = nil, true end
  start.interim = on_interim ~= nil
  local call, err = core.start(start)
  if not call then return nil, err end
  local sending = body and task.spawn(send_or_close, call, body)
  if on_interim then task.spawn(tell, call, on_interim) end
  local res
  res, err = call:response()
  if res then return res end
  if not sending then return nil, err end
  sending:cancel()
  local sent, why = sending:await()
  if not sent and why.code ~= "ECANCELED" then err = why end
  return nil, err
end

return M
