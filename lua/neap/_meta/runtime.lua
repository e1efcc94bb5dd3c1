---@meta neap.runtime

--- The host that a script runs in: what is alive in it, and how it ends.
---@class neap.runtime
---@field version string "0.1.0"
local runtime = {}

---@class neap.runtime.Stats
---@field tasks integer that have not ended
---@field handles integer streams, listeners, sockets and lookups that are open or closing
---@field refs integer Lua values that C holds
---@field drains integer things that a stop waits for: servers, listeners, registrations
---@field memory integer bytes that the Lua state holds

---What is alive right now.
---@return neap.runtime.Stats
function runtime.stats() end

---@class neap.runtime.Task
---@field id userdata
---@field label string what it was made for: "request", "timer", "task" …
---@field state "new"|"ready"|"running"|"waiting"
---@field traceback string where it stands

---The tasks that have not ended, parents first.
---@return neap.runtime.Task[]
function runtime.tasks() end

---libuv's handles on the loop, by kind: `{ tcp = 2, timer = 1 }`.
---@return table<string, integer>
function runtime.open_handles() end

---The names of the modules that are built in.
---@return string[]
function runtime.modules() end

---Seconds on a clock that only goes forward, for measuring.
---@return number
function runtime.monotonic() end

---Whether a descriptor is a terminal.
---@param fd integer 0, 1, 2 …
---@return boolean
function runtime.isatty(fd) end

---Ends the host as SIGTERM does: what is in flight is finished first. Returns at once.
---@param now? boolean without waiting for anything
function runtime.stop(now) end

---The exit code of the process when it ends by itself; sets it when given one.
---@param code? integer
---@return integer code
function runtime.exit_code(code) end

---Ends the process at once, when the log is written. What `os.exit` is in `neap run`.
---@param code? integer|boolean default 0
function runtime.exit(code) end

return runtime
