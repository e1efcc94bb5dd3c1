---@meta neap.balancer

--- What a request brings to its pick. A policy written in Lua gets the caller's own table, whatever else
--- stands in it; neap.http.client gives all of these.
---@class neap.balancer.Context
---@field key? string|number for ring_hash and maglev, and `sticky = "key"`: the same key goes to the same endpoint
---@field exclude? neap.Endpoint[] tried before: avoided while another is there, in another zone or level if need be (the first 32 count)
---@field strict? boolean when all are excluded: ENOENDPOINT instead of one of them
---@field subset? table<string, string> metadata the endpoint must carry; the keys are those of `opts.subset.keys`
---@field sticky? string what `balancer:sticky(endpoint)` gave for an earlier request; what is no such value is ignored
---@field request? { method: string, target: string, headers: table } of neap.http.client's calls
---@field deadline? number seconds that are left
---@field attempts? integer how many attempts were made before
---@field previous? neap.Endpoint[] where those went
---@field priority? string|integer the request's class

---@class neap.balancer.EndpointOptions
---@field address string
---@field id? string default: the address
---@field weight? integer 1 … 65535; default 1
---@field zone? string default: `meta.zone`
---@field tags? string[]
---@field meta? table<string, string> `priority` ("0" … "15") is the level: the lowest is used first

--- How a request ended. Without `ok`, the fault or the status tells: below 500 and not 429 is well.
---@class neap.balancer.Result
---@field ok? boolean nil, with no fault and no status: it says nothing about the endpoint
---@field status? integer HTTP's, for outlier detection: 502, 503, 504 are a gateway's failure, 429 is overload
---@field fault? "local"|"gateway"|"server"|"overload" local: no answer came (connect, reset, time-out)
---@field latency? number seconds
---@field retry_after? number seconds the peer asked to be left alone
---@field bytes_in? integer received from the endpoint
---@field bytes_out? integer sent to it

--- What has become of the picks so far.
---@class neap.balancer.Stats
---@field endpoints integer how many there are, available or not
---@field picks integer
---@field faults integer of a policy in Lua: it raised, was stopped, or gave what was none of its endpoints
---@field refusals integer of a policy in Lua: it gave nil
---@field panics integer made in panic: too few were available, so all were used
---@field spilled integer in another zone, though the own one has endpoints
---@field failed_over integer on a lower priority level
---@field fallbacks integer outside the subset that was asked for
---@field trials integer of endpoints whose ejection was over
---@field sticky integer where the sticky value said
---@field unstuck integer elsewhere, as the sticky value's endpoint was gone, excluded or unavailable
---@field rebuilds integer how often the sets were made anew

--- An array of endpoints, with their fields as columns: `endpoints.active` is an array of numbers, one for each
--- endpoint, read from the live statistics each time it is asked for, always into the same table (so it holds
--- until it is asked for again; do not change it). Every field of neap.Endpoint but tags and meta is a column.
---@class neap.Endpoints: neap.Endpoint[]
---@field active integer[]
---@field cost number[]
---@field ewma number[]
---@field p95 number[]
---@field success_rate number[]
---@field weight integer[]
---@field zone string[]
local Endpoints = {}

---The endpoint with the least value of a field, among equals one by chance.
---@param field string of numbers
---@param exclude? neap.Endpoint[] passed over
---@return neap.Endpoint? endpoint nil: there is none, or all are excluded
---@return integer place in the array
---@return number value
function Endpoints:least(field, exclude) end

--- A balancer. What is picked is released once; a pick that a script forgets is released when its endpoint
--- is collected, as one that says nothing.
---@class neap.Balancer
local Balancer = {}

---Picks an endpoint for a request, which is then counted as in flight there until it is released.
---@param ctx? neap.balancer.Context
---@return neap.Endpoint? endpoint
---@return neap.Error? err ENOENDPOINT, or what a policy written in Lua gave
function Balancer:pick(ctx) end

---Ends a request. `ok` nil says nothing about the endpoint: neither a failure nor a sample of its latency.
---@param endpoint neap.Endpoint
---@param ok? boolean|neap.balancer.Result
---@param latency? number seconds
function Balancer:release(endpoint, ok, latency) end

---As `pick`, but nothing begins and nothing is to be released: for those that count requests elsewhere. It may
---give an endpoint whose ejection is over, for a trial.
---@param ctx? neap.balancer.Context
---@return neap.Endpoint? endpoint
---@return neap.Error? err
function Balancer:choose(ctx) end

---The endpoints that requests without a subset may go to just now: the same table until they change. Do not
---change it.
---@return neap.Endpoints
function Balancer:endpoints() end

---All endpoints, the unavailable ones too.
---@return neap.Endpoints
function Balancer:all() end

---Takes another list, for a balancer that was made from one; who is in both keeps the statistics.
---@param endpoints (string|neap.Endpoint|neap.balancer.EndpointOptions)[]
---@return true? ok
---@return neap.Error? err
function Balancer:update(endpoints) end

---@return neap.balancer.Stats
function Balancer:stats() end

---The sticky value of an endpoint: 16 hexadecimal digits that stand for its id and do not tell it, the same in all
---processes with the same `sticky.secret`. A client that brings it back (`ctx.sticky`) comes to that endpoint while
---it is available. Nil when the balancer was made without a sticky cookie or header.
---
---Without an endpoint: `opts.sticky` as it was given, for who speaks HTTP.
---@param endpoint? neap.Endpoint
---@return string|neap.balancer.Sticky|nil
function Balancer:sticky(endpoint) end

---Ends it. It may be called twice; what is picked may still be released.
function Balancer:close() end

return {}
