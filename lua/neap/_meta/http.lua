---@meta neap.http

---@class neap.http
---@field cookie neap.http.cookie
local http = {}

---Makes an app: routes and middleware, for `neap.http.serve { app = … }`.
---@param opts? neap.http.AppOptions
---@return neap.http.App
function http.app(opts) end

---Follows a stream of server-sent events, over as many connections as it takes: `for event in
---neap.http.events(url) do … end`.
---@param url string
---@param opts? neap.http.FollowOptions
---@return neap.http.EventSource
function http.events(url, opts) end

---Makes a multipart form to send: `client:post(path, { body = body, headers = headers })`.
---@param fields table by name: strings, numbers, booleans, files (neap.http.FileField) or arrays of them; or a list
---of `{ name = …, value = … }`
---@return string|fun(): string? body a function when something is streamed: good for one call
---@return table headers with the content type; an error (ENOENT, EACCES) after nil
---@return integer? length of a body that is streamed, if it is known: for the call's `content_length`
function http.multipart(fields) end

---Makes a client. Without `base` and `service` its calls take whole URLs. Connections are kept and shared
---by all clients of a worker.
---@param opts? neap.http.ClientOptions
---@return neap.http.Client
function http.client(opts) end

---A middleware that compresses answers by what the client accepts, whole or streamed: a string, a table, a
---function, `req:respond`, `req:start` and `req:write`, a client's response that is passed on, and what
---`req:forward` gets. Left as they are: what has a Content-Encoding or `Cache-Control: no-transform`, 204, 206
---and 304, small bodies, types that are compressed already, and files, for which `app:static` has
---`precompressed`. Sets Vary, makes a strong ETag weak. What was written is flushed before the loop waits, of
---`text/event-stream` at once. A streamed answer holds an encoder while it lasts: some 260 KiB for gzip, 2 MiB
---for br and zstd, of events 130 KiB, 760 KiB and 230 KiB.
---
---Compression over TLS lets who can see lengths and slip text into an answer guess secrets that stand in the
---same answer (BREACH): let such answers have `cache-control: no-transform`.
---@param opts? neap.http.CompressOptions
---@return neap.http.Middleware
function http.compress(opts) end

---A middleware that decodes bodies with a Content-Encoding (gzip, deflate, br, zstd, up to four of them):
---`req:body`, `read`, `json` and `form` give what was encoded, and the request has neither Content-Encoding
---nor Content-Length any more. 415 for another coding; a body that is damaged or too large is what a broken
---or too large body is: EPROTO and 400, ELIMIT and 413.
---@param opts? neap.http.DecompressOptions
---@return neap.http.Middleware
function http.decompress(opts) end

---The headers that tell an upstream who asked: set them, in place of what the request has by these names, on
---the request that is passed on. The chain that came with the request is kept, and the peer added to it, if the
---peer is one of the server's `trusted_proxies`; else it begins with the peer. Names that the style does not use
---have the value false, so that what a client made up does not pass.
---@param req neap.http.Request
---@param opts? neap.http.ForwardedOptions
---@return table<string, string|false> headers
function http.forwarded_headers(req, opts) end

---@class neap.http.Url
---@field scheme "http"|"https"|"unix"
---@field host? string
---@field port? integer the scheme's own if none is given
---@field unix? string path of the socket
---@field path string
---@field query? string
---@field fragment? string
---@field userinfo? string
---@field target string path and query, as they stand in a request

---@param text string
---@return neap.http.Url? url
---@return neap.Error? err EINVAL
function http.parse_url(text) end

---Makes a handler for the files below a directory; it wants `req.params.path`. See `App:static`.
---@param root string relative to the working directory
---@param opts? neap.http.StaticOptions
---@return neap.http.Handler? handler
---@return neap.Error? err ENOENT, EACCES, EINVAL (no directory)
function http.files(root, opts) end

---What a handler returns when nothing that it has is acceptable: 406, and what there is.
---@param ... string
---@return integer status
---@return table body
---@return table headers
function http.not_acceptable(...) end

---What a reference means where `base` is the URL of the document (RFC 3986, 5).
---@param base string
---@param reference string
---@return string? url
---@return neap.Error? err
function http.resolve_url(base, reference) end

---Percent-encodes.
---@param text string
---@param part? "component"|"path"|"form" default "component"; "path" leaves slashes, "form" makes `+` of blanks
---@return string
function http.encode(text, part) end

---@param text string
---@param form? boolean `+` is a blank
---@return string? text
---@return neap.Error? err EINVAL
function http.decode(text, form) end

---@param text string
---@return table<string, string|string[]>? fields of a name that is repeated, all values
---@return neap.Error? err EINVAL
function http.parse_query(text) end

---A server. It goes on serving while nobody holds it, until it is closed.
---@class neap.http.Server
---@field address string "127.0.0.1:8080", "unix:/run/app.sock"
---@field port integer
---@field connections integer that are open
---@field closed boolean
local Server = {}

