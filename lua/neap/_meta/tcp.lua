---@meta neap.tcp

--- TCP: streams by address or name, and listeners.
---@class neap.tcp
local tcp = {}

---@class neap.TcpConnectOptions: neap.StreamOptions
---@field timeout? number|false seconds for all of it, names included; default 10
---@field no_delay? boolean send small writes at once; default true
---@field keep_alive? integer seconds of TCP keep-alive, 0 none; default 0
---@field attempt_delay? number seconds until a name's next address is tried as well (RFC 8305); default 0.25
---@field tls? true|neap.tls.Context|neap.TlsOptions speaks TLS; true: with the system's roots
---@field server_name? string whom the certificate must be for; default: the host
---@field proxy_protocol? "v1"|"v2"|neap.ProxyHeader begins with a PROXY header, before TLS: of its own addresses, or that

---A PROXY header. Version 1 has addresses alone, of TCP. Without addresses it says nothing of who is behind it.
---@class neap.ProxyHeader
---@field version? 1|2 default 2
---@field source? string who connected: "192.0.2.1:56324", "[::1]:5", "unix:/path"
---@field destination? string where to
---@field is_local? boolean the proxy speaks for itself; default false
---@field alpn? string
---@field authority? string the host name that was asked for
---@field unique_id? string at most 128 bytes
---@field netns? string
---@field ssl? neap.ProxyTls
---@field checksum? boolean with a CRC32c; default false

---The client's TLS, in front of the proxy.
---@class neap.ProxyTls
---@field secure? boolean default true
---@field version? string
---@field cipher? string
---@field has_certificate? boolean
---@field verified? boolean its certificate was good
---@field common_name? string of its certificate
---@field signature_algorithm? string
---@field key_algorithm? string
---@field group? string

---What a PROXY header said.
---@class neap.ProxyInfo
---@field version 1|2
---@field is_local boolean the proxy speaks for itself
---@field source? string nil where it does not say
---@field destination? string
---@field alpn? string
---@field authority? string
---@field unique_id? string
---@field netns? string
---@field ssl? neap.ProxyTls

---Who may begin with a PROXY header, and who must.
---@class neap.ProxyProtocolOptions
---@field required? boolean connections without one are closed; default true
---@field trusted? string[]|neap.Cidr who may send one (see `neap.cidr.new`); a header of anybody else closes the connection; default everybody
---@field timeout? number|false seconds for the header to come; default 5
---@field max_waiting? integer connections whose header has not come; default 4096

---@class neap.ListenOptions: neap.StreamOptions
---@field backlog? integer connections that wait in the kernel; default 511
---@field max_connections? integer handlers that run at once, then accepting waits; default 10000
---@field tls? neap.tls.Context|neap.TlsOptions what is accepted speaks TLS, and is handed out when its handshake is done
---@field handshake_timeout? number seconds; default 10
---@field proxy_protocol? boolean|neap.ProxyProtocolOptions connections begin with a PROXY header, which names their peers; default false

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

---A PROXY header as bytes, to be written as the first of a connection.
---@param header neap.ProxyHeader
---@return string
function tcp.proxy_header(header) end

---Listens. With a handler each connection runs it in a task of its own, and its stream is closed when it
---returns (unless `stream:detach()` was called); when the host stops, handlers get the grace to end.
---@param opts neap.TcpListenOptions
---@param handler? fun(stream: neap.Stream)
---@return neap.Listener? listener
---@return neap.Error? err EADDRINUSE, EACCES, EINVAL …
function tcp.listen(opts, handler) end

return tcp
