---@meta neap.log

--- The log: lines with fields, as text on a terminal and as JSON otherwise. It never blocks the loop: a
--- line that finds the log's buffer full is dropped, and the count of those is logged later.
---@class neap.log
local log = {}

---@alias neap.log.Level "trace"|"debug"|"info"|"warn"|"error"|"off"

---@param message any shown as by `tostring`
---@param fields? table<string, any> at most 32; numbers and booleans stay what they are
function log.trace(message, fields) end

---@param message any
---@param fields? table<string, any>
function log.debug(message, fields) end

---@param message any
---@param fields? table<string, any>
function log.info(message, fields) end

---@param message any
---@param fields? table<string, any>
function log.warn(message, fields) end

---@param message any
---@param fields? table<string, any>
function log.error(message, fields) end

---What is less than this level is not logged. Default "info", or `--log-level`.
---@param level neap.log.Level
function log.set_level(level) end

---@return neap.log.Level
function log.level() end

---Waits until what was logged so far is written. This holds up the whole loop: it is for the end of a
---program.
---@param seconds? number at most; default 1
function log.flush(seconds) end

return log
