--- HTTP: serving, apps and clients.
---
--- ```lua
--- local app = neap.http.app()
--- app:get("/hello/:name", function(req) return { hello = req.params.name } end)
--- local server = neap.http.serve { app = app, port = 8080 }
--- local res, err = neap.http.get("http://127.0.0.1:8080/hello/you")
--- ```

local app = require "neap.http.app"
local compress = require "neap.http.compress"
local core = require "neap.core.http"
local decompress = require "neap.http.decompress"
local json = require "neap.json"
local message = require "neap.http.message"
local task = require "neap.task"
local tls = require "neap.core.tls"

local M = {
  app = app.new,
  compress = compress.answers,
  decompress = decompress.requests,
  parse_url = core.parse_url,
  resolve_url = core.resolve_url,
  encode = core.encode,
  decode = core.decode,
  parse_query = core.parse_query,
}

-- --- what is loaded when it is first asked for, as most programs need little of it

local late = {
  client = { "neap.http.client", "new" },
  conditional = { "neap.http.conditional" },
  cookie = { "neap.http.cookie" },
  events = { "neap.http.event_source", "follow" },
  files = { "neap.http.static", "files" },
  forwarded_headers = { "neap.http.forwarded", "headers" },
  multipart = { "neap.http.multipart" },
  not_acceptable = { "neap.http.negotiate", "not_acceptable" },
}

setmetatable(M, {
  __index = function(self, name)
    local where = late[name]
    if not where then return nil end
    local value = require(where[1])
    if where[2] then value = value[where[2]] end
    rawset(self, name, value)
    return value
  end,
})

-- A tail call, so that misuse is raised where the script called.
local function late_method(module, name)
  return function(...) return require(module)[name](...) end
end

-- --- what a request can do beyond what C gives it

local methods, getters = core.request_methods, core.request_getters

function getters.params() return {} end

function getters.query(req)
  local text = req.query_string
  if not text then return {} end
  return core.parse_query(text) or {}
end

function getters.tls(req) return tls.of_request(req) end

function getters.cookies(req) return M.cookie.parse(req:header "cookie") end

methods.forward = late_method("neap.http.forward", "forward")

function methods:json(max)
  local text, err = self:body(max)
  if not text then return nil, err end
  local value
  if text == "" then
    err = task.error("EINVAL", "JSON: the request has no body")
  else
    value, err = json.decode(text)
  end
  if err ~= nil then err.status = 400 end -- the client's fault
  return value, err
end

methods.form, methods.parts = late_method("neap.http.form", "form"), late_method("neap.http.form", "parts")
methods.events = late_method("neap.http.events", "serve")
methods.set_cookie = late_method("neap.http.cookie", "set")
methods.delete_cookie = late_method("neap.http.cookie", "delete")

methods.send_file = late_method("neap.http.static", "send")
methods.fresh = late_method("neap.http.conditional", "fresh")
methods.ranges = late_method("neap.http.range", "ranges")
methods.respond_ranged = late_method("neap.http.range", "respond")
for _, name in ipairs { "accepts", "accepts_encoding", "accepts_charset", "accepts_language", "negotiate" } do
  methods[name] = late_method("neap.http.negotiate", name)
end

-- --- serving

---@class neap.http.ServeOptions
---@field app? neap.http.App
---@field handler? neap.http.Handler instead of an app
---@field host? string default "127.0.0.1"; "0.0.0.0" and "::" for every address
---@field port? integer default 0: one that is free
---@field unix? string path of a socket, or "@name" of an abstract one, instead of host and port
---@field unix_mode? integer permissions of the socket file, such as 432 (0660); default what the umask leaves
---@field max_header_bytes? integer
---@field max_headers? integer
---@field max_body_bytes? integer
---@field header_timeout? number
---@field body_timeout? number
---@field keep_alive_timeout? number
---@field write_timeout? number
---@field max_connections? integer more are answered 503; default 10000
---@field max_requests? integer after which a connection is closed; default 0: none
---@field allow_half_close? boolean a client that shut its sending side gets its answer; default: it has left
---@field rate_limit? neap.http.ServeRateLimit default: none
---@field concurrency? boolean|neap.http.ServeConcurrency default: none
---@field admission? boolean|neap.http.ServeAdmission default: none
---@field deadline? boolean a request's `x-neap-deadline` (milliseconds) ends its task; default true
---@field server_name? string the Server header; default none
---@field tls? neap.tls.Context|neap.TlsOptions serves HTTPS; default none
---@field handshake_timeout? number seconds; default 10
---@field proxy_protocol? boolean|neap.ProxyProtocolOptions connections begin with a PROXY header
---@field trusted_proxies? string[]|neap.Cidr whose X-Forwarded-* or Forwarded is believed; default nobody's
---@field forwarded? neap.http.ForwardedKind default "x-forwarded"
---@field access_log? neap.http.AccessLog default false
---@field backlog? integer
---@field reuse_port? boolean
---@field compress? boolean|neap.http.CompressOptions answers as the client likes; not files (`precompressed`)
---@field decompress? boolean|neap.http.DecompressOptions requests' bodies; default false

