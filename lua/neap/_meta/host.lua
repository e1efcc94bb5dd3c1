---@meta neap.host

--- The C functions of the program that embeds neap, by the names it exported them under (`neap_export`).
--- A name it did not export is nil. In `neap run` there are none.
---
--- Such a function takes and gives plain values: booleans, numbers, strings, and tables of them. It may
--- take its time; the task that called it waits. An expected failure is `nil, err`, as everywhere.
---@class neap.host
---@field [string] fun(...: any): ...
local host = {}

return host
