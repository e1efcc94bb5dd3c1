--- The options of a client and of its calls: what there is, what is checked, what becomes of it.

local chooser = require "neap.http.chooser"
local core = require "neap.core.http"
local priority = require "neap.http.priority"
local proxy_env = require "neap.http.proxy_env"
local rules = require "neap.http.rules"
local schema = require "neap.schema"
local tls = require "neap.core.tls"

local M = {}

---Bounds of a call's phases, in seconds; `false` is none. What ran out stands in `err.timeout`, and where
---the call stood in `err.phase` ("wait", "dns", "connect", "proxy", "tls", "send", "first_byte", "body").
---@class neap.http.Timeouts
---@field wait? number|false for a connection of the pool to be free; default none
---@field dns? number|false for the name to be resolved; default 5
---@field connect? number|false for TCP; default 5
---@field tls? number|false for the handshake, and for a proxy to connect; default 10
---@field first_byte? number|false from sending to the first byte of the answer; default none
---@field idle? number|false without progress of the body that is sent or of the answer; default none
---@field total? number|false for the call in all, as the option `timeout`

---@class neap.http.PoolOptions
---@field max_connections? integer open ones an origin; more calls wait in order; default 0: no bound
---@field max_idle? integer kept connections an origin; default 64
---@field max_idle_total? integer kept connections in all; default 512
---@field max_waiting? integer calls that wait for a connection; more fail with ELIMIT; default 1024
---@field idle_timeout? number|false seconds a kept connection may sit; default 60
---@field max_age? number|false seconds a connection is used; default none
---@field max_requests? integer calls a connection carries; default 0: no bound
---@field attempt_delay? number seconds until a name's next address is tried as well (RFC 8305); default 0.25

---@class neap.http.Auth
---@field user? string
---@field password? string
---@field bearer? string|fun(): string? a token, or what gives one for each call (it may wait)

---@alias neap.http.Priority "sheddable"|"low"|"normal"|"high"|"critical"

---@class neap.http.ClientOptions
---@field base? string URL that paths are added to: "https://host/prefix", "unix:/run/app.sock"
---@field service? string name of a service in the registry, instead of `base`
---@field tags? string[] of the service's instances, those that carry each of these
---@field endpoints? (string|neap.Endpoint|neap.balancer.EndpointOptions)[] a list, instead of `service`
---@field balancer? string|neap.balancer.Policy|function|neap.Balancer default "peak_ewma"
---@field seed? integer of the policy's draws; this and the next ones as `neap.balancer.new` has them
---@field choices? integer
---@field full_scan? boolean
---@field active_bias? number
---@field ring_points? integer
---@field ring_max? integer
---@field load_factor? number
---@field table_size? integer
---@field max_active? integer
---@field error_penalty? number
---@field blackout? number
---@field expiry? number
---@field update_interval? number
---@field overprovisioning? number
---@field zone_min_endpoints? integer
---@field zone_spill? number
---@field zone_callers? number
---@field sticky? "key"|neap.balancer.Sticky keeps a forwarded client with its endpoint
---@field zone? string the caller's: endpoints of it are preferred
---@field panic_threshold? number share of available endpoints below which all are used; default 0.5
---@field slow_start? neap.http.SlowStartOptions default: none is spared
---@field subset? neap.http.SubsetOptions what calls may ask for
---@field retry? neap.http.RetryOptions|boolean default: true for `service` and `endpoints`, else false
---@field hedge? neap.http.HedgeOptions|boolean default false
---@field outlier? neap.http.OutlierOptions|boolean default: true for `service` and `endpoints`, else false
---@field breaker? neap.http.BreakerOptions|boolean default false
---@field concurrency? neap.http.ConcurrencyOptions|boolean default as `outlier`
---@field rate_limit? neap.http.RateLimitOptions|false default false
---@field health? neap.health.Options active checks of the endpoints; default: none
---@field priority? neap.http.Priority of calls, sent as `x-neap-priority`; default: normal, and not sent
---@field fallback? neap.http.Fallback for calls, and forwarded requests, that have no answer
---@field timeout? number|false seconds for a call in all, retries and redirects included; default 30
---@field deadline? boolean tells the server the time left, as `x-neap-deadline`; see neap.http.deadline
---@field timeouts? neap.http.Timeouts of its phases
---@field first_byte_timeout? number as `timeouts.first_byte`
---@field idle_timeout? number as `timeouts.idle`
---@field headers? table<string, any> sent with every call
---@field auth? neap.http.Auth sent with every call that has no Authorization header, to its own origin alone
---@field redirects? integer how many are followed; default 5, 0 none
---@field redirect_to_http? boolean from https as well; default false: EREDIRECTS
---@field cookies? boolean|neap.http.CookieJar true: a jar of its own; default: none are kept
---@field max_body? integer bytes of a collected body, decoded; default 64 MiB
---@field max_header_bytes? integer of an answer; default 64 KiB
---@field decompress? boolean asks for gzip, deflate, br, zstd and gives bodies decoded; default true
---@field expect_continue? boolean|number bodies wait for 100 (Continue), true: a second; default false
---@field tls? true|neap.tls.Context|neap.TlsOptions default: the system's roots; a service is called by https
---@field tls_name? string what the certificate is for; default: the host, or the service's name
---@field proxy? string|false an HTTP proxy's URL; false: none; default: the environment's, none for a service
---@field pool? neap.http.PoolOptions connections of its own; default: the worker's, shared
---@field on_request? fun(request: neap.http.SentRequest) before each attempt; may change its headers, wait
---@field on_response? fun(res: neap.http.Response, request: neap.http.SentRequest) after each answer
---@field on_error? fun(err: neap.Error, request: neap.http.SentRequest) after each attempt without one
---@field on_interim? fun(status: integer, headers: table<string, any>) for each 1xx answer

