--- Threads for what takes long to compute: a function runs off the loop, on a pool, and its result is
--- awaited.
---
--- `neap.thread(fn, ...)` calls `fn(...)` in a Lua state of its own, on another thread, and waits; meanwhile
--- the loop goes on. The function goes there as its code: it may use globals and `require`, but no locals
--- from around it; arguments and results are plain values (as `worker.broadcast`). There are the standard
--- libraries, `neap.json`, `neap.frame`, `neap.shared`, `neap.schema` and `neap.inspect`; nothing that needs
--- a loop. A state is used again, so globals that a function sets may be there for the next one on that
--- thread: do not count on it.

local core = require "neap.core.thread"
local schema = require "neap.schema"

---@class neap.thread
local M = {}

---@class neap.thread.Options
---@field timeout? number seconds to wait, default: for ever; then the function is stopped

local options = schema.new { timeout = { "number", min = 0 } }

---Calls it with a list of arguments, and options. `fn` is a Lua function, the name of a file ("work.lua",
---which is run with the arguments) or "module:function" (what `require "module"` has under that name). A
---cancelled task, and one that waits no longer, stops the function at its next instructions.
---@param fn function|string
---@param args? table `args.n` of them, or `#args`
---@param opts? neap.thread.Options
---@return any ... what it returned
---@return neap.Error? err after nil: ESCRIPT (it failed; the message has the traceback), ETIMEDOUT,
---ENOMEM (the state's memory was used up), ELIMIT (1024 others wait for a thread already)
function M.run(fn, args, opts)
  options:check(opts)
  args = args or {}
  return core.run(fn, opts and opts.timeout, table.unpack(args, 1, args.n or #args))
end

return setmetatable(M, { __call = function(_, fn, ...) return core.run(fn, nil, ...) end })
