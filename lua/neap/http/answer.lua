-- Answers that take more than one step: streamed from a function, and passed through from a client's
-- response. Called by the HTTP binding (src/script/bind_http_answer.c).

local M = {}

-- Headers that belong to one connection (RFC 9110, 7.6.1) or that the server writes by itself.
local own_headers = {
  ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["te"] = true,
  ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true, ["content-length"] = true,
  ["date"] = true, ["proxy-authenticate"] = true,
}

--- Sends what `produce` returns, piece by piece, until it returns nil.
function M.stream(req, status, produce, headers)
  local ok, err = req:start(status, headers)
  while ok do
    local piece = produce()
    if piece == nil then break end
    ok, err = req:write(piece)
  end
  if not ok and err.code ~= "ECONNRESET" then error(err, 0) end
  req:finish()
end

local function end_to_end(headers)
  local dropped = {}
  for name in (headers["connection"] or ""):gmatch("[^,%s]+") do dropped[name:lower()] = true end
  local kept = {}
  for name, value in pairs(headers) do
    if not own_headers[name] and not dropped[name] then kept[name] = value end
  end
  return kept
end

--- Passes a client's response on: status, end-to-end headers, body.
function M.pass(req, res)
  local headers = end_to_end(res.headers)
  if res.body then
    req:respond(res.status, res.body, headers)
    return
  end
  M.stream(req, res.status, function() return res:read() end, headers)
end

return M