---@class neap.http.SentRequest
---@field method string
---@field target string path and query
---@field scheme string "http" or "https"
---@field host? string
---@field headers table<string, any> by lower-case name
---@field attempt integer 1 for the first

---@class neap.http.CallOptions
---@field query? string|table<string, any> added to the path; arrays become repeated names
---@field headers? table<string, any> `false` removes one that the client would send
---@field body? string|(fun(): string?)|table|userdata in pieces: from a function, or what has a method `read`
---@field content_length? integer of a body that comes in pieces; default: unknown, sent chunked
---@field json? any the body, as JSON
---@field form? table<string, any> the body, as a form
---@field timeout? number|false
---@field timeouts? neap.http.Timeouts
---@field first_byte_timeout? number
---@field idle_timeout? number
---@field auth? neap.http.Auth|false
---@field stream? boolean the body is read piece by piece: `res:read()`, `res:chunks()`, `res:close()`
---@field max_body? integer
---@field decompress? boolean
---@field expect_continue? boolean|number
---@field redirects? integer
---@field retry? boolean false: not this call
---@field idempotent? boolean whether making it twice is as good as once; default: as its method says
---@field hash_key? string|number for a balancer that hashes: the same key goes to the same instance
---@field sticky? string the `sticky` of an earlier response of this client: to the same endpoint again
---@field priority? neap.http.Priority who is refused first where not all can be served
---@field subset? table<string, string> metadata that the endpoint must have, see neap.http.SubsetOptions
---@field fallback? neap.http.Fallback
---@field on_interim? fun(status: integer, headers: table<string, any>)

local timeouts = {
  "table",
  fields = {
    wait = "seconds", dns = "seconds", connect = "seconds", tls = "seconds",
    first_byte = "seconds", idle = "seconds", total = "seconds",
  },
}

local function check_auth(auth)
  if type(auth) ~= "table" then return end
  if (auth.user == nil) == (auth.bearer == nil) then return "expected user and password, or bearer" end
end

