--- A pause that doubles with each failure, up to a bound, with half of it at random.

local task = require "neap.task"

local M = {}

---@class neap.registry.Backoff
local Backoff = {}
Backoff.__index = Backoff

---@param min number seconds
---@param max number seconds
---@return neap.registry.Backoff
function M.new(min, max)
  return setmetatable({ min = min, max = max, failures = 0 }, Backoff)
end

---The next pause, in seconds.
---@return number
function Backoff:next()
  local span = math.min(self.min * 2 ^ math.min(self.failures, 30), self.max)
  self.failures = self.failures + 1
  return span * (0.5 + math.random() / 2)
end

---Waits for the next pause.
function Backoff:wait()
  task.sleep(self:next())
end

function Backoff:reset()
  self.failures = 0
end

return M
