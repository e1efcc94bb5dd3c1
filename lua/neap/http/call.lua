--- One call of a client: its attempts, and the redirects it follows, within its time.

local attempt = require "neap.http.attempt"
local core = require "neap.core.http"
local deadline = require "neap.http.deadline"
local options = require "neap.http.client_options"
local priority = require "neap.http.priority"
local replay = require "neap.http.replay"
local resilience = require "neap.http.resilience"
local task = require "neap.task"
local upstream = require "neap.http.upstream"

local M = {}

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

-- The answer of one place, or of whom the place's rules choose.
local function ask(route, call)
  local to, left = route.upstream, deadline.left(call)
  if left == false then return timed_out(call) end
  if to.cluster then return resilience.perform(to, route.client, call) end
  return attempt.send(route.client, call, call.wire, to.at, left, 1)
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
    origins = client.origins,
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
  wire.idempotent, call.kept, call.safe = nil, nil, true
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
    call.wire.headers[priority.HEADER], call.hash_key = nil, nil
    call.subset, call.sticky = nil, nil
    deadline.leave(call)
    local client = elsewhere(route.client)
    local to = client.origins and client.origins:at(place) or upstream.origin(place)
    route = { client = client, upstream = to }
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
---@param route table `client`, `upstream`
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
    local res, err = ask(route, call)
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