local auth_fields = { user = "string", password = "string", bearer = "string|function" }

local client_fields = {
  base = "string",
  service = { "string", min = 1 },
  tags = { "array", of = "string" },
  endpoints = "array",
  balancer = "string|table|function|userdata",
  health = "table",
  priority = { "string", enum = priority.names },
  fallback = "callable",
  timeout = "seconds",
  deadline = "boolean",
  timeouts = timeouts,
  first_byte_timeout = "seconds",
  idle_timeout = "seconds",
  headers = { "map", of = "string|number|table", default = {} },
  auth = { "table", fields = auth_fields, check = check_auth },
  redirects = { "integer", min = 0, max = 100, default = 5 },
  redirect_to_http = "boolean",
  cookies = "boolean|table",
  max_body = "bytes",
  max_header_bytes = { "bytes", min = 1 },
  decompress = { "boolean", default = true },
  expect_continue = "boolean|number",
  tls = "userdata|table|boolean",
  tls_name = "string",
  proxy = "string|boolean",
  pool = "table",
  on_request = "callable",
  on_response = "callable",
  on_error = "callable",
  on_interim = "callable",
}
for name, field in next, rules.fields do client_fields[name] = field end
local client_schema = schema.new(client_fields)

local call_schema = schema.new {
  query = "string|table",
  headers = { "map", of = "string|number|boolean|table" },
  body = "string|function|table|userdata",
  content_length = "bytes",
  json = "any",
  form = "table",
  timeout = "seconds",
  timeouts = timeouts,
  first_byte_timeout = "seconds",
  idle_timeout = "seconds",
  auth = { "table|boolean", check = check_auth, fields = auth_fields },
  stream = "boolean",
  max_body = "bytes",
  decompress = "boolean",
  expect_continue = "boolean|number",
  redirects = { "integer", min = 0, max = 100 },
  retry = "boolean",
  idempotent = "boolean",
  hash_key = "string|number",
  sticky = "string",
  priority = { "string", enum = priority.names },
  subset = { "map", of = "string" },
  fallback = "callable",
  on_interim = "callable",
}

local twice = { total = "timeout", first_byte = "first_byte_timeout", idle = "idle_timeout" }

-- Sets in `wire` what the options say of timeouts; gives the total, nil where nothing is said.
local function set_timeouts(wire, opts, level)
  local t = opts.timeouts
  if opts.first_byte_timeout ~= nil then wire.first_byte_timeout = opts.first_byte_timeout or nil end
  if opts.idle_timeout ~= nil then wire.idle_timeout = opts.idle_timeout or nil end
  if not t then return opts.timeout end
  for name, option in next, twice do
    if t[name] ~= nil and opts[option] ~= nil then
      error(("opts: expected timeouts.%s or %s, not both"):format(name, option), level + 1)
    end
  end
  for _, name in ipairs { "wait", "dns", "connect", "tls", "first_byte", "idle" } do
    if t[name] ~= nil then wire[name .. "_timeout"] = t[name] or nil end
  end
  for _, name in ipairs { "wait", "dns", "connect", "tls" } do
    local none = t[name] == false or t[name] == 0
    if none then wire[name .. "_timeout"] = -1 end -- whatever the pool has
  end
  if t.total ~= nil then return t.total end
  return opts.timeout
end

local function expect_span(value)
  if value == true then return 1 end
  return value or nil
end

-- Sets in `wire` what clients and calls have in common.
local function set_common(wire, opts, level)
  wire.max_body = opts.max_body or wire.max_body
  if opts.decompress ~= nil then wire.decompress = opts.decompress end
  if opts.expect_continue ~= nil then wire.expect_continue = expect_span(opts.expect_continue) end
  local total = set_timeouts(wire, opts, level + 1) -- no tail call: its errors' level counts this one
  return total
end

-- A raise in C or below names no place of the caller's.
local function raised(message, level)
  error((tostring(message):gsub("^[^:]+:%d+: ", "")), level + 1)
