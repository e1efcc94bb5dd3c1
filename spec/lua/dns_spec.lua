local dns = require "neap.dns"
local task = require "neap.task"
local tcp = require "neap.tcp"
local udp = require "neap.udp"

local function code(...)
  local _, err = ...
  assert.is_nil((...))
  return err.code
end

local TYPES = { A = 1, AAAA = 28, SRV = 33 }

local function name_bytes(name)
  return (name:gsub("([^.]+)%.?", function(label) return string.pack("s1", label) end)) .. "\0"
end

local function record(r)
  local data
  if r.type == "A" then
    data = string.char(r.data:match "(%d+)%.(%d+)%.(%d+)%.(%d+)")
  elseif r.type == "AAAA" then
    data = r.data
  else
    data = string.pack(">I2I2I2", r.priority, r.weight, r.port) .. name_bytes(r.target)
  end
  return "\xc0\x0c" .. string.pack(">I2I2I4s2", TYPES[r.type], 1, 60, data)
end

--- A name server that answers what the table says; `false` for a name: never.
local function serve(table_)
  local socket = assert(udp.open())
  task.spawn(function()
    while true do
      local query, host, port = socket:recv()
      if not query then return end
      local labels, at = {}, 13
      while query:byte(at) ~= 0 do
        labels[#labels + 1], at = string.unpack("s1", query, at)
      end
      local wanted = string.unpack(">I2", query, at + 1)
      local name = table.concat(labels, "."):lower()
      local records, answers = table_[name], {}
      for _, r in ipairs(records or {}) do
        if TYPES[r.type] == wanted then answers[#answers + 1] = record(r) end
      end
      if records ~= false then
        socket:send(
          query:sub(1, 2)
            .. string.pack(">I2I2I2I2I2", records and 0x8180 or 0x8183, 1, #answers, 0, 0)
            .. query:sub(13, at + 4)
            .. table.concat(answers),
          host,
          port
        )
      end
    end
  end)
  return socket
end

describe("dns", function()
  local server

  before_each(function()
    server = serve {
      ["one.test"] = { { type = "A", data = "192.0.2.1" } },
      ["both.test"] = {
        { type = "A", data = "192.0.2.2" },
        { type = "AAAA", data = ("\0"):rep(15) .. "\7" },
      },
      ["raced.test"] = { { type = "A", data = "127.0.0.9" }, { type = "A", data = "127.0.0.1" } },
      ["here.test"] = { { type = "A", data = "127.0.0.1" } },
      ["_api._tcp.test"] = {
        { type = "SRV", priority = 2, weight = 0, port = 81, target = "b.test" },
        { type = "SRV", priority = 1, weight = 5, port = 80, target = "a.test" },
      },
      ["silent.test"] = false,
    }
    assert(dns.set_servers(server.address))
  end)
  after_each(function() server:close() end)

  it("resolves names", function()
    assert.same({ "192.0.2.1" }, dns.resolve "one.test")
    local both = dns.resolve "both.test"
    table.sort(both)
    assert.same({ "192.0.2.2", "::7" }, both)
    assert.same({ "::7" }, dns.resolve("both.test", { family = 6 }))
    assert.same({ "192.0.2.2" }, dns.resolve("both.test", { family = 4 }))
  end)

  it("answers what needs no asking", function()
    assert.same({ "127.0.0.1", "::1" }, dns.resolve "localhost")
    assert.same({ "192.0.2.9" }, dns.resolve "192.0.2.9")
    assert.same({ "::1" }, dns.resolve("::1", { family = 6 }))
  end)

  it("resolves services in the order to try them", function()
    assert.same({
      { target = "a.test", port = 80, priority = 1, weight = 5, ttl = 60.0 },
      { target = "b.test", port = 81, priority = 2, weight = 0, ttl = 60.0 },
    }, dns.srv "_api._tcp.test")
    assert.equal("ENOTFOUND", code(dns.srv "_none._tcp.test"))
  end)

  it("says which name it cannot resolve", function()
    local _, err = dns.resolve "none.test"
    assert.equal("ENOTFOUND", err.code)
    assert.matches("none.test", err.message, 1, true)
    assert.equal("ENOTFOUND", code(dns.resolve("one.test", { family = 6 })))
  end)

  it("waits no longer than told", function()
    assert.equal("ETIMEDOUT", code(dns.resolve("silent.test", { timeout = 0.001 })))
    assert.equal("ETIMEDOUT", code(dns.srv("silent.test", { timeout = 0.001 })))
  end)

  it("lets a cancelled task go", function()
    local asking = task.spawn(function() return dns.resolve "silent.test" end)
    task.yield()
    asking:cancel()
    assert.equal("ECANCELED", code(asking:await()))
  end)

  it("remembers answers, as it is told to", function()
    dns.forget()
    local before = dns.stats()
    for _ = 1, 3 do assert(dns.resolve "here.test") end
    assert.equal(before.hits + 2, dns.stats().hits)
    assert.equal(1, dns.stats().names)
    assert(dns.cache { max_names = 0 })
    assert.equal(0, dns.stats().names)
    assert(dns.resolve "here.test")
    assert.equal(before.hits + 2, dns.stats().hits)
    assert(dns.cache {})
    local ok, why = pcall(dns.cache, { names = 1 })
    assert.is_false(ok)
    assert.matches("opts.names: unknown option", why, 1, true)
  end)

  it("gives the next address its turn when one fails, or does not answer for a while", function()
    local listener <close> = assert(tcp.listen({ host = "127.0.0.1" }, function(s) s:write "found" end))
    for _, opts in ipairs { {}, { attempt_delay = 60 } } do
      local s <close> = assert(tcp.connect("raced.test", listener.port, opts))
      assert.equal("found", s:read_exactly(5))
    end
  end)

  it("is what streams are connected by", function()
    local listener <close> = assert(tcp.listen({}, function(s) s:write "you found me" end))
    local s <close> = assert(tcp.connect("here.test", listener.port))
    assert.equal("you found me", s:read_exactly(12))
    local _, err = tcp.connect("none.test", 80)
    assert.equal("ENOTFOUND", err.code)
    assert.matches("none.test:80: no such host", err.message, 1, true)
    assert.equal("ETIMEDOUT", code(tcp.connect("silent.test", 80, { timeout = 0.001 })))
  end)

  it("raises for what is misuse", function()
    for _, fn in ipairs {
      function() dns.resolve() end,
      function() dns.resolve "" end,
      function() dns.resolve "a\0b" end,
      function() dns.resolve("a", { family = 5 }) end,
      function() dns.srv("a", { family = 4 }) end,
    } do
      assert.has_error(fn)
    end
    assert.equal("EINVAL", code(dns.set_servers "not servers"))
  end)
end)
