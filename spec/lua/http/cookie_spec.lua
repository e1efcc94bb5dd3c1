local cookie = require "neap.http.cookie"
local neap = require "neap"

describe("cookie", function()
  it("reads a Cookie header", function()
    assert.same({ a = "1", b = "x=y", c = "q r", d = "" },
      cookie.parse 'a=1; b=x=y;c="q r"; a=2; d=; broken; =nameless')
    assert.same({}, cookie.parse(nil))
  end)

  it("reads a Set-Cookie header", function()
    assert.same({
      name = "id", value = "4=2", path = "/a", domain = "b.c", max_age = 60, expires = 1445412480,
      secure = true, http_only = true, same_site = "lax", partitioned = true,
    }, cookie.parse_set("id=4=2; Path=/a; Domain=.b.c; Max-Age=60; Secure; HttpOnly; SameSite=Lax; "
      .. "Partitioned; Expires=Wed, 21 Oct 2015 07:28:00 GMT"))
    assert.is_nil(cookie.parse_set "no cookie")
  end)

  it("writes a Set-Cookie header", function()
    assert.equal("id=42; Path=/; HttpOnly; SameSite=Lax", cookie.serialize("id", "42"))
    assert.equal("id=; Path=/a; Domain=b.c; Max-Age=0; Secure; SameSite=None", cookie.serialize("id", "", {
      path = "/a", domain = "b.c", max_age = 0, secure = true, http_only = false, same_site = "none",
    }))
    assert.equal("__Host-a=1; Path=/; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Secure; HttpOnly; "
      .. "SameSite=Strict; Partitioned", cookie.serialize("__Host-a", "1", {
        expires = 1445412480, secure = true, same_site = "strict", partitioned = true,
      }))
  end)

  it("refuses what would break the header", function()
    assert.error_matches(function() cookie.serialize("a b", "1") end, "no token")
    for _, value in ipairs { "a;b", "a\r\nb", "a b", "é", '"', "a,b" } do
      assert.error_matches(function() cookie.serialize("a", value) end, "encode it")
    end
    assert.error_matches(function() cookie.serialize("a", "1", { path = "/;x" }) end, "opts.path")
    assert.error_matches(function() cookie.serialize("a", "1", { domain = "a;b" }) end, "opts.domain")
    assert.error_matches(function() cookie.serialize("a", "1", { max = 1 }) end, "opts.max: unknown")
    assert.error_matches(function() cookie.serialize("a", 1) end, "value: expected string")
  end)

  it("refuses what browsers would", function()
    for _, case in ipairs {
      { "a", { same_site = "none" } },
      { "a", { partitioned = true } },
      { "__Secure-a", {} },
      { "__host-a", {} },
    } do
      assert.error_matches(function() cookie.serialize(case[1], "1", case[2]) end, "opts.secure")
    end
    assert.error_matches(function()
      cookie.serialize("__Host-a", "1", { secure = true, path = "/x" })
    end, "opts.path")
    assert.error_matches(function()
      cookie.serialize("__Host-a", "1", { secure = true, domain = "a.b" })
    end, "opts.domain")
    assert.error_matches(function() cookie.serialize("a", ("x"):rep(4096)) end, "no more than 4096")
    local _, message = pcall(function() cookie.set({}, "a b", "1") end)
    assert.matches("^spec/.*cookie_spec.lua:%d+: name: is no token", message)
  end)

  it("is set in a table of headers, beside others", function()
    local headers = { ["Set-Cookie"] = "old=1" }
    cookie.set(headers, "a", "1")
    cookie.delete(headers, "b", { path = "/b", secure = true })
    assert.same({ ["Set-Cookie"] = {
      "old=1",
      "a=1; Path=/; HttpOnly; SameSite=Lax",
      "b=; Path=/b; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; HttpOnly; SameSite=Lax",
    } }, headers)
    assert.error_matches(function() cookie.set("x", "a", "1") end, "target: expected table")
  end)

  describe("of a request", function()
    setup(function() neap.http.get "http://127.0.0.1:1" end) -- the client's own timer stays

    local function answer(handler, headers)
      local server = assert(neap.http.serve { handler = handler })
      local res = assert(neap.http.get("http://" .. server.address .. "/", { headers = headers }))
      server:close { grace = 0 }
      return res
    end

    local a, b = "a=1; Path=/; HttpOnly; SameSite=Lax", "b=2; Path=/; HttpOnly; SameSite=Lax"

    it("is set with whatever it is answered by", function()
      local answers = {
        function() return "text" end,
        function() return { json = true } end,
        function() return 404 end,
        function() return 200, "x", { ["set-cookie"] = "own=1" } end,
        function(req) req:respond(200, "x", { x = "y" }) end,
        function(req)
          req:start(200)
          req:write "x"
        end,
        function()
          local pieces = { "a", "b" }
          return 200, function() return table.remove(pieces) end
        end,
      }
      for i, respond in ipairs(answers) do
        local res = answer(function(req)
          req:set_cookie("a", "1")
          req:set_cookie("b", "2")
          return respond(req)
        end)
        local got = res.headers["set-cookie"]
        if i == 4 then assert.equal("own=1", table.remove(got, 1)) end
        assert.same({ a, b }, got, "answer " .. i)
      end
    end)

    it("cannot be set when the answer was begun", function()
      answer(function(req)
        req:start(200)
        assert.error_matches(function() req:set_cookie("a", "1") end, "already begun")
      end)
    end)

    it("is sealed and opened", function()
      local keys = cookie.encrypted { keys = ("k"):rep(32), max_age = 60 }
      local res = answer(function(req) keys:set(req, "user", "ann") return "x" end)
      local set = cookie.parse_set(res.headers["set-cookie"][1])
      assert.equal(60, set.max_age)
      local value
      answer(function(req) value = keys:get(req, "user") return "x" end, { cookie = "user=" .. set.value })
      assert.equal("ann", value)
    end)
  end)
end)

