--- Rate limiters: how many may pass in a span of time.
---
--- ```lua
--- local l = neap.limiter.new { name = "mail", rate = 10, burst = 20 }
--- if l:allow() then … end                     -- all together
--- local ok, err = l:check(1, user)            -- each user apart; err.retry_after says when
--- l:wait()                                    -- waits for its turn
--- ```
---
--- `token_bucket`: `rate` tokens a second flow into a bucket of `burst`; who passes takes its cost.
--- `gcra` (the generic cell rate algorithm) has the same bounds, kept as one moment. `sliding_window`:
--- at most rate × window in any window, estimated from this one and the last (Cloudflare's).
--- `leaky_bucket`: an even pace; as many as `queue` may wait for their turn. Each is an atomic word in
--- C, so one with a name is one for all workers of a host, and stays what it is through a reload; the
--- options of who comes last hold, and what was taken stays taken.
---
--- With a key there is a limiter for each key. At most `max_keys` are remembered (44 bytes each, of all
--- workers together): then the one that was used longest ago begins anew when it comes again, which
--- `stats()` counts as `forgotten` if something of it was still taken.

local core = require "neap.core.limiter"
local runtime = require "neap.core.runtime"
local schema = require "neap.schema"
local task = require "neap.task"

---@class neap.limiter
local M = {}

---@class neap.limiter.Options
---@field name? string one for all workers; default: this object's alone
---@field algorithm? "token_bucket"|"gcra"|"sliding_window"|"leaky_bucket" default "token_bucket"
---@field rate number a second, at most 1e15
---@field burst? number that may pass at once, at least 1; default: the rate, at least 1
---@field window? number seconds, of the sliding window; default 1; rate × window is at least 1
---@field queue? number that may wait for a turn; default: burst; of all but the leaky bucket at least 1000
---@field max_keys? integer default 65536, at most 16777216
---@field shadow? boolean decides and counts (`would_refuse`), and lets all pass; default false

---What a check that passed tells.
---@class neap.limiter.Info
---@field remaining number how many more may pass just now
---@field reset number seconds until it is as if nothing had passed
---@field wait number leaky_bucket: seconds to wait first, else 0
---@field would_allow boolean false: it is in shadow mode, and would have refused

---@class neap.limiter.Stats
---@field allowed integer
---@field refused? integer
---@field would_refuse? integer in shadow mode, instead of `refused`
---@field keys integer that are remembered
---@field max_keys integer 0 while no key has come
---@field evicted integer keys that had to go
---@field forgotten integer … of which something was still taken
---@field algorithm string
---@field rate number
---@field burst number
---@field queue number
---@field window number
---@field shadow boolean

---@class neap.Limiter
local methods = core.methods

---Makes a limiter, or joins the one of that name.
---@param opts neap.limiter.Options
---@return neap.Limiter? limiter
---@return neap.Error? err ELIMIT: too many names; ENOMEM
function M.new(opts)
  local ok, made, err = pcall(core.new, opts)
  if not ok then error((tostring(made):gsub("^%S+:%d+: ", "")), 2) end
  return made, err
end

---What a middleware takes besides; as of a server's `rate_limit`.
---@class neap.limiter.MiddlewareOptions : neap.limiter.Options
---@field key? "address"|string|fun(req: neap.http.Request): string? default: one limit for all
---@field cost? number|fun(req: neap.http.Request): number default 1
---@field headers? boolean answers tell what is left: RateLimit, RateLimit-Policy; default false

local function whose_by(key)
  if type(key) == "function" then return key end
  if key == "address" then
    local network = require("neap.core.http").network
    return function(req) return network(req.client) end
  end
  if key ~= nil then return function(req) return req:header(key) or "" end end
  return nil
end

---A middleware for an app, or for one route: `app:get("/find", neap.limiter.middleware { rate = 5 }, find)`.
---Who comes too often is answered 429 with Retry-After; whom the `key` function gives nil is not limited.
---@param opts neap.limiter.MiddlewareOptions
---@return neap.http.Middleware
function M.middleware(opts)
  schema.arg("opts", opts, "table")
  local gate = require "neap.http.gate"
  local terms = {}
  for k, v in pairs(opts) do terms[k] = v end
  terms.key, terms.cost, terms.headers = nil, nil, nil
  local ok, made, err = pcall(core.new, terms)
  if ok and not made then ok, made = false, tostring(err) end
  if ok then ok, err = pcall(gate.check, opts, "opts") end
  if not ok then error((err or made):gsub("^%S+:%d+: ", ""), 2) end
  local tell = opts.headers and gate.telling(opts)
  local whose, ask = whose_by(opts.key), gate.ask
  return function(req, next)
    local key = whose and whose(req)
    if whose and key == nil then return next(req) end
    local passed, info = made:check(ask(opts.cost, req) or 1, key)
    if not passed then
      local after = info.retry_after and math.max(1, math.ceil(info.retry_after))
      return gate.refusal(429, after, tell, 0, info.retry_after or 0)
    end
    if tell then
      local left, policy = tell(info.remaining, info.reset)
      req:add_header("ratelimit", left)
      req:add_header("ratelimit-policy", policy)
    end
    if info.wait > 0 then task.sleep(info.wait) end -- a leaky bucket's turn
    return next(req)
  end
end

-- --- a sliding window keeps no line in C: who waits does so here, in order

local lines = setmetatable({}, { __mode = "k" }) -- limiter → who waits: key → the last one's future
local ALL = {} -- the key of those without one

local function window_turn(self, ends, cost, key)
  while true do
    local info, err = self:check(cost, key)
    if info then return true, err end
    local after = err.retry_after
    if not after or runtime.monotonic() + after > ends then return nil, err end
    task.sleep(after)
  end
end

local function wait_in_line(self, longest, ends, cost, key)
  local line = lines[self] or { waiting = 0, last = {} }
  lines[self] = line
  if line.waiting >= longest + 1 then return nil, task.error("ELIMIT", "too many wait") end
  local at, mine = key or ALL, task.future()
  local before = line.last[at]
  line.last[at], line.waiting = mine, line.waiting + 1
  local leave <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      line.waiting = line.waiting - 1
      if line.last[at] == mine then line.last[at] = nil end
      mine:resolve(true)
    end,
  })
  if before then
    local left = ends - runtime.monotonic()
    if left <= 0 or not before:await(left < math.huge and left or nil) then
      return nil, task.error("ETIMEDOUT", "its turn did not come in time")
    end
  end
  return window_turn(self, ends, cost, key)
