-- The REPL's inside: takes lines, runs what they make up, prints what it gives. The reading of lines is
-- src/app's. Each line runs in a task of its own, so it may wait.

local compile = require("neap.repl.compile").compile
local complete = require("neap.repl.complete").complete
local printer = require "neap.repl.print"
local task = require "neap.core.task"

local M = {}

local PROMPTS = { first = "> ", more = ">> " }

local pending -- lines of something that is not finished
local env = _G

local function show_error(err, trace)
  if type(err) == "table" and err.code == "ECANCELED" then
    io.stderr:write "interrupted\n"
    return
  end
  local text = type(err) == "string" and err or require("neap.inspect").inspect(err)
  io.stderr:write(text, "\n", trace or "")
end

-- What stands below the line's own chunk says nothing.
local function trim(trace)
  local lines = {}
  for line in trace:gmatch "[^\n]+" do
    lines[#lines + 1] = line
    if line:find "in main chunk" and line:find "^%s*input:" then break end
  end
  if #lines <= 2 then return "" end -- the line itself and nothing else
  return table.concat(lines, "\n") .. "\n"
end

local function on_error(err)
  if type(err) == "table" then return { err = err } end
  return { err = err == nil and "nil" or err, trace = trim(debug.traceback("", 2):gsub("^\n", "")) }
end

local function show(...)
  local n = select("#", ...)
  if n == 0 then return end
  local inspect = require("neap.inspect").inspect
  env._ = (...)
  local texts = {}
  for i = 1, n do texts[i] = inspect((select(i, ...))) end
  local line = table.concat(texts, "\t")
  print(line:find "\n" and table.concat(texts, "\n") or line)
end

local function finish(ok, ...)
  if ok then
    show(...)
  else
    local failure = ...
    show_error(failure.err, failure.trace)
  end
end

---Takes a line and, when it completes something, runs that.
---@param line string without its end
---@return string prompt for the next line
function M.line(line)
  local text = pending and pending .. "\n" .. line or line
  if not pending and not line:find "%S" then return PROMPTS.first end
  local fn, err, incomplete = compile(text, "=input", env)
  if not fn and incomplete and not (pending and line == "" and #pending > 65536) then
    pending = text
    return PROMPTS.more
  end
  pending = nil
  if fn then
    printer.line = task.current_id()
    finish(xpcall(fn, on_error))
    printer.line = nil
  else
    show_error(err)
  end
  return PROMPTS.first
end

---Forgets the lines of what is not finished.
---@return string prompt
function M.clear()
  pending = nil
  return PROMPTS.first
end

---The end of the input: what is not finished is an error.
function M.eof()
  if not pending then return end
  local _, err = compile(pending, "=input", env)
  pending = nil
  show_error(err or "unfinished input")
end

---@param text string up to the cursor
---@return integer length, string ...
function M.complete(text)
  local length, names = complete(text, env)
  return length, table.unpack(names, 1, math.min(#names, 200))
end

---Called once, before the first line.
function M.start()
  if env.neap == nil then env.neap = require "neap" end
  return PROMPTS.first
end

return M