describe("cookie keys", function()
  local old, new = ("o"):rep(32), ("n"):rep(40)
  local now = 1700000000
  local kinds = { signed = cookie.signed, encrypted = cookie.encrypted }

  for kind, make in pairs(kinds) do
    it("open what they have " .. kind, function()
      local keys = make { keys = old }
      for _, value in ipairs { "", "ann", "a.b;c\0\r\n\255", ("x"):rep(2000) } do
        local text = keys:seal("user", value)
        assert.equal("user=" .. text .. "; Path=/; HttpOnly; SameSite=Lax", cookie.serialize("user", text))
        assert.same({ value, false }, { keys:open("user", text) })
      end
    end)

    it("open nothing else that is " .. kind, function()
      local keys = make { keys = old }
      local text = keys:seal("user", "ann")
      local function refused(name, t)
        local value, err = keys:open(name, t)
        assert.is_nil(value)
        assert.equal("EINVAL", err.code)
      end
      refused("User", text)
      refused("user", "")
      refused("user", "ann")
      refused("user", text .. "A")
      refused("user", text:sub(1, -2))
      for i = 1, #text do
        local byte = text:sub(i, i) == "A" and "B" or "A"
        refused("user", text:sub(1, i - 1) .. byte .. text:sub(i + 1))
      end
      refused("user", make { keys = new }:seal("user", "ann"))
      local _, err = keys:open("user", nil)
      assert.equal("ENOTFOUND", err.code)
    end)

    it("are changed by and by: " .. kind, function()
      local text = make { keys = old }:seal("user", "ann")
      local both = make { keys = { new, old } }
      assert.same({ "ann", true }, { both:open("user", text) })
      assert.same({ "ann", false }, { both:open("user", both:seal("user", "ann")) })
      assert.is_nil((make { keys = { new } }:open("user", text)))
      assert.is_nil((make { keys = old }:open("user", both:seal("user", "ann"))))
    end)

    it("end what is older than it may be: " .. kind, function()
      local keys = make { keys = old, max_age = 60 }
      local text = keys:seal("user", "ann", now)
      assert.equal("ann", (keys:open("user", text, now + 59)))
      local value, err = keys:open("user", text, now + 60)
      assert.is_nil(value)
      assert.equal("ETIMEDOUT", err.code)
    end)
  end

  it("are not those of another kind", function()
    local text = cookie.signed { keys = old }:seal("user", "ann")
    assert.is_nil((cookie.encrypted { keys = old }:open("user", text)))
  end)

  it("are of some length", function()
    assert.error_matches(function() cookie.signed { keys = "short" } end, "opts.keys%[1%]: .* at least 32")
    assert.error_matches(function() cookie.signed { keys = {} } end, "at least one key")
    assert.error_matches(function() cookie.signed {} end, "opts.keys: required")
    assert.error_matches(function() cookie.signed { keys = old, age = 1 } end, "opts.age: unknown")
  end)
end)

