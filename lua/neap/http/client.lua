--- A client: calls to one origin or to a service, with a deadline, retries, redirects and cookies.
---
--- Every method has three forms. `client:get(path, opts)` waits and returns the response or `nil, err`;
--- `client:async():get(path, opts)` returns a future of the same at once; with a function as the last
--- argument it returns at once as well, and the function is called with the same, in a task of its own.
--- An answer with any status is a response; an error means that there was no answer.

local call = require "neap.http.call"
local cookie = require "neap.http.cookie"
local core = require "neap.core.http"
local message = require "neap.http.message"
local options = require "neap.http.client_options"
local priority = require "neap.http.priority"
local schema = require "neap.schema"
local task = require "neap.task"
local upstream = require "neap.http.upstream"
require "neap.http.response"

local M = {}

---@class neap.http.Client
local Client = {}
Client.__index = Client
M.class = Client

local function parse_base(base, level)
  local url, err = core.parse_url(base)
  if not url then error("opts.base: " .. err.message, level + 1) end
  if url.query or url.fragment or url.userinfo then
    error("opts.base: expected no query, fragment or user", level + 1)
  end
  return upstream.place(url), url
end

-- What a client's way, timeouts and headers are, whatever it calls.
local function with_options(read)
  local opts = read.opts
  return setmetatable({
    opts = opts,
    wire = read.wire,
    timeout = read.timeout,
    timed = read.timed,
    quiet = opts.deadline == false,
    rules = read.rules,
    priority = opts.priority and priority.class(opts.priority),
    hooks = read.hooks,
    fallback = opts.fallback,
    headers = message.headers({}, opts.headers),
    prefix = "",
    way = { tls = read.tls, tls_name = opts.tls_name, proxy = read.proxy },
  }, Client)
end

-- Where its calls go: one origin, the endpoints of a service or of a list, or (nothing) wherever they say.
local function place(self, read, level)
  local opts, rules = self.opts, read.rules.any and read.rules or nil
  if opts.base then
    local at, url = parse_base(opts.base, level + 1)
    self.prefix, self.host = url.path:gsub("/$", ""), url.host
    self.upstream = upstream.origin(at, rules, level + 1)
  elseif opts.service or opts.endpoints or opts.balancer then
    self.host = opts.service
    self.upstream = upstream.endpoints(opts, read.rules, read.tls ~= nil, level + 1)
    self.way.tls_name = opts.tls_name or opts.service
    self.way.proxy = read.proxy or false
  elseif rules then
    self.origins = upstream.origins(rules, level + 1)
  end
end

---Makes a client. Without `base`, `service` and `endpoints` its calls take whole URLs. Connections are kept
---and shared by all clients of a worker but those with a `pool` of their own.
---@param opts? neap.http.ClientOptions
---@return neap.http.Client? client
---@return neap.Error? err only what the option `tls` could not load
function M.new(opts)
  local read, err = options.client(opts, 2)
  if not read then return nil, err end
  opts = read.opts
  local self = with_options(read)
  self.jar = opts.cookies and (opts.cookies == true and cookie.jar() or opts.cookies) or nil
  place(self, read, 2)
  if opts.health then self.health = upstream.check(self.upstream, opts, self.way, 2) end
  if self.upstream then
    self.tells = not self.quiet
    self.route = { client = self, upstream = self.upstream }
  end
  return self
end

-- Of a client that has an origin: the path; of one that has none: the URL, which gives the origin, and
-- which may be anything, so that a malformed one is nobody's mistake.
local function locate(self, path, level)
  if self.upstream then
    if not path:find "^[/?]" and path ~= "" then
      error(("path: expected it to begin with '/', got %q"):format(path), level + 1)
    end
    local target = self.prefix .. path
    if target:sub(1, 1) ~= "/" then target = "/" .. target end
    return self.upstream, target, self.host
  end
  local url, err = core.parse_url(path)
  if not url then return nil, err end
  local at = upstream.place(url)
  local to = self.origins and self.origins:at(at) or upstream.origin(at)
  return to, url.target, url.host
end

-- Whether making it twice is as good as once.
local function is_safe(self, method, opts)
  if opts.idempotent ~= nil then return opts.idempotent end
  return self.rules.methods[method] or false
