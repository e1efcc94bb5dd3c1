--- What a proxy tells the server behind it of who asked: X-Forwarded-* and Forwarded (RFC 7239).

local schema = require "neap.schema"

local M = {}

---@class neap.http.ForwardedOptions
---@field style? "x-forwarded"|"forwarded"|"both" default "x-forwarded"
---@field by? string what this proxy calls itself in Forwarded: "_edge", "192.0.2.1"; default nothing

local options = schema.new {
  style = { "string", enum = { "x-forwarded", "forwarded", "both" }, default = "x-forwarded" },
  by = "string",
}

local NAMES = { "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded" }

-- The address in "10.0.0.1:80", "[::1]:80"; nil for a unix socket.
local function address_of(remote)
  if remote:find "^unix:" then return nil end
  return remote:match "^%[(.*)%]:%d+$" or remote:match "^(.*):%d+$"
end

-- A token as it is, all else in quotes.
local function quoted(text)
  if text:find "^[%w!#$%%&'*+.^_`|~-]+$" then return text end
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

local function element(req, by)
  local from = address_of(req.remote)
  if not from then
    from = "unknown"
  elseif from:find ":" then
    from = '"[' .. from .. ']"'
  end
  local parts = { "for=" .. from, "proto=" .. req.scheme }
  local host = req.host
  if host ~= "" then parts[#parts + 1] = "host=" .. quoted(host) end
  if by then parts[#parts + 1] = "by=" .. quoted(by) end
  return table.concat(parts, ";")
end

-- What trusted proxies said before stays in front; what anybody else said does not.
local function chain(req, name, last)
  local before = req.from_proxy and req.headers[name]
  if not before or before == "" then return last end
  if not last then return before end
  return before .. ", " .. last
end

-- Sets what `headers` gives in a table of headers.
function M.add(req, style, by, out)
  for _, name in ipairs(NAMES) do out[name] = false end
  if style ~= "forwarded" then
    local host = req.host
    out["x-forwarded-for"] = chain(req, "x-forwarded-for", address_of(req.remote)) or false
    out["x-forwarded-proto"] = req.scheme
    out["x-forwarded-host"] = host ~= "" and host or false
    out["x-forwarded-port"] = host:match ":(%d+)$" or (req.scheme == "https" and "443" or "80")
  end
  if style ~= "x-forwarded" then out.forwarded = chain(req, "forwarded", element(req, by)) end
end

---The headers that tell an upstream who asked: set them, in place of what the request has by these names, on
---the request that is passed on. The chain that came with the request is kept, and the peer added to it, if
---the peer is one of the server's `trusted_proxies`; else it begins with the peer.
---
---Names that the style does not use have the value false, so that what a client made up does not pass.
---@param req neap.http.Request
---@param opts? neap.http.ForwardedOptions
---@return table<string, string|false> headers
function M.headers(req, opts)
  opts = options:read(opts)
  local headers = {}
  M.add(req, opts.style, opts.by, headers)
  return headers
end

return M
