--- Cookies (RFC 6265 and its successor): reading and writing the headers, values that clients cannot forge
--- or read, and a jar for a client.
---
--- ```lua
--- local session = cookie.signed { keys = { secret, the_one_before }, max_age = 3600 }
--- app:get("/", function(req)
---   local user = session:get(req, "user")                      -- nil unless we have written it
---   req:set_cookie("seen", "yes", { max_age = 86400, secure = true })
---   session:set(req, "user", "ann", { secure = true })
---   return "hello"
--- end)
--- ```

local core = require "neap.core.http"
local crypto = require "neap.core.crypto"
local schema = require "neap.schema"
local task = require "neap.task"

---@class neap.http.cookie
local M = {}

---The cookies of a request's Cookie header; of a name that comes twice, the first. Read as browsers and their
---servers do: what is malformed is left out.
---@param header string?
---@return table<string, string>
function M.parse(header) return core.parse_cookies(header) end

---A Set-Cookie header, as a client reads it: `name`, `value`, `path`, `domain`, `expires`, `max_age`,
---`secure`, `http_only`, `same_site`, `partitioned`, as far as they are there.
---@param header string
---@return table? cookie nil for one that browsers ignore
function M.parse_set(header) return core.parse_set_cookie(header) end

---Names that begin with `__Secure-` demand `secure`; with `__Host-` also the path "/" and no domain.
---@class neap.http.CookieOptions
---@field max_age? integer seconds it is kept; without, as long as the browser's session
---@field expires? integer seconds since 1970; `max_age` goes before it
---@field domain? string
---@field path? string default "/"
---@field secure? boolean over TLS only
---@field http_only? boolean not for the page's scripts; default true
---@field same_site? "strict"|"lax"|"none" default "lax"; "none" demands `secure`
---@field partitioned? boolean kept apart by the site that the page belongs to; demands `secure`

local options = schema.new {
  max_age = "integer",
  expires = "integer",
  domain = "string",
  path = { "string", default = "/" },
  secure = "boolean",
  http_only = { "boolean", default = true },
  same_site = { "string", enum = { "strict", "lax", "none" }, default = "lax" },
  partitioned = "boolean",
}

-- Raises what is wrong at the level of the caller's caller.
local function serialize(name, value, opts)
  schema.arg("name", name, "string", 3)
  schema.arg("value", value, "string", 3)
  local text, problem = core.write_set_cookie(name, value, options:read(opts, 3))
  if text then return text end
  if not problem:find "^name:" and not problem:find "^value:" then problem = "opts." .. problem end
  error(problem, 3)
end