end

local function or_default(value, default)
  if value == nil then return default end
  return value
end

-- Everything about a call that can be wrong by its caller's fault is found out here.
local function prepare(self, method, path, opts, level)
  schema.arg("method", method, "string", level + 1)
  schema.arg("path", path, "string", level + 1)
  local wire, timeout
  opts, wire, timeout = options.call(opts, self.wire, level + 1)
  local to, target, host = locate(self, path, level + 1)
  if not to then return nil, { failure = target } end
  local headers = message.headers(self.headers, opts.headers)
  local ok, body, err
  if opts.body or opts.json ~= nil or opts.form then
    ok, body, err = pcall(message.body, opts, headers)
    if not ok then error("opts." .. body, level + 1) end
  end
  if opts.query then
    ok, target = pcall(message.with_query, target, opts.query)
    if not ok then error("opts.query." .. target, level + 1) end
  end
  wire.method, wire.target, wire.headers, wire.body = method, target, headers, body
  if type(body) == "function" then wire.content_length = opts.content_length end
  local class = opts.priority or self.opts.priority
  if class then headers[priority.HEADER] = headers[priority.HEADER] or class end
  return self.route or { client = self, upstream = to }, {
    wire = wire,
    host = host,
    failure = err,
    timeout = or_default(timeout, self.timeout) or nil,
    redirects = opts.redirects or self.opts.redirects,
    auth = or_default(opts.auth, self.opts.auth) or nil,
    hash_key = opts.hash_key,
    subset = opts.subset,
    sticky = opts.sticky,
    priority = opts.priority and priority.class(opts.priority) or self.priority,
    safe = is_safe(self, method, opts),
    once = opts.retry == false or nil,
    keep = self.rules.keep,
    fallback = opts.fallback or self.fallback,
    on_interim = opts.on_interim or self.opts.on_interim,
    attempts = 0,
    quiet = self.quiet,
    tell = self.tells and (timeout or self.timed) and "call" or nil,
    ends = nil, own_cookie = nil, authority = nil, scheme = nil, -- so that there is room for them
  }
end

-- With a fallback for what had no answer.
local function run(route, prepared)
  if prepared.failure then return nil, prepared.failure end
  if not prepared.fallback then return call.perform(route, prepared) end
  local res, err = call.perform(route, prepared)
  if res then return res end
  return require("neap.http.fallback").answer(prepared, err)
end

local function run_then(callback, route, prepared)
  return callback(run(route, prepared))
end

-- Called as a tail call by a method, so that its caller is the script.
local function request(self, method, path, opts, callback)
  if type(opts) == "function" and callback == nil then opts, callback = nil, opts end
  if callback ~= nil then schema.arg("callback", callback, "callable") end
  local route, prepared = prepare(self, method, path, opts, 2)
  if callback then
    task.spawn(run_then, callback, route, prepared)
    return
  end
  return run(route, prepared)
end

---Makes a call with any method. Of an error `err.phase` says where the call stood, and of ETIMEDOUT
---`err.timeout` which bound it was (see neap.http.Timeouts).
---@param method string
---@param path string begins with "/"; or a whole URL, if the client has neither `base` nor `service`
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err ETIMEDOUT, ECONNREFUSED, ECONNRESET, EDNS, ETLS, EPROXY, ENOENDPOINT, EPROTO …
function Client:request(method, path, opts, callback)
  return request(self, method, path, opts, callback)
end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:get(path, opts, callback) return request(self, "GET", path, opts, callback) end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:head(path, opts, callback) return request(self, "HEAD", path, opts, callback) end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:post(path, opts, callback) return request(self, "POST", path, opts, callback) end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:put(path, opts, callback) return request(self, "PUT", path, opts, callback) end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:patch(path, opts, callback) return request(self, "PATCH", path, opts, callback) end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:delete(path, opts, callback) return request(self, "DELETE", path, opts, callback) end

---@param path string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function Client:options(path, opts, callback) return request(self, "OPTIONS", path, opts, callback) end

---The same client with methods that return futures.
---@class neap.http.AsyncClient
local Async = {}
Async.__index = Async

local function start(self, method, path, opts)
  return task.spawn(run, prepare(self.client, method, path, opts, 2))
