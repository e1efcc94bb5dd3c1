--- Maps that all workers of a host share: counters, caches, flags.
---
--- `neap.shared(name)` is the same map in every worker, and after a reload; it goes with the host. Keys are
--- strings; values are strings, numbers or booleans. Each operation is atomic. A map has a bound on its
--- bytes: when it is full, what has expired goes first, then what was used longest ago (`stats().evictions`
--- counts those). It is cut into 16 shards that share the bound, so the oldest of one shard goes; an entry
--- costs its key, its value and 128 bytes.

local core = require "neap.core.shared"
local schema = require "neap.schema"

---@class neap.shared
local M = {}

---@class neap.shared.Options
---@field bytes? integer the bound; at first 16 MiB, at least 64 KiB. Given later, it changes the bound

local options = schema.new { bytes = { "integer", min = 1 } }

---The map of that name, made if need be. As `neap.shared(name, opts)`.
---@param name string 1 to 128 bytes
---@param opts? neap.shared.Options
---@return neap.shared.Map? map
---@return neap.Error? err ELIMIT: a host has at most 1024 maps
function M.open(name, opts)
  schema.arg("name", name, "string")
  options:check(opts)
  return core.open(name, opts and opts.bytes)
end

return setmetatable(M, { __call = function(_, name, opts) return M.open(name, opts) end })
