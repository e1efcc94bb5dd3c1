--- Cookies (RFC 6265): reading and writing the headers, and a jar for a client.

local schema = require "neap.schema"

---@class neap.http.cookie
local M = {}

---The cookies of a request's Cookie header; of a name that comes twice, the first.
---@param header string?
---@return table<string, string>
function M.parse(header)
  local cookies = {}
  for pair in (header or ""):gmatch "[^;]+" do
    local name, value = pair:match "^%s*([^=%s]+)%s*=%s*(.-)%s*$"
    if name and cookies[name] == nil then cookies[name] = value:match '^"(.*)"$' or value end
  end
  return cookies
end

---@class neap.http.CookieOptions
---@field max_age? integer seconds it is kept; without, as long as the browser's session
---@field domain? string
---@field path? string default "/"
---@field secure? boolean over TLS only
---@field http_only? boolean not for the page's scripts; default true
---@field same_site? "strict"|"lax"|"none" default "lax"

local options = schema.new {
  max_age = "integer",
  domain = { "string", pattern = "[%w.-]+" },
  path = { "string", pattern = "/[^;%c]*", default = "/" },
  secure = "boolean",
  http_only = { "boolean", default = true },
  same_site = { "string", enum = { "strict", "lax", "none" }, default = "lax" },
}