---Stops accepting, answers what is in flight, and waits for the end.
---@param opts? { grace?: number } seconds after which the rest is broken off; default 30
---@return true? ok
---@return neap.Error? err
function Server:close(opts) end

---@class neap.http.ServerStats
---@field connections integer
---@field rate_limit? { allowed: integer, refused?: integer, would_refuse?: integer, keys: integer, evicted: integer, forgotten: integer }
---@field concurrency? neap.concurrency.Stats
---@field admission? { admitted: integer, refused?: integer, would_refuse?: integer, success_rate: number, rejection: number }

---What the server has counted, and the rules in front of it; those are of all workers together.
---@return neap.http.ServerStats
function Server:stats() end

---A request, as a handler gets it. Fields are read from the wire when they are asked for, as long as the handler
---runs: after its answer as well, and after its client has left. A handler may set fields of its own.
---@class neap.http.Request
---@field method string
---@field path string as it came: not decoded
---@field target string path and query
---@field query_string? string
---@field query table<string, string|string[]> decoded; of a name that is repeated, all values
---@field params table<string, string> what the route captured, decoded
---@field route? string the route's pattern, for middleware and error handlers; nil when none was found
---@field headers table<string, string> by lower-case name; repeated ones joined by ", "
---@field trailers? table<string, string> what a chunked body ended with; nil before that was read
---@field cookies table<string, string>
---@field version string "1.1"
---@field remote string the peer's address: "10.0.0.1:56324", or what its PROXY header says
---@field client string who asks: the peer's address without port or, behind `trusted_proxies`, the one they name
---@field from_proxy boolean the peer is one of `trusted_proxies`
---@field scheme "http"|"https" of the request as the client made it
---@field host string what the client asked for, with its port if it is not the scheme's own
---@field url string "https://shop.test/a?b=1"
---@field id string a name for the request: what a trusted proxy sent as X-Request-Id, or 16 hexadecimal digits
---@field proxy? neap.ProxyInfo what the connection's PROXY header said; nil: there was none
---@field tls? neap.TlsInfo what was agreed on its connection; nil without TLS
---@field unmatched? { reason: string, allow?: string, location?: string } set when no route was found
local Request = {}

---@param name string
---@return string?
function Request:header(name) end

---Answers with what an upstream answers: a gateway's handler is `return req:forward(upstream)`. The request is
---made anew from its parsed head, without what belongs to one connection; both bodies stream past Lua. Waits
---for the end. An error leaves the request unanswered unless the answer was begun or the client has left, so
---that the handler may answer by itself, or try elsewhere (if `body` was not begun).
---@param to string|neap.http.Client|neap.Endpoint "http://10.0.0.1:8080", also with a path in front
---@param opts? neap.http.ForwardOptions
---@return true? ok
---@return neap.Error? err with `phase`, as of a client's call
function Request:forward(to, opts) end

---Who asks over a unix socket, as the kernel knows it.
---@return { pid: integer, uid: integer, gid: integer }? credentials
---@return neap.Error? err ENOTSUP: it is no unix socket
function Request:peer_credentials() end

---Waits for the whole body. Asked again, gives the same.
---@param max? integer bytes, if fewer than the server allows
---@return string? body
---@return neap.Error? err ELIMIT, ETIMEDOUT, ECONNRESET
function Request:body(max) end

---The body as JSON, whatever its content type says.
---@param max? integer
---@return any value nil on failure only
---@return neap.Error? err as of `body`, or EINVAL with what is wrong where, which answers 400 when it is returned
function Request:json(max) end

---Waits for a whole form, `a=1&b=2` or multipart, whichever the content type says. Asked again, gives the same.
---What is malformed, too large or no form at all gives an error that answers 400, 413 or 415 when it is returned.
---@param opts? neap.http.FormOptions|integer an integer is `max_bytes`
---@return table<string, string|string[]>? fields decoded; of a name that is repeated, all values
---@return table|neap.Error files a list of neap.http.FormFile; also by the field's name: of several the first
function Request:form(opts) end

---`for part in req:parts(limits) do … end`: the parts of a multipart form as they come; what is not read of one is
---skipped. Raises the error (which answers 400, 413 or 415) when the form is malformed, too large or breaks off.
---@param limits? neap.http.PartLimits
---@return fun(): neap.http.Part?
function Request:parts(limits) end

---A header that the answer gets, whatever it is answered by, besides those given there. Not for 1xx answers, nor for
---errors that neap answers by itself.
---@param name string
---@param value string
function Request:add_header(name, value) end

---Sets a cookie with the answer.
---@param name string
---@param value string
---@param opts? neap.http.CookieOptions
function Request:set_cookie(name, value, opts) end

---Has the client forget a cookie: path and domain as when it was set.
---@param name string
---@param opts? neap.http.CookieOptions
function Request:delete_cookie(name, opts) end

---Answers with a stream of server-sent events.
---@param opts? neap.http.EventsOptions
---@return neap.http.EventStream? events
---@return neap.Error? err ECONNRESET: the client has left
function Request:events(opts) end

