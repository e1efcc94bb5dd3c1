-- What a test leaves behind: tasks, handles, references, things that would have to be drained.
--
-- Closing takes turns of the loop, so a look that finds something waits a little and looks again, for a
-- second at most.

local runtime = require "neap.core.runtime"
local task = require "neap.core.task"

local M = {}

local PATIENCE = 1 -- seconds
local KINDS = { "tasks", "handles", "refs", "drains" }

local function ids_of_tasks()
  local ids = {}
  for _, t in ipairs(runtime.tasks()) do ids[t.id] = true end
  return ids
end

---@class neap.test.Snapshot
---@field stats table<string, integer>
---@field tasks table<userdata, true>
---@field open table<string, integer>

--- What is alive now.
---@return neap.test.Snapshot
function M.snapshot()
  return { stats = runtime.stats(), tasks = ids_of_tasks(), open = runtime.open_handles() }
end

local function grown(before)
  local now = runtime.stats()
  for _, kind in ipairs(KINDS) do
    if now[kind] > before.stats[kind] then return now end
  end
end

local function describe_tasks(before, lines)
  for _, t in ipairs(runtime.tasks()) do
    if not before.tasks[t.id] and t.state ~= "running" then
      local where = t.traceback:gsub("^stack traceback:\n?", ""):gsub("\n\t%[C%]: in %?", "")
      where = where:gsub("\t", "      ")
      lines[#lines + 1] = ("    a task (%s) is still %s:\n%s"):format(t.label, t.state, where)
    end
  end
end

local function describe_handles(before, lines)
  local kinds = {}
  for kind, count in pairs(runtime.open_handles()) do
    local more = count - (before.open[kind] or 0)
    if more > 0 then kinds[#kinds + 1] = ("%d %s"):format(more, kind) end
  end
  table.sort(kinds)
  if kinds[1] then lines[#lines + 1] = "    open: " .. table.concat(kinds, ", ") end
end

local function describe(before, now)
  local counts, lines = {}, {}
  for _, kind in ipairs(KINDS) do
    local more = now[kind] - before.stats[kind]
    if more > 0 then counts[#counts + 1] = ("%d %s"):format(more, kind) end
  end
  lines[1] = "the test left " .. table.concat(counts, ", ") .. " behind"
  describe_tasks(before, lines)
  describe_handles(before, lines)
  return table.concat(lines, "\n")
end

--- Waits until nothing more is alive than in the snapshot.
---@param before neap.test.Snapshot
---@return string? leak what was left, in words; nil when nothing was
function M.find(before)
  if not grown(before) then return end
  local give_up = runtime.monotonic() + PATIENCE
  local pause = 0
  repeat
    collectgarbage()
    task.sleep(pause)
    local now = grown(before)
    if not now then return end
    pause = math.min(0.05, pause * 2 + 0.001)
  until runtime.monotonic() >= give_up
  return describe(before, grown(before) or runtime.stats())
end

return M