end

---@param method string
---@param path string
---@param opts? neap.http.CallOptions
---@return neap.Future
function Async:request(method, path, opts) return start(self, method, path, opts) end

for _, method in ipairs { "get", "head", "post", "put", "patch", "delete", "options" } do
  local name = method:upper()
  Async[method] = function(self, path, opts) return start(self, name, path, opts) end
end

---The same client, whose methods return futures: `client:async():get(path):await(seconds)`.
---@return neap.http.AsyncClient
function Client:async()
  if not self.async_client then self.async_client = setmetatable({ client = self }, Async) end
  return self.async_client
end

---What a client's rules have counted. The numbers by rule and those of the limits, of the breaker and of
---outlier detection are of all workers that share the rules, the others of this client's in this worker.
---@class neap.http.RuleStats
---@field calls integer that were admitted
---@field succeeded integer
---@field failed integer
---@field canceled integer their callers left
---@field attempts integer
---@field retries integer
---@field hedges integer
---@field hedges_won integer
---@field would_retry integer in shadow mode, as the next one
---@field would_hedge integer
---@field hedge_delay? number seconds after which there is a hedge just now
---@field refused table<string, integer> by rule: deadline, rate_limit, concurrency, breaker, endpoints …
---@field would_refuse table<string, integer> by a rule in shadow mode
---@field endpoints integer
---@field usable integer of them, just now
---@field panics integer picks from all, as too few were available
---@field spilled integer picks in another zone
---@field failed_over integer picks on a lower priority level
---@field fallbacks integer picks outside the subset
---@field trials integer requests to endpoints that were ejected before
---@field budget { balance: number, withdrawn: integer, refused: integer } of retries and hedges
---@field breaker? table state, opened, closed, refused_open, refused_cap, calls, failures, wait
---@field concurrency? table limit, inflight, min_rtt, sampled, admitted and refused by class
---@field outlier? table ejected by reason, readmitted, spared
---@field rate_limit? table allowed, refused

---@class neap.http.PoolStats
---@field open integer connections
---@field idle integer … that are kept
---@field waiting integer calls that wait for one
---@field origins integer
---@field calls integer made so far
---@field reused integer … on a kept connection
---@field retried integer … once more, on a fresh one
---@field connects integer connections made
---@field cluster? neap.http.RuleStats of a client of one place that has rules

---Numbers of the client's pool, or of the worker's if it has none of its own; of a client that has rules also
---those of its cluster, in the field `cluster`.
---@return neap.http.PoolStats
function Client:stats()
  local pool = self.wire.pool
  local stats = pool and pool:stats() or core.client_stats()
  local to = self.upstream
  if to and to.cluster then stats.cluster = to.cluster:stats() end
  return stats
end

---The endpoints of a client of a service or of a list, as they are known just now.
---@return neap.Endpoint[]
function Client:endpoints()
  local to = self.upstream
  return to and to.cluster and to.cluster:endpoints() or {}
end

---Takes another list of endpoints, for a client that was made from one; who is in both keeps what is known.
---@param endpoints (string|neap.Endpoint|neap.balancer.EndpointOptions)[]
---@return true? ok
---@return neap.Error? err
function Client:update(endpoints)
  local opts = self.opts
  if not opts.endpoints then error("the client was not made from a list of endpoints", 2) end
  schema.arg("endpoints", endpoints, "table")
  local chooser, cluster = self.upstream.chooser, self.upstream.cluster
  local fine, ok, err = pcall(cluster.update, cluster, endpoints)
  if not fine then error((tostring(ok):gsub("^%S+:%d+: ", "")), 2) end
  if ok and chooser then ok, err = chooser.balancer:update(endpoints) end
  if not ok then return nil, err end
  opts.endpoints = endpoints
  if self.health then
    self.health:stop()
    self.health = upstream.check(self.upstream, opts, self.way, 2)
  end
  return true
end

---Closes the connections of a client that has a pool of its own; its calls end with ECLOSED. Ends its active
---checks.
function Client:close()
  if self.wire.pool then self.wire.pool:close() end
  if self.health then
    self.health:stop()
    self.health = nil
  end
end
Client.__close = Client.close

return M
