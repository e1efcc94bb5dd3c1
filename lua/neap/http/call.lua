--- One call of a client: its attempts, and the redirects it follows, within its time.

local attempts = require "neap.http.attempt"
local core = require "neap.core.http"
local deadline = require "neap.http.deadline"
local options = require "neap.http.client_options"
local replay = require "neap.http.replay"
local retry = require "neap.http.retry"
local runtime = require "neap.core.runtime"
local task = require "neap.task"
local upstream = require "neap.http.upstream"

local M = {}

local monotonic = runtime.monotonic

local function timed_out(call)
  local err = task.error("ETIMEDOUT", ("%s %s: timed out"):format(call.wire.method, call.wire.target))
  err.timeout = "total"
  return nil, err
end

-- A body that is a function can be sent once, but for what is kept of it.
local function watch_body(call)
  local body = call.wire.body
  if type(body) == "function" then call.kept = replay.new(body, call.keep or 0) end
end

-- Whether the request can be sent again as far as its body goes.
local function again(call)
  return not call.kept or call.kept:again()
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
local function attempt(route, call, tried, timeout, made)
  local place, lease = route.upstream:take(call, tried)
  if not place then return nil, lease end
  if not lease then return attempts.send(route.client, call, call.wire, place, timeout, made) end
  local held <close> = setmetatable({ lease }, { -- luacheck: ignore 211
    __close = function(self)
      if self[1] then self[1]:done(nil) end
    end,
  })
  local picked = lease.picked
  local res, err = attempts.send(route.client, call, call.wire, place, timeout, made)
  lease:head()
  if not res then
    lease:done(false)
    return nil, err, picked
  end
  res.endpoint = picked
  if call.wire.stream and not failed_status(res.status) then
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

local function idempotent(call)
  local value = call.wire.idempotent
  if value == nil then return nil end
  return value > 0
end

-- Whether to try again, and after how long; withdraws from the budget.
local function next_attempt(policy, call, made, res, err, fresh)
  if made >= policy.attempts or not again(call) then return end
  if not policy:wants(call.wire.method, idempotent(call), res and res.status, err) then return end
  local delay = 0
  if not (fresh and retry.is_unreached(err)) then delay = policy:delay(made) end
  local left = deadline.left(call)
  if left == false or (left and delay >= left) then return end
  if not policy.budget:withdraw(monotonic()) then return end
  return delay
end

---Makes the attempts.
---@return neap.http.Response?
---@return neap.Error?
local function with_retries(route, call)
  local policy = route.policy
  local tried, made = {}, 0
  if policy then policy.budget:deposit(monotonic()) end
  while true do
    local left = deadline.left(call)
    if left == false then return timed_out(call) end
    made = made + 1
    local within = policy and smaller(left, policy.timeout) or left
    local res, err, picked = attempt(route, call, tried, within, made)
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

-- A client as it is towards another origin: what was said of the first one's name does not hold there.
local function elsewhere(client)
  local way = client.way
  return {
    opts = client.opts,
    hooks = client.hooks,
    jar = client.jar,
    way = { tls = way.tls, proxy = way.proxy },
  }
end

-- Whether the redirected call is a plain GET, as browsers have it.
local function becomes_get(wire, status)
  if status == 303 then return wire.method ~= "HEAD" end
  return wire.method == "POST" and (status == 301 or status == 302)
end

local function make_get(call)
  local wire = call.wire
  wire.method, wire.body, wire.content_length, wire.expect_continue = "GET", nil, nil, nil
  wire.idempotent, call.kept = nil, nil
  for _, name in ipairs {
    "content-type", "content-encoding", "content-language", "content-location", "content-range", "digest",
    "last-modified",
  } do
    wire.headers[name] = nil
  end
end

-- The route to the place a URL names: the same one while the origin is the same.
local function follow_to(route, call, place, url)
  if place.unix then return nil, task.error("EPROTO", "redirected to a unix socket") end
  if call.scheme == "https" and place.scheme ~= "https" and not route.client.opts.redirect_to_http then
    return nil, task.error("EREDIRECTS", "redirected from https to http")
  end
  if place.authority ~= call.authority or place.scheme ~= call.scheme then
    for _, name in ipairs(secrets) do call.wire.headers[name] = nil end
    call.wire.headers.host = nil
    call.auth = nil
    deadline.leave(call)
    route = { client = elsewhere(route.client), upstream = upstream.origin(place), policy = route.policy }
  end
  call.authority, call.scheme, call.host = place.authority, place.scheme, url.host
  call.wire.target = url.target
  return route
end

local function resolve(route, call, location)
  local here = ("%s://%s%s"):format(call.scheme, call.authority, call.wire.target)
  local text, err = core.resolve_url(here, location)
  if not text then return nil, err end
  local url
  url, err = core.parse_url(text)
  if not url then return nil, err end
  return follow_to(route, call, upstream.place(url), url)
end

local function path_of(call)
  return call.wire.target:match "^[^?]*"
end

-- --- cookies, credentials

-- The scheme of the call's first place, for the cookies that are for https alone.
local function scheme_of(route, call)
  return call.scheme or route.upstream.scheme
end

local function send_cookies(route, call)
  local jar = route.client.jar
  if not jar or call.own_cookie then return end
  call.wire.headers.cookie = jar:header(call.host or "", path_of(call), scheme_of(route, call) == "https")
end

local function authorize(call)
  local headers = call.wire.headers
  if not call.auth or headers.authorization then return end
  headers.authorization = options.authorization(call.auth)
end

-- --- all of it

---Makes a call and follows its redirects.
---@param route table `client`, `upstream`, `policy`
---@param call table as lua/neap/http/client.lua prepares it
---@return neap.http.Response?
---@return neap.Error?
function M.perform(route, call)
  local wire = call.wire
  deadline.set(call)
  call.own_cookie = wire.headers.cookie ~= nil
  watch_body(call)
  authorize(call)
  local followed = 0
  while true do
    send_cookies(route, call)
    local res, err = with_retries(route, call)
    if not res then return nil, err end
    call.authority, call.scheme = call.authority or res.authority, call.scheme or res.scheme
    local jar = route.client.jar
    if jar then
      local secure = scheme_of(route, call) == "https"
      jar:store(call.host or "", path_of(call), res.headers["set-cookie"], nil, secure)
    end
    local location = res.headers["location"]
    if not redirects[res.status] or not location or call.redirects == 0 then return res end
    local get = becomes_get(wire, res.status)
    if not get and not again(call) then return res end
    if res.call then res:close() end
    followed = followed + 1
    if followed > call.redirects then
      return nil, task.error("EREDIRECTS", ("more than %d redirects"):format(call.redirects))
    end
    if get then make_get(call) end
    route, err = resolve(route, call, location)
    if not route then return nil, err end
  end
end

return M
