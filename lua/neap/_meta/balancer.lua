---@meta neap.balancer

--- What a request brings to its pick. A policy written in Lua gets the caller's own table, whatever else
--- stands in it.
---@class neap.balancer.Context
---@field key? string|number for ring_hash: the same key goes to the same endpoint
---@field exclude? neap.Endpoint[] tried before: avoided while another is there (the first 32 count)
---@field strict? boolean when all are excluded: ENOENDPOINT instead of one of them

---@class neap.balancer.EndpointOptions
---@field address string
---@field id? string default: the address
---@field weight? integer
---@field zone? string
---@field tags? string[]
---@field meta? table<string, string>

--- A balancer. What is picked is released once; a pick that a script forgets is released when its endpoint
--- is collected, as one that says nothing.
---@class neap.Balancer
local Balancer = {}

---Picks an endpoint for a request, which is then counted as in flight there until it is released.
---@param ctx? neap.balancer.Context
---@return neap.Endpoint? endpoint
---@return neap.Error? err ENOENDPOINT
function Balancer:pick(ctx) end

---Ends a request. `ok` nil says nothing about the endpoint: neither a failure nor a sample of its latency.
---@param endpoint neap.Endpoint
---@param ok? boolean|{ ok: boolean?, latency: number? }
---@param latency? number seconds
function Balancer:release(endpoint, ok, latency) end

---The endpoints the next pick chooses from: the same table until they change. Do not change it.
---@return neap.Endpoint[]
function Balancer:endpoints() end

---Takes another list, for a balancer that was made from one; who is in both keeps the statistics.
---@param endpoints (string|neap.Endpoint|neap.balancer.EndpointOptions)[]
---@return true? ok
---@return neap.Error? err
function Balancer:update(endpoints) end

---Ends it. It may be called twice; what is picked may still be released.
function Balancer:close() end

return {}
