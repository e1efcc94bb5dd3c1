-- A request whose body is produced by a function: written piece by piece, with back-pressure, while the
-- answer may already come. Called by the HTTP binding's `request` (src/script/bind_http_client.c).

local core = require "neap.core.http"

local M = {}

local function send_body(call, produce)
  while true do
    local piece = produce()
    if piece == nil then break end
    local ok, err = call:write(piece)
    if not ok then return ok, err end -- false: the answer is complete, no more is wanted
  end
  call:finish()
  return true
end

--- As core.request, with `body` a function that returns pieces and then nil.
function M.request(opts)
  local start = {}
  for name, value in pairs(opts) do start[name] = value end
  local produce = start.body
  start.body, start.stream_body = nil, true
  local call, err = core.start(start)
  if not call then return nil, err end
  local finished = false
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() if not finished then call:close() end end,
  })
  local ok
  ok, err = send_body(call, produce)
  if ok == nil then return nil, err end
  finished = true
  return call:response()
end

return M
