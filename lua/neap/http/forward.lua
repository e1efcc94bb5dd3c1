--- Proxying: a request answered by an upstream. The request is made anew from its parsed head, without
--- what belongs to one connection (RFC 9110, 7.6.1), and both bodies stream past Lua, each side held back
--- by the other.

local client = require "neap.http.client"
local core = require "neap.core.http"
local fallback = require "neap.http.fallback"
local forwarded = require "neap.http.forwarded"
local gateway = require "neap.http.gateway"
local priority = require "neap.http.priority"
local proxy_env = require "neap.http.proxy_env"
local relay = require "neap.http.relay"
local schema = require "neap.schema"
local task = require "neap.task"
local upstream = require "neap.http.upstream"

local M = {}

---@class neap.http.ForwardOptions
---@field target? string path and query; default: the request's
---@field method? string default: the request's
---@field headers? table<string, any> in place of the request's of these names; `false` leaves one out
---@field body? string in place of the request's
---@field preserve_host? boolean the upstream sees the Host that the client asked; default false: its own
---@field via? string adds `Via: 1.1 <this>` to what was there
---@field forwarded? "x-forwarded"|"forwarded" says who asked, as `http.forwarded_headers` does
---@field timeout? number|false seconds in all; default: the client's, or 30
---@field hash_key? string|number for a client whose balancer hashes
---@field subset? table<string, string> metadata that the endpoint must have
---@field priority? neap.http.Priority default: the request's `x-neap-priority`, or the client's
---@field fallback? neap.http.Fallback answers where no upstream does; default: the client's

local options = schema.new {
  target = { "string", min = 1 },
  method = { "string", min = 1 },
  headers = { "map", of = "string|number|boolean|table" },
  body = "string",
  preserve_host = "boolean",
  via = { "string", min = 1 },
  forwarded = { "string", enum = { "x-forwarded", "forwarded" } },
  timeout = "seconds",
  hash_key = "string|number",
  subset = { "map", of = "string" },
  priority = { "string", enum = priority.names },
  fallback = "callable",
}

local DEFAULT_TIMEOUT = 30
local forward_alone, forward_through = core.forward_alone, core.forward_through
local ruled = gateway.ruled
local none = { plain = true } -- no options

-- --- what is added to the head

local function list_with(before, element)
  if before and before ~= "" then return before .. ", " .. element end
  return element
end

-- Nil when there is nothing to change.
local function changes(req, defaults, opts)
  if opts == none and not (defaults and next(defaults)) then return nil end
  local out
  if defaults and next(defaults) then
    out = {}
    for name, value in pairs(defaults) do out[name] = value end
  end
  if opts.forwarded then
    out = out or {}
    forwarded.add(req, opts.forwarded, nil, out)
  end
  if opts.via then
    out = out or {}
    out["via"] = list_with(req.headers["via"], "1.1 " .. opts.via)
  end
  if opts.headers then
    out = out or {}
    for name, value in pairs(opts.headers) do out[name:lower()] = value end
  end
  return out
end

-- --- where to

-- What an upstream that is named by a URL needs of it; a script names the same ones again and again.
local origins, norigins = {}, 0

local function origin_of(text)
  local found = origins[text]
  if found then return found end
  local url, err = core.parse_url(text)
  if not url then return nil, err end
  if url.query or url.fragment or url.userinfo then
    return nil, task.error("EINVAL", "an upstream has neither query nor fragment nor user: " .. text)
  end
  found = { place = upstream.place(url), prefix = url.path:gsub("/$", "") }
  if norigins >= 1024 then origins, norigins = {}, 0 end
  origins[text], norigins = found, norigins + 1
  return found
end

local no_client = { wire = {}, way = { proxy = false } }

-- The way to a place: what core.forward takes besides host and port. Nil for a plain one; what a client
-- takes to all its places alike is made once.
local function way_to(place, through, timeout)
  local plain = timeout == nil and place.scheme == "http" and place.host and through.way.proxy == false
  if plain and through == no_client then return nil end
  if plain and through.plain_way then return through.plain_way end
  local way, wire = through.way, {}
  for name, value in pairs(through.wire) do wire[name] = value end
  wire.decompress, wire.max_body, wire.expect_continue = nil, nil, nil
  if timeout == nil then timeout = through.timeout end
  if timeout == nil then timeout = DEFAULT_TIMEOUT end
  wire.timeout, wire.unix = timeout or nil, place.unix
  if place.scheme == "https" then
    wire.tls = way.tls or true
    wire.tls_name = way.tls_name or place.unix and "localhost" or nil
  end
  if plain then through.plain_way = wire end
  if place.unix or way.proxy == false then return wire end
  local err
  wire.proxy = way.proxy
  if not wire.proxy then wire.proxy, err = proxy_env.find(place.scheme, place.host, place.port) end
  return wire, err
end

local function target_with(req, prefix, opts)
  if prefix == "" then return opts.target end
  local target = opts.target
  if not target then
    target = req.path
    local query = req.query_string
    if query and query ~= "" then target = target .. "?" .. query end
  end
  return prefix .. target
end

-- What gateway hands to a call: the target and the headers that change.
local function head(req, through, opts)
  return target_with(req, through.prefix, opts), changes(req, through.headers, opts)