end

local function read_proxy(value, level)
  if value == nil or value == false then return value end
  if value == true then error("opts.proxy: expected a URL or false, got true", level + 1) end
  local proxy, err = proxy_env.parse(value)
  if not proxy then error("opts.proxy: " .. err.message, level + 1) end
  return proxy
end

-- Which of the options name a place, of which there may be one.
local function check_place(opts, level)
  local places = (opts.base and 1 or 0) + (opts.service and 1 or 0) + (opts.endpoints and 1 or 0)
  local words = opts.endpoints and "opts: expected one of base, service and endpoints"
    or "opts: expected base or service, not both"
  if places > 1 then error(words, level + 1) end
  local many = opts.service or opts.endpoints
  if opts.balancer and (opts.base or not many and not chooser.is_balancer(opts.balancer)) then
    error("opts.balancer: is for a service", level + 1)
  end
  many = many or opts.balancer
  for _, name in ipairs { "tags", "zone", "slow_start", "subset", "sticky", "panic_threshold", "health" } do
    if opts[name] ~= nil and not many and not (name == "health" and opts.base) then
      error(("opts.%s: is for a service or for endpoints"):format(name), level + 1)
    end
  end
  if opts.rate_limit == true then error("opts.rate_limit: expected table or false, got true", level + 1) end
end

---Reads the options of a client. Raises for misuse.
---@return table? read `opts`, `wire` (what every call takes along), `timeout`, `tls`, `proxy`, `rules`
---@return neap.Error? err what TLS could not load
function M.client(opts, level)
  opts = client_schema:read(opts, level + 1)
  check_place(opts, level + 1)
  local wire = { max_header_bytes = opts.max_header_bytes }
  local timeout = set_common(wire, opts, level + 1)
  local timed = timeout and true or false
  if timeout == nil then timeout = 30 end
  local hooks = opts.on_request or opts.on_response or opts.on_error
  local read = { hooks = hooks and opts, opts = opts, wire = wire, timeout = timeout, timed = timed }
  read.proxy = read_proxy(opts.proxy, level + 1)
  if type(opts.tls) == "table" then
    local ok, context, err = pcall(tls.context, opts.tls)
    if not ok then raised(context, level + 1) end
    if not context then return nil, err end
    read.tls = context
  else
    read.tls = opts.tls or nil
  end
  if opts.pool then
    local ok, pool = pcall(core.pool, opts.pool)
    if not ok then raised(pool, level + 1) end
    wire.pool = pool
  end
  read.rules = rules.read(opts, level + 1)
  return read
end

local none = {}

---Checks the options of a call; gives its share of what goes to the wire.
---@param opts neap.http.CallOptions?
---@param defaults table the client's `wire`
---@return neap.http.CallOptions opts
---@return table wire
---@return number|false|nil timeout
function M.call(opts, defaults, level)
  local wire = { -- of a size for all that most calls have
    method = nil, target = nil, headers = nil, body = nil,
    host = nil, port = nil, timeout = nil, decompress = nil,
  }
  for k, v in next, defaults do wire[k] = v end
  if opts == nil then return none, wire, nil end
  call_schema:check(opts, level + 1)
  local bodies = (opts.body and 1 or 0) + (opts.json ~= nil and 1 or 0) + (opts.form and 1 or 0)
  if bodies > 1 then error("opts: expected one of body, json and form", level + 1) end
  wire.stream = opts.stream
  if opts.idempotent ~= nil then wire.idempotent = opts.idempotent and 1 or -1 end
  return opts, wire, set_common(wire, opts, level + 1)
end

---The Authorization header that the options ask for.
---@param auth neap.http.Auth?
---@return string?
function M.authorization(auth)
  if not auth then return nil end
  if auth.user then return proxy_env.basic(auth.user, auth.password) end
  local token = auth.bearer
  if type(token) == "function" then token = token() end
  return token and "Bearer " .. token
end

return M
