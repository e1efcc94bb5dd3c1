--- Which proxy a call goes through: as the environment says, read as curl reads it, or as an option does.
---
--- `http_proxy` (lower case alone, as a CGI's HTTP_PROXY is a request's header Proxy), `https_proxy`,
--- `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY`; `no_proxy`, `NO_PROXY`: names, whose subdomains are meant as
--- well, addresses, networks (10.0.0.0/8), each with a port or not, or `*` for all. A sandbox has no
--- environment, and no proxies but by option.

local core = require "neap.core.http"
local task = require "neap.task"

local M = {}

local getenv = os.getenv

-- --- base64 (RFC 4648), for Basic

local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

---@param text string
---@return string
function M.base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    for shift = 18, 0, -6 do
      local at = (bits >> shift & 63) + 1
      out[#out + 1] = digits:sub(at, at)
    end
    if not b then out[#out - 1] = "=" end
    if not c then out[#out] = "=" end
  end
  return table.concat(out)
end

---@param user string
---@param password? string
---@return string
function M.basic(user, password)
  return "Basic " .. M.base64(user .. ":" .. (password or ""))
end

-- --- a proxy's URL

local function authorization(userinfo)
  if not userinfo then return nil end
  local user, password = userinfo:match "^([^:]*):?(.*)$"
  user, password = core.decode(user), core.decode(password)
  if not user or not password then return nil end
  return M.basic(user, password)
end

---"http://user:password@host:port"; the scheme may be missing, the port is 1080 then as with curl, or the
---scheme's own.
---@param text string
---@return table? proxy as neap.core.http.request takes it: `host`, `port`, `authorization`, `tls`
---@return neap.Error? err
function M.parse(text)
  local full = text:find("://", 1, true) and text or "http://" .. text
  local url, err = core.parse_url(full)
  if not url then
    -- The text may hold a password.
    return nil, task.error("EINVAL", "the proxy's URL is not one: " .. err.message)
  end
  if url.scheme ~= "http" and url.scheme ~= "https" then
    return nil, task.error("ENOTSUP", ("proxies speak http or https, not %s"):format(url.scheme))
  end
  local port = url.port
  if not full:match "^%w+://[^/?#]*:%d+[/?#]?" and not full:match "^%w+://[^/?#]*:%d+$" then
    port = url.scheme == "https" and 443 or 1080
  end
  return {
    host = url.host,
    port = port,
    authorization = authorization(url.userinfo),
    tls = url.scheme == "https" or nil,
  }
end

-- --- no_proxy

local function parse_v4(text)
  local a, b, c, d = text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if not a then return nil end
  local bytes = { tonumber(a), tonumber(b), tonumber(c), tonumber(d) }
  for _, byte in ipairs(bytes) do
    if byte > 255 then return nil end
  end
  return bytes
end

local function append_groups(out, text)
  if text == "" then return true end
  for group in (text .. ":"):gmatch "([^:]*):" do
    local v4 = parse_v4(group)
    if v4 then
      table.move(v4, 1, 4, #out + 1, out)
    elseif group:match "^%x%x?%x?%x?$" then
      local value = tonumber(group, 16)
      out[#out + 1], out[#out + 2] = value >> 8, value & 255
    else
      return false
    end
  end
  return true
end

local function parse_v6(text)
  text = text:gsub("%%.*$", "")
  if not text:find(":", 1, true) then return nil end
  local front, back = text:match "^(.-)::(.*)$"
  local bytes, tail = {}, {}
  if not append_groups(bytes, front or text) or not append_groups(tail, back or "") then return nil end
  if front then
    if #bytes + #tail > 14 then return nil end
    for _ = 1, 16 - #bytes - #tail do bytes[#bytes + 1] = 0 end
    table.move(tail, 1, #tail, #bytes + 1, bytes)
  end
  return #bytes == 16 and bytes or nil
end

local function parse_ip(text)
  return parse_v4(text) or parse_v6(text)
end

local function in_network(ip, net, bits)
  if #ip ~= #net or bits > #ip * 8 then return false end
  for i = 1, #ip do
    local left = bits - (i - 1) * 8
    if left <= 0 then return true end
    local shift = left >= 8 and 0 or 8 - left
    if ip[i] >> shift ~= net[i] >> shift then return false end
  end
  return true
end

local function split_port(entry)
  local host, port = entry:match "^%[(.-)%]:?(%d*)$"
  if not host and select(2, entry:gsub(":", "")) == 1 then host, port = entry:match "^(.*):(%d+)$" end
  if not host then return entry end
  return host, tonumber(port)
end

local function matches(entry, host, ip, port)
  if entry == "*" then return true end
  local name, bits = entry:match "^(.-)/(%d+)$"
  if name then
    local net = parse_ip((name:gsub("^%[(.*)%]$", "%1")))
    return ip ~= nil and net ~= nil and in_network(ip, net, tonumber(bits))
  end
  local only
  name, only = split_port(entry)
  if only and only ~= port then return false end
  if ip then
    local other = parse_ip(name)
    return other ~= nil and in_network(ip, other, #other * 8)
  end
  name = name:gsub("^%*?%.", ""):gsub("%.$", ""):lower()
  return name ~= "" and (host == name or host:sub(-#name - 1) == "." .. name)
end

---Whether a host is one that `no_proxy` names.
---@param list string
---@param host string
---@param port integer
---@return boolean
function M.excluded(list, host, port)
  host = host:lower():gsub("%.$", "")
  local ip = parse_ip(host)
  for entry in list:gmatch "[^,%s]+" do
    if matches(entry, host, ip, port) then return true end
  end
  return false
end

-- --- the environment

local function variable(name)
  local ok, value = pcall(getenv, name)
  return ok and value ~= "" and value or nil
end

local function read(get)
  local all = get "all_proxy" or get "ALL_PROXY"
  return {
    http = get "http_proxy" or all,
    https = get "https_proxy" or get "HTTPS_PROXY" or all,
    none = get "no_proxy" or get "NO_PROXY",
  }
end

---The proxies that an environment names: `fun(scheme, host, port)` gives one, nil for none, or nil and what
---is wrong with it.
---@param get fun(name: string): string?
---@return fun(scheme: string, host: string, port: integer): table?, neap.Error?
function M.from(get)
  local env = read(get)
  local parsed = {}
  return function(scheme, host, port)
    local text = env[scheme]
    if not text or (env.none and M.excluded(env.none, host, port)) then return nil end
    if not parsed[text] then
      local proxy, err = M.parse(text)
      if not proxy then return nil, err end
      parsed[text] = proxy
    end
    return parsed[text]
  end
end

local of_process

---The proxy that the process' environment names for a place. It is read once.
---@param scheme string
---@param host string
---@param port integer
---@return table? proxy
---@return neap.Error? err
function M.find(scheme, host, port)
  of_process = of_process or M.from(variable)
  return of_process(scheme, host, port)
end

return M
