--- neap: every module of the standard library, each loaded at its first use.
---
--- `neap.http` is `require "neap.http"`, and so on.

---@class neap
---@field balancer neap.balancer
---@field breaker neap.breaker
---@field bus neap.bus
---@field cidr neap.cidr
---@field coding neap.coding
---@field concurrency neap.concurrency
---@field crypto neap.crypto
---@field dns neap.dns
---@field frame neap.frame
---@field health neap.health
---@field host neap.host
---@field http neap.http
---@field inspect neap.inspect
---@field json neap.json
---@field limiter neap.limiter
---@field log neap.log
---@field registry neap.registry
---@field runtime neap.runtime
---@field sandbox neap.sandbox
---@field schema neap.schema
---@field shared neap.shared
---@field sim neap.sim
---@field stream neap.stream
---@field task neap.task
---@field tcp neap.tcp
---@field thread neap.thread
---@field tls neap.tls
---@field udp neap.udp
---@field unix neap.unix
---@field worker neap.worker
local M = {}

---Has the host load its scripts anew, in every worker, beside what runs. Waits until all have gone over to
---the new code, or none has: then `nil, err` says why. The caller goes on in the old code.
---@param timeout? number seconds to wait for the outcome
---@return true? ok
---@return neap.Error? err
function M.reload(timeout) return require("neap.worker").reload(timeout) end

---Says that this script is loaded, though its main chunk goes on: for one that ends in a loop of its own. A
---reload goes over to a script when its main chunk has ended, or has called this.
function M.ready() require("neap.worker").ready() end

return setmetatable(M, {
  __index = function(self, name)
    if type(name) ~= "string" or not name:find "^%l%w*$" then return nil end
    local module = require("neap." .. name)
    rawset(self, name, module)
    return module
  end,
})
