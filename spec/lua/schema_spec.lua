local schema = require "neap.schema"

-- The message of a raised misuse, without its position.
local function refusal(s, opts)
  local ok, message = pcall(function() s:read(opts, 1) end)
  assert.is_false(ok)
  return (message:gsub("^[^:]+:%d+: ", ""))
end

describe("schema", function()
  local tls = { verify = { "boolean", default = true }, names = { "array", of = "string" } }
  local s = schema.new {
    timeout = { "seconds", default = 30 },
    host = "string",
    port = { "integer", min = 0, max = 65535 },
    policy = { "string", enum = { "round_robin", "random", "p2c" } },
    handler = "function|table",
    headers = { "map", of = "string|number" },
    tags = { "array", of = { "string", min = 1 }, max = 3 },
    tls = { "table", fields = tls },
    name = { "string", pattern = "[a-z][a-z0-9-]*" },
    even = { "integer", check = function(v) if v % 2 == 1 then return "expected an even number" end end },
  }

  it("fills in defaults and leaves the caller's table alone", function()
    local opts = { host = "a", tls = {} }
    local read = s:read(opts)
    assert.same({ host = "a", timeout = 30, tls = { verify = true } }, read)
    assert.same({ host = "a", tls = {} }, opts)
    assert.same({ timeout = 30 }, s:read(nil))
  end)

  it("gives each caller a default table of their own", function()
    local t = schema.new { list = { "array", default = {} } }
    t:read().list[1] = "mine"
    assert.same({}, t:read().list)
  end)

  it("keeps false where it is given", function()
    assert.is_false(s:read({ timeout = false }).timeout)
    assert.is_false(s:read({ tls = { verify = false } }).tls.verify)
  end)

  local refused = {
    { "an unknown key", { tiemout = 1 }, "opts.tiemout: unknown option (did you mean timeout?)" },
    { "a key nothing is near", { zzz = 1 }, "opts.zzz: unknown option" },
    { "a positional value", { "x" }, "opts[1]: unknown option" },
    { "a wrong type", { host = 1 }, "opts.host: expected string, got number" },
    { "a nested wrong type", { tls = { verify = "no" } }, "opts.tls.verify: expected boolean, got string" },
    { "a nested unknown key", { tls = { veryfi = true } },
      "opts.tls.veryfi: unknown option (did you mean verify?)" },
    { "a nested element", { tls = { names = { "a", false } } },
      "opts.tls.names[2]: expected string, got boolean" },
    { "a negative time", { timeout = -1 },
      "opts.timeout: expected seconds (a number from 0), got number -1" },
    { "nan as a time", { timeout = 0 / 0 }, "opts.timeout: expected seconds (a number from 0), got nan" },
    { "a fraction as an integer", { port = 1.5 }, "opts.port: expected integer, got number 1.5" },
    { "a number out of range", { port = 65536 }, "opts.port: expected at most 65535, got 65536" },
    { "a word not in the list", { policy = "p2d" },
      'opts.policy: expected one of round_robin, random, p2c, got "p2d" (did you mean p2c?)' },
    { "neither of a union", { handler = 1 }, "opts.handler: expected function or table, got number" },
    { "a value of a map", { headers = { ["x-a"] = true } },
      'opts.headers["x-a"]: expected string or number, got boolean' },
    { "a key of a map", { headers = { "x" } }, "opts.headers[1]: expected a string as key, got number" },
    { "an element that is empty", { tags = { "a", "" } }, "opts.tags[2]: expected at least 1 bytes, got 0" },
    { "too many elements", { tags = { "a", "b", "c", "d" } }, "opts.tags: expected at most 3 items, got 4" },
    { "a name in an array", { tags = { a = "b" } }, "opts.tags.a: not an index of an array" },
    { "a string of the wrong form", { name = "9a" }, 'opts.name: "9a" has the wrong form' },
    { "what a check of one's own says", { even = 3 }, "opts.even: expected an even number" },
    { "another thing than a table", "x", "opts: expected table, got string" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function() assert.equal(case[3], refusal(s, case[2])) end)
  end

  it("names the first problem in order of the keys", function()
    for _ = 1, 5 do
      assert.equal("opts.a: unknown option", refusal(schema.new {}, { c = 1, b = 1, a = 1 }))
    end
  end)

  it("asks for what is required", function()
    local t = schema.new { service = { "string", required = true } }
    assert.equal("opts.service: required", refusal(t, {}))
    assert.equal("opts.service: required", refusal(t, nil))
    assert.is_nil(t:problem({ service = "x" }, "opts"))
  end)

  it("blames the caller of the function that checks", function()
    local function callee(opts) s:read(opts) end
    local line = debug.getinfo(1, "l").currentline + 1
    local _, message = pcall(function() callee { host = 1 } end)
    assert.equal(line, tonumber(message:match ":(%d+): opts%.host"))
  end)

  it("gives the table itself back from check", function()
    local opts = { host = "a" }
    assert.equal(opts, s:check(opts))
    assert.has_error(function() s:check({ host = 1 }, 1) end)
  end)

  it("checks positional arguments", function()
    assert.equal("x", schema.arg("path", "x", "string"))
    assert.is_nil(schema.arg("path", nil, "string|nil"))
    local ok, message = pcall(function() schema.arg("path", nil, "string", 1) end)
    assert.is_false(ok)
    assert.matches("path: expected string, got nil$", message)
  end)
end)
