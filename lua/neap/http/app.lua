--- An app: routes, middleware and what answers when something is amiss, as one handler.
---
--- A handler gets the request and returns its answer: a string (text), a table (JSON), a status with
--- a body and headers, a client's response (passed on), a function (its pieces are streamed), or
--- `nil, err`. It may wait. A middleware is `function(req, next) … return next(req) end`, and what it
--- returns is the answer. It runs after the route is found, so it sees `req.params` and `req.route`,
--- and it runs for requests that lead nowhere as well. Each route's chain is put together once, at
--- its first request; a literal route without middleware costs one hash lookup.

local router = require "neap.http.router"
local schema = require "neap.schema"
local static = require "neap.http.static"

local M = {}

---Answers a request, in a task of its own: it may wait. What it returns is the answer:
---a string (`text/plain`); a table (JSON); a status, then a body and headers, `return 404, { error = "no" }`;
---a client's response (passed on: status, headers, body); as the body a function, whose pieces are streamed
---until it gives nil; nothing (204, or what `req:respond` and `req:start` have sent). `nil, err` answers 504
---for ETIMEDOUT, 503 for ENOENDPOINT and ELIMIT, 502 for what went wrong with a connection, else 500, which
---is logged; an error that is raised answers 500 and is logged with its traceback.
---@alias neap.http.Handler fun(req: neap.http.Request): ...

---Stands around handlers: calls `next(req)`, or answers by itself, and returns the answer.
---@alias neap.http.Middleware fun(req: neap.http.Request, next: neap.http.Handler): ...

---`trailing_slash` says whether `/a` and `/a/` are two paths ("strict", the default), whether the one
---that has no route leads to the other by 308 ("redirect"), or is served as the other ("ignore").
---@class neap.http.AppOptions
---@field trailing_slash? "strict"|"redirect"|"ignore"

---@class neap.http.App
---@field handler neap.http.Handler what `neap.http.serve` calls; also a way to test an app without a socket
local App = {}
App.__index = App

local options = schema.new {
  trailing_slash = { "string", enum = { "strict", "redirect", "ignore" }, default = "strict" },
}

local function bind(middleware, next_handler)
  return function(req) return middleware(req, next_handler) end
end

local function canceled(err)
  return type(err) == "table" and err.code == "ECANCELED"
end

-- Where an error was raised, by the task that raised it. The error itself stays what it is, as variables
-- that are closed on its way see it.
local tracebacks = setmetatable({}, { __mode = "k" })

local function note_traceback(err)
  local text = type(err) == "string" and err or tostring(err)
  tracebacks[coroutine.running()] = debug.traceback(text, 2)
  return err
end

local function settle(req, on_error, ok, first, ...)
  if ok then
    if first == nil and (...) ~= nil then return on_error(req, (...)) end
    return first, ...
  end
  if canceled(first) then error(first, 0) end
  local co = coroutine.running()
  local traceback = tracebacks[co]
  tracebacks[co] = nil
  return on_error(req, first, traceback)
end

local function guard(handler, on_error)
  return function(req) return settle(req, on_error, xpcall(handler, note_traceback, req)) end
end

local function name_route(pattern, chain)
  return function(req)
    req.route = pattern
    return chain(req)
  end
end

-- The handler inside all that surrounds it: the route's middleware, then, from the innermost of the apps
-- it is reached through to the outermost, that app's middleware and its error handler.
local function compose(record)
  local chain, owners = record.handler, record.owners
  for i = #record.middleware, 1, -1 do chain = bind(record.middleware[i], chain) end
  for i = #owners, 1, -1 do
    local owner = owners[i]
    for j = #owner.middleware, 1, -1 do chain = bind(owner.middleware[j], chain) end
    if owner.error_handler then chain = guard(chain, owner.error_handler) end
  end
  if chain == record.handler then
    record.direct = static.direct[chain]
    return chain
  end
  return name_route(record.pattern, chain)
end

local function compose_late(record)
  record.direct = nil
  record.run = function(req)
    record.run = compose(record)
    return record.run(req)
  end
end

-- What surrounds a route has changed: chains are put together anew.
local function invalidate(self)
  for _, record in ipairs(self.records) do compose_late(record) end
  for _, mount in ipairs(self.mounts) do invalidate(mount.app) end
end

