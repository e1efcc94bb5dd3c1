--- Deadlines of calls: the time a call has, and how a server is told of it.
---
--- A call ends when its own time is over or its task's deadline has passed, whichever comes first. What is
--- left is sent along as `x-neap-deadline` in milliseconds, so that a server of neap's (`deadline = true` of
--- `neap.http.serve`) stops working when nobody waits any more, and so does all that it calls. gRPC does the
--- same with `grpc-timeout`, Envoy with `x-envoy-expected-rq-timeout-ms`. A span and no moment is sent, so
--- clocks need not agree.

local runtime = require "neap.core.runtime"
local task = require "neap.core.task"

local M = {}

local ceil = math.ceil
local monotonic = runtime.monotonic

local HEADER = "x-neap-deadline"

---Sets when the call ends: `call.ends`, a moment of the monotonic clock, nil for never; and `call.tell`
---where its own task has a deadline.
---@param call table `timeout`: seconds from now, or nil; `quiet`: no server is told
function M.set(call)
  local left = task.deadline()
  if call.timeout then call.ends = monotonic() + call.timeout end
  if not left then return end
  local ends = monotonic() + left
  if not call.ends or ends < call.ends then call.ends = ends end
  if not call.quiet then call.tell = "task" end
end

---Seconds left of the call's time, nil for no bound; false when it is over.
---@param call table
---@return number|false|nil seconds
function M.left(call)
  local ends = call.ends
  if not ends then return nil end
  local left = ends - monotonic()
  return left > 0 and left or false
end

---Tells the server, unless the script does so itself.
---@param headers table<string, any> of this attempt
---@param seconds number
---@param told? any what stood there was written here
function M.tell(headers, seconds, told)
  if headers[HEADER] and not told then return false end
  headers[HEADER] = ceil(seconds * 1000)
  return true
end

---Not to another origin, which a redirect may lead to: it learns of a deadline of the task's alone.
---@param call table
function M.leave(call)
  if call.told then call.wire.headers[HEADER], call.told = nil, nil end
  if call.tell ~= "task" then call.tell = nil end
end

return M
