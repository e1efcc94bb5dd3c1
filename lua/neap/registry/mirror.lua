--- One service of a connected registry, kept in the embedded one by blocking queries.
---
--- Every worker mirrors for itself, and so does a state that takes over in a reload: an endpoint stands while
--- one of them mirrors it. What this process itself announced is not mirrored, whichever worker did.

local core = require "neap.core.registry"
local http = require "neap.http"
local log = require "neap.log"
local task = require "neap.task"
local wire = require "neap.registry.wire"

local M = {}

---@class neap.registry.Mirror
---@field first neap.Future done when the registry has answered, or has failed to
local Mirror = {}
Mirror.__index = Mirror

-- Whether it is an instance of this process, under its own id or the one it is announced with.
local function is_own(self, options)
  if self.remote:is_own(options.id) then return true end
  for _, endpoint in ipairs(core.lookup(options.name) or {}) do
    if endpoint.address == options.address and core.origin(endpoint.id) == "own" then
      if options.id == endpoint.id or options.id == wire.announced_id(endpoint) then return true end
    end
  end
  return false
end

-- What others mirror already is known, even while the registry cannot be reached.
local function adopt(self)
  for _, endpoint in ipairs(core.lookup(self.name) or {}) do
    local id = endpoint.id
    if core.origin(id) == "mirrored" and core.mirror(id) then self.ids[id] = true end
  end
end

-- Puts what the registry lists into the embedded one. `keep`: what it does not list stays.
local function apply(self, list, keep)
  local listed = {}
  for _, entry in ipairs(list) do
    local options = type(entry) == "table" and wire.from_health(entry)
    if options and options.name == self.name and not is_own(self, options) then
      if core.origin(options.id) == "own" then options.id = options.id .. "@" .. options.address end
      listed[options.id] = true
      local ok, err = core.mirror(options)
      if ok then
        self.ids[options.id] = true
      else
        log.warn("cannot mirror an endpoint", { service = self.name, id = options.id, error = tostring(err) })
      end
    end
  end
  if keep then return end
  for id in pairs(self.ids) do
    if not listed[id] then
      self.ids[id] = nil
      core.forget(id)
    end
  end
end

local function ask(self, wait)
  local opts = self.remote.opts
  local path = ("/v1/health/service/%s?passing=1&index=%d&wait=%s"):format(
    http.encode(self.name, "component"),
    self.index,
    wire.duration(wait)
  )
  -- The server adds up to a sixteenth of the wait at random.
  local res, err = self.remote.client:get(path, { timeout = wait + wait / 16 + opts.timeout })
  if not res then return nil, err end
  if res.status ~= 200 then
    local text = (res.body or ""):sub(1, 200)
    return nil, task.error("EPROTO", ("the registry answered %d: %s"):format(res.status, text))
  end
  local list
  list, err = res:json()
  if type(list) ~= "table" then
    return nil, err or task.error("EPROTO", "the registry's answer is no list")
  end
  return list, nil, math.tointeger(tonumber(res.headers["x-consul-index"])) or 0
end

-- An index that went back means that the registry began anew.
local function take(self, list, index)
  local now = core.now()
  if (self.away or index < self.index) and next(self.ids) then
    self.keep_until = now + self.remote.opts.grace
  end
  self.away = false
  apply(self, list, now < self.keep_until)
  self.index = index >= self.index and index or 0
end

local function round(self, pause)
  local left = self.keep_until - core.now()
  local wait = self.remote.opts.wait
  if left > 0 and left < wait then wait = left end
  local began = core.now()
  local list, err, index = ask(self, wait)
  self.remote:note(err)
  if not list then
    self.away = true
    self.first:resolve(false)
    pause:wait()
    return
  end
  pause:reset()
  local same = index == self.index
  take(self, list, index)
  self.first:resolve(true)
  -- A server that does not block is not asked again at once.
  if (same or self.index == 0) and core.now() - began < wait / 2 then task.sleep(math.min(wait, 1)) end
end

local function run(self)
  local pause = self.remote:backoff()
  while not self.closed do round(self, pause) end
end

---@param remote neap.registry.Remote
---@param name string
---@return neap.registry.Mirror
function M.new(remote, name)
  local self = setmetatable({
    remote = remote,
    name = name,
    index = 0,
    ids = {},
    away = false,
    keep_until = 0,
    first = task.future(),
  }, Mirror)
  adopt(self)
  remote:run(function()
    if not self.closed then self.runner = task.spawn(run, self) end
  end)
  return self
end

---Stops, and forgets what was mirrored.
function Mirror:close()
  self.closed = true
  if self.runner then self.runner:cancel() end
  self.first:resolve(false)
  for id in pairs(self.ids) do core.forget(id) end
  self.ids = {}
end

return M
