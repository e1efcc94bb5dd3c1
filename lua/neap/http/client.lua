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
local retry = require "neap.http.retry"
local schema = require "neap.schema"
local task = require "neap.task"
local upstream = require "neap.http.upstream"
require "neap.http.response"

local M = {}

---@class neap.http.ClientOptions
---@field base? string URL that paths are added to: "http://host:port/prefix", "unix:/run/app.sock"
---@field service? string name of a service in the registry, instead of `base`
---@field balancer? string|neap.balancer.Policy|function|neap.Balancer how they are picked; default "p2c"
---@field timeout? number|false seconds for a call in all, retries and redirects included; default 30
---@field first_byte_timeout? number seconds from sending to the first byte of the answer
---@field idle_timeout? number seconds without progress of the answer
---@field headers? table<string, any> sent with every call
---@field retry? neap.http.RetryOptions|boolean default false: none; true: as the defaults have it
---@field redirects? integer how many are followed; default 5, 0 none
---@field cookies? boolean|neap.http.CookieJar true: a jar of its own; default: none are kept
---@field max_body? integer bytes of a collected body; default 64 MiB

---@class neap.http.CallOptions
---@field query? string|table<string, any> added to the path; arrays become repeated names
---@field headers? table<string, any> `false` removes one that the client would send
---@field body? string|fun(): string? a function gives the body piece by piece
---@field json? any the body, as JSON
---@field form? table<string, any> the body, as a form
---@field timeout? number|false
---@field first_byte_timeout? number
---@field idle_timeout? number
---@field stream? boolean the body is read piece by piece: `res:read()`, `res:chunks()`, `res:close()`
---@field max_body? integer
---@field redirects? integer
---@field retry? boolean false: not this call
---@field idempotent? boolean whether making it twice is as good as once; default: as its method says
---@field hash_key? string|number for a balancer that hashes: the same key goes to the same instance

local client_schema = schema.new {
  base = "string",
  service = { "string", min = 1 },
  balancer = "string|table|function|userdata",
  timeout = { "seconds", default = 30 },
  first_byte_timeout = "seconds",
  idle_timeout = "seconds",
  headers = { "map", of = "string|number|table", default = {} },
  retry = "table|boolean",
  redirects = { "integer", min = 0, max = 100, default = 5 },
  cookies = "boolean|table",
  max_body = "bytes",
}

local call_schema = schema.new {
  query = "string|table",
  headers = { "map", of = "string|number|boolean|table" },
  body = "string|function",
  json = "any",
  form = "table",
  timeout = "seconds",
  first_byte_timeout = "seconds",
  idle_timeout = "seconds",
  stream = "boolean",
  max_body = "bytes",
  redirects = { "integer", min = 0, max = 100 },
  retry = "boolean",
  idempotent = "boolean",
  hash_key = "string|number",
}

---@class neap.http.Client
local Client = {}
Client.__index = Client

local function parse_base(base, level)
  local url, err = core.parse_url(base)
  if not url then error("opts.base: " .. err.message, level + 1) end
  if url.query or url.fragment or url.userinfo then
    error("opts.base: expected no query, fragment or user", level + 1)
  end
  local place
  place, err = upstream.place(url)
  if not place then error("opts.base: " .. err.message, level + 1) end
  return place, url
end

local function read_retry(value, level)
  if not value then return nil end
  return retry.policy(retry.schema:read(value ~= true and value or nil, level + 1, "opts.retry"))
end

---Makes a client. Without `base` and `service` its calls take whole URLs. Connections are kept and shared
---by all clients of a worker.
---@param opts? neap.http.ClientOptions
---@return neap.http.Client
function M.new(opts)
  opts = client_schema:read(opts)
  if opts.base and opts.service then error("opts: expected base or service, not both", 2) end
  if opts.balancer and not opts.service then error("opts.balancer: is for a service", 2) end
  local self = setmetatable({ opts = opts, headers = message.headers({}, opts.headers), prefix = "" }, Client)
  self.policy = read_retry(opts.retry, 2)
  self.jar = opts.cookies and (opts.cookies == true and cookie.jar() or opts.cookies) or nil
  if opts.base then
    local place, url = parse_base(opts.base, 2)
    self.prefix, self.host = url.path:gsub("/$", ""), url.host
    self.upstream = upstream.origin(place)
  elseif opts.service then
    self.host = opts.service
    self.upstream = upstream.service(opts.service, opts.balancer, 2)
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
    return self, target, self.host
  end
  local url, err = core.parse_url(path)
  if not url then return nil, err end
  local place
  place, err = upstream.place(url)
  if not place then return nil, err end
  local route = { upstream = upstream.origin(place), policy = self.policy, jar = self.jar }
  return route, url.target, url.host
end

local function or_default(value, default)
  if value == nil then return default end
  return value
end

-- Everything about a call that can be wrong by its caller's fault is found out here.
local function prepare(self, method, path, opts, level)
  schema.arg("method", method, "string", level + 1)
  schema.arg("path", path, "string", level + 1)
  call_schema:check(opts, level + 1)
  opts = opts or {}
  local bodies = (opts.body and 1 or 0) + (opts.json ~= nil and 1 or 0) + (opts.form and 1 or 0)
  if bodies > 1 then error("opts: expected one of body, json and form", level + 1) end
  local route, target, host = locate(self, path, level + 1)
  if not route then return nil, { failure = target } end
  local headers = message.headers(self.headers, opts.headers)
  local ok, body, err = pcall(message.body, opts, headers)
  if not ok then error("opts.form." .. body, level + 1) end
  ok, target = pcall(message.with_query, target, opts.query)
  if not ok then error("opts.query." .. target, level + 1) end
  local defaults = self.opts
  if opts.retry == false and route.policy then
    route = { upstream = route.upstream, jar = route.jar }
  end
  return route, {
    method = method,
    target = target,
    host = host,
    headers = headers,
    body = body,
    failure = err,
    timeout = or_default(opts.timeout, defaults.timeout) or nil,
    first_byte_timeout = or_default(opts.first_byte_timeout, defaults.first_byte_timeout) or nil,
    idle_timeout = or_default(opts.idle_timeout, defaults.idle_timeout) or nil,
    max_body = opts.max_body or defaults.max_body,
    stream = opts.stream,
    redirects = opts.redirects or defaults.redirects,
    idempotent = opts.idempotent,
    hash_key = opts.hash_key and tostring(opts.hash_key),
  }
end

local function run(route, prepared)
  if prepared.failure then return nil, prepared.failure end
  return call.perform(route, prepared)
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

---Makes a call with any method.
---@param method string
---@param path string begins with "/"; or a whole URL, if the client has neither `base` nor `service`
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err ETIMEDOUT, ECONNREFUSED, ECONNRESET, EDNS, ENOENDPOINT, EPROTO, EREDIRECTS …
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

return M
