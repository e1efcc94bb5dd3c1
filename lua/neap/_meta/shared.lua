---@meta neap.shared

---A map that the workers share. Expected failures are `nil, err`.
---@class neap.shared.Map
local Map = {}

---@param key string at most 65535 bytes
---@return string|number|boolean? value nil: it is not there
function Map:get(key) end

---@class neap.shared.SetOptions
---@field ttl? number seconds the entry lives; default 0: for ever

---@param key string
---@param value string|number|boolean
---@param opts? neap.shared.SetOptions
---@return true? ok
---@return neap.Error? err EMSGSIZE: larger than a shard, a sixteenth of the bound
function Map:set(key, value, opts) end

---As set, if the key is not there.
---@param key string
---@param value string|number|boolean
---@param opts? neap.shared.SetOptions
---@return true? ok
---@return neap.Error? err EEXIST, EMSGSIZE
function Map:add(key, value, opts) end

---As set, if the key is there.
---@param key string
---@param value string|number|boolean
---@param opts? neap.shared.SetOptions
---@return true? ok
---@return neap.Error? err ENOTFOUND, EMSGSIZE
function Map:replace(key, value, opts) end

---Compare and swap: sets the value if it is `expected`. nil stands for a key that is not there, so it can
---be made, and deleted, this way. An integer is never equal to a float.
---@param key string
---@param expected string|number|boolean|nil
---@param value string|number|boolean|nil
---@param opts? neap.shared.SetOptions
---@return true? ok
---@return neap.Error? err EBUSY: it is something else; EMSGSIZE
function Map:cas(key, expected, value, opts) end

---@class neap.shared.IncrOptions
---@field init? number|false what a counter that is not there begins at; default 0; false: it must be there
---@field ttl? number seconds it lives if it begins now; default 0: for ever

---Adds to a number. Two integers give an integer, which wraps around.
---@param key string
---@param by? number default 1
---@param opts? neap.shared.IncrOptions
---@return number? value the new one
---@return neap.Error? err EINVAL: what is there is not a number; ENOTFOUND (with `init = false`)
function Map:incr(key, by, opts) end

---@param key string
---@return boolean was_there
function Map:delete(key) end

---@param key string
---@return number? seconds that it has left; math.huge: it does not expire
---@return neap.Error? err ENOTFOUND
function Map:ttl(key) end

---@param key string
---@param seconds? number nil or 0: it does not expire any more
---@return true? ok
---@return neap.Error? err ENOTFOUND
function Map:expire(key, seconds) end

---Removes everything.
function Map:clear() end

---Some of the keys, of each shard those used last first.
---@param max? integer default 1024
---@return string[]? keys
---@return neap.Error? err ENOMEM
function Map:keys(max) end

---@class neap.shared.Stats
---@field entries integer
---@field bytes integer what the entries cost
---@field capacity integer the bound
---@field hits integer reads that found something
---@field misses integer reads that did not
---@field evictions integer entries that had to go for others
---@field expired integer entries whose time was over
---@field refused integer values that were larger than a shard

---@return neap.shared.Stats
function Map:stats() end
