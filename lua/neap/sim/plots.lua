-- The plots of a scenario's results: latency over time, and the load of each endpoint.

local chart = require "neap.sim.chart"
local duration = require("neap.sim.report").duration

local M = {}

local WIDTH, LEFT, RIGHT = 860, 64, 16
local MOST_LINES = 60 -- endpoints that are drawn; of more, so many

local function span_of(spec) return { min = 0, max = spec.duration } end

-- When something was the matter, behind everything else.
local function bands(drawing, plot, spec)
  local f = plot.frame
  for _, change in ipairs(spec.changes) do
    local from = plot.x(math.min(change.at, spec.duration))
    local to = plot.x(math.min(change["until"] or spec.duration, spec.duration))
    drawing:rect(from, f.y, math.max(to - from, 1), f.h, "band")
  end
end

local function short(s) return (duration(s):gsub("%.0 ", " ")) end

local function bounds(results)
  local least, most = math.huge, 0
  for _, r in ipairs(results) do
    for i, n in ipairs(r.series.requests) do
      if n > 0 then
        least = math.min(least, math.max(r.series.p50[i], 1e-6))
        most = math.max(most, r.series.p99[i])
      end
    end
  end
  if most == 0 then return 0.001, 1 end
  return least / 1.5, math.max(most * 1.3, least * 10)
end

local function present(series, name)
  local values = {}
  for i, n in ipairs(series.requests) do values[i] = n > 0 and series[name][i] end
  return values
end

local function legend(drawing, x, y, results)
  for i, r in ipairs(results) do
    drawing:path({ { x, y - 4 }, { x + 22, y - 4 } }, chart.color(i), 2.5)
    drawing:text(x + 28, y, r.name)
    x = x + 50 + 7.2 * #r.name
  end
end

---p99 (strong) and median (faint) over time, a colour a policy.
---@param results neap.sim.Results
---@return string svg
function M.latency(results, spec, title)
  local drawing = chart.drawing(WIDTH, 360, title .. ": latency over time")
  local least, most = bounds(results)
  local frame = { x = LEFT, y = 60, w = WIDTH - LEFT - RIGHT, h = 250 }
  local plot = chart.plot(drawing, frame, span_of(spec), { min = least, max = most, log = true })
  drawing:text(LEFT, 22, title .. ": latency (p99 strong, median faint)", { class = "title" })
  legend(drawing, LEFT, 44, results)
  bands(drawing, plot, spec)
  plot.y_axis(short)
  plot.x_axis "seconds"
  for i = #results, 1, -1 do
    local r = results[i]
    plot.line(r.series.time, present(r.series, "p50"), chart.color(i), 1.2, 0.45)
  end
  for i = #results, 1, -1 do
    local r = results[i]
    plot.line(r.series.time, present(r.series, "p99"), chart.color(i), 2, 1)
  end
  return drawing:finish()
end

-- --- load

local function affected(spec)
  local set = {}
  for _, change in ipairs(spec.changes) do
    if #change.servers < #spec.servers then
      for _, i in ipairs(change.servers) do set[i] = true end
    end
  end
  return set
end

-- Requests a second, of endpoint i.
local function load_of(r, i, spec)
  local values, each = {}, spec.duration / spec.buckets
  for k, n in ipairs(r.endpoints[i].load or {}) do values[k] = n / each end
  return values
end

local function chosen(spec, marked)
  local list, n = {}, #spec.servers
  local step = math.max(1, n // MOST_LINES)
  for i = 1, n do
    local wanted = marked[i] and n <= 1000 and #list < 2 * MOST_LINES
    if wanted or (i - 1) % step == 0 then list[#list + 1] = i end
  end
  return list
end

local function most_load(results, list, spec)
  local most = 1
  for _, r in ipairs(results) do
    for _, i in ipairs(list) do
      for _, v in ipairs(load_of(r, i, spec)) do most = math.max(most, v) end
    end
  end
  return most
end

-- The colour of endpoint i: the policy's for one that something befell; where nothing befalls any, that of
-- its group; else none.
local function colors_of(spec, marked)
  local groups, names = {}, {}
  for _, server in ipairs(spec.servers) do
    if not groups[server.group] then
      names[#names + 1] = server.group
      groups[server.group] = #names
    end
  end
  if next(marked) or #names < 2 then
    return function(i, policy) return marked[i] and chart.color(policy) end
  end
  return function(i) return chart.color(groups[spec.servers[i].group]) end, names
end

local function note(drawing, marked, names)
  if not names then
    if not next(marked) then return end
    drawing:text(WIDTH - RIGHT, 22, "in colour: those that are at fault", { class = "dim", anchor = "end" })
    return
  end
  local x = WIDTH - RIGHT
  for i = #names, 1, -1 do
    drawing:text(x, 22, names[i], { anchor = "end", fill = chart.color(i) })
    x = x - 14 - 7.2 * #names[i]
  end
end

---Requests a second that came to each endpoint, a panel a policy; those that something befell in colour.
---@param results neap.sim.Results
---@return string svg
function M.load(results, spec, title)
  local each = 150
  local drawing = chart.drawing(WIDTH, 50 + each * #results + 20, title .. ": load per endpoint")
  local marked = affected(spec)
  local list = chosen(spec, marked)
  local y = { min = 0, max = most_load(results, list, spec) * 1.05 }
  drawing:text(LEFT, 22, title .. ": requests a second, by endpoint", { class = "title" })
  local color_of, names = colors_of(spec, marked)
  note(drawing, marked, names)
  for p, r in ipairs(results) do
    local frame = { x = LEFT, y = 50 + (p - 1) * each, w = WIDTH - LEFT - RIGHT, h = each - 42 }
    local plot = chart.plot(drawing, frame, span_of(spec), y)
    bands(drawing, plot, spec)
    plot.y_axis(function(v) return ("%g"):format(v) end)
    for pass = 1, 2 do
      for _, i in ipairs(list) do
        local color = color_of(i, p)
        if (color ~= nil and color ~= false) == (pass == 2) then
          plot.line(r.series.time, load_of(r, i, spec), color or "var(--quiet)", color and 1.4 or 1,
            color and 0.9 or 0.7)
        end
      end
    end
    drawing:text(LEFT, frame.y - 5, r.name, { fill = not names and chart.color(p) or nil })
    plot.x_axis(p == #results and "seconds" or "")
  end
  return drawing:finish()
end

return M