local function default_answer(req)
  local miss = req.unmatched
  if miss.reason == "not_found" then return 404, { error = "not found" } end
  if miss.reason == "bad_path" then return 400, { error = "malformed path" } end
  if miss.reason == "connect" then return 501, { error = "not implemented" } end
  if miss.reason == "options" then return 204, nil, { allow = miss.allow } end
  if miss.reason == "method" then
    return 405, { error = "method not allowed" }, { allow = miss.allow }
  end
  local query = req.query_string
  if query and query ~= "" then return 308, "", { location = miss.location .. "?" .. query } end
  return 308, "", { location = miss.location }
end

local function answer_unmatched(self, req)
  if req.unmatched.reason == "not_found" and self.not_found_handler then
    return self.not_found_handler(req)
  end
  return default_answer(req)
end

local function unmatched(self, req, reason, detail)
  local miss = { reason = reason }
  if reason == "redirect" then
    miss.location = detail
  else
    miss.allow = detail
  end
  req.unmatched = miss
  return self.fallback.run(req)
end

local function make_handler(self)
  local routes = self.router
  local statics = routes.statics
  return function(req, method, path)
    local bare = path -- called by C, with nothing of the script's before
    if not path then method, path = req.method, req.path end
    local leaf = statics[path]
    local record = leaf and leaf[method]
    if record then return record.run(req) end
    if bare and method == "GET" then
      local below, from = routes:all_below(path)
      record = below and below.GET
      local direct = record and record.direct
      if direct and direct(req, path, from) then return end
    end
    if method == "CONNECT" then -- its path is a host and a port
      record = statics["/"] and statics["/"].CONNECT
      if record then return record.run(req) end
      return unmatched(self, req, "connect")
    end
    local params, detail
    record, params, detail = routes:find(method, path)
    if not record then return unmatched(self, req, params, detail) end
    if params then req.params = params end
    return record.run(req)
  end
end

---Makes an app.
---@param opts? neap.http.AppOptions
---@return neap.http.App
function M.new(opts)
  opts = options:read(opts)
  local self = setmetatable({
    router = router.new(opts),
    records = {},
    middleware = {},
    mounts = {}, -- where it is mounted: { app, prefix }
    error_handler = nil,
    not_found_handler = nil,
  }, App)
  self.fallback = {
    handler = function(req) return answer_unmatched(self, req) end,
    middleware = {},
    owners = { self },
  }
  compose_late(self.fallback)
  self.records[1] = self.fallback
  self.handler = make_handler(self)
  return self
end

local function join(prefix, pattern)
  if prefix == "/" then return pattern end
  if pattern == "/" then return prefix end
  return prefix .. pattern
end

local function with_owner(app, owners)
  return { app, table.unpack(owners) }
end

