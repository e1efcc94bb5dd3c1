-- simulator.lua [--check] [NEAP]: runs the scenarios of examples/sim, draws their plots into docs/simulator
-- and puts their tables into docs/simulator.md, between `<!-- results NAME -->` and `<!-- end -->`.
--
-- The results are the same for one seed, so running it again changes nothing unless a policy has changed.
-- With --check nothing is written; the exit code says whether what stands there is what would be written.
-- NEAP is the program; default scripts/neap.

local check = arg[1] == "--check"
local neap = arg[check and 2 or 1] or os.getenv "NEAP" or "scripts/neap"

local PAGE = "docs/simulator.md"
local PLOTS = "docs/simulator"

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  assert(pipe:close(), command)
  return text
end

local stale = false

local function put(path, text)
  if read_file(path) == text then return end
  stale = true
  if check then
    io.stderr:write(path, ": is not what `lua tools/simulator.lua` would write\n")
  else
    write_file(path, text)
  end
end

local function trimmed(text) return (text:gsub("%s+$", "")) end

local function results_of(name, dir)
  local run = ("%s sim --markdown --svg %s examples/sim/%s.lua"):format(neap, dir, name)
  local table_text = trimmed(output_of(run))
  for _, kind in ipairs { "latency", "load" } do
    local plot = ("%s-%s.svg"):format(name, kind)
    put(PLOTS .. "/" .. plot, assert(read_file(dir .. "/" .. plot)))
  end
  local plots = "![%s: latency over time](simulator/%s-latency.svg)\n"
    .. "![%s: load per endpoint](simulator/%s-load.svg)"
  plots = plots:format(name, name, name, name)
  return ("\n%s\n\n%s\n"):format(table_text, plots)
end

local dir = trimmed(output_of "mktemp -d")
local page = assert(read_file(PAGE))
page = page:gsub("(<!%-%- results ([%w_]+) %-%->\n).-(<!%-%- end %-%->)", function(head, name, tail)
  return head .. results_of(name, dir) .. "\n" .. tail
end)
os.execute(("rm -r '%s'"):format(dir))
put(PAGE, page)
os.exit(check and stale and 1 or 0)
