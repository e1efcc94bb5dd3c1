--- When a call is made once more: which failures, how often, and how soon.
---
--- A retry is safe when the method is idempotent or when the request surely reached no server. How many
--- there are in all is bounded by a budget, as in Finagle: each call deposits a fraction of a token, each
--- retry takes one out, deposits lapse after ten seconds, and a small reserve lets a quiet client retry
--- at all (Envoy's minimum is 3 as well). So a server that is down gets a fifth more load, not three
--- times as much.

local schema = require "neap.schema"

local M = {}

---`backoff` is the span before the second attempt in seconds; it doubles for each further one up to ten
---times, and a random part of it is waited (as Envoy does, with the same default). As a function of one's
---own it gets the number of attempts made and returns seconds.
---@class neap.http.RetryOptions
---@field attempts? integer calls in all, the first one included; default 3, 1 means no retry
---@field budget? number retries as a share of calls (default 0.2, as Envoy and Finagle have it)
---@field reserve? integer retries in ten seconds that need no budget; default 3
---@field methods? string[] retried whatever happened; default GET, HEAD, OPTIONS, TRACE, PUT, DELETE
---@field statuses? integer[] answers that count as failures; default 502, 503, 504
---@field backoff? number|fun(attempt: integer): number default 0.025
---@field timeout? number seconds for each attempt; default: what the call has left

M.schema = schema.new {
  attempts = { "integer", min = 1, max = 100, default = 3 },
  budget = { "number", min = 0, max = 10, default = 0.2 },
  reserve = { "integer", min = 0, default = 3 },
  methods = { "array", of = "string", default = { "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE" } },
  statuses = { "array", of = "integer", default = { 502, 503, 504 } },
  backoff = { "number|function", default = 0.025 },
  timeout = "seconds",
}

-- Nothing was sent: another attempt cannot do anything twice.
local unreached = {
  ECONNREFUSED = true,
  EHOSTUNREACH = true,
  ENETUNREACH = true,
  EADDRNOTAVAIL = true,
  EDNS = true,
  ENOTFOUND = true, -- the name
  EPROXY = true,
}
-- Nor was anything in these phases, whatever went wrong.
local before = { dns = true, connect = true, proxy = true, tls = true }
-- The request may have been acted on, or not.
local uncertain = {
  ECONNRESET = true,
  ECONNABORTED = true,
  EPIPE = true,
  EPROTO = true,
  EOF = true,
  ETIMEDOUT = true,
  ECLOSED = true,
}

local WINDOW = 10 -- seconds that a deposit lasts, and that the reserve is for

---A budget of retries. Time is passed in, in seconds on any clock that does not go back.
---@class neap.http.RetryBudget
local Budget = {}
Budget.__index = Budget

---@param ratio number
---@param reserve integer
---@return neap.http.RetryBudget
function M.budget(ratio, reserve)
  return setmetatable({ ratio = ratio, reserve = reserve, seconds = {}, spare = {} }, Budget)
end

-- The slot of this second; what stands there from ten seconds ago has lapsed.
local function slot(ring, now)
  local second = math.floor(now)
  local entry = ring[second % WINDOW]
  if not entry then
    entry = { second = second, amount = 0 }
    ring[second % WINDOW] = entry
  elseif entry.second ~= second then
    entry.second, entry.amount = second, 0
  end
  return entry
end

local function total(ring, now)
  local sum, oldest = 0, math.floor(now) - WINDOW
  for _, entry in pairs(ring) do
    if entry.second > oldest then sum = sum + entry.amount end
  end
  return sum
end

---A call was made.
---@param now number
function Budget:deposit(now)
  local entry = slot(self.seconds, now)
  entry.amount = entry.amount + self.ratio
end

---Takes the price of one retry out.
---@param now number
---@return boolean paid
function Budget:withdraw(now)
  if total(self.seconds, now) >= 1 - 1e-9 then
    local entry = slot(self.seconds, now)
    entry.amount = entry.amount - 1
    return true
  end
  if total(self.spare, now) < self.reserve then
    local entry = slot(self.spare, now)
    entry.amount = entry.amount + 1
    return true
  end
  return false
end

local function set_of(list)
  local set = {}
  for _, v in ipairs(list) do set[v] = true end
  return set
end

---@class neap.http.RetryPolicy
---@field attempts integer
---@field timeout? number
---@field budget neap.http.RetryBudget
local Policy = {}
Policy.__index = Policy

---@param opts neap.http.RetryOptions as read by M.schema
---@return neap.http.RetryPolicy
function M.policy(opts)
  return setmetatable({
    attempts = opts.attempts,
    timeout = opts.timeout or nil,
    budget = M.budget(opts.budget, opts.reserve),
    methods = set_of(opts.methods),
    statuses = set_of(opts.statuses),
    backoff = opts.backoff,
  }, Policy)
end

---Whether another attempt is worth making, and safe.
---@param method string
---@param idempotent? boolean what the caller knows better than the method says
---@param status? integer of the answer
---@param err? neap.Error
---@return boolean
function Policy:wants(method, idempotent, status, err)
  if M.is_unreached(err) then return true end
  if idempotent == nil then idempotent = self.methods[method] or false end
  if not idempotent then return false end
  if err then return uncertain[err.code] or false end
  return self.statuses[status] or false
end

---Whether the request surely reached no server.
---@param err? neap.Error
---@return boolean
function M.is_unreached(err)
  return err ~= nil and (unreached[err.code] or before[err.phase]) or false
end

---How long to wait before the next attempt.
---@param attempt integer how many were made
---@return number seconds
function Policy:delay(attempt)
  local backoff = self.backoff
  if type(backoff) == "function" then return backoff(attempt) end
  return math.random() * math.min(backoff * 2 ^ (attempt - 1), backoff * 10)
end

return M