-- `tail` describes the route as its own app has it: handler, middleware, owners, method, where.
local function define(self, pattern, tail, owners)
  local record, problem = self.router:add(tail.method, pattern, tail.where)
  if not record then return problem end
  record.handler, record.middleware, record.owners = tail.handler, tail.middleware, owners
  record.tail = tail
  compose_late(record)
  self.records[#self.records + 1] = record
  for _, mount in ipairs(self.mounts) do
    problem = define(mount.app, join(mount.prefix, pattern), tail, with_owner(mount.app, owners))
    if problem then return problem end
  end
end

-- These are called by what the script called: the script is at level 3.
local function check_handlers(handlers)
  if handlers.n == 0 then error("handler: expected function, got no value", 3) end
  for i = 1, handlers.n do
    local name = i == handlers.n and "handler" or "middleware " .. i
    schema.arg(name, handlers[i], "callable", 3)
  end
end

local function check_method(method)
  schema.arg("method", method, "string", 3)
  if method ~= "*" and not method:find "^[%u%d!#$%%&'+.^_`|~-]+$" then
    error(("method: %q is not an upper-case token"):format(method), 3)
  end
end

local function caller()
  local info = debug.getinfo(3, "Sl")
  return info and ("%s:%d"):format(info.short_src, info.currentline)
end

-- Called as a tail call, so its caller is the script.
local function add_route(self, methods, pattern, ...)
  schema.arg("path", pattern, "string")
  local handlers = table.pack(...)
  check_handlers(handlers)
  local handler = table.remove(handlers, handlers.n)
  for _, method in ipairs(methods) do
    check_method(method)
    local tail = { handler = handler, middleware = handlers, method = method, where = caller() }
    local problem = define(self, pattern, tail, { self })
    if problem then error(problem, 2) end
  end
  return self
end

---Defines a route: `app:get(path, [middleware …,] handler)`. A GET route answers HEAD as well.
---@param path string "/goods/:id", "/files/*path"
---@param ... neap.http.Middleware|neap.http.Handler the handler comes last
---@return neap.http.App self
function App:get(path, ...) return add_route(self, { "GET" }, path, ...) end

---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:head(path, ...) return add_route(self, { "HEAD" }, path, ...) end

---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:post(path, ...) return add_route(self, { "POST" }, path, ...) end

---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:put(path, ...) return add_route(self, { "PUT" }, path, ...) end

---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:patch(path, ...) return add_route(self, { "PATCH" }, path, ...) end

---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:delete(path, ...) return add_route(self, { "DELETE" }, path, ...) end

---Without one, OPTIONS is answered by 204 and the methods that the path has.
---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:options(path, ...) return add_route(self, { "OPTIONS" }, path, ...) end

---For every method that has no route of its own at this path.
---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:any(path, ...) return add_route(self, { "*" }, path, ...) end

---For CONNECT, whose target is a host and a port, in `req.path`. The handler takes the connection over
---with `req:tunnel()` or refuses with a status of its own. Without one, 501.
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:connect(...) return add_route(self, { "CONNECT" }, "/", ...) end

---For one method or several.
---@param methods string|string[] "REPORT", { "PUT", "PATCH" }
---@param path string
---@param ... neap.http.Middleware|neap.http.Handler
---@return neap.http.App self
function App:route(methods, path, ...)
  schema.arg("methods", methods, "string|table")
  if type(methods) == "string" then methods = { methods } end
  return add_route(self, methods, path, ...)
end

---Puts a middleware around every route of this app, those defined before and after, and around what
---answers when there is none. The first added is the outermost.
---@param ... neap.http.Middleware
---@return neap.http.App self
function App:use(...)
  check_handlers(table.pack(...))
  for _, middleware in ipairs { ... } do self.middleware[#self.middleware + 1] = middleware end
  invalidate(self)
  return self
end

local function reaches(app, other)
  if app == other then return true end
  for _, mount in ipairs(app.mounts) do
    if reaches(mount.app, other) then return true end
  end
  return false
end

---Puts another app's routes, those it has and those it gets later, under a prefix. Its middleware and
---error handler surround its own routes only; what leads nowhere is answered by the outermost app.
---@param prefix string "/api", "/users/:user"
---@param other neap.http.App
---@return neap.http.App self
function App:mount(prefix, other)
  schema.arg("prefix", prefix, "string")
  if getmetatable(other) ~= App then error("app: expected neap.http.app, got " .. type(other), 2) end
  if prefix:find "^[^/]" or prefix == "" or (#prefix > 1 and prefix:find "/$") then
    error("prefix: begins with '/' and does not end with one", 2)
  end
  if reaches(self, other) then error("app: cannot be mounted in itself", 2) end
  for _, record in ipairs(other.records) do
    if record.tail then
      local owners = with_owner(self, record.owners)
      local problem = define(self, join(prefix, record.pattern), record.tail, owners)
      if problem then error(problem, 2) end
    end
  end
  other.mounts[#other.mounts + 1] = { app = self, prefix = prefix }
  return self
end

---Routes under a prefix, with middleware of their own: an app, mounted at once.
---@param prefix string
---@param define_routes? fun(group: neap.http.App)
---@return neap.http.App group
function App:group(prefix, define_routes)
  local group = M.new()
  self:mount(prefix, group)
  if define_routes then define_routes(group) end
  return group
end

---Serves the files below a directory, for GET and HEAD: `app:static("/assets", "public")`. Literal routes and
---parameters go before it. What is not there is answered as what has no route. Raises when the directory
---cannot be opened. It is opened once: when another takes its place (a link that is moved), reload.
---@param prefix string "/", "/assets"
---@param root string relative to the working directory
---@param opts? neap.http.StaticOptions
---@return neap.http.App self
function App:static(prefix, root, opts) return static.mount(self, prefix, root, opts) end

---What answers when a handler fails: raised an error or returned `nil, err`. It gets the error and,
---if it was raised, a traceback; nothing is logged then. Without one, C answers 500, 502, 503 or 504
---and logs. A task that is cancelled ends without it.
---@param handler fun(req: neap.http.Request, err: any, traceback?: string): ...
---@return neap.http.App self
function App:on_error(handler)
  self.error_handler = schema.arg("handler", handler, "callable")
  invalidate(self)
  return self
end

---What answers when no route has the path. Default: 404 with `{"error":"not found"}`.
---@param handler neap.http.Handler
---@return neap.http.App self
function App:not_found(handler)
  self.not_found_handler = schema.arg("handler", handler, "callable")
  return self
end

return M
