-- Distributions, as a scenario writes them down, in the numbers that the simulator draws from.

local schema = require "neap.schema"

local M = {}

---How something varies: a number for what is always the same, or a table whose first item is the
---distribution's name:
---
--- ```lua
--- 0.010                                              -- always 10 ms
--- { "uniform", min = 0.005, max = 0.015 }
--- { "normal", mean = 0.010, stdev = 0.002 }          -- what falls below 0 is 0
--- { "lognormal", median = 0.010, p99 = 0.050 }       -- or median and sigma, or mean and sigma
--- { "exponential", mean = 0.010 }
--- { "pareto", min = 0.004, alpha = 1.5, max = 2 }
--- { "empirical", samples = { 0.004, 0.011, … } }     -- linear between the sorted samples
--- { "empirical", quantiles = { { 0, 0.002 }, { 0.5, 0.01 }, { 0.99, 0.2 }, { 1, 0.9 } } }
--- { "lognormal", median = 0.010, p99 = 0.030, tail = { share = 0.001, factor = 20 } }
--- ```
---
---With `tail`, so many of the draws are so many times as much: pauses, cold caches.
---@alias neap.sim.Distribution number|table

local Z99 = 2.3263478740408408 -- the standard normal's 99th percentile
local STEPS = 1000 -- of a table of quantiles

local amount = { "number", min = 0, max = 1e9 }
local needed = { "number", min = 0, max = 1e9, required = true }
local tail = {
  "table",
  fields = {
    share = { "number", min = 0, max = 1, required = true },
    factor = { "number", min = 0, max = 1e6, required = true },
  },
}

local function kind(fields)
  fields[1] = "string"
  fields.tail = tail
  return schema.new(fields)
end

local kinds = {
  constant = kind { value = needed },
  uniform = kind { min = needed, max = needed },
  normal = kind { mean = needed, stdev = needed },
  lognormal = kind {
    median = amount, mean = amount, p99 = amount, sigma = { "number", min = 0, max = 10 },
  },
  exponential = kind { mean = needed },
  pareto = kind {
    min = needed, max = amount, alpha = { "number", min = 1.0001, max = 100, required = true },
  },
  empirical = kind {
    samples = { "array", of = amount, min = 1 },
    quantiles = { "array", min = 2 },
  },
}

local names = {}
for name in pairs(kinds) do names[#names + 1] = name end
table.sort(names)

local make = {}

function make.constant(d) return { kind = "constant", a = d.value } end

function make.uniform(d)
  if d.max < d.min then return nil, ".max: is below min" end
  return { kind = "uniform", a = d.min, b = d.max }
end

function make.normal(d) return { kind = "normal", a = d.mean, b = d.stdev } end

function make.lognormal(d)
  local sigma = d.sigma
  if d.median and d.p99 then
    if sigma or d.mean then return nil, ": median and p99 say it all" end
    if d.p99 < d.median or d.median <= 0 then return nil, ".p99: is below the median" end
    sigma = math.log(d.p99 / d.median) / Z99
  end
  if not sigma or (d.median == nil) == (d.mean == nil) then
    return nil, ": expected median and p99, median and sigma, or mean and sigma"
  end
  local median = d.median or d.mean / math.exp(sigma * sigma / 2)
  return { kind = "lognormal", a = median, b = sigma }
end

function make.exponential(d) return { kind = "exponential", a = d.mean } end

function make.pareto(d)
  if d.max and d.max < d.min then return nil, ".max: is below min" end
  return { kind = "pareto", a = d.min, b = d.alpha, c = d.max }
end

local function check_quantiles(list)
  for i, pair in ipairs(list) do
    local ok = type(pair) == "table" and type(pair[1]) == "number" and type(pair[2]) == "number"
    if not ok then return (".quantiles[%d]: expected { share, value }"):format(i) end
    local before = list[i - 1]
    if pair[2] < 0 or (before and (pair[1] <= before[1] or pair[2] < before[2])) then
      return (".quantiles[%d]: expected shares and values that grow"):format(i)
    end
  end
  if list[1][1] ~= 0 or list[#list][1] ~= 1 then return ".quantiles: expected shares from 0 to 1" end
end

-- The quantiles at equal steps, linear between those that are given.
local function spread(list)
  local values, at = {}, 1
  for i = 0, STEPS do
    local q = i / STEPS
    while list[at + 1][1] < q do at = at + 1 end
    local a, b = list[at], list[at + 1]
    values[i + 1] = a[2] + (b[2] - a[2]) * (q - a[1]) / (b[1] - a[1])
  end
  return values
end

function make.empirical(d)
  if (d.samples == nil) == (d.quantiles == nil) then return nil, ": expected samples, or quantiles" end
  if d.quantiles then
    local problem = check_quantiles(d.quantiles)
    if problem then return nil, problem end
    return { kind = "empirical", values = spread(d.quantiles) }
  end
  local values = table.move(d.samples, 1, #d.samples, 1, {})
  table.sort(values)
  return { kind = "empirical", values = values }
end

---What the simulator takes. Errors are given back, with the path.
---@param d neap.sim.Distribution
---@param path string
---@return table? spec
---@return string? problem
function M.read(d, path)
  if type(d) == "number" then
    if d ~= d or d < 0 or d > 1e9 then return nil, ("%s: expected a number from 0"):format(path) end
    return { kind = "constant", a = d }
  end
  if type(d) ~= "table" then
    return nil, ("%s: expected a number or a distribution, got %s"):format(path, type(d))
  end
  local name = d[1]
  local known = kinds[name]
  if not known then
    local near = type(name) == "string" and schema.nearest(name, names)
    local hint = near and (" (did you mean %s?)"):format(near) or ""
    local got = type(name) == "string" and ("%q"):format(name) or type(name)
    return nil, ("%s[1]: expected one of %s, got %s%s"):format(path, table.concat(names, ", "), got, hint)
  end
  local fields = {}
  for key, value in pairs(d) do fields[key] = value end
  if name == "constant" and fields[2] then
    fields.value, fields[2] = fields[2], nil
  end
  local problem = known:problem(fields, path)
  if problem then return nil, problem end
  local spec, wrong = make[name](fields)
  if not spec then return nil, path .. wrong end
  if d.tail then
    spec.tail_share, spec.tail_factor = d.tail.share, d.tail.factor
  end
  return spec
end

return M
