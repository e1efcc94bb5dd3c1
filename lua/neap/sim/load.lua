-- The load of a scenario: arrivals, kinds of requests, users.

local problems = require "neap.sim.problems"
local schema = require "neap.schema"

local read_distribution, refuse = problems.read_distribution, problems.refuse

local M = {}

-- The rate as straight pieces: { at, rate at the begin, rate at the end }.
local function pieces_of(arrival, duration, path)
  local pieces = { { 0, arrival.rate, arrival.rate } }
  for i, step in ipairs(arrival.steps or {}) do
    local last = pieces[#pieces]
    if step.at < last[1] then refuse(("%s.steps[%d].at"):format(path, i), "it is before the one before") end
    if step.ramp then last[3] = step.rate end
    pieces[#pieces + 1] = { step.at, step.rate, step.rate }
  end
  for i, piece in ipairs(pieces) do
    piece[4] = pieces[i + 1] and pieces[i + 1][1] or math.max(duration, piece[1])
  end
  return pieces
end

local function factor_at(bursts, at)
  local factor = 1
  for _, burst in ipairs(bursts) do
    if at >= burst.at and at < burst.at + burst.lasts then factor = factor * burst.factor end
  end
  return factor
end

local function read_segments(arrival, duration, path)
  local bursts = arrival.bursts or {}
  local segments = {}
  for _, piece in ipairs(pieces_of(arrival, duration, path)) do
    local from, rate, rate_to, to = piece[1], piece[2], piece[3], piece[4]
    local cuts = { from }
    for _, burst in ipairs(bursts) do
      for _, cut in ipairs { burst.at, burst.at + burst.lasts } do
        if cut > from and cut < to then cuts[#cuts + 1] = cut end
      end
    end
    table.sort(cuts)
    for i, cut in ipairs(cuts) do
      local function rate_at(t)
        if to <= from then return rate end
        return rate + (rate_to - rate) * (t - from) / (to - from)
      end
      local factor = factor_at(bursts, cut)
      segments[#segments + 1] = {
        from = cut, rate = rate_at(cut) * factor, rate_to = rate_at(cuts[i + 1] or to) * factor,
      }
    end
  end
  return segments
end

local PRIORITIES = { sheddable = 0, low = 1, normal = 2, high = 3, critical = 4 }

local function read_classes(classes, path)
  local list = {}
  for i, class in ipairs(classes or { {} }) do
    local at = ("%s.requests[%d]"):format(path, i)
    list[i] = {
      share = class.share or 1,
      cost = read_distribution(class.cost or 1, at .. ".cost"),
      priority = PRIORITIES[class.priority or "normal"],
      safe = class.safe ~= false,
    }
  end
  return list
end

local keys_schema = schema.new {
  count = { "integer", min = 1, max = 1000000000, required = true },
  skew = { "number", min = 0, max = 100, default = 0 },
}

local function read_keys(keys, path)
  if keys == nil then return 0, 0 end
  if type(keys) ~= "table" then keys = { count = keys } end
  local problem = keys_schema:problem(keys, path .. ".keys")
  if problem then error({ problem = problem }, 0) end
  return keys.count, keys.skew or 0
end

---Who comes when and wants what, in the simulator's form.
---@param s neap.sim.Scenario with its defaults
---@param path string
---@return table
function M.read(s, path)
  local arrival = s.arrival
  local at = path .. ".arrival"
  if (arrival.rate == nil) == (arrival.users == nil) then refuse(at, "expected rate, or users") end
  local closed = arrival.users ~= nil
  if closed and (arrival.steps or arrival.bursts) then refuse(at, "steps and bursts are of a rate") end
  if not closed and arrival.think then refuse(at .. ".think", "only users think") end
  local keys, skew = read_keys(s.keys, path)
  local again = s.user_retries
  return {
    closed = closed,
    even = arrival.process == "even",
    segments = closed and {} or read_segments(arrival, s.duration, at),
    users = arrival.users,
    think = read_distribution(arrival.think or { "exponential", mean = 1 }, at .. ".think"),
    classes = read_classes(s.requests, path),
    keys = keys,
    key_skew = skew,
    timeout = s.timeout,
    slo = s.slo or 0,
    retries = again and again.attempts or 0,
    retry_delay = again and read_distribution(again.delay or 1, path .. ".user_retries.delay") or nil,
  }
end

return M
