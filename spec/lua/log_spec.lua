-- What the log writes goes to the process's standard error, so each test looks at a process of its own.
local json = require "neap.json"

local function program()
  local pipe = assert(io.popen "readlink /proc/$PPID/exe")
  local path = pipe:read "l"
  pipe:close()
  return path
end

-- The lines that a script logs.
local function lines_of(script, options)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write('local log = require "neap.log"\n', script)
  file:close()
  local command = ("'%s' run %s %s 2>&1"):format(program(), options or "", path)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  pipe:close()
  os.remove(path)
  return lines
end

local function objects_of(script, options)
  local objects = {}
  for i, line in ipairs(lines_of(script, options)) do objects[i] = assert(json.decode(line)) end
  return objects
end

describe("log", function()
  it("writes JSON lines where there is no terminal", function()
    local line = objects_of('log.info("billed", { order = 7, total = 37.5, paid = true, who = "me" })')[1]
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d+Z$", line.time)
    line.time = nil
    assert.same({ level = "info", msg = "billed", order = 7, total = 37.5, paid = true, who = "me" }, line)
  end)

  it("shows what is no text as tostring does", function()
    local line = objects_of([[
      log.warn(setmetatable({}, { __tostring = function() return "a thing" end }), { f = nil, n = 2 ^ 53 })
    ]])[1]
    assert.same({ "warn", "a thing", 2.0 ^ 53 }, { line.level, line.msg, line.n })
  end)

  it("writes text when told so", function()
    local line = lines_of('log.error("it broke", { part = "valve" })', "--log-format text")[1]
    assert.matches("it broke", line)
    assert.matches("part=valve", line)
  end)

  it("leaves out what is below its level", function()
    local script = [[
      for _, level in ipairs { "trace", "debug", "info", "warn", "error" } do log[level](level) end
    ]]
    local function levels(options, before)
      local words = {}
      for i, line in ipairs(objects_of((before or "") .. script, options)) do words[i] = line.level end
      return table.concat(words, " ")
    end
    assert.equal("info warn error", levels())
    assert.equal("trace debug info warn error", levels "--log-level trace")
    assert.equal("error", levels("", 'log.set_level "error"\n'))
    assert.equal("", levels "--log-level off")
  end)

  it("lets nobody forge a line", function()
    local lines = lines_of([[log.info('a\n{"level":"error"}', { x = "b\r\nc" })]])
    assert.equal(1, #lines)
    assert.equal('a\n{"level":"error"}', json.decode(lines[1]).msg)
    assert.equal(1, #lines_of([[log.info("a\nERROR b", { x = "c\nd" })]], "--log-format text"))
  end)

  it("knows its level and refuses others", function()
    local log = require "neap.log"
    local level = log.level()
    log.set_level "warn"
    assert.equal("warn", log.level())
    log.set_level(level)
    assert.error_matches(function() log.set_level "loud" end, "unknown level 'loud'")
    assert.has_error(function() log.info("x", { "no name" }) end)
    assert.has_error(function() log.info("x", "no table") end)
  end)
end)
