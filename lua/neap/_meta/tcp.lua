---@meta neap.tcp

--- TCP: streams by address or name, and listeners.
---@class neap.tcp
local tcp = {}

---@class neap.TcpConnectOptions: neap.StreamOptions
---@field timeout? number|false seconds for all of it, names included; default 10
---@field no_delay? boolean send small writes at once; default true
---@field keep_alive? integer seconds of TCP keep-alive, 0 none; default 0
---@field tls? true|neap.tls.Context|neap.TlsOptions speaks TLS; true: with the system's roots
---@field server_name? string whom the certificate must be for; default: the host

---@class neap.ListenOptions: neap.StreamOptions
---@field backlog? integer connections that wait in the kernel; default 511
---@field max_connections? integer handlers that run at once, then accepting waits; default 10000
---@field tls? neap.tls.Context|neap.TlsOptions what is accepted speaks TLS, and is handed out when its handshake is done
---@field handshake_timeout? number seconds; default 10

---@class neap.TcpListenOptions: neap.ListenOptions
---@field host? string an address ("0.0.0.0", "::") or "localhost"; default "127.0.0.1"
---@field port? integer 0 picks a free one; default 0
---@field reuse_port? boolean several processes may listen on it; default false
---@field v6_only? boolean for "::", not IPv4 as well; default false

---Connects. A name is resolved, and its addresses are tried in turn.
---@param host string a name or an address
---@param port integer
---@param opts? neap.TcpConnectOptions
---@return neap.Stream? stream
---@return neap.Error? err ECONNREFUSED, ETIMEDOUT, ENOTFOUND (no such host), EDNS …
function tcp.connect(host, port, opts) end

---Listens. With a handler each connection runs it in a task of its own, and its stream is closed when it
---returns (unless `stream:detach()` was called); when the host stops, handlers get the grace to end.
---@param opts neap.TcpListenOptions
---@param handler? fun(stream: neap.Stream)
---@return neap.Listener? listener
---@return neap.Error? err EADDRINUSE, EACCES, EINVAL …
function tcp.listen(opts, handler) end

return tcp
