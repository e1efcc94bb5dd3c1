--- Retry-After (RFC 9110, 10.2.3): how long a server wants to be left alone.

local conditional -- neap.http.conditional, for dates, which are rare

local M = {}

local MOST = 86400 -- a day; nobody waits longer, and the moment a date names may be a mistake

---@param value? string the header's
---@param now? number seconds since 1970, for tests; default: the wall clock's
---@return number? seconds 0 for a moment that has passed; nil where it says nothing that makes sense
function M.parse(value, now)
  if type(value) ~= "string" then return nil end
  if value:find "^%d+$" then return math.min(tonumber(value), MOST) + 0.0 end
  conditional = conditional or require "neap.http.conditional"
  local at = conditional.parse_date(value)
  if not at then return nil end
  return math.min(math.max(at - (now or os.time()), 0), MOST) + 0.0
end

---Of an answer that may say so: 429 and the 5xx.
---@param res neap.http.Response
---@return number? seconds
function M.of(res)
  if res.status < 429 or res.status > 429 and res.status < 500 then return nil end
  local value = res.headers["retry-after"]
  return value and M.parse(value)
end

return M
