--- What this process registered, announced to a connected registry and kept alive there.
---
--- One task for each registration: it announces, renews at a third of the time to live, announces again
--- when the registry has forgotten it, and withdraws when the registration ends. Every worker announces
--- what its own state registered; a state that another one takes over from leaves what is registered still.

local core = require "neap.core.registry"
local http = require "neap.http"
local log = require "neap.log"
local task = require "neap.task"
local wire = require "neap.registry.wire"

local M = {}

local BEATS = 3 -- heartbeats within a time to live
local NO_LEASE = 30 -- seconds after which what has no lease is announced anew

---@class neap.registry.Publisher
local Publisher = {}
Publisher.__index = Publisher

local function remote_id(registration)
  return registration.automatic and wire.announced_id(registration) or registration.id
end

local function put(self, path, body)
  local res, err = self.remote.client:put(path, body and { json = body } or nil)
  self.remote:note(err)
  return res, err
end

local function escaped(id) return http.encode(id, "component") end

-- --- one registration

local function wake(entry)
  entry.wake:resolve(true)
end

local function rest(entry, seconds)
  if entry.gone or entry.dirty then return end
  entry.wake = task.future()
  entry.wake:await(seconds)
end

local function beat_after(entry)
  return entry.ttl > 0 and entry.ttl / BEATS or NO_LEASE
end

local function withdraw(self, entry)
  if not entry.announced then return end
  if entry.handed_over and core.origin(entry.registration.id) == "own" then return end
  entry.announced = false
  put(self, "/v1/agent/service/deregister/" .. escaped(entry.announced_id))
end

local function announce(self, entry)
  local id = remote_id(entry.registration)
  if entry.announced and entry.announced_id ~= id then withdraw(self, entry) end
  entry.dirty, entry.ttl = false, entry.registration.ttl
  entry.announced_id = id
  local body = wire.registration(id, entry.registration.endpoint, entry.ttl)
  local res, err = put(self, "/v1/agent/service/register", body)
  if res and res.status == 200 then
    entry.announced = true
    return true
  end
  entry.dirty = true
  if res then
    local text = (res.body or ""):sub(1, 200)
    log.warn("the registry refused an endpoint", { id = id, status = res.status, answer = text })
  end
  return nil, err
end

-- True, or nil when it has to be tried again soon.
local function renew(self, entry)
  if entry.dirty or entry.ttl == 0 then return announce(self, entry) end
  local res, err = put(self, "/v1/agent/check/pass/service:" .. escaped(entry.announced_id))
  if not res then return nil, err end
  if res.status == 200 then return true end
  entry.dirty = true -- it does not know us any more
  return announce(self, entry)
end

local function keep(self, entry)
  local pause = self.remote:backoff()
  while not entry.gone do
    if renew(self, entry) then
      pause:reset()
      rest(entry, beat_after(entry))
    else
      entry.wake = task.future()
      if not entry.gone then entry.wake:await(math.min(pause:next(), beat_after(entry))) end
    end
  end
  withdraw(self, entry)
end

-- --- all of them

local function find(id)
  for _, registration in ipairs(core.registrations()) do
    if registration.id == id then return registration end
  end
end

local function publish(self, registration)
  local entry = self.entries[registration.id]
  if entry and not entry.gone then
    entry.registration, entry.dirty = registration, true
    wake(entry)
    return
  end
  entry = {
    registration = registration,
    dirty = true,
    ttl = registration.ttl,
    announced_id = remote_id(registration),
    wake = task.future(),
  }
  self.entries[registration.id] = entry
  entry.runner = task.spawn(keep, self, entry)
end

local function unpublish(self, id)
  local entry = self.entries[id]
  if not entry then return end
  self.entries[id] = nil
  entry.gone = true
  wake(entry)
  self.leaving[entry] = true
  task.spawn(function()
    entry.runner:await()
    self.leaving[entry] = nil
  end)
end

local function follow_changes(self)
  while true do
    local change = self.watch:next()
    if not change then return end
    local registration = change.kind ~= "removed" and find(change.id)
    if registration then
      publish(self, registration)
    elseif change.kind == "removed" and not change.expired then
      unpublish(self, change.id)
    end
  end
end

local function finish(self, timeout)
  for id in pairs(self.entries) do unpublish(self, id) end
  for entry in pairs(self.leaving) do entry.runner:await(timeout) end
  for entry in pairs(self.leaving) do entry.runner:cancel() end
end

-- The state is stopping: it is waited until the registry knows that what ran here is gone. What others in
-- this process hold, and announce, is not.
local function drain(self)
  local grace = self.hold:wait()
  for _, entry in pairs(self.entries) do entry.handed_over = true end
  if grace > 0 then finish(self, math.min(grace, self.remote.opts.timeout)) end
  self.hold:done()
end

---@param remote neap.registry.Remote
---@return neap.registry.Publisher
function M.new(remote)
  local self = setmetatable({ remote = remote, entries = {}, leaving = {} }, Publisher)
  self.watch = assert(core.watch())
  self.hold = core.hold()
  remote:run(function()
    self.starter = task.spawn(function()
      -- Beside an older state nothing is registered yet.
      if not self.hold:active() then return end
      for _, registration in ipairs(core.registrations()) do publish(self, registration) end
      follow_changes(self)
    end)
    self.drainer = task.spawn(drain, self)
  end)
  return self
end

---@param id string
---@return boolean
function Publisher:is_own(id)
  for _, entry in pairs(self.entries) do
    if entry.announced_id == id then return true end
  end
  for entry in pairs(self.leaving) do
    if entry.announced_id == id then return true end
  end
  return false
end

---Withdraws everything, waiting at most `timeout` seconds, and stops.
---@param timeout number
function Publisher:close(timeout)
  self.watch:close()
  if self.drainer then self.drainer:cancel() end
  finish(self, timeout)
  self.hold:done()
end

return M
