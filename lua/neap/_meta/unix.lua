---@meta neap.unix

--- Unix sockets: streams by path, and listeners.
---@class neap.unix
local unix = {}

---@class neap.UnixConnectOptions: neap.StreamOptions
---@field timeout? number|false seconds; default 10
---@field tls? true|neap.tls.Context|neap.TlsOptions speaks TLS
---@field server_name? string whom the certificate must be for; without, any name is taken
---@field proxy_protocol? "v1"|"v2"|neap.ProxyHeader begins with a PROXY header, before TLS: of its own addresses, or that

---@class neap.UnixListenOptions: neap.ListenOptions
---@field path string at most 107 bytes; "@name" is an abstract socket, which has no file
---@field mode? integer permissions of the socket file; default what the umask leaves

---@param path string
---@param opts? neap.UnixConnectOptions
---@return neap.Stream? stream
---@return neap.Error? err ENOENT, ECONNREFUSED, EACCES …
function unix.connect(path, opts) end

---Listens; see `neap.tcp.listen`. A socket file that nobody listens on any more is replaced; the file is
---removed when the listener closes.
---@param opts neap.UnixListenOptions
---@param handler? fun(stream: neap.Stream)
---@return neap.Listener? listener
---@return neap.Error? err EADDRINUSE, ENOENT, EACCES …
function unix.listen(opts, handler) end

return unix
