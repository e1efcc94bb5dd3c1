---@meta neap.tls

--- TLS 1.2 and 1.3 (OpenSSL): contexts, which servers, listeners and clients take as their option `tls`.
---
--- ```lua
--- local site = neap.tls.context { cert = "site.pem", key = "site.key" }
--- neap.http.serve { app = app, port = 8443, tls = site }
--- local s = neap.tcp.connect("example.org", 443, { tls = true })
--- ```
---
--- Safe by default: no version below 1.2, the ciphers and groups of Mozilla's intermediate profile (5.7), no
--- compression, no renegotiation, no early data. A client checks the chain against the system's roots and
--- the name it connects to. Session tickets' keys are the process's, shared by its workers and new every 12
--- hours. Certificates are read anew when the context's files change, and connections go on.
---@class neap.tls
local tls = {}

---A certificate: `cert` and `key` are paths of PEM files, or PEM text. In a sandbox only text.
---@class neap.TlsCertificate
---@field cert string the certificate, then its chain
---@field key? string the private key; default: in `cert` too
---@field password? string the key's
---@field ocsp? string path of an OCSP response (DER), which is stapled

---@class neap.TlsOptions
---@field cert? string PEM file or text: the certificate, then its chain
---@field key? string PEM file or text; default: in `cert` too
---@field password? string the key's
---@field ocsp? string path of an OCSP response (DER), which is stapled
---@field certs? neap.TlsCertificate[] several, instead of `cert`: chosen by the name the client asks for (exact, then wildcard); the first is for all other names
---@field sni? fun(name: string): (neap.tls.Context|neap.TlsOptions|nil) asked, in a task that may wait, for a name no certificate is for ("" when the client names none); nil refuses
---@field ca? string PEM file, directory of hashed names, or text: whom to trust; default for clients: the system's
---@field system_ca? boolean the system's as well as `ca`; default false
---@field crl? string PEM file or text: revoked certificates are refused
---@field crl_check_all? boolean of the whole chain, which needs a list of each issuer; default false: the leaf alone
---@field verify? "none"|"optional"|"required" the peer's certificate; default: "required" for clients, "none" for servers
---@field check_name? boolean a client checks the server's name; default true
---@field verify_depth? integer intermediates; default 10
---@field min_version? "1.2"|"1.3" default "1.2"
---@field max_version? "1.2"|"1.3" default: the newest
---@field ciphers? string OpenSSL's list, for 1.2
---@field ciphersuites? string for 1.3
---@field groups? string default "X25519:P-256:P-384"
---@field prefer_server_ciphers? boolean default false
---@field alpn? string[] protocols, the best first; default of HTTP servers: `{ "http/1.1" }`
---@field sessions? boolean sessions may be resumed; default true
---@field tickets? boolean … by tickets; false: by ID, from the process's table of 20,000; default true
---@field ticket_keys? string file of 80-byte keys (nginx's format) to share with other machines; the first encrypts
---@field session_lifetime? number seconds, at most 7 days; default 86400
---@field key_log? string file that secrets are appended to, for Wireshark: debugging only; default none
---@field allow_truncation? boolean a connection that ends without close_notify is a plain end, not ECONNRESET; default false
---@field reload_interval? number|false seconds between looks at the files; false: they are read anew by `reload` only; default 10

---@class neap.tls.Context
local Context = {}

---Reads the files again. On failure the context is as it was; connections go on with what they began with.
---@return true? ok
---@return neap.Error? err
function Context:reload() end

---How often the files were read anew.
---@return integer
function Context:reloads() end

---Makes a context: for any number of servers, listeners and connections.
---@param opts? neap.TlsOptions
---@return neap.tls.Context? context
---@return neap.Error? err ENOENT, EACCES, ETLS (what a file holds does not fit)
function tls.context(opts) end

---A new key for session tickets, in the whole process; tickets of the two before it still count.
---@return true? ok
---@return neap.Error? err
function tls.rotate_ticket_keys() end

---What was agreed on a connection.
---@class neap.TlsInfo
---@field version string "TLSv1.3"
---@field cipher string "TLS_AES_128_GCM_SHA256"
---@field alpn? string
---@field server_name? string what the client asked for
---@field resumed boolean
---@field verified boolean the peer has shown a certificate, and it is good
---@field peer? neap.TlsPeer the certificate that the peer has shown

---@class neap.TlsPeer
---@field subject string "CN=a,O=b" (RFC 2253)
---@field common_name string
---@field issuer string
---@field serial string hexadecimal
---@field fingerprint string SHA-256, hexadecimal
---@field names string[] "DNS:a.example", "IP:127.0.0.1", "URI:spiffe://…", "email:…"
---@field spiffe_id? string
---@field not_before integer seconds since 1970
---@field not_after integer

return tls
