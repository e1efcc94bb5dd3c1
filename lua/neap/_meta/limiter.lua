---@meta neap.limiter

---A rate limiter. Expected failures are `nil, err`.
---@class neap.Limiter
local Limiter = {}

---Takes the cost if it may pass. A cost of 0 asks whether one may pass, takes nothing and is not counted.
---@param cost? number default 1
---@param key? string one limiter for each key; default: one for all
---@return true? ok
---@return neap.limiter.Info|neap.Error info ELIMIT with `retry_after` in seconds and `status` 429; `never`: it costs more than may ever pass
function Limiter:check(cost, key) end

---The same for a cost of 1, and quicker.
---@param key? string
---@return boolean
function Limiter:allow(key) end

---Other terms from now on, for all that use it; what was taken stays taken, and `name` is not among them.
---@param opts neap.limiter.Options
---@return true? ok
---@return neap.Error? err
function Limiter:set(opts) end

---@return neap.limiter.Stats
function Limiter:stats() end

---Gives it up. One with a name goes with its last user. A second time does nothing.
function Limiter:close() end
