--- The registry: which instances each service has, for as long as they say that they live.
---
--- Every process has one embedded. `register` announces an instance of this process and renews its lease
--- as long as the process lives; `lookup`, `watch` and the balancers read. `serve` makes the registry
--- reachable for other processes (over a part of Consul's HTTP API), and `connect` makes this process
--- use such a registry: what is registered here is registered there too, and what is looked for here is
--- mirrored from there.

local core = require "neap.core.registry"
local log = require "neap.log"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {
  snapshot = core.snapshot,
  register = core.register,
  put = core.put,
  deregister = core.deregister,
  heartbeat = core.heartbeat,
  get = core.get,
  index = core.index,
  services = core.services,
  registrations = core.registrations,
}

local MAX_FOLLOWED = 1024 -- names of services that are remembered for a registry to come

local remote -- what `connect` made, while it is open
local followed, followed_count = {}, 0

local function remember(name)
  if followed[name] or followed_count == MAX_FOLLOWED then return end
  followed[name], followed_count = true, followed_count + 1
end

---Has a service mirrored, if this process is connected to a registry, and waits for the first answer.
---@param name string
---@param timeout? number seconds, default 2; what is known by then is known
function M.follow(name, timeout)
  remember(name)
  if remote then remote:follow(name, timeout or 2) end
end

---@class neap.registry.LookupOptions
---@field tags? string[] only instances that carry each of these
---@field tag? string one more
---@field timeout? number seconds to wait for a connected registry's first answer; default 2

local lookup_options = schema.new {
  tags = { "array", of = "string" },
  tag = "string",
  timeout = { "number", min = 0 },
}

local function wanted_tags(opts)
  if not opts or not opts.tag then return opts and opts.tags end
  local tags = table.move(opts.tags or {}, 1, #(opts.tags or {}), 1, {})
  tags[#tags + 1] = opts.tag
  return tags
end

---The instances of a service. Waits only for a connected registry's first answer for that service.
---@param name string
---@param opts? neap.registry.LookupOptions
---@return neap.Endpoint[]? endpoints in order of registration; empty when there are none
---@return integer|neap.Error index the service's modify index
function M.lookup(name, opts)
  if opts == nil and followed[name] and not remote then return core.lookup(name) end
  schema.arg("name", name, "string")
  lookup_options:check(opts)
  M.follow(name, opts and opts.timeout)
  return core.lookup(name, wanted_tags(opts))
end

---@class neap.registry.WatchOptions
---@field limit? integer changes that may wait for the function; the oldest go first; default 1024

local watch_options = schema.new { limit = { "integer", min = 1 } }

-- One call at a time, in order. A call that raises is logged where it ends.
local function deliver(watch, name, fn)
  while true do
    local change = watch:next()
    if not change then return end
    local lost = watch:lost()
    if lost > 0 then log.warn("changes of the registry were lost", { service = name or "*", lost = lost }) end
    task.spawn(fn, change):await()
  end
end

---Watches a service, or all of them. With a function: it is called for each change, one at a time and in
---order, in a task of its own. Without: ask the watch for the next one, `watch:next(timeout)`.
---@param name? string nil: every service
---@param fn? fun(change: neap.registry.Change)
---@param opts? neap.registry.WatchOptions
---@return neap.registry.Watch? watch
---@return neap.Error? err
function M.watch(name, fn, opts)
  schema.arg("name", name, "string|nil")
  schema.arg("fn", fn, "callable|nil")
  watch_options:check(opts)
  local watch, err = core.watch(name, opts and opts.limit)
  if not watch then return nil, err end
  if name then
    remember(name)
    if remote then remote:follow(name, 0) end
  end
  if fn then task.spawn(deliver, watch, name, fn) end
  return watch
end

---Serves this process's registry over HTTP, for other processes to connect to.
---@param opts? neap.registry.ServeOptions
---@return neap.registry.Server? server
---@return neap.Error? err
function M.serve(opts)
  return require("neap.registry.server").serve(opts)
end

---Uses the registry of another process, or a Consul agent. Returns at once; `remote:ready(timeout)` waits for
---the first answer. While it cannot be reached, what was known of it goes on being used, and it is tried
---again with a growing pause; when it is back, what this process registered is registered again.
---@param url string "http://10.0.0.1:8500", or "10.0.0.1:8500"
---@param opts? neap.registry.ConnectOptions
---@return neap.registry.Remote
function M.connect(url, opts)
  schema.arg("url", url, "string")
  if remote then error("connect: there is a connected registry already; close it first", 2) end
  local new = require("neap.registry.remote").new(url, opts, 2)
  remote = new
  new.on_close = function()
    if remote == new then remote = nil end
  end
  for name in pairs(followed) do new:follow(name, 0) end
  return new
end

return M