---The value of a Set-Cookie header.
---@param name string a token
---@param value string ASCII without control characters, blanks and any of `",;\`; with the name at most
---4096 bytes
---@param opts? neap.http.CookieOptions
---@return string
function M.serialize(name, value, opts)
  local text = serialize(name, value, opts)
  return text
end

local function add_to(target, text)
  if type(target) == "userdata" then return target:add_header("set-cookie", text) end
  schema.arg("target", target, "table", 3)
  for key, old in pairs(target) do
    if type(key) == "string" and key:lower() == "set-cookie" then
      if type(old) ~= "table" then old = { old } end
      old[#old + 1] = text
      target[key] = old
      return
    end
  end
  target["set-cookie"] = { text }
end

---Sets a cookie with the answer to a request, or in a table of headers, beside those it sets already.
---@param target neap.http.Request|table
---@param name string
---@param value string
---@param opts? neap.http.CookieOptions
function M.set(target, name, value, opts)
  local text = serialize(name, value, opts)
  add_to(target, text)
end

local function without_age(opts)
  local copy = {}
  for key, value in pairs(opts or {}) do copy[key] = value end
  copy.max_age, copy.expires = 0, 0
  return copy
end

---Has a cookie forgotten. It is found by its path and domain: give the same as when it was set.
---@param target neap.http.Request|table as of `set`
---@param name string
---@param opts? neap.http.CookieOptions
function M.delete(target, name, opts)
  local text = serialize(name, "", without_age(opts))
  add_to(target, text)
end

-- --- values that are authenticated, or encrypted as well

---@class neap.http.CookieKeysOptions
---@field keys string|string[] secrets of at least 32 bytes. The first is used for what is written, all for
---what is read: to change it, put the new one in front, take the old one out when what it wrote has expired
---@field max_age? integer seconds after which a value counts no more, whatever clients do; default: never

local keys_options = schema.new {
  keys = { "string|table", required = true },
  max_age = { "integer", min = 1 },
}

---Writes and reads values that only the holder of the keys can have written, each bound to its cookie's name.
---@class neap.http.CookieKeys
local Keys = {}
Keys.__index = Keys
Keys.__name = "neap.http.cookie.keys"

local function new_keys(opts, purpose)
  opts = keys_options:read(opts, 3)
  local secrets = type(opts.keys) == "table" and opts.keys or { opts.keys }
  local keys = {}
  for i, secret in ipairs(secrets) do
    if type(secret) ~= "string" or #secret < 32 then
      error(("opts.keys[%d]: expected a string of at least 32 bytes"):format(i), 3)
    end
    keys[i] = crypto.hkdf("sha256", secret, 32, "neap cookie " .. purpose)
  end
  if not keys[1] then error("opts.keys: expected at least one key", 3) end
  return { keys = keys, max_age = opts.max_age }
end

local Signed = setmetatable({}, { __index = Keys })
Signed.__index = Signed
local Encrypted = setmetatable({}, { __index = Keys })
Encrypted.__index = Encrypted

---For values that clients may read but not change (HMAC-SHA-256).
---@param opts neap.http.CookieKeysOptions
---@return neap.http.CookieKeys
function M.signed(opts) return setmetatable(new_keys(opts, "signed"), Signed) end

---For values that clients can neither read nor change (AES-256-GCM).
---@param opts neap.http.CookieKeysOptions
---@return neap.http.CookieKeys
function M.encrypted(opts) return setmetatable(new_keys(opts, "encrypted"), Encrypted) end

-- value.expires.code, each base64url or digits: what is authenticated can be read one way only.
local function code_of(key, name, text)
  return crypto.encode("base64url", crypto.hmac("sha256", key, #name .. ":" .. name .. text))
end

function Signed:write(name, value, expires)
  local text = ("%s.%d"):format(crypto.encode("base64url", value), expires)
  return text .. "." .. code_of(self.keys[1], name, text)
end

function Signed.read(name, text, key)
  local signed, value, expires, code = text:match "^(([%w_-]*)%.(%d+))%.([%w_-]+)$"
  if not signed or not crypto.equal(code, code_of(key, name, signed)) then return end
  return crypto.decode("base64url", value), math.tointeger(tonumber(expires))
end

function Encrypted:write(name, value, expires)
  local sealed = crypto.seal(self.keys[1], (">I8"):pack(expires) .. value, { aad = name })
  return crypto.encode("base64url", sealed)
end

function Encrypted.read(name, text, key)
  local sealed = crypto.decode("base64url", text)
  local plain = sealed and crypto.open(key, sealed, { aad = name })
  if not plain or #plain < 8 then return end
  return plain:sub(9), ((">I8"):unpack(plain))
end

---A value as the cookie's text.
---@param name string of the cookie: under another it does not count
---@param value string any bytes
---@param now? integer seconds since 1970; default os.time()
---@return string
function Keys:seal(name, value, now)
  schema.arg("name", name, "string")
  schema.arg("value", value, "string")
  return self:write(name, value, self.max_age and (now or os.time()) + self.max_age or 0)
end

---The value that a cookie's text holds.
---@param name string
---@param text? string nil, as when there is no such cookie, is answered by ENOTFOUND
---@param now? integer
---@return string? value
---@return boolean|neap.Error stale whether an older key wrote it; or why there is none: EINVAL (not written
---with these keys), ETIMEDOUT (its time is over)
function Keys:open(name, text, now)
  schema.arg("name", name, "string")
  if text == nil then return nil, task.error("ENOTFOUND", "there is no such cookie") end
  schema.arg("text", text, "string")
  for i, key in ipairs(self.keys) do
    local value, expires = self.read(name, text, key)
    if value then
      if expires ~= 0 and expires <= (now or os.time()) then
        return nil, task.error("ETIMEDOUT", "the cookie's time is over")
      end
      return value, i > 1
    end
  end
  return nil, task.error("EINVAL", "the cookie was not written with any of the keys")
end

---Sets a cookie to the sealed value; its `max_age` is that of the keys unless the options say another.
---@param target neap.http.Request|table as of `cookie.set`
---@param name string
---@param value string
---@param opts? neap.http.CookieOptions
function Keys:set(target, name, value, opts)
  local copy = { max_age = self.max_age }
  for key, v in pairs(opts or {}) do copy[key] = v end
  local text = serialize(name, self:seal(name, value), copy)
  add_to(target, text)
end

---Reads a request's cookie.
---@param req neap.http.Request
---@param name string
---@return string? value
---@return boolean|neap.Error stale as of `open`
function Keys:get(req, name) return self:open(name, req.cookies[name]) end

-- --- a client's jar

-- The directory of a request's path (RFC 6265, 5.1.4).
local function default_path(path)
  local directory = path:match "^(/.*)/[^/]*$"
  return directory or "/"
end

-- A Set-Cookie header as a cookie of the jar; nil for one that is to be ignored.
local function parse_set_cookie(text, host, path, now)
  local c = core.parse_set_cookie(text)
  if not c then return end
  local expires = c.expires
  if c.max_age then expires = now + c.max_age end
  return {
    name = c.name, value = c.value, secure = c.secure, expires = expires,
    domain = c.domain and c.domain:lower() or host, host_only = c.domain == nil,
    path = c.path or default_path(path),
  }
end

local function in_domain(host, domain)
  return host == domain or (host:sub(-#domain - 1) == "." .. domain and not host:find "^[%d.:]+$")
end

local function in_path(path, prefix)
  if path:sub(1, #prefix) ~= prefix then return false end
  return path == prefix or prefix:sub(-1) == "/" or path:sub(#prefix + 1, #prefix + 1) == "/"
end

local jar_options = schema.new {
  max = { "integer", min = 1, default = 1000 },
  max_per_domain = { "integer", min = 1, default = 180 },
}

---What servers have set, for the hosts and paths it was set for. Bounded: the oldest goes first.
---There is no list of public suffixes: a server may set cookies for every domain above it that has a dot, so
---`a.co.uk` for `co.uk`; use a jar for servers that do not trust each other only if that is no matter.
---@class neap.http.CookieJar
local Jar = {}
Jar.__index = Jar

---@param opts? { max?: integer, max_per_domain?: integer } how many it holds; default 1000, 180 a domain
---@return neap.http.CookieJar
function M.jar(opts)
  opts = jar_options:read(opts)
  return setmetatable({ cookies = {}, max = opts.max, max_per_domain = opts.max_per_domain }, Jar)
end

local function remove(self, cookie)
  for i, other in ipairs(self.cookies) do
    if other.name == cookie.name and other.domain == cookie.domain and other.path == cookie.path then
      return table.remove(self.cookies, i)
    end
  end
end

-- Whether it may be set by that host, over such a connection (RFC 6265bis, 5.7).
local function acceptable(self, cookie, host, secure)
  if not cookie.host_only then
    if cookie.domain == host then
      cookie.host_only = not host:find(".", 1, true) or host:find "^[%d.:]+$" ~= nil
    elseif not in_domain(host, cookie.domain) or not cookie.domain:find(".", 1, true) then
      return false
    end
  end
  if secure ~= false then return true end
  if cookie.secure then return false end
  for _, other in ipairs(self.cookies) do -- what came over TLS is not replaced by what did not
    local related = in_domain(other.domain, cookie.domain) or in_domain(cookie.domain, other.domain)
    if other.secure and other.name == cookie.name and related and in_path(cookie.path, other.path) then
      return false
    end
  end
  return true
end

-- One more than there may be: the oldest goes.
local function make_room(self, domain)
  local first, count
  for i, cookie in ipairs(self.cookies) do
    if cookie.domain == domain then first, count = first or i, (count or 0) + 1 end
  end
  if count and count > self.max_per_domain then table.remove(self.cookies, first) end
  if #self.cookies > self.max then table.remove(self.cookies, 1) end
end

---Takes the Set-Cookie headers of an answer. A domain that is not the host's own, or has no dot, is
---refused.
---@param host string
---@param path string
---@param headers string[]? the answer's `headers["set-cookie"]`
---@param now? integer seconds since 1970; default os.time()
---@param secure? boolean false: the answer came without TLS: it sets no secure cookie and replaces none
function Jar:store(host, path, headers, now, secure)
  now = now or os.time()
  host = host:lower()
  for _, text in ipairs(headers or {}) do
    local cookie = parse_set_cookie(text, host, path, now)
    if cookie and acceptable(self, cookie, host, secure) then
      remove(self, cookie)
      if not cookie.expires or cookie.expires > now then
        self.cookies[#self.cookies + 1] = cookie
        make_room(self, cookie.domain)
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
