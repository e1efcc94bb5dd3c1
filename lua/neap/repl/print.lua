-- What `print` is at a prompt: the same, but only the line that runs flushes. What other tasks print
-- gathers until the REPL has taken the line that is being edited from the screen.

local task = require "neap.core.task"

local M = {
  line = nil, ---@type userdata? the task that runs a line
}

function M.print(...)
  local texts = table.pack(...)
  for i = 1, texts.n do texts[i] = tostring(texts[i]) end
  io.stdout:write(table.concat(texts, "\t", 1, texts.n), "\n")
  if M.line and task.current_id() == M.line then io.stdout:flush() end
end

return M