---The value of a Set-Cookie header.
---@param name string a token
---@param value string ASCII without control characters, blanks and any of `",;\`
---@param opts? neap.http.CookieOptions
---@return string
function M.serialize(name, value, opts)
  opts = options:read(opts)
  schema.arg("name", name, "string")
  schema.arg("value", value, "string")
  if not name:find "^[%w!#$%%&'*+.^_`|~-]+$" then error(("name: %q is no token"):format(name), 2) end
  if value:find '[%c%s",;\\\128-\255]' then error("value: has bytes that a cookie cannot; encode it", 2) end
  local out = { name .. "=" .. value, "Path=" .. opts.path }
  if opts.domain then out[#out + 1] = "Domain=" .. opts.domain end
  if opts.max_age then out[#out + 1] = "Max-Age=" .. opts.max_age end
  if opts.secure then out[#out + 1] = "Secure" end
  if opts.http_only then out[#out + 1] = "HttpOnly" end
  out[#out + 1] = "SameSite=" .. opts.same_site:gsub("^%l", string.upper)
  return table.concat(out, "; ")
end

local months = {
  jan = 1, feb = 2, mar = 3, apr = 4, may = 5, jun = 6,
  jul = 7, aug = 8, sep = 9, oct = 10, nov = 11, dec = 12,
}

-- The days from 1970-01-01 to a date of the Gregorian calendar.
local function days_from_civil(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = year // 400
  local of_era = year - era * 400
  local of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
  return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

-- An Expires date as seconds since 1970, read as loosely as browsers do; nil for what is none.
local function parse_date(text)
  local hour, min, sec = text:match "(%d%d?):(%d%d):(%d%d)"
  local day, name, year = text:match "(%d%d?)[ -](%a%a%a)%a*[ -](%d%d%d?%d?)"
  local month = name and months[name:lower()]
  if not hour or not month then return end
  year = tonumber(year)
  if year < 70 then year = year + 2000 elseif year < 100 then year = year + 1900 end
  local days = days_from_civil(math.tointeger(year), month, math.tointeger(day))
  return days * 86400 + math.tointeger(hour) * 3600 + math.tointeger(min) * 60 + math.tointeger(sec)
end

-- The directory of a request's path (RFC 6265, 5.1.4).
local function default_path(path)
  local directory = path:match "^(/.*)/[^/]*$"
  return directory or "/"
end

local function parse_set_cookie(text, host, path, now)
  local pair, rest = text:match "^([^;]*);?(.*)$"
  local name, value = pair:match "^%s*([^=]-)%s*=%s*(.-)%s*$"
  if not name or name == "" then return end
  local cookie = { name = name, value = value, domain = host, host_only = true, path = default_path(path) }
  for attribute in rest:gmatch "[^;]+" do
    local key, v = attribute:match "^%s*([^=%s]+)%s*=?%s*(.-)%s*$"
    key = key and key:lower()
    if key == "max-age" and v:find "^-?%d+$" then
      cookie.expires, cookie.has_age = now + tonumber(v), true
    elseif key == "expires" and not cookie.has_age then
      cookie.expires = parse_date(v)
    elseif key == "domain" and v ~= "" then
      cookie.domain, cookie.host_only = v:lower():gsub("^%.", ""), false
    elseif key == "path" and v:sub(1, 1) == "/" then
      cookie.path = v
    elseif key == "secure" then
      cookie.secure = true
    end
  end
  return cookie
end

local function in_domain(host, domain)
  return host == domain or (host:sub(-#domain - 1) == "." .. domain and not host:find "^[%d.:]+$")
end

local function in_path(path, prefix)
  if path:sub(1, #prefix) ~= prefix then return false end
  return path == prefix or prefix:sub(-1) == "/" or path:sub(#prefix + 1, #prefix + 1) == "/"
end

local jar_options = schema.new { max = { "integer", min = 1, default = 1000 } }

---What servers have set, for the hosts and paths it was set for. Bounded: the oldest goes first.
---@class neap.http.CookieJar
local Jar = {}
Jar.__index = Jar

---@param opts? { max?: integer } how many cookies it holds; default 1000
---@return neap.http.CookieJar
function M.jar(opts)
  return setmetatable({ cookies = {}, max = jar_options:read(opts).max }, Jar)
end

local function remove(self, cookie)
  for i, other in ipairs(self.cookies) do
    if other.name == cookie.name and other.domain == cookie.domain and other.path == cookie.path then
      return table.remove(self.cookies, i)
    end
  end
end

---Takes the Set-Cookie headers of an answer. A domain that is not the host's own, or has no dot, is
---refused.
---@param host string
---@param path string
---@param headers string[]? the answer's `headers["set-cookie"]`
---@param now? integer seconds since 1970; default os.time()
function Jar:store(host, path, headers, now)
  now = now or os.time()
  host = host:lower()
  for _, text in ipairs(headers or {}) do
    local cookie = parse_set_cookie(text, host, path, now)
    local foreign = cookie and not cookie.host_only
      and (not in_domain(host, cookie.domain) or not cookie.domain:find(".", 1, true))
    if cookie and foreign and cookie.domain == host then cookie.host_only, foreign = true, false end
    if cookie and not foreign then
      remove(self, cookie)
      if not cookie.expires or cookie.expires > now then
        self.cookies[#self.cookies + 1] = cookie
        if #self.cookies > self.max then table.remove(self.cookies, 1) end
      end
    end
  end
end

---The Cookie header for a request, or nil.
---@param host string
---@param path string
---@param secure? boolean the connection is
---@param now? integer
---@return string?
function Jar:header(host, path, secure, now)
  now = now or os.time()
  host = host:lower()
  local found = {}
  for i = #self.cookies, 1, -1 do
    local c = self.cookies[i]
    if c.expires and c.expires <= now then
      table.remove(self.cookies, i)
    elseif (c.host_only and c.domain == host or not c.host_only and in_domain(host, c.domain))
      and in_path(path, c.path) and (secure or not c.secure) then
      table.insert(found, 1, c)
    end
  end
  if not found[1] then return end
  local order = {}
  for i, c in ipairs(found) do order[c] = i end
  table.sort(found, function(a, b)
    if #a.path ~= #b.path then return #a.path > #b.path end
    return order[a] < order[b]
  end)
  for i, c in ipairs(found) do found[i] = c.name .. "=" .. c.value end
  return table.concat(found, "; ")
end

return M
