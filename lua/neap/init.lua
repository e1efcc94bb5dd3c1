--- neap: every module of the standard library, each loaded at its first use.
---
--- `neap.http` is `require "neap.http"`, and so on.

---@class neap
---@field balancer neap.balancer
---@field bus neap.bus
---@field dns neap.dns
---@field frame neap.frame
---@field host neap.host
---@field http neap.http
---@field inspect neap.inspect
---@field json neap.json
---@field log neap.log
---@field registry neap.registry
---@field runtime neap.runtime
---@field schema neap.schema
---@field stream neap.stream
---@field task neap.task
---@field tcp neap.tcp
---@field udp neap.udp
---@field unix neap.unix
local M = {}

return setmetatable(M, {
  __index = function(self, name)
    if type(name) ~= "string" or not name:find "^%l%w*$" then return nil end
    local module = require("neap." .. name)
    rawset(self, name, module)
    return module
  end,
})
