--- Forwarding by a client that has rules: the same machine as its calls have, with both bodies streaming
--- past Lua.
---
--- A request is tried again when its method is idempotent and it has no body, or one that is small enough to
--- be kept (`retry.max_body`); any request is, that surely reached no server. An answer whose status may be
--- retried is held at its head until the machine has said whether it is. Where the client hedges, what may be
--- sent again goes by neap.http.relay.

local core = require "neap.core.http"
local priority = require "neap.http.priority"
local relay = require "neap.http.relay"
local resilience = require "neap.http.resilience"
local retry_after = require "neap.http.retry_after"
local runtime = require "neap.core.runtime"
local task = require "neap.core.task"

---@class neap.http.gateway
---@field ruled table<neap.http.Client, table> what core.forward_through wants of those that it can do all for
local M = { ruled = setmetatable({}, { __mode = "k" }) }

local monotonic, deadline, forward = runtime.monotonic, task.deadline, core.forward
local classes = priority.classes

local MOSTLY_WITHOUT = { GET = true, HEAD = true, OPTIONS = true, TRACE = true } -- a body

-- The options with the body of a request that may be sent again, where it is small; one that is not streams.
local function with_body(req, opts, most)
  local length = tonumber((req:header "content-length"))
  if not length or length == 0 or length > most or req:header "content-encoding" then return opts end
  local body = req:body(most)
  if not body then return opts end -- it broke off: forwarding will say so
  local copy = { body = body }
  for key, value in next, opts do copy[key] = value end
  copy.plain = nil
  return copy
end

local function has_body(req)
  local length = req:header "content-length"
  return length and tonumber(length) ~= 0 or req:header "transfer-encoding" ~= nil
end

-- When it ends: the client's time, or the forwarding's, or the task's.
local function end_of(timeout)
  local left = deadline()
  if left and (not timeout or left < timeout) then timeout = left end
  return timeout and monotonic() + timeout or nil
end

local function class_of(req, through, opts)
  if opts.priority then return classes[opts.priority] end
  local text = through.reads_priority and req:header(priority.HEADER)
  return text and classes[text] or through.priority
end

-- Plain HTTP to a TCP place with nothing changed.
local function quick(req, place, _, _, _, within, hold, c, name, value)
  return forward(within, req, place.host, place.port, nil, nil, nil, nil, nil, hold, name, value, c)
end

-- The header of the answer that tells of the endpoint, unless the request has brought its value.
local function mark(f, endpoint)
  local up = f.through.upstream
  local stick = up.sticky
  if not stick then return nil end
  local value = up.cluster:sticky(endpoint)
  if value == f.brought then return nil end
  return stick.name, stick:text(value)
end

-- What is so for all that a client forwards; once a client.
local function learn(through)
  local up, rules = through.upstream, through.rules
  local plain = up.scheme == "http" and through.way.proxy == false and not next(through.headers)
    and through.prefix == ""
  for name in pairs(through.wire) do
    if name ~= "decompress" and name ~= "max_body" then plain = false end
  end
  through.reads_priority = rules.cluster.concurrency ~= false
  through.quick = plain
  -- nothing of a script's own on the way
  through.hot = plain and not (up.chooser or up.backoff or up.sticky or up.hedges or rules.cluster.rate_limit)
  if not through.hot or through.fallback then return end
  for method in next, MOSTLY_WITHOUT do
    if not rules.methods[method] then return end
  end
  M.ruled[through] = {
    cluster = up.cluster, timeout = through.timeout or 0, hold = up.hold or core.statuses {},
    class = through.priority, reads = through.reads_priority,
  }
end

-- What a chooser is told, and what a call of neap.http.relay's is.
local function call_of(req, opts, class, ends, brought)
  return {
    hash_key = opts.hash_key, subset = opts.subset, sticky = brought, priority = class, ends = ends,
    wire = { method = opts.method or req.method, target = opts.target or req.target, headers = req.headers },
  }
end

-- What became of an attempt, told to the machine: the delay until the next one, nil or false for none; and
-- what the forwarding comes to if that is so.
local function settle(c, number, ok, err, status, seconds, after)
  if ok then return c:finish(number, status, seconds) end
  if ok == false then return c:finish(number, status, seconds, after and retry_after.parse(after)) end
  local unanswered, begun = status, seconds
  if not unanswered then -- the client has left, or the answer broke off
    c:finish(number, nil)
    return nil
  end
  if begun then c:answered(number) end
  return c:finish(number, err)
end

local function outcome_of(ok, err, status)
  if ok ~= nil then return status end
  return status and err or nil -- else the client has left
end

