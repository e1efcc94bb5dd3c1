local cookie = require "neap.http.cookie"

describe("cookie", function()
  it("reads a Cookie header", function()
    assert.same({ a = "1", b = "x=y", c = "q r", d = "" },
      cookie.parse 'a=1; b=x=y;c="q r"; a=2; d=; broken; =nameless')
    assert.same({}, cookie.parse(nil))
  end)

  it("writes a Set-Cookie header", function()
    assert.equal("id=42; Path=/; HttpOnly; SameSite=Lax", cookie.serialize("id", "42"))
    assert.equal("id=; Path=/a; Domain=b.c; Max-Age=0; Secure; SameSite=None", cookie.serialize("id", "", {
      path = "/a", domain = "b.c", max_age = 0, secure = true, http_only = false, same_site = "none",
    }))
  end)

  it("refuses what would break the header", function()
    assert.error_matches(function() cookie.serialize("a b", "1") end, "no token")
    for _, value in ipairs { "a;b", "a\r\nb", "a b", "é", '"', "a,b" } do
      assert.error_matches(function() cookie.serialize("a", value) end, "encode it")
    end
    assert.error_matches(function() cookie.serialize("a", "1", { path = "/;x" }) end, "opts.path")
    assert.error_matches(function() cookie.serialize("a", "1", { domain = "a;b" }) end, "opts.domain")
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

  it("drops the oldest when it is full", function()
    local jar = cookie.jar { max = 2 }
    jar:store("a.b", "/", { "x=1", "y=2", "z=3" }, now)
    assert.equal("y=2; z=3", jar:header("a.b", "/", false, now))
  end)
end)
