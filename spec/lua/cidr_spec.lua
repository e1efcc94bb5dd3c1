local neap = require "neap"
local cidr = neap.cidr

describe("cidr", function()
  it("says whether an address is in one of the networks", function()
    local l = cidr.new { "10.0.0.0/8", "2001:db8::/32", "127.0.0.1", "unix" }
    for _, address in ipairs {
      "10.1.2.3", "10.255.0.1:80", "::ffff:10.0.0.1", "[2001:db8::1]:443", "127.0.0.1:1",
      "unix:/run/x", "unix:",
    } do
      assert.is_true(l:has(address), address)
    end
    for _, address in ipairs { "11.0.0.1", "127.0.0.2", "2001:db9::1", "nonsense", "", "pipe" } do
      assert.is_false(l:has(address), address)
    end
    assert.equal("neap.cidr: 10.0.0.0/8, 2001:db8::/32, 127.0.0.1/32, unix", tostring(l))
  end)

  it("takes one network, none, or everybody", function()
    assert.is_true(cidr.new("::1"):has "::1")
    assert.is_false(cidr.new({}):has "::1")
    assert.is_true(cidr.new({ "*" }):has "pipe")
    local l = cidr.new { "::1" }
    assert.is_true(cidr.new(l):has "::1")
  end)

  it("refuses in words what is no network", function()
    for _, case in ipairs {
      { { "10.0.0.1/8" }, "networks%[1%]: .*10%.0%.0%.0/8%?" },
      { { "::1", "host" }, "networks%[2%]: 'host' is neither" },
      { { "10.0.0.0/33" }, "0 to 32 bits" },
      { { 1 }, "expected string, got number" },
      { { a = "::1" }, "an array of strings" },
      { 7, "expected table, got number" },
    } do
      local ok, err = pcall(cidr.new, case[1])
      assert.is_false(ok)
      assert.matches(case[2], err)
    end
  end)
end)