-- Goes on from an attempt's end, in order of what forwarding gives.
local function go_on(f, ok, err, status, seconds, after)
  local req, through, c, call, number = f.req, f.through, f.c, f.call, f.number
  local up = through.upstream
  while true do
    local delay = settle(c, number, ok, err, status, seconds, after)
    if up.chooser then up.chooser:ended(call, number, outcome_of(ok, err, status)) end
    if ok then return true end
    local endpoint, within
    if delay and resilience.pause(up, call, c, delay) then
      endpoint, within, number = resilience.start(up, call, c)
    end
    if ok == false then
      if not endpoint then
        local unanswered
        ok, err, unanswered = err:pass()
        return ok, err, unanswered
      end
      err:drop()
    elseif not endpoint then
      return nil, err, status -- whether the request is unanswered
    end
    local place = up:place(endpoint)
    local by = f.plain and place.host and quick or f.send
    ok, err, status, seconds, after =
      by(req, place, through, through.prefix, f.opts, within, f.hold, f.c, mark(f, endpoint))
  end
end

local function attempts(f, endpoint, within)
  local held <close> = f.c -- luacheck: ignore 211
  local through = f.through
  local up = through.upstream
  if type(endpoint) ~= "userdata" then
    endpoint, within, f.number = resilience.first(up, f.call, f.c, endpoint)
    if not endpoint then return nil, within, true end
  end
  local place = up:place(endpoint)
  local by = f.plain and place.host and quick or f.send
  return go_on(f, by(f.req, place, through, through.prefix, f.opts, within, f.hold, f.c, mark(f, endpoint)))
end

-- What a chooser chose for an attempt that nobody ended, as the client had left.
local Left = {
  __close = function(f)
    f.through.upstream.chooser:abandon(f.call)
  end,
}

local function by_chooser(f, wait)
  local left <close> = setmetatable(f, Left) -- luacheck: ignore 211
  local ok, err, unanswered = attempts(f, wait)
  return ok, err, unanswered
end

-- The hot case: no options, a method that rarely has a body, a plain client. Nothing is made for it but
-- what the machine and the exchange have.
local function hot(req, through, opts, send)
  local up = through.upstream
  local text = through.reads_priority and req:header(priority.HEADER)
  local class = text and classes[text] or through.priority
  local c, endpoint, within = up.cluster:pick(class, true, end_of(through.timeout))
  if not c then return nil, endpoint, true end
  local held <close> = c -- luacheck: ignore 211
  local place, hold = up.places[endpoint] or up:place(endpoint), up.hold
  local ok, err, status, seconds, after
  if place.host then
    ok, err, status, seconds, after =
      forward(within, req, place.host, place.port, nil, nil, nil, nil, nil, hold, nil, nil, c)
  else
    ok, err, status, seconds, after = send(req, place, through, "", opts, within, hold, c)
  end
  if ok then
    c:finish(1, status, seconds)
    return true
  end
  local f = {
    req = req, through = through, opts = opts, send = send, number = 1, plain = true, hold = hold, c = c,
  }
  return go_on(f, ok, err, status, seconds, after)
end

---Answers a request with what one of the client's endpoints answers to it.
---@param req neap.http.Request
---@param through neap.http.Client one that has a cluster
---@param opts table as checked by neap.http.forward; `plain`: it is none
---@param send function one attempt of another than the plain kind
---@param head function the target, if it is another than the request's, and what changes of the headers
---@return true? ok
---@return neap.Error? err
---@return boolean? unanswered of a failure: the request is as it was, but for its body
function M.forward(req, through, opts, send, head)
  local up, rules, method = through.upstream, through.rules, opts.method or req.method
  if through.quick == nil then learn(through) end
  if through.hot and opts.plain and MOSTLY_WITHOUT[method] and rules.methods[method] then
    return hot(req, through, opts, send)
  end
  local safe, timeout = rules.methods[method] or false, opts.timeout
  if timeout == nil then timeout = through.timeout end
  local ends, class = end_of(timeout), class_of(req, through, opts)
  if safe and (up.hold or up.hedges) and not opts.body and not MOSTLY_WITHOUT[method] then
    opts = with_body(req, opts, rules.max_body)
  end
  local brought = up.sticky and up.sticky:of(req)
  if up.hedges and safe and (opts.body or not has_body(req)) then
    local call = call_of(req, opts, class, ends, brought)
    local ok, err, unanswered = relay.forward(req, through, opts, call, head(req, through, opts))
    return ok, err, unanswered
  end
  local f = {
    req = req, through = through, opts = opts, send = send, number = 1,
    plain = opts.plain and through.quick, hold = safe and up.hold or nil,
    brought = brought,
  }
  if up.chooser or up.backoff then f.call = call_of(req, opts, class, ends, brought) end
  local begin = up.chooser and up.cluster.begin or up.cluster.pick
  local endpoint, within
  f.c, endpoint, within = begin(up.cluster, class, safe, ends, opts.hash_key, opts.subset, brought)
  if not f.c then return nil, endpoint, true end
  if up.chooser then return by_chooser(f, endpoint) end
  return attempts(f, endpoint, within)
end

return M
