--- One attempt of a call: to one place, by one way.

local core = require "neap.core.http"
local deadline = require "neap.http.deadline"
local proxy_env = require "neap.http.proxy_env"
local transport = require "neap.http.transport"

local M = {}

-- A proxy that speaks TLS itself is believed as the origins are.
local function trusted(proxy, way)
  if not proxy or not proxy.tls or not way.tls or way.tls == true then return proxy end
  return { host = proxy.host, port = proxy.port, authorization = proxy.authorization, tls = way.tls }
end

-- Where the wire goes, and by which way.
local function aim(client, wire, place)
  local way = client.way
  wire.host, wire.port, wire.unix = place.host, place.port, place.unix
  wire.tls, wire.tls_name, wire.proxy = nil, nil, nil
  if place.scheme == "https" then
    wire.tls = way.tls or true
    wire.tls_name = way.tls_name or place.unix and "localhost" or nil
  end
  if place.unix or way.proxy == false then return true end
  if way.proxy or place.direct then
    wire.proxy = trusted(way.proxy, way)
    return true
  end
  local err
  wire.proxy, err = proxy_env.find(place.scheme, place.host, place.port)
  if err then return nil, err end
  wire.proxy = trusted(wire.proxy, way)
  place.direct = not wire.proxy -- a client's place lasts
  return true
end

local function sent_request(call, wire, place)
  return {
    method = wire.method,
    target = wire.target,
    scheme = place.scheme,
    host = place.host,
    headers = wire.headers,
    attempt = call.attempts,
  }
end

local function exchange(call, wire)
  if call.on_interim then return transport.request(wire, call.on_interim) end
  return core.request(wire)
end

-- Who does not want to wait for 100 (Continue) says so.
local function without_expecting(call, wire, res)
  if res.call then res:close() end
  wire.expect_continue = nil
  return exchange(call, wire)
end

---Makes the attempt. Waits.
---@param client table whose way it goes, and whose hooks hear of it
---@param call table the call that it belongs to
---@param wire table what is sent: the call's, or, of attempts that run at the same time, a copy of it
---@param place neap.http.Place
---@param timeout number? seconds
---@param number integer which one it is, from 1
---@return neap.http.Response?
---@return neap.Error?
function M.send(client, call, wire, place, timeout, number)
  local ok, err = aim(client, wire, place)
  if not ok then return nil, err end
  wire.timeout = timeout
  if call.tell and timeout then call.told = deadline.tell(wire.headers, timeout, call.told) end
  local kept, hooks = call.kept, client.hooks
  if kept then wire.body = kept:reader() end
  call.attempts = call.attempts + 1
  local request = hooks and sent_request(call, wire, place)
  if hooks and hooks.on_request then hooks.on_request(request) end
  local res
  res, err = exchange(call, wire)
  if res and res.status == 417 and wire.expect_continue and not (kept and kept.begun) then
    res, err = without_expecting(call, wire, res)
  end
  if res then
    res.authority, res.scheme, res.attempts = place.authority, place.scheme, number
    if hooks and hooks.on_response then hooks.on_response(res, request) end
  elseif hooks and hooks.on_error then
    hooks.on_error(err, request)
  end
  return res, err
end

return M
