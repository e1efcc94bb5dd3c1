--- Priority classes of calls and requests: who is refused first where not all can be served.
---
--- `x-neap-priority` carries the class along; a server with a concurrency limit reads it, and so does
--- forwarding. Its values are the five names, or RFC 9218's urgencies ("u=0" to "u=7").

local M = { HEADER = "x-neap-priority" }

-- As enum np_priority (src/mesh/concurrency.h) has them.
local classes = {
  sheddable = 0, low = 1, normal = 2, high = 3, critical = 4,
  ["u=7"] = 0, ["u=6"] = 1, ["u=5"] = 1, ["u=4"] = 2, ["u=3"] = 2, ["u=2"] = 3, ["u=1"] = 3, ["u=0"] = 4,
}

---By name or urgency.
M.classes = classes

---The names, for option tables.
M.names = { "sheddable", "low", "normal", "high", "critical" }

---@param text? string a name or an urgency
---@return integer? class nil for another text
function M.class(text) return classes[text] end

return M
