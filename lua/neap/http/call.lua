--- One call of a client: its attempts, and the redirects it follows, within its time.

local core = require "neap.core.http"
local retry = require "neap.http.retry"
local runtime = require "neap.core.runtime"
local task = require "neap.task"
local upstream = require "neap.http.upstream"

local M = {}

local monotonic = runtime.monotonic

-- Seconds left of the call's time, nil for no bound; false when it is over.
local function time_left(call)
  if not call.ends then return nil end
  local left = call.ends - monotonic()
  return left > 0 and left or false
end

local function timed_out(call)
  return nil, task.error("ETIMEDOUT", ("%s %s: timed out"):format(call.method, call.target))
end

-- A body that is a function can be sent once.
local function watch_body(call)
  local body = call.body
  if type(body) ~= "function" then return end
  call.body = function()
    call.body_begun = true
    return body()
  end
end

local function send(call, place, timeout)
  return core.request {
    host = place.host,
    port = place.port,
    unix = place.unix,
    method = call.method,
    target = call.target,
    headers = call.headers,
    body = call.body,
    timeout = timeout,
    first_byte_timeout = call.first_byte_timeout,
    idle_timeout = call.idle_timeout,
    max_body = call.max_body,
    stream = call.stream,
  }
end

-- A streamed answer holds its pick until its body has ended or is closed.
local function hold(res, lease)
  local class = getmetatable(res).__index
  function res:read(timeout)
    local piece, err = class.read(self, timeout)
    if piece == nil and not (err and err.code == "ETIMEDOUT" and timeout) then lease:done(err == nil) end
    return piece, err
  end
  function res:close()
    lease:done(nil)
    class.close(self)
  end
end

local function failed_status(status)
  return status >= 500
end

-- One attempt. Returns the response, or nil and the error; then the endpoint that was picked, if any.
local function attempt(client, call, tried, timeout)
  local place, lease = client.upstream:take(call, tried)
  if not place then return nil, lease end
  if not lease then
    local res, err = send(call, place, timeout)
    if res then res.authority = place.authority end
    return res, err
  end
  local held <close> = setmetatable({ lease }, { -- luacheck: ignore 211
    __close = function(self)
      if self[1] then self[1]:done(nil) end
    end,
  })
  local picked = lease.picked
  local res, err = send(call, place, timeout)
  lease:head()
  if not res then
    lease:done(false)
    return nil, err, picked
  end
  res.endpoint, res.authority = picked, place.authority
  if call.stream and not failed_status(res.status) then
    hold(res, lease)
    held[1] = nil
  else
    lease:done(not failed_status(res.status))
  end
  return res, nil, picked
end

local function smaller(a, b)
  if not a then return b end
  if not b then return a end
  return math.min(a, b)
end

-- Whether to try again, and after how long; withdraws from the budget.
local function next_attempt(policy, call, made, res, err, fresh)
  if made >= policy.attempts or call.body_begun then return end
  if not policy:wants(call.method, call.idempotent, res and res.status, err) then return end
  local delay = 0
  if not (fresh and retry.is_unreached(err)) then delay = policy:delay(made) end
  local left = time_left(call)
  if left == false or (left and delay >= left) then return end
  if not policy.budget:withdraw(monotonic()) then return end
  return delay
end

---Makes the attempts.
---@return neap.http.Response?
---@return neap.Error?
local function with_retries(client, call)
  local policy = client.policy
  local tried, made = {}, 0
  if policy then policy.budget:deposit(monotonic()) end
  while true do
    local left = time_left(call)
    if left == false then return timed_out(call) end
    local res, err, picked = attempt(client, call, tried, policy and smaller(left, policy.timeout) or left)
    made = made + 1
    if res then res.attempts = made end
    if not policy then return res, err end
    tried[#tried + 1] = picked
    local delay = next_attempt(policy, call, made, res, err, picked ~= nil)
    if not delay then return res, err end
    if res and res.call then res:close() end
    if delay > 0 then task.sleep(delay) end
  end
end

-- --- redirects

local redirects = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

-- What must not go to another origin.
local secrets = { "authorization", "cookie", "proxy-authorization" }

-- Whether the redirected call is a plain GET, as browsers have it.
local function becomes_get(call, status)
  if status == 303 then return call.method ~= "HEAD" end
  return call.method == "POST" and (status == 301 or status == 302)
end

local function make_get(call)
  call.method, call.body, call.body_begun = "GET", nil, nil
  for _, name in ipairs { "content-type", "content-length", "content-encoding", "content-language" } do
    call.headers[name] = nil
  end
end

-- The client that goes to the place a URL names: the same one while the origin is the same.
local function follow_to(client, call, place, url)
  if place.unix then return nil, task.error("EPROTO", "redirected to a unix socket") end
  if place.authority ~= call.authority then
    for _, name in ipairs(secrets) do call.headers[name] = nil end
    call.headers.host = nil
    client = { upstream = upstream.origin(place), policy = client.policy, jar = client.jar }
  end
  call.authority, call.host, call.target = place.authority, url.host, url.target
  return client
end

local function resolve(client, call, location)
  local text, err = core.resolve_url("http://" .. call.authority .. call.target, location)
  if not text then return nil, err end
  local url
  url, err = core.parse_url(text)
  if not url then return nil, err end
  local place
  place, err = upstream.place(url)
  if not place then return nil, err end
  return follow_to(client, call, place, url)
end

local function path_of(call)
  return call.target:match "^[^?]*"
end

local function send_cookies(client, call)
  if not client.jar or call.own_cookie then return end
  call.headers.cookie = client.jar:header(call.host or "", path_of(call), false)
end

---Makes a call and follows its redirects.
---@param client table
---@param call table as lua/neap/http/client.lua prepares it
---@return neap.http.Response?
---@return neap.Error?
function M.perform(client, call)
  if call.timeout then call.ends = monotonic() + call.timeout end
  call.own_cookie = call.headers.cookie ~= nil
  watch_body(call)
  local followed = 0
  while true do
    send_cookies(client, call)
    local res, err = with_retries(client, call)
    if not res then return nil, err end
    call.authority = call.authority or res.authority
    if client.jar then client.jar:store(call.host or "", path_of(call), res.headers["set-cookie"]) end
    local location = res.headers["location"]
    if not redirects[res.status] or not location or call.redirects == 0 then return res end
    local get = becomes_get(call, res.status)
    if call.body_begun and not get then return res end
    if res.call then res:close() end
    followed = followed + 1
    if followed > call.redirects then
      return nil, task.error("EREDIRECTS", ("more than %d redirects"):format(call.redirects))
    end
    if get then make_get(call) end
    client, err = resolve(client, call, location)
    if not client then return nil, err end
  end
end

return M
