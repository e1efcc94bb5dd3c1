-- A chart with axes, as SVG: what the plots of the simulator are drawn with. Colours follow the reader's
-- light or dark mode.

local M = {}

local STYLE = [[
<style>
svg { --bg: #ffffff; --fg: #24292f; --dim: #57606a; --grid: #d8dee4; --band: #f6e7c8; --quiet: #a8b1ba;
  --c1: #0969da; --c2: #d1570a; --c3: #1a7f37; --c4: #8250df; --c5: #bf3989; --c6: #7a5c00; }
@media (prefers-color-scheme: dark) {
  svg { --bg: #0d1117; --fg: #e6edf3; --dim: #9198a1; --grid: #2b323b; --band: #3a2f14; --quiet: #5b6570;
    --c1: #58a6ff; --c2: #ff9b5c; --c3: #56d364; --c4: #bc8cff; --c5: #ff8cc6; --c6: #e3b341; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--fg); }
.dim { fill: var(--dim); font-size: 11px; }
.title { font-size: 14px; font-weight: 600; }
.grid { stroke: var(--grid); stroke-width: 1; }
.band { fill: var(--band); }
</style>
]]

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escaped(text) return (text:gsub('[&<>"]', ESCAPES)) end

-- A coordinate: one digit after the point says enough, and keeps files small.
local function num(x)
  local s = ("%.1f"):format(x):gsub("%.0$", "")
  return s == "-0" and "0" or s
end

local Drawing = {}
Drawing.__index = Drawing

---@param width number
---@param height number
---@param title string also for readers that see no picture
function M.drawing(width, height, title)
  local self = setmetatable({ out = {}, width = width, height = height }, Drawing)
  self:put(('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">')
    :format(width, height, width, height))
  self:put(("<title>%s</title>"):format(escaped(title)))
  self:put(STYLE)
  self:put(('<rect width="%d" height="%d" fill="var(--bg)"/>'):format(width, height))
  return self
end

function Drawing:put(text) self.out[#self.out + 1] = text end

---@param opts? { class: string?, anchor: string?, fill: string? }
function Drawing:text(x, y, words, opts)
  opts = opts or {}
  local class = opts.class and (' class="%s"'):format(opts.class) or ""
  local anchor = opts.anchor and (' text-anchor="%s"'):format(opts.anchor) or ""
  local fill = opts.fill and (' style="fill:%s"'):format(opts.fill) or ""
  local form = '<text x="%s" y="%s"%s%s%s>%s</text>'
  self:put(form:format(num(x), num(y), class, anchor, fill, escaped(words)))
end

function Drawing:line(x1, y1, x2, y2, class)
  local form = '<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>'
  self:put(form:format(num(x1), num(y1), num(x2), num(y2), class))
end

function Drawing:rect(x, y, w, h, class)
  local form = '<rect x="%s" y="%s" width="%s" height="%s" class="%s"/>'
  self:put(form:format(num(x), num(y), num(w), num(h), class))
end

---A line through points; a false one interrupts it.
function Drawing:path(points, color, width, opacity)
  local d, pen = {}, false
  for _, p in ipairs(points) do
    if p then
      d[#d + 1] = (pen and "L" or "M") .. num(p[1]) .. " " .. num(p[2])
      pen = true
    else
      pen = false
    end
  end
  if not d[1] then return end
  local form = '<path d="%s" fill="none" stroke-linejoin="round" stroke-width="%s" opacity="%s" '
    .. 'style="stroke:%s"/>'
  self:put(form:format(table.concat(d), width, opacity or 1, color))
end

function Drawing:finish()
  self:put "</svg>\n"
  return table.concat(self.out, "\n")
end

---The colour of the n-th line.
function M.color(n) return ("var(--c%d)"):format((n - 1) % 6 + 1) end

-- --- axes

-- Round steps for a linear axis: 1, 2 or 5 times a power of ten.
local function step_for(span, most)
  local step = 10 ^ math.floor(math.log(math.max(span, 1e-12) / most, 10))
  for _, m in ipairs { 1, 2, 5, 10 } do
    if span / (step * m) <= most then return step * m end
  end
  return step * 10
end

---A frame in a drawing, which places values in it. `log` is of the y axis.
---@param frame { x: number, y: number, w: number, h: number }
---@param x { min: number, max: number }
---@param y { min: number, max: number, log: boolean? }
function M.plot(drawing, frame, x, y)
  local self = { drawing = drawing, frame = frame }
  local lo, hi = y.min, y.max
  if y.log then
    lo, hi = math.log(lo, 10), math.log(hi, 10)
  end

  function self.x(v) return frame.x + (v - x.min) / (x.max - x.min) * frame.w end

  function self.y(v)
    local at = y.log and math.log(math.max(v, y.min), 10) or v
    return frame.y + frame.h - math.min(math.max((at - lo) / (hi - lo), 0), 1) * frame.h
  end

  function self.x_axis(name)
    local step = step_for(x.max - x.min, 10)
    for i = math.ceil(x.min / step), math.floor(x.max / step) do
      local words = ("%g"):format(i * step)
      drawing:text(self.x(i * step), frame.y + frame.h + 16, words, { class = "dim", anchor = "middle" })
    end
    drawing:text(frame.x + frame.w, frame.y + frame.h + 32, name, { class = "dim", anchor = "end" })
  end

  function self.y_axis(label)
    local ticks = {}
    if y.log then
      for e = math.floor(lo), math.ceil(hi) do
        for _, m in ipairs(hi - lo < 1.5 and { 1, 2, 5 } or { 1 }) do ticks[#ticks + 1] = m * 10.0 ^ e end
      end
    else
      local step = step_for(hi - lo, 4)
      for i = math.ceil(lo / step), math.floor(hi / step) do ticks[#ticks + 1] = i * step end
    end
    for _, v in ipairs(ticks) do
      if v >= y.min * 0.999 and v <= y.max * 1.001 then
        drawing:line(frame.x, self.y(v), frame.x + frame.w, self.y(v), "grid")
        drawing:text(frame.x - 6, self.y(v) + 4, label(v), { class = "dim", anchor = "end" })
      end
    end
  end

  ---Values at equal steps in time, as a line.
  function self.line(times, values, color, width, opacity)
    local points = {}
    for i, v in ipairs(values) do
      points[i] = v and { self.x(times[i]), self.y(v) } or false
    end
    drawing:path(points, color, width, opacity)
  end

  return self
end

return M
