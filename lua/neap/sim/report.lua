-- The results as a table of text.

local M = {}

local function count(n)
  if n >= 1e6 then return ("%.3gM"):format(n / 1e6) end
  if n >= 1e4 then return ("%.0fk"):format(n / 1e3) end
  if n >= 100 or n == math.floor(n) then return ("%.0f"):format(n) end
  return ("%.1f"):format(n)
end

---Seconds as a person reads them: "12.3 ms".
---@param s number
---@return string
function M.duration(s)
  if s >= 10 then return ("%.1f s"):format(s) end
  if s >= 1 then return ("%.2f s"):format(s) end
  if s >= 0.1 then return ("%.0f ms"):format(s * 1e3) end
  if s >= 0.001 then return ("%.1f ms"):format(s * 1e3) end
  return ("%.0f µs"):format(s * 1e6)
end

local function percent(share)
  if share == 0 then return "0" end
  if share < 0.0001 then return "<0.01 %" end
  return ("%.2f %%"):format(share * 100)
end

local d = M.duration

local columns = {
  { "policy", function(r) return r.name end, left = true },
  { "req/s", function(r) return count(r.throughput) end },
  { "good/s", function(r) return count(r.goodput) end },
  { "errors", function(r) return percent(r.error_rate) end },
  { "p50", function(r) return d(r.p50) end },
  { "p95", function(r) return d(r.p95) end },
  { "p99", function(r) return d(r.p99) end },
  { "p99.9", function(r) return d(r.p999) end },
  { "attempts", function(r) return ("%.3f"):format(r.amplification) end },
  { "hedges", function(r) return count(r.hedges) end },
  { "ejected", function(r) return ("%d/%d"):format(r.ejections.right, r.ejections.wrong) end },
  { "fairness", function(r) return ("%.3f"):format(r.fairness) end },
}

local function width(s) return utf8.len(s) or #s end

local function padded(s, n, left)
  local room = (" "):rep(n - width(s))
  return left and s .. room or room .. s
end

-- Rows of cells with their heading.
local function cells_of(list)
  local rows = { {} }
  for c, column in ipairs(columns) do rows[1][c] = column[1] end
  for _, r in ipairs(list) do
    local row = {}
    for c, column in ipairs(columns) do row[c] = column[2](r) end
    rows[#rows + 1] = row
  end
  return rows
end

---The results, a line a policy, with aligned columns.
---@param list neap.sim.Results
---@return string
function M.text(list)
  local rows = cells_of(list)
  local lines = {}
  for i, row in ipairs(rows) do
    local out = {}
    for c, column in ipairs(columns) do
      local most = 0
      for _, other in ipairs(rows) do most = math.max(most, width(other[c])) end
      out[c] = padded(row[c], most, column.left)
    end
    lines[i] = table.concat(out, "  ")
  end
  return table.concat(lines, "\n") .. "\n"
end

---The same in Markdown.
---@param list neap.sim.Results
---@return string
function M.markdown(list)
  local rows = cells_of(list)
  local lines = {}
  for i, row in ipairs(rows) do
    lines[#lines + 1] = "| " .. table.concat(row, " | ") .. " |"
    if i == 1 then
      local rule = {}
      for c, column in ipairs(columns) do rule[c] = column.left and "---" or "---:" end
      lines[#lines + 1] = "| " .. table.concat(rule, " | ") .. " |"
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

-- What failed, and why: only where something did.
local function errors_of(r)
  local parts = {}
  for _, kind in ipairs { "timeout", "refused", "status", "full", "shed" } do
    if r.errors[kind] > 0 then parts[#parts + 1] = ("%s %s"):format(count(r.errors[kind]), kind) end
  end
  for rule, n in pairs(r.refused) do
    if rule == "concurrency" or rule == "breaker" or rule == "rate_limit" then
      parts[#parts + 1] = ("refused by %s: %s"):format(rule, count(n))
    end
  end
  return parts
end

---What the table has no room for: errors by kind, faults of policies.
---@param list neap.sim.Results
---@return string
function M.notes(list)
  local lines = {}
  for _, r in ipairs(list) do
    local parts = errors_of(r)
    if parts[1] then lines[#lines + 1] = ("%s: %s"):format(r.name, table.concat(parts, ", ")) end
    if r.faults > 0 then
      lines[#lines + 1] = ("%s: its policy failed %s times, and P2C picked: %s"):format(r.name,
        count(r.faults), (r.fault or "it gave no endpoint of the set"):match "^[^\n]*")
    end
  end
  return #lines > 0 and table.concat(lines, "\n") .. "\n" or ""
end

return M
