---@meta neap.stream

--- Streams: ordered bytes both ways, the same object for TCP, unix sockets and pairs in memory, for
--- client and server.
---
--- A stream reads ahead into a bounded buffer and then lets the peer wait; a writer waits while too much
--- is queued. One task at a time may read (a second one raises EBUSY), any number may write; each write
--- goes out whole. What a read that fails has not taken stays for the next one.
---
--- Every call that waits takes `timeout`, in seconds. On a closed stream all methods but `close`,
--- `is_closed` and `tostring` raise.
---@class neap.stream
local stream = {}

---@class neap.StreamOptions
---@field read_ahead? integer bytes read before the script asks for them; default 65536
---@field max_queue? integer bytes that may be queued for writing; default 64 MiB

---@class neap.PipeOptions: neap.StreamOptions
---@field capacity? integer bytes under way in each direction; default 65536

---Two streams in memory, each the other's peer: for tests, and to join what speaks streams.
---@param opts? neap.PipeOptions
---@return neap.Stream a
---@return neap.Stream b
function stream.pipe(opts) end

---@class neap.Stream
local Stream = {}

---@class neap.TimeoutOptions
---@field timeout? number seconds; default: what `set_timeouts` says, or none

---@class neap.ReadOptions: neap.TimeoutOptions
---@field max? integer bytes before the separator; default 65536

---@class neap.CloseOptions
---@field linger? number seconds without progress until what is queued is given up; 0: at once; default 5

---@class neap.StreamTimeouts
---@field read? number|false seconds of each call that reads; the stream lives on
---@field write? number|false seconds in which bytes are queued and none leave; breaks the stream
---@field idle? number|false seconds in which nothing moves either way; breaks the stream

---Reads what is there, or waits for some.
---@param max? integer bytes; default: all that is there
---@param opts? neap.TimeoutOptions may stand in the place of `max`
---@return string? data at least one byte
---@return neap.Error? err EOF when the peer has ended, ETIMEDOUT, ECONNRESET …
function Stream:read(max, opts) end

---Reads exactly so many bytes.
---@param n integer
---@param opts? neap.TimeoutOptions
---@return string? data
---@return neap.Error? err EOF when the stream ends before (what has come can still be read)
function Stream:read_exactly(n, opts) end

---Reads up to a separator, which is taken and not returned.
---@param separator string
---@param opts? neap.ReadOptions
---@return string? data
---@return neap.Error? err ELIMIT when it does not come within `max` bytes
function Stream:read_until(separator, opts) end

---Reads a line; its end, "\n" or "\r\n", is not returned.
---@param opts? neap.ReadOptions
---@return string? line
---@return neap.Error? err ELIMIT, EOF …
function Stream:read_line(opts) end

---For a loop over all that comes: `for chunk in stream:chunks() do … end`. A failure other than the end
---raises.
---@return fun(): string? next
function Stream:chunks() end

---Writes; waits while the queue is above 64 KiB, so that memory stays bounded when the peer is slow.
---@param data string|string[] several go out as one
---@param opts? neap.TimeoutOptions
---@return true? ok
---@return neap.Error? err ETIMEDOUT (it stays queued), EPIPE, ECONNRESET, ELIMIT, ECLOSED after `shutdown`
function Stream:write(data, opts) end

---Says that no more will be written. The peer sees the end after what is queued; reading goes on.
---@return true? ok
---@return neap.Error? err
function Stream:shutdown() end

---Closes. What is queued still leaves, in the background. May be called twice; `<close>` does it too.
---@param opts? neap.CloseOptions
function Stream:close(opts) end

---@return boolean closed by this side
function Stream:is_closed() end

---@return string? address "127.0.0.1:8080", "[::1]:8080", "unix:/path", "pipe"
---@return neap.Error? err
function Stream:peer() end

---@return string? address
---@return neap.Error? err
function Stream:local_address() end

---What the PROXY header said that the connection came with (`proxy_protocol` of its listener).
---@return neap.ProxyInfo? info nil: there was none
function Stream:proxy() end

---Who is at the other end of a unix socket, as the kernel knows it.
---@return { pid: integer, uid: integer, gid: integer }? credentials
---@return neap.Error? err ENOTSUP: it is no unix socket
function Stream:peer_credentials() end

---Keeps the stream open when the listener's handler that got it returns.
---@return neap.Stream self
function Stream:detach() end

---Sets those that are named; false is none.
---@param timeouts neap.StreamTimeouts
---@return neap.Stream? self
---@return neap.Error? err
function Stream:set_timeouts(timeouts) end

--- What `listen` gives, for TCP and unix sockets.
---@class neap.Listener
---@field address string "127.0.0.1:8080" or "unix:/path"; nil when closed
---@field port integer nil for a unix socket and when closed
---@field closed boolean
---@field connections integer that run the handler now
local Listener = {}

---Waits for a connection; only without a handler. Connections that nobody waits for stay in the kernel's
---queue.
---@param opts? neap.TimeoutOptions
---@return neap.Stream? stream
---@return neap.Error? err ETIMEDOUT, ECLOSED
function Listener:accept(opts) end

---Stops listening; connections live on. May be called twice.
function Listener:close() end

---@class neap.StartTlsOptions
---@field tls? true|neap.tls.Context|neap.TlsOptions default true: the system's roots (a client's only)
---@field server? boolean this side is the server; default false
---@field server_name? string whom the server's certificate must be for; without, any name is taken
---@field timeout? number|false seconds for the handshake; default 10

---Goes over to TLS on a stream that has been plain so far (STARTTLS). Waits for the handshake; a stream
---whose handshake fails is closed. What was read ahead and not taken is given to TLS, so that no plain
---byte can pass for a protected one.
---@param opts? neap.StartTlsOptions
---@return neap.Stream? stream itself
---@return neap.Error? err ETLS, ETIMEDOUT, ECONNRESET …
function Stream:starttls(opts) end

---What was agreed.
---@return neap.TlsInfo? info nil without TLS
function Stream:tls() end

---The certificate that the peer has shown.
---@return string? pem
---@return neap.Error? err ENOTFOUND
function Stream:peer_certificate() end

return stream
