---@meta neap.dns

--- Names to addresses, services to hosts and ports: /etc/hosts first, then the name servers, search
--- domains and timeouts of /etc/resolv.conf. Addresses are remembered by the worker for as long as their
--- records say, within bounds (`cache`); what files say is read anew each time.
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

---@class neap.DnsCacheOptions
---@field max_names? integer remembered at most, the one not asked for the longest goes first; default 1024; 0: none
---@field max_ttl? number seconds; what records say beyond is cut; default 3600
---@field negative_ttl? number|false seconds that a name is remembered not to exist; default 5

---How answers are remembered from now on, in this worker.
---@param opts neap.DnsCacheOptions
---@return true? ok
---@return neap.Error? err ENOMEM, EDNS
function dns.cache(opts) end

---Forgets all answers: names are asked for anew.
function dns.forget() end

---@return { names: integer, hits: integer, misses: integer } of the cache, since the worker began
function dns.stats() end

return dns