describe("cookie jar", function()
  local now = 1700000000 -- 2023-11-14T22:13:20Z

  local function jar_with(...)
    local jar = cookie.jar()
    jar:store("shop.example.com", "/a/b", { ... }, now)
    return jar
  end

  it("gives back what was set, to the same host", function()
    local jar = jar_with("a=1", "b=2; Path=/")
    assert.equal("a=1; b=2", jar:header("SHOP.example.com", "/a/x", false, now))
    assert.equal("b=2", jar:header("shop.example.com", "/", false, now))
    assert.is_nil(jar:header("example.com", "/a/b", false, now))
    assert.is_nil(jar:header("x.shop.example.com", "/a/b", false, now))
  end)

  it("keeps to the path", function()
    local jar = jar_with("a=1; Path=/a")
    assert.equal("a=1", jar:header("shop.example.com", "/a", false, now))
    assert.equal("a=1", jar:header("shop.example.com", "/a/b", false, now))
    assert.is_nil(jar:header("shop.example.com", "/ab", false, now))
  end)

  it("sends the longest path first", function()
    local jar = jar_with("a=1; Path=/", "b=2; Path=/a/b", "c=3; Path=/a")
    assert.equal("b=2; c=3; a=1", jar:header("shop.example.com", "/a/b", false, now))
  end)

  it("follows a domain down, and takes none that is not the host's", function()
    local jar = jar_with("a=1; Domain=.example.com; Path=/", "b=2; Domain=other.com", "c=3; Domain=com")
    assert.equal("a=1", jar:header("www.example.com", "/", false, now))
    assert.is_nil(jar:header("other.com", "/", false, now))
    assert.is_nil(jar:header("x.com", "/", false, now))
    local ip = cookie.jar()
    ip:store("127.0.0.1", "/", { "a=1; Domain=0.0.1", "b=2; Domain=127.0.0.1" }, now)
    assert.equal("b=2", ip:header("127.0.0.1", "/", false, now))
    assert.is_nil(ip:header("9.0.0.1", "/", false, now))
  end)

  it("forgets what has expired", function()
    local jar = jar_with("a=1; Max-Age=60", "b=2; Expires=Wed, 15 Nov 2023 00:00:00 GMT",
      "c=3; Max-Age=10; Expires=Wed, 15 Nov 2030 00:00:00 GMT")
    assert.equal("a=1; b=2; c=3", jar:header("shop.example.com", "/a/", false, now))
    assert.equal("a=1; b=2", jar:header("shop.example.com", "/a/", false, now + 10))
    assert.equal("b=2", jar:header("shop.example.com", "/a/", false, now + 60))
    assert.is_nil(jar:header("shop.example.com", "/a/", false, 1700006400))
  end)

  it("replaces and removes", function()
    local jar = jar_with("a=1", "b=1")
    jar:store("shop.example.com", "/a/c", { "a=2", "b=; Max-Age=0" }, now)
    assert.equal("a=2", jar:header("shop.example.com", "/a/b", false, now))
  end)

  it("keeps secure ones for secure connections", function()
    local jar = jar_with("a=1; Secure")
    assert.is_nil(jar:header("shop.example.com", "/a/b", false, now))
    assert.equal("a=1", jar:header("shop.example.com", "/a/b", true, now))
  end)

  it("takes secure ones over secure connections alone, and lets nothing else replace them", function()
    local jar = cookie.jar()
    jar:store("a.b", "/", { "x=1; Secure", "y=1" }, now, false)
    assert.equal("y=1", jar:header("a.b", "/", true, now))
    jar:store("a.b", "/", { "x=1; Secure; Path=/p" }, now, true)
    jar:store("a.b", "/", { "x=2", "x=3; Path=/p", "x=4; Path=/p/q; Domain=a.b" }, now, false)
    assert.equal("x=1; y=1; x=2", jar:header("a.b", "/p/q", true, now))
  end)

  it("ignores what its name's prefix forbids", function()
    local jar = jar_with("__Host-a=1; Secure; Path=/x", "__Secure-b=1", "__Host-c=1; Secure; Path=/")
    assert.equal("__Host-c=1", jar:header("shop.example.com", "/x", true, now))
  end)

  it("holds so many of a domain", function()
    local jar = cookie.jar { max_per_domain = 2 }
    jar:store("a.b", "/", { "x=1", "y=2", "z=3" }, now)
    jar:store("c.d", "/", { "x=1" }, now)
    assert.equal("y=2; z=3", jar:header("a.b", "/", false, now))
    assert.equal("x=1", jar:header("c.d", "/", false, now))
  end)

  it("drops the oldest when it is full", function()
    local jar = cookie.jar { max = 2 }
    jar:store("a.b", "/", { "x=1", "y=2", "z=3" }, now)
    assert.equal("y=2; z=3", jar:header("a.b", "/", false, now))
  end)
end)