-- The options as C has them: what stands around the handler is in the handler.
local function with_handler(opts)
  local copy = {}
  for k, v in pairs(opts) do copy[k] = v end
  copy.app, copy.compress, copy.decompress = nil, nil, nil
  copy.rate_limit, copy.concurrency, copy.admission = nil, nil, nil
  if opts.app ~= nil then
    if type(opts.app) ~= "table" or type(opts.app.handler) ~= "function" then
      error("opts.app: expected neap.http.app, got " .. type(opts.app), 3)
    end
    if opts.handler ~= nil then error("opts: expected app or handler, not both", 3) end
    copy.handler = opts.app.handler
  end
  if type(copy.handler) ~= "function" then return copy end
  copy.handler = decompress.around(opts.decompress, opts.max_body_bytes, copy.handler)
  copy.handler = compress.around(opts.compress, copy.handler)
  if opts.rate_limit ~= nil or opts.concurrency ~= nil or opts.admission ~= nil then
    local ok, made, handler = pcall(require("neap.http.gate").around, opts, copy.handler)
    if not ok then error((made:gsub("^%S+:%d+: ", "")), 3) end
    if made == false then return nil, handler end
    copy.gate, copy.handler = made, handler
  end
  return copy
end

---Which kind counts where a request has both. Name the one that your proxies write: they may pass on what a
---client wrote in the other. With `-only` the other does not count even alone.
---@alias neap.http.ForwardedKind "x-forwarded"|"forwarded"|"x-forwarded-only"|"forwarded-only"

---True: combined lines in the program's log. A string is a format, a function a handler.
---@alias neap.http.AccessLog boolean|string|neap.http.AccessLogOptions|fun(entry: neap.http.AccessEntry)

---A line for each request that was answered, refused or broken off. Lines go to the program's log
---(`--log-file`, or standard error) unless `path` names another place. They are gathered and written by a
---thread of their own: what a slow disk cannot take is dropped, and the program's log says how many lines.
---SIGUSR1 opens the files anew.
---
---In a format `$name` and `${name}` are variables, `$header{name}` is a header of the request,
---`$sent_header{name}` one of the answer, as the handler gave it, and `$$` a dollar.
---The variables, with nginx's names for them in brackets: `remote`, `remote_addr`, `remote_port`, `client`,
---`remote_user`, `method` (`request_method`), `path` (`uri`), `query` (`args`), `target` (`request_uri`),
---`protocol` (`server_protocol`), `request`, `host`, `scheme`, `status`, `bytes` (`body_bytes_sent`),
---`bytes_sent`, `duration` in seconds, `duration_ms`, `request_time`, `time` (`time_iso8601`), `time_local`,
---`msec`, `request_id`, `user_agent`, `referer`, `http_NAME`, `sent_http_NAME`, `connection_requests`,
---`aborted`, `tls_version` (`ssl_protocol`), `tls_cipher` (`ssl_cipher`), `tls_server_name`
---(`ssl_server_name`), `proxy_authority`, `proxy_unique_id`, `pid`, `worker`. What is not there is "-".
---Bytes that could end a line or a quote are escaped.
---@class neap.http.AccessLogOptions
---@field format? "combined"|"common"|"json"|string default "combined"
---@field path? string a file, which is appended to, or "stderr"; default: where the program logs
---@field escape? "hex"|"json" of values in a format of one's own: \x0A or \u000a; default "hex"
---@field fields? table<string, string> for "json" and handlers: names with formats, each of its type
---@field handler? fun(entry: neap.http.AccessEntry) called for each, in a task, after the answers; may wait
---@field flush? number seconds after which gathered lines are written; default 1, for a handler 0.1
---@field buffer? integer bytes of lines that are gathered before; default 65536
---@field max_pending? integer bytes that may wait for the disk, or the handler; default 16 MiB

---What a handler gets, unless `fields` names other things. What is not known is nil.
---@class neap.http.AccessEntry
---@field time string "2026-11-21T07:00:00.123Z"
---@field client string
---@field remote string
---@field method? string nil for a request that could not be parsed
---@field scheme? string
---@field host? string
---@field path? string
---@field query? string
---@field protocol? string
---@field status integer 499: the client left before it was answered
---@field bytes integer of the answer's body
---@field duration_ms number
---@field request_id? string
---@field user_agent? string
---@field referer? string
---@field aborted boolean the answer was broken off

---Serves an app. Each request runs its handler in a task, which is cancelled when the client leaves.
---@param opts neap.http.ServeOptions
---@return neap.http.Server? server
---@return neap.Error? err EADDRINUSE, EACCES …
function M.serve(opts)
  if type(opts) == "table" then
    local failure
    opts, failure = with_handler(opts)
    if not opts then return nil, failure end
  end
  local ok, server, err = pcall(core.serve, opts)
  if not ok then error((server:gsub("^%S+:%d+: ", "")), 2) end
  return server, err
end

-- --- one call, without a client of one's own

local shared

local function shared_client()
  shared = shared or M.client()
  return shared
end

---Makes one call with any method.
---@param method string
---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.request(method, url, opts, callback)
  return shared_client():request(method, url, opts, callback)
end

---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.get(url, opts, callback) return shared_client():get(url, opts, callback) end

---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.head(url, opts, callback) return shared_client():head(url, opts, callback) end

---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.post(url, opts, callback) return shared_client():post(url, opts, callback) end

---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.put(url, opts, callback) return shared_client():put(url, opts, callback) end

---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.patch(url, opts, callback) return shared_client():patch(url, opts, callback) end

---@param url string
---@param opts? neap.http.CallOptions
---@param callback? fun(res: neap.http.Response?, err: neap.Error?)
---@return neap.http.Response? res
---@return neap.Error? err
function M.delete(url, opts, callback) return shared_client():delete(url, opts, callback) end

---A table as a query: `{ q = "a b", tag = { "x", "y" } }` gives `q=a%20b&tag=x&tag=y`.
---@param fields table<string, any>
---@return string
function M.encode_query(fields)
  local ok, text = pcall(message.encode_fields, fields, "component")
  if not ok then error(text, 2) end
  return text
end

return M