end

-- limiter → tasks of this worker that sleep until their turn. Where the loop is late theirs may have come
-- without their knowing it: who comes now lets them go first.
local sleepers = setmetatable({}, { __mode = "k" })

---Waits for its turn, first come first served, whichever worker it is on; with a sliding window, in order
---on each worker. Who would have to wait for longer than `timeout`, or than its task's deadline, is refused
---at once; so it is when too many wait (`queue`). A task that is cancelled gives its place back if it is
---the last.
---@param timeout? number seconds; default: no bound
---@param cost? number default 1
---@param key? string
---@return true? ok
---@return neap.limiter.Info|neap.Error info ELIMIT with `retry_after` in seconds, or `never`: too costly
function methods:wait(timeout, cost, key)
  local most = math.min(timeout or math.huge, task.deadline() or math.huge)
  local wait, ticket, info, lag = core.reserve(self, most, cost or 1, key)
  if wait == false then return wait_in_line(self, ticket, runtime.monotonic() + most, cost, key) end
  if not wait then return nil, ticket end
  local before = sleepers[self] or 0
  if wait <= 0 and before == 0 then return true, info end
  sleepers[self] = before + 1
  local waited = false
  local place <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      sleepers[self] = sleepers[self] - 1
      if not waited then core.give_back(self, ticket, cost or 1, key) end
    end,
  })
  task.sleep(wait + lag)
  waited = true
  return true, info
end

return M
