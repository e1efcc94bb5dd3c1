--- Where a client's calls go: one origin, or the endpoints of a service or of a list; and the cluster that
--- holds the rules of these calls, if there are any.

local core = require "neap.core.http"
local sticky = require "neap.http.sticky"

local M = {}

---@class neap.http.Place
---@field scheme string "http" or "https"
---@field host? string
---@field port? integer
---@field unix? string
---@field authority string "host:port", as it stands in URLs

---@class neap.http.Upstream
---@field scheme string
---@field at? neap.http.Place of one origin
---@field cluster? any neap.core.cluster's; nil: an origin without rules
---@field chooser? table picks in the policy's stead; see neap.http.chooser
---@field balancer? neap.Balancer that stands by itself, and nothing else is asked for
---@field sticky? neap.http.Stickiness
---@field reports? boolean answers tell of their endpoints' loads
---@field hedges? boolean
---@field backoff? fun(attempt: integer): number
---@field hold? any statuses whose answers forwarding holds, as they may be retried
local Upstream = {}
Upstream.__index = Upstream

local MOST_PLACES = 16384 -- that are kept, and origins of one client with rules

local function authority(host, port)
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return host .. ":" .. port
end

---The place that a parsed URL names.
---@param url table from core.parse_url
---@return neap.http.Place
function M.place(url)
  if url.scheme == "unix" then return { scheme = "http", unix = url.unix, authority = "localhost" } end
  return { scheme = url.scheme, host = url.host, port = url.port, authority = authority(url.host, url.port) }
end

local function new_place(self, endpoint)
  local host, port = endpoint.host, endpoint.port
  local place
  if host then
    place = { scheme = self.scheme, host = host, port = port, authority = authority(host, port) }
  else
    place = { scheme = self.scheme, unix = endpoint.path, authority = self.name }
  end
  if self.nplaces >= MOST_PLACES then self.places, self.nplaces = {}, 0 end
  self.places[endpoint], self.nplaces = place, self.nplaces + 1
  return place
end

---The place of an endpoint: made once while the endpoint is what it is.
---@param endpoint neap.Endpoint
---@return neap.http.Place
function Upstream:place(endpoint) return self.at or self.places[endpoint] or new_place(self, endpoint) end

local function new(fields)
  fields.places, fields.nplaces = {}, 0
  return setmetatable(fields, Upstream)
end

local function with(rules, fields)
  fields.hedges, fields.backoff, fields.sticky = rules.hedges, rules.backoff, rules.sticky
  fields.hold = rules.statuses and core.statuses(rules.statuses)
  return new(fields)
end

-- The cluster's options: those that are told, and the rules that the script wrote.
local function options(rules, told)
  for key, value in next, rules.cluster do told[key] = value end
  return told
end

-- A cluster, whose mistakes are the caller's.
local function make(opts, level)
  local ok, cluster, err = pcall(require("neap.core.cluster").new, opts)
  if not ok then error((tostring(cluster):gsub("^%S+:%d+: ", "")), level + 1) end
  if not cluster then error(tostring(err), level + 1) end
  return cluster
end

---One origin; with rules of its own if there are any.
---@param place neap.http.Place
---@param rules? table from neap.http.rules
---@param level? integer whose fault a mistake in them is
function M.origin(place, rules, level)
  if not rules then return setmetatable({ at = place, scheme = place.scheme }, Upstream) end
  local address = place.unix and "unix:" .. place.unix or place.authority
  local opts = options(rules, { endpoints = { address }, plain = true, share = false, name = address })
  return with(rules, { at = place, scheme = place.scheme, cluster = make(opts, (level or 1) + 1) })
end

---The origins of a client that has rules and takes whole URLs: each has a cluster of its own.
---@class neap.http.Origins
local Origins = {}
Origins.__index = Origins

---@param place neap.http.Place
---@return neap.http.Upstream
function Origins:at(place)
  local key = place.scheme .. " " .. (place.unix or place.authority)
  local found = self.known[key]
  if found then return found end
  if self.nknown >= self.most then self.known, self.nknown = {}, 0 end -- calls in flight keep theirs
  found = M.origin(place, self.rules)
  self.known[key], self.nknown = found, self.nknown + 1
  return found
end

---@param rules table
---@param level integer whose fault a mistake in them is
---@return neap.http.Origins
function M.origins(rules, level)
  make(options(rules, { endpoints = {}, plain = true, share = false, name = "client" }), level + 1):close()
  return setmetatable({ rules = rules, known = {}, nknown = 0, most = 256 }, Origins)
end

-- A policy that is built in is the cluster's; another chooses for it, or else P2C does.
local function policy_of(balancer)
  if balancer == nil then return "peak_ewma" end
  if type(balancer) ~= "string" then return "p2c", true end
  for _, name in ipairs(require("neap.core.balancer").policies()) do
    if name == balancer then return balancer end
  end
  if balancer == "consistent_hash" then return balancer end
  return "p2c", true
end

---Active checks of the endpoints, whose findings all see that share their statistics.
---@param self neap.http.Upstream
---@param opts neap.http.ClientOptions
---@param way table of the client: `tls`, `tls_name`
---@param level integer whose fault a mistake is
---@return neap.health.Check
function M.check(self, opts, way, level)
  local of = {}
  for key, value in next, opts.health do of[key] = value end
  of.service, of.tags, of.endpoints = opts.service, opts.tags, opts.endpoints
  if opts.base then of.endpoints = { self.at.unix and "unix:" .. self.at.unix or self.at.authority } end
  if not of.service and not of.endpoints then of.endpoints = self.cluster:endpoints() end
  if self.scheme == "https" and of.tls == nil and (of.type or "http") == "http" then
    of.tls, of.tls_name = way.tls or true, of.tls_name or way.tls_name
  end
  local ok, check, err = pcall(require("neap.health").check, of)
  if not ok then error((tostring(check):gsub("^%S+:%d+: ", "")), level + 1) end
  if not check then error(tostring(err), level + 1) end
  return check
end

-- A balancer that stands by itself may have said what is sticky.
local function inherit_sticky(balancer, rules, level)
  local has = not rules.sticky and balancer.sticky
  local config = has and has(balancer) or nil
  if type(config) ~= "table" then return end
  rules.sticky, rules.cluster.sticky = sticky.new(config, level + 1), config.secret or ""
end

---The endpoints of a service, or of a list.
---@param opts neap.http.ClientOptions `service` or `endpoints`, `balancer`
---@param rules table
---@param secure boolean they are called by https
---@param level integer whose fault a mistake is
---@return neap.http.Upstream
function M.endpoints(opts, rules, secure, level)
  local name = opts.service or "endpoints"
  local policy, by_script = policy_of(opts.balancer)
  local chooser
  if by_script then chooser = require("neap.http.chooser").new(opts, level + 1) end
  local told = { service = opts.service, tags = opts.tags, name = name, policy = policy }
  told.endpoints = opts.endpoints or not opts.service and chooser:endpoints() or nil
  if chooser and chooser.stands then
    told.plain, told.share = true, false
    inherit_sticky(opts.balancer, rules, level + 1)
  end
  local cluster = make(options(rules, told), level + 1)
  if opts.service then require("neap.registry").follow(opts.service) end
  return with(rules, {
    name = name,
    scheme = secure and "https" or "http",
    cluster = cluster,
    chooser = chooser,
    reports = policy == "client_side_weighted_round_robin",
    balancer = chooser and chooser.stands and not rules.any and not rules.sticky and opts.balancer or nil,
  })
end

return M
