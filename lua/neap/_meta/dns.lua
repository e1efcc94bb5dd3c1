---@meta neap.dns

--- Names to addresses, services to hosts and ports: /etc/hosts first, then the name servers, search
--- domains and timeouts of /etc/resolv.conf.
---@class neap.dns
local dns = {}

---@class neap.ResolveOptions
---@field family? 4|6 addresses of this kind only; default both
---@field timeout? number|false seconds; default 10

---@class neap.SrvOptions
---@field timeout? number|false seconds; default 10

---@class neap.SrvRecord
---@field target string a host name
---@field port integer
---@field priority integer the smaller first
---@field weight integer share among those of one priority
---@field ttl number seconds

---Resolves a name. A literal address and "localhost" need no server.
---@param name string
---@param opts? neap.ResolveOptions
---@return string[]? addresses in the order to try them (RFC 6724)
---@return neap.Error? err ENOTFOUND, ETIMEDOUT, EDNS
function dns.resolve(name, opts) end

---The SRV records of a service, "_http._tcp.example.org".
---@param name string
---@param opts? neap.SrvOptions
---@return neap.SrvRecord[]? records in the order to try them (RFC 2782: by priority, then by weighted chance)
---@return neap.Error? err ENOTFOUND, ETIMEDOUT, EDNS
function dns.srv(name, opts) end

---Asks other name servers than /etc/resolv.conf's, in this worker.
---@param servers string "10.0.0.1,10.0.0.2:5353"
---@return true? ok
---@return neap.Error? err EINVAL, EBUSY while lookups are under way
function dns.set_servers(servers) end

return dns
