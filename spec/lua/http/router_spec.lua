local router = require "neap.http.router"

local function routes(list, opts)
  local r = router.new(opts)
  for _, line in ipairs(list) do
    local method, pattern = line:match "^(%S+) (%S+)$"
    assert(r:add(method, pattern))
  end
  return r
end

-- What a request leads to: the pattern and its parameters, or the reason and its detail.
local function lead(r, method, path)
  local route, params, detail = r:find(method, path)
  if route then return route.pattern, params end
  return params, detail
end

describe("router", function()
  local shop = routes {
    "GET /",
    "GET /goods",
    "POST /goods",
    "GET /goods/new",
    "GET /goods/:id",
    "DELETE /goods/:id",
    "GET /goods/:id/parts/:part",
    "GET /goods/new/parts",
    "POST /goods/:id/parts",
    "GET /files/*path",
    "GET /files/readme",
    "* /any",
    "GET /café/:dish",
  }

  local found = {
    { "the root", "GET", "/", "/" },
    { "a literal path", "GET", "/goods", "/goods" },
    { "the route of the method", "POST", "/goods", "/goods" },
    { "a literal before a parameter", "GET", "/goods/new", "/goods/new" },
    { "a parameter", "GET", "/goods/42", "/goods/:id", { id = "42" } },
    { "several parameters", "GET", "/goods/4/parts/2", "/goods/:id/parts/:part", { id = "4", part = "2" } },
    { "back from a literal that leads nowhere", "GET", "/goods/new/parts/1", "/goods/:id/parts/:part",
      { id = "new", part = "1" } },
    { "past a literal of another method", "DELETE", "/goods/new", "/goods/:id", { id = "new" } },
    { "past a deep literal of another method", "POST", "/goods/new/parts", "/goods/:id/parts",
      { id = "new" } },
    { "a wildcard with the rest", "GET", "/files/a/b.txt", "/files/*path", { path = "a/b.txt" } },
    { "a wildcard with nothing", "GET", "/files/", "/files/*path", { path = "" } },
    { "a literal before a wildcard", "GET", "/files/readme", "/files/readme" },
    { "back to a wildcard", "GET", "/files/readme/x", "/files/*path", { path = "readme/x" } },
    { "any method", "PURGE", "/any", "/any" },
    { "HEAD where there is GET", "HEAD", "/goods/42", "/goods/:id", { id = "42" } },
    { "HEAD at a literal path", "HEAD", "/goods", "/goods" },
    { "a decoded parameter", "GET", "/goods/a%20b%2fc", "/goods/:id", { id = "a b/c" } },
    { "a decoded literal", "GET", "/g%6Fods", "/goods" },
    { "a literal beyond ASCII", "GET", "/caf%C3%A9/cr%c3%aape", "/café/:dish", { dish = "crêpe" } },
    { "an encoded slash as no segment", "GET", "/goods%2F42", "not_found" },
    { "no empty parameter", "GET", "/goods/", "not_found" },
    { "no slash too many", "GET", "/goods/42/", "not_found" },
    { "no empty segments", "GET", "//goods", "not_found" },
    { "no wildcard without its slash", "GET", "/files", "not_found" },
    { "the methods there are", "PUT", "/goods", "method", "GET, HEAD, OPTIONS, POST" },
    { "the methods of all that match", "PUT", "/goods/new", "method", "DELETE, GET, HEAD, OPTIONS" },
    { "OPTIONS by itself", "OPTIONS", "/goods/1", "options", "DELETE, GET, HEAD, OPTIONS" },
    { "OPTIONS of the server", "OPTIONS", "*", "options", "" },
    { "a broken encoding", "GET", "/goods/%4", "bad_path" },
    { "an encoded NUL", "GET", "/goods/a%00b", "bad_path" },
    { "a path that is none", "GET", "goods", "bad_path" },
    { "a wildcard that climbs", "GET", "/files/a/../b", "bad_path" },
    { "a wildcard that climbs in disguise", "GET", "/files/%2e%2E%2fb", "bad_path" },
    { "dots that do not climb", "GET", "/files/a..b/...", "/files/*path", { path = "a..b/..." } },
  }
  for _, case in ipairs(found) do
    it("finds " .. case[1], function()
      local where, detail = lead(shop, case[2], case[3])
      assert.equal(case[4], where)
      assert.same(case[5], detail)
    end)
  end

  it("forgets what an earlier search came across", function()
    assert.equal("method", lead(shop, "PUT", "/goods"))
    assert.equal("not_found", lead(shop, "PUT", "/nothing"))
    assert.equal("bad_path", lead(shop, "GET", "/files/.."))
    assert.equal("not_found", lead(shop, "GET", "/nothing"))
  end)

  it("gives each request parameters of its own", function()
    local _, first = shop:find("GET", "/goods/1")
    local _, second = shop:find("GET", "/goods/2")
    assert.same({ { id = "1" }, { id = "2" } }, { first, second })
  end)

  it("allocates nothing for a literal path", function()
    collectgarbage()
    collectgarbage "stop"
    shop:find("GET", "/goods")
    local before = collectgarbage "count"
    for _ = 1, 100 do shop:find("GET", "/goods") end
    local after = collectgarbage "count"
    collectgarbage "restart"
    assert.equal(before, after)
  end)

  it("treats a slash at the end as it is told", function()
    local list = { "GET /a", "GET /b/", "GET /c/:id" }
    local redirect = routes(list, { trailing_slash = "redirect" })
    assert.same({ "redirect", "/a" }, { lead(redirect, "GET", "/a/") })
    assert.same({ "redirect", "/b/" }, { lead(redirect, "GET", "/b") })
    assert.same({ "redirect", "/c/1" }, { lead(redirect, "GET", "/c/1/") })
    assert.equal("not_found", lead(redirect, "GET", "/d/"))
    local ignore = routes(list, { trailing_slash = "ignore" })
    assert.same({ "/a" }, { lead(ignore, "GET", "/a/") })
    assert.same({ "/c/:id", { id = "1" } }, { lead(ignore, "GET", "/c/1/") })
  end)

  local function problem(r, method, pattern, where)
    local _, message = r:add(method, pattern, where)
    return message
  end

  it("refuses a route that is there already, by whatever name", function()
    local r = router.new()
    assert(r:add("GET", "/goods/:id", "shop.lua:3"))
    assert.equal("GET /goods/:name: already defined as /goods/:id at shop.lua:3",
      problem(r, "GET", "/goods/:name"))
    assert.is_nil(problem(r, "PUT", "/goods/:name"))
    assert.is_nil(problem(r, "GET", "/files/*path"))
    assert.equal("GET /files/*: already defined as /files/*path", problem(r, "GET", "/files/*"))
  end)

  it("refuses malformed patterns", function()
    local r = router.new()
    assert.equal("GET goods: a path begins with '/'", problem(r, "GET", "goods"))
    assert.equal("GET /a?b: a path has no '?' or '#'", problem(r, "GET", "/a?b"))
    assert.equal("GET /*all/b: a wildcard stands at the end", problem(r, "GET", "/*all/b"))
    assert.equal('GET /:: ":" is no name for a parameter', problem(r, "GET", "/:"))
    assert.equal('GET /:a/:a: "a" is captured twice', problem(r, "GET", "/:a/:a"))
  end)
end)
