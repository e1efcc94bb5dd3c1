--- A registry in another process, used by this one: what is registered here is announced there, and
--- the services that are asked for here are mirrored from there into the embedded registry.
---
--- What was mirrored stays while the registry is away. When it is back, perhaps empty after a restart,
--- what it does not list is kept for a grace, in which the others have time to register again.

local backoff = require "neap.registry.backoff"
local http = require "neap.http"
local log = require "neap.log"
local mirror = require "neap.registry.mirror"
local publisher = require "neap.registry.publisher"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {}

---@class neap.registry.ConnectOptions
---@field token? string sent as X-Consul-Token
---@field timeout? number seconds for a request; default 5
---@field wait? number seconds that a blocking query waits; default 60
---@field grace? number seconds that what is gone is kept after the registry was away; default 10
---@field backoff_min? number seconds before the first new attempt; default 0.1
---@field backoff_max? number default 10
---@field max_services? integer services that are mirrored; default 1024

local connect_options = schema.new {
  token = { "string", min = 1 },
  timeout = { "number", min = 0.001, default = 5 },
  wait = { "number", min = 0.001, max = 600, default = 60 },
  grace = { "number", min = 0, default = 10 },
  backoff_min = { "number", min = 0.001, default = 0.1 },
  backoff_max = { "number", min = 0.001, default = 10 },
  max_services = { "integer", min = 1, default = 1024 },
}

---@class neap.registry.Remote
---@field url string
---@field available boolean whether the last request was answered
local Remote = {}
Remote.__index = Remote
Remote.__name = "neap.registry.remote"

local function supervise(self)
  while not self.closed or self.jobs[1] do
    local job = table.remove(self.jobs, 1)
    if job then
      job()
    else
      self.work = task.future()
      self.work:await()
    end
  end
end

-- Makes the first contact, for a process that neither registers nor looks for anything yet.
local function probe(self)
  local pause = self:backoff()
  while not self.contacted:done() do
    local res, err = self.client:get "/v1/status/leader"
    self:note(err)
    if not res then pause:wait() end
  end
end

---@param url string
---@param opts? neap.registry.ConnectOptions
---@param level integer whose fault a mistake is
---@return neap.registry.Remote
function M.new(url, opts, level)
  opts = connect_options:read(opts, level + 1)
  if not url:find("://", 1, true) then url = "http://" .. url end
  local headers = opts.token and { ["x-consul-token"] = opts.token } or nil
  local ok, client = pcall(http.client, { base = url, timeout = opts.timeout, headers = headers })
  if not ok then error("url: " .. tostring(client):gsub("^.-opts%.base: ", ""), level + 1) end
  local self = setmetatable({
    url = url,
    opts = opts,
    client = client,
    available = false,
    contacted = task.future(),
    mirrors = {},
    mirror_count = 0,
    jobs = {},
    work = task.future(),
  }, Remote)
  task.spawn(supervise, self)
  self:run(function() self.prober = task.spawn(probe, self) end)
  self.publisher = publisher.new(self)
  return self
end

---Has `job` run in the task that stands above all of the connection's, so that what it spawns does not end,
---or run out of time, with a request that happened to ask for it.
---@param job fun()
function Remote:run(job)
  self.jobs[#self.jobs + 1] = job
  self.work:resolve(true)
end

---Notes how a request went; logs when that changes.
---@param err? neap.Error
function Remote:note(err)
  local available = err == nil
  if available ~= self.available or not self.noted then
    self.noted = true
    if available then
      log.info("the registry answers", { url = self.url })
    else
      local fields = { url = self.url, error = tostring(err) }
      log.warn("the registry does not answer; going on with what is known", fields)
    end
  end
  self.available = available
  if available then self.contacted:resolve(true) end
end

---Waits until the registry has answered for the first time.
---@param timeout? number seconds
---@return true? ok
---@return neap.Error? err
function Remote:ready(timeout)
  return self.contacted:await(timeout)
end

---Has a service mirrored; waits for the first answer, or for the first failure to get one.
---@param name string
---@param timeout number seconds; 0: does not wait
function Remote:follow(name, timeout)
  if self.closed then return end
  local m = self.mirrors[name]
  if not m then
    if self.mirror_count >= self.opts.max_services then
      if not self.full then log.warn("no more services are mirrored", { limit = self.opts.max_services }) end
      self.full = true
      return
    end
    m = mirror.new(self, name)
    self.mirrors[name], self.mirror_count = m, self.mirror_count + 1
  end
  if timeout > 0 then m.first:await(timeout) end
end

---The id under which this process announced an instance, for one that the registry shows.
---@param id string
---@return boolean
function Remote:is_own(id)
  return self.publisher:is_own(id)
end

---A pause that grows with each failure.
---@return neap.registry.Backoff
function Remote:backoff()
  return backoff.new(self.opts.backoff_min, self.opts.backoff_max)
end

---Withdraws what was announced, forgets what was mirrored, and stops. It may be called twice.
function Remote:close()
  if self.closed then return end
  self.closed = true
  if self.on_close then self.on_close() end
  if self.prober then self.prober:cancel() end
  self.contacted:cancel()
  for _, m in pairs(self.mirrors) do m:close() end
  self.mirrors = {}
  self.publisher:close(self.opts.timeout)
  self.work:resolve(true)
end

Remote.__close = Remote.close

function Remote:__tostring()
  return ("neap.registry.remote: %s%s"):format(self.url, self.closed and " (closed)" or "")
end

return M