end

local function send(req, place, through, prefix, opts, timeout, hold, c, name, value)
  if timeout == nil then timeout = opts.timeout end
  local way, err = way_to(place, through, timeout)
  if err then return nil, err, true, false end
  local headers = changes(req, through.headers, opts)
  return core.forward(way, req, place.host, place.port, target_with(req, prefix, opts), headers,
    opts.preserve_host, opts.body, opts.method, hold, name, value, c)
end

-- --- a balancer that stands by itself, without rules

-- Ends a pick whose task was ended.
local Held = {
  __close = function(self)
    local endpoint = self[2]
    self[2] = nil
    if endpoint then self[1]:release(endpoint) end
  end,
}

-- The plain case, which is the hot one: a balancer's pick over plain HTTP, one attempt, nothing to change.
local function by_balancer(req, balancer, endpoint)
  local held <close> = setmetatable({ balancer, endpoint }, Held)
  local host, way = endpoint.host, nil
  if not host then way = { unix = endpoint.path, timeout = DEFAULT_TIMEOUT } end
  local ok, why, status, seconds = core.forward(way, req, host, endpoint.port)
  held[2] = nil
  if ok then
    balancer:release(endpoint, status < 500, seconds)
  elseif status then -- nobody was answered
    balancer:release(endpoint, false)
  else
    balancer:release(endpoint)
  end
  return ok, why
end

-- The balancers of the clients that are plain, by client (as long as that is used); and whether they do not
-- care how a request ended.
local plain, lone = setmetatable({}, { __mode = "k" }), setmetatable({}, { __mode = "k" })

-- Looks whether a client is plain, once.
local function note_plain(through)
  if through.looked then return false end
  through.looked = true
  local to = through.upstream
  if through.fallback or not to.balancer or to.scheme ~= "http" or through.prefix ~= "" then return false end
  if through.way.proxy ~= false or through.timeout ~= DEFAULT_TIMEOUT then return false end
  if next(through.headers) then return false end
  for name in pairs(through.wire) do
    if name ~= "decompress" and name ~= "max_body" then return false end
  end
  plain[through] = to.balancer
  lone[through] = core.may_forward_alone(to.balancer)
  return true
end

-- --- all others

local function by_url(req, text, opts)
  local origin, err = origin_of(text)
  if not origin then return nil, err, true end
  return send(req, origin.place, no_client, origin.prefix, opts)
end

local function by_client(req, through, opts)
  if through.upstream.cluster then return gateway.forward(req, through, opts, send, head) end
  return send(req, through.upstream.at, through, through.prefix, opts)
end

local function by_endpoint(req, to, opts)
  local place = { scheme = "http", host = to.host, port = to.port, unix = not to.host and to.path or nil }
  return send(req, place, no_client, "", opts)
end

local function is_endpoint(to)
  if type(to) ~= "table" and type(to) ~= "userdata" then return false end
  return type(to.host) == "string" or type(to.path) == "string"
end

-- Answers by the fallback for what had no answer.
local function instead(answer, req, through, opts, err)
  through = through or no_client
  local res, why = fallback.answer({
    fallback = answer,
    wire = {
      method = opts.method or req.method,
      target = target_with(req, through.prefix or "", opts) or req.target,
      headers = relay.headers(req, changes(req, through.headers, opts), opts.preserve_host),
      body = opts.body,
    },
  }, err)
  if not res then return nil, why end
  local ok, gone = relay.pass(req, res)
  return ok, gone
end

---Answers a request with what an upstream answers to it. Waits until that is done.
---@param req neap.http.Request
---@param to string|neap.http.Client|neap.Endpoint
---@param opts? neap.http.ForwardOptions
---@return true? ok
---@return neap.Error? err
function M.forward(req, to, opts)
  local balancer = opts == nil and plain[to]
  if balancer then
    local endpoint, err = balancer:pick()
    if not endpoint then return nil, err end
    -- A handler that returns what comes of it need not wait for that. (Nothing between it and here may
    -- have anything left to do: forward_alone looks two frames up.)
    if lone[to] and forward_alone(req, endpoint, DEFAULT_TIMEOUT) then return true end
    return by_balancer(req, balancer, endpoint)
  end
  local by = opts == nil and ruled[to]
  if by then -- the same, by a cluster's rules
    local done, err = forward_through(by.cluster, req, by.timeout, by.hold, by.class, by.reads)
    if done ~= false then return done, err end
  end
  opts = opts ~= nil and options:read(opts, 2) or none
  local by_kind, through = by_endpoint, nil
  if type(to) == "string" then
    by_kind = by_url
  elseif getmetatable(to) == client.class then
    if not to.upstream then error("to: the client has neither base nor service", 2) end
    if opts == none and note_plain(to) then return M.forward(req, to) end
    by_kind, through = by_client, to
  elseif not is_endpoint(to) then
    error("to: expected URL, client or endpoint, got " .. type(to), 2)
  end
  local ok, why, unanswered = by_kind(req, to, opts)
  local answer = opts.fallback or through and through.fallback
  if ok or not answer or not unanswered then return ok, why end
  return instead(answer, req, through, opts, why)
end

return M
