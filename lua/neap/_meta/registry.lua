---@meta neap.registry

--- An instance of a service. A view: the numbers are read when asked for, so keep the endpoint, not a copy.
--- Two views are equal (`==`) when they are of one instance.
---@class neap.Endpoint
---@field id string unique in the registry
---@field name string the service
---@field service string the same
---@field address string "host:port", "[::1]:port" or "unix:/path"
---@field host? string nil for a unix socket
---@field port? integer nil for a unix socket
---@field path? string of a unix socket
---@field weight integer 1 … 65535
---@field zone string "" when it has none
---@field tags string[]
---@field meta table<string, string>
---@field priority integer the level: 0 is used first; from `meta.priority`
---@field active integer requests in flight, from this process
---@field total integer requests begun
---@field errors integer requests that failed
---@field ewma number seconds: moving average of the latency of successes, where a sample's share falls to 1/e in 10 s; 0 before the first
---@field p95 number seconds: the 95th percentile of the latency of successes in the last 10 s, within 8 %; 0 before there are 20
---@field cost number seconds: the peak average (Finagle's peak EWMA): jumps up at once, comes down with the same decay, 0.01 before the first sample; a failure counts as ten times the latency, each further one in a row as ten times that, at most 5 s
---@field success_rate number 0 … 1: moving average of the share that went well; 1 before the first
---@field bytes_in integer received from it, as far as it was told
---@field bytes_out integer sent to it
---@field available boolean it may be given requests: not ejected, healthy, not draining
---@field ejected boolean by outlier detection or by hand; also while it is on trial
---@field ejections integer how often lately
---@field healthy boolean false: an active check found it failing
---@field draining boolean it gets no new requests
---@field since number when it was added or came back, on the scale of the host's clock; 0: long ago
local Endpoint = {}

---@param tag string
---@return boolean
function Endpoint:has_tag(tag) end

---It gets no requests for so long, in no balancer of this process; then one, for a trial, which brings it back or
---ejects it again.
---@param seconds number
function Endpoint:eject(seconds) end

---Ends an ejection at once.
function Endpoint:readmit() end

---It gets no new requests, also where all others are unavailable; what is in flight ends.
---@param on? boolean false: it takes part again; default true
function Endpoint:drain(on) end

---What a check of one's own found; `neap.health` has ready ones.
---@param healthy? boolean default true
function Endpoint:set_healthy(healthy) end

---What the endpoint says of its load, for the policy `client_side_weighted_round_robin`: an answer's header
---`endpoint-load-metrics` (ORCA's, text or JSON), or numbers. A client of that policy does this by itself.
---@param report string|{ qps: number, eps?: number, utilization: number } requests and errors a second, how busy (1: fully)
---@return boolean whether it said anything
function Endpoint:report(report) end

---@class neap.registry
local registry = {}

---@class neap.registry.RegisterOptions
---@field name string the service: letters, digits, '-', '_', '.', at most 128 bytes
---@field address string "host:port", "[::1]:port", "unix:/path"
---@field id? string unique in the registry; default "<name>-<n>"
---@field ttl? number|false seconds the lease lasts without being renewed; default 10; false or 0: it does not end
---@field tags? string[] at most 64
---@field meta? table<string, string> at most 64 pairs and 8192 bytes
---@field weight? integer 1 … 65535; default 1
---@field zone? string default: `meta.zone`

---Announces an instance of this process. Its lease is renewed at a third of its time while the process
---lives, also when the object is not kept; it leaves the registry when the host begins to stop, before the
---servers that were made before it stop accepting. An id that is registered already is updated in place
---and keeps its statistics.
---
---Workers that register one service at one address, without an id or with the same, have one endpoint: it stands
---until the last of them deregisters it, and while one of them renews it. If they describe it differently
---(tags, meta, weight), the last one's word stands. Code that takes over in a reload joins the endpoint of the
---code before it, at the switch; nobody sees a change unless something differs. Twice in one script is two
---endpoints.
---@param opts neap.registry.RegisterOptions
---@return neap.registry.Registration? registration
---@return neap.Error? err ELIMIT
function registry.register(opts) end

---Registers an instance whose lease somebody else renews, by `heartbeat`. For gateways to other registries.
---@param opts neap.registry.RegisterOptions
---@return neap.Endpoint? endpoint
---@return neap.Error? err EINVAL, ELIMIT
function registry.put(opts) end

---@param id string
---@return true? ok
---@return neap.Error? err ENOTFOUND
function registry.deregister(id) end

---Renews a lease.
---@param id string
---@return true? ok
---@return neap.Error? err ENOTFOUND: it has ended; register again
function registry.heartbeat(id) end

---@param id string
---@return neap.Endpoint? endpoint nil when there is none
---@return number? left seconds until its lease ends; nil when it has none
function registry.get(id) end

---The endpoints of a service as a list that cannot be changed; the same object until the service changes, so
---that reading it often costs next to nothing: for policies. `#list`, `list[i]`, `list.index`. Never waits: of a
---connected registry it has what was followed (`registry.follow`).
---@param name string
---@return neap.registry.Snapshot? endpoints in order of registration
---@return neap.Error? err ENOMEM
function registry.snapshot(name) end

---@class neap.registry.Snapshot
---@field index integer the service's modify index
---@field [integer] neap.Endpoint

---The modify index: of a service, or of the whole registry. It is never 0 and never goes back; a service's
---index moves with its own changes only.
---@param name? string
---@return integer
function registry.index(name) end

---@class neap.registry.Service
---@field name string
---@field endpoints integer
---@field index integer

---The services that have instances, as far as this process knows.
---@return neap.registry.Service[]
function registry.services() end

---What this worker's scripts registered and is still registered.
---@return neap.registry.Registration[]
function registry.registrations() end

---@class neap.registry.Registration
---@field id string
---@field name string
---@field address string
---@field ttl number seconds; 0 when its lease does not end
---@field active boolean whether it stands
---@field automatic boolean whether the id was made up
---@field endpoint neap.Endpoint
local Registration = {}

---Takes it out of the registry. It may be called twice; also by leaving the scope of a `<close>` variable.
function Registration:deregister() end

---The same.
function Registration:close() end

---Changes what is given and keeps the rest.
---@param opts { address?: string, ttl?: number|false, weight?: integer, zone?: string, tags?: string[], meta?: table<string, string> }
---@return neap.registry.Registration? self
---@return neap.Error? err ELIMIT
function Registration:update(opts) end

---@class neap.registry.Change
---@field kind "added"|"updated"|"removed"
---@field service string
---@field id string
---@field endpoint neap.Endpoint as it is now, or as it was if removed
---@field old? neap.Endpoint as it was, if updated
---@field index integer the service's modify index
---@field expired boolean removed because its lease ended

---@class neap.registry.Watch
local Watch = {}

---The next change, in order. Waits for it.
---@param timeout? number seconds; 0: does not wait
---@return neap.registry.Change? change
---@return neap.Error? err ETIMEDOUT, ECLOSED
function Watch:next(timeout) end

---How many changes were lost since this was last asked, because the queue was full: look up anew.
---@return integer
function Watch:lost() end

---Ends it; who waits gets ECLOSED. It may be called twice.
function Watch:close() end

return registry
