-- `neap sim FILE…`: runs scenarios, prints a table of their policies' results, draws plots.

local json = require "neap.json"
local plots = require "neap.sim.plots"
local report = require "neap.sim.report"
local runtime = require "neap.core.runtime"
local scenario = require "neap.sim.scenario"
local sim = require "neap.sim"

local M = {}

---@class neap.sim.Arguments
---@field svg? string a directory for plots
---@field seed? string
---@field requests? string
---@field duration? string
---@field policy? string[] only these
---@field json boolean
---@field markdown boolean
---@field quiet boolean

local function complain(...)
  io.stderr:write("neap: sim: ", table.concat({ ... }), "\n")
  return 2
end

-- --- the file

local function base_of(path) return (path:match "([^/]+)$" or path):gsub("%.lua$", "") end

local function load_scenario(path)
  local chunk, err = loadfile(path)
  if not chunk then return nil, err end
  local ok, given = xpcall(chunk, tostring, path)
  if not ok then return nil, given:find(path, 1, true) and given or path .. ": " .. given end
  if type(given) ~= "table" then
    return nil, ("%s: expected it to return a scenario (a table), got %s"):format(path, type(given))
  end
  local copy = {}
  for key, value in pairs(given) do copy[key] = value end
  copy.name = copy.name or base_of(path)
  return copy
end

local function integer_option(args, name, least)
  local text = args[name]
  if not text then return nil end
  local n = math.tointeger(tonumber(text))
  if not n or n < least then
    return nil, ("--%s: expected an integer from %d, got '%s'"):format(name, least, text)
  end
  return n
end

local function only(policies, wanted)
  local list = {}
  for _, name in ipairs(wanted) do
    local found
    for _, p in ipairs(policies) do
      if p == name or (type(p) == "table" and p.name == name) then found = p end
    end
    list[#list + 1] = found or name -- one that it does not name may still be known
  end
  return list
end

-- Puts what the command line says into the scenario.
local function adjust(s, args)
  local seed, requests, err
  seed, err = integer_option(args, "seed", 0)
  if err then return err end
  requests, err = integer_option(args, "requests", 1)
  if err then return err end
  if args.duration then
    local n = tonumber(args.duration)
    if not n or n <= 0 then
      return ("--duration: expected seconds above 0, got '%s'"):format(args.duration)
    end
    s.duration = n
    if (s.warmup or 0) >= n then s.warmup = 0 end
  end
  s.seed = seed or s.seed
  s.max_requests = requests or s.max_requests
  if args.policy then
    local wanted = {}
    for name in args.policy:gmatch "[^,]+" do wanted[#wanted + 1] = name end
    s.policies = only(s.policies or { "default", "p2c", "round_robin" }, wanted)
  end
end

-- --- showing

local function progress_bar()
  local last
  return function(policy, share)
    local line = ("\r%-16s [%-30s] %3.0f %%"):format(policy, ("="):rep(math.floor(share * 30)), share * 100)
    if line ~= last then io.stderr:write(line) end
    last = line
    if share >= 1 then io.stderr:write("\r", (" "):rep(60), "\r") end
  end
end

local function as_json(s, results)
  local list = {}
  for i, r in ipairs(results) do list[i] = r end
  return assert(json.encode({ scenario = s.name, seed = s.seed or 1, policies = list }, { sort_keys = true }))
end

local function write_file(path, text)
  local file, err = io.open(path, "wb")
  if not file then return err end
  local ok, why = file:write(text)
  file:close()
  if not ok then return why end
end

local function draw(s, results, dir)
  local _, spec = scenario.read(s, "scenario")
  local title = s.name
  for _, kind in ipairs { "latency", "load" } do
    local path = ("%s/%s-%s.svg"):format(dir, s.name:gsub("[^%w_.-]", "_"), kind)
    local err = write_file(path, plots[kind](results, spec, title))
    if err then return ("--svg: %s"):format(err) end
  end
end

local function show(s, results, args, more)
  if args.json then
    io.stdout:write(as_json(s, results), "\n")
    return
  end
  if args.markdown then
    io.stdout:write(report.markdown(results))
    return
  end
  if not args.quiet then
    io.stdout:write(s.name, s.description and (": " .. s.description:gsub("%s+", " ")) or "", "\n\n")
  end
  io.stdout:write(report.text(results))
  local notes = report.notes(results)
  if notes ~= "" then io.stdout:write("\n", notes) end
  if more then io.stdout:write "\n" end
end

local function run_file(path, args, more)
  local s, err = load_scenario(path)
  if not s then return complain(err) end
  local wrong = adjust(s, args)
  if wrong then return complain(wrong) end
  local bar = runtime.isatty(2) and not args.json and progress_bar() or nil
  local ok, results = pcall(sim.run, s, { on_progress = bar })
  if not ok then
    local words = tostring(results):gsub("^neap%.sim[%w_.]*:%d+: ", "")
    io.stderr:write("neap: sim: ", path, ": ", words, "\n")
    return 1
  end
  show(s, results, args, more)
  if args.svg then
    local failed = draw(s, results, args.svg)
    if failed then return complain(failed) end
  end
  return 0
end

---@param files string[]
---@param args neap.sim.Arguments
function M.main(files, args)
  local code = 0
  for i, path in ipairs(files) do
    code = run_file(path, args, files[i + 1] ~= nil)
    if code ~= 0 then break end
  end
  io.stdout:flush()
  runtime.exit_code(code)
  runtime.stop(true)
end

return M