---@return string? piece the next of the body; nil at its end
---@return neap.Error? err
function Request:read() end

---`for piece in req:chunks() do … end`. Raises the error when the body breaks off.
---@return fun(): string?
function Request:chunks() end

---Which of these the client likes best, by its Accept header; the first of those that it likes alike.
---Without the header, anything.
---@param ... string media types, or extensions of files: "json", "html"
---@return string? best as it was given; nil when it wants none of them
function Request:accepts(...) end

---By Accept-Encoding. Without the header, only "identity".
---@param ... string "br", "gzip", "identity"
---@return string? best
function Request:accepts_encoding(...) end

---By Accept-Charset.
---@param ... string
---@return string? best
function Request:accepts_charset(...) end

---By Accept-Language: "de" is what "de-CH" asks for, too, unless there is better.
---@param ... string
---@return string? best
function Request:accepts_language(...) end

---Answers in the form that the client likes best, or 406:
---`return req:negotiate { { "json", function(req) … end }, { "html", function(req) … end } }`.
---@param forms { [1]: string, [2]: fun(req: neap.http.Request): any, table? }[]
---@return integer status
---@return any body
---@return table headers
function Request:negotiate(forms) end

---Answers 304 to who has it already, or 412 to who made a condition that does not hold, and gives true;
---else the handler goes on. `if req:fresh { etag = tag } then return end`
---@param opts neap.http.Validators
---@return boolean answered
function Request:fresh(opts) end

---Which bytes of a body a GET asks for: nil, all of them; false, none that there are (416); else
---`{ first, last }`, from 0, inside of `size`, each byte once.
---@param size integer bytes
---@param etag? string for If-Range
---@param last_modified? number for If-Range
---@return { [1]: integer, [2]: integer }[]|false|nil
function Request:ranges(size, etag, last_modified) end

---Answers 200, 206 or 416 with what is asked for of a body: a string, or a function that gives the bytes from
---`first` to `last`.
---@param body string|fun(first: integer, last: integer): string
---@param opts? neap.http.RangedOptions
---@return true? ok
---@return neap.Error? err
function Request:respond_ranged(body, opts) end

---Answers with a file, which the kernel sends by itself where it can, and goes on doing so when the handler has
---returned. Conditions and ranges of the request are minded. When there is no such file the request is as
---unanswered as before.
---@param path string as the script means it, unless `root` is given: then below that
---@param opts? neap.http.SendFileOptions
---@return true? ok
---@return neap.Error? err ENOENT, EACCES, EMFILE; ECONNRESET when the client has left
function Request:send_file(path, opts) end

---Answers at once; the handler then returns nothing.
---@param status integer
---@param body? string
---@param headers? table<string, string|number|string[]>
---@return true? ok
---@return neap.Error? err
function Request:respond(status, body, headers) end

---Begins an answer that is written piece by piece.
---@param status integer
---@param headers? table<string, string|number|string[]>
---@param length? integer bytes in all; without, the answer is chunked
---@return true? ok
---@return neap.Error? err
function Request:start(status, headers, length) end

---A piece of the answer. Waits while the client is slow.
---@param piece string
---@return true? ok
---@return neap.Error? err ECONNRESET when the client has left
function Request:write(piece) end

---Ends an answer that was begun by `start`. Trailers leave if it is chunked, and are dropped else; announce
---them in the header `trailer`. Fields that frame, route or authenticate are refused. What the request's
---fields say can still be read afterwards, as after `respond`.
---@param trailers? table<string, string|number|string[]>
function Request:finish(trailers) end

---A 1xx head before the answer: `req:inform(103, { link = "</a.css>; rel=preload" })`. A client of HTTP/1.0
---is told nothing. (100 is sent by itself when a body is asked for that the client holds back.)
---@param status integer 100 to 199, not 101
---@param headers? table<string, string|number|string[]>
---@return true? ok
---@return neap.Error? err
function Request:inform(status, headers) end

---Leaves HTTP: answers 101 and gives the connection as a stream, with what the client has sent behind its
---request. The stream is the script's from then on: it outlives the handler and the server, and must be
---closed.
---@param protocol string one that the client has offered in `Upgrade`
---@param headers? table<string, string|number|string[]>
---@return neap.Stream? stream
---@return neap.Error? err ENOTSUP: the client has not offered it; EBUSY: the body was not read
function Request:upgrade(protocol, headers) end

---Answers CONNECT by 200 and gives the connection as a stream, as `upgrade` does; see `app:connect`. Any other
---answer to CONNECT has a status of its own (2xx is refused) and closes the connection.
---@param headers? table<string, string|number|string[]>
---@return neap.Stream? stream
---@return neap.Error? err ENOTSUP: it is not CONNECT
function Request:tunnel(headers) end

---@class neap.http.Response
local Response = {}

---The next piece of the body of a call made with `stream = true`.
---@param timeout? number seconds
---@return string? piece nil at the end
---@return neap.Error? err
function Response:read(timeout) end

---What has not come yet is not wanted. Idempotent.
function Response:close() end

return http
