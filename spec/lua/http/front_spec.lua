-- Who asks: as the connection says, or the proxies in front of it.

local neap = require "neap"
local http, tcp = neap.http, neap.tcp

-- What a handler sees of one request.
local function seen(opts, headers, how)
  local got
  opts.handler = function(req)
    got = {
      remote = req.remote, client = req.client, scheme = req.scheme, host = req.host, url = req.url,
      from_proxy = req.from_proxy, proxy = req.proxy, out = http.forwarded_headers(req, how),
    }
    return "ok"
  end
  local server = assert(http.serve(opts))
  local c <close> = assert(tcp.connect("127.0.0.1", server.port))
  local lines = { opts.proxy_protocol and "PROXY TCP4 192.0.2.7 192.0.2.8 7 80\r\n" or "" }
  lines[#lines + 1] = "GET /a?b=1 HTTP/1.1\r\nConnection: close\r\n"
  for _, line in ipairs(headers) do lines[#lines + 1] = line .. "\r\n" end
  c:write(table.concat(lines) .. "\r\n")
  while c:read() do end
  server:close { grace = 0 }
  return got
end

describe("a request", function()
  it("comes from its peer, where no proxy is trusted", function()
    local got = seen({}, { "Host: shop.test", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https" })
    assert.same({ "127.0.0.1", "http", "shop.test", "http://shop.test/a?b=1", false },
      { got.client, got.scheme, got.host, got.url, got.from_proxy })
    assert.matches("^127%.0%.0%.1:%d+$", got.remote)
    assert.is_nil(got.proxy)
    assert.same({ ["x-forwarded-for"] = "127.0.0.1", ["x-forwarded-proto"] = "http", forwarded = false,
      ["x-forwarded-host"] = "shop.test", ["x-forwarded-port"] = "80" }, got.out)
  end)

  it("comes from whom trusted proxies name", function()
    local got = seen({ trusted_proxies = { "127.0.0.1", "10.0.0.0/8" } }, {
      "Host: inside", "X-Forwarded-For: 6.6.6.6, 9.9.9.9, 10.0.0.7", "X-Forwarded-Proto: https",
      "X-Forwarded-Host: shop.test", "X-Forwarded-Port: 8443",
    })
    assert.same({ "9.9.9.9", "https", "shop.test:8443", "https://shop.test:8443/a?b=1", true },
      { got.client, got.scheme, got.host, got.url, got.from_proxy })
    assert.equal("6.6.6.6, 9.9.9.9, 10.0.0.7, 127.0.0.1", got.out["x-forwarded-for"])
    assert.equal("8443", got.out["x-forwarded-port"])
  end)

  it("comes from whom Forwarded names, and says so on", function()
    local opts = { trusted_proxies = { "127.0.0.1" }, forwarded = "forwarded" }
    local got = seen(opts, {
      "Host: inside", 'Forwarded: for="[2001:db8::1]:5";proto=https;host="shop.test:8443"',
      "X-Forwarded-For: 6.6.6.6",
    }, { style = "forwarded", by = "_edge" })
    assert.same({ "2001:db8::1", "https", "shop.test:8443" }, { got.client, got.scheme, got.host })
    assert.equal('for="[2001:db8::1]:5";proto=https;host="shop.test:8443", '
      .. 'for=127.0.0.1;proto=https;host="shop.test:8443";by=_edge', got.out.forwarded)
    assert.is_false(got.out["x-forwarded-for"])
  end)

  it("believes the kind of header that is named", function()
    local headers = { "Host: a", "Forwarded: for=1.1.1.1", "X-Forwarded-For: 2.2.2.2" }
    local function client(kind, lines)
      return seen({ trusted_proxies = { "*" }, forwarded = kind }, lines or headers).client
    end
    assert.equal("2.2.2.2", client(nil))
    assert.equal("2.2.2.2", client "x-forwarded")
    assert.equal("1.1.1.1", client "forwarded")
    assert.equal("127.0.0.1", client("forwarded-only", { "Host: a", headers[3] }))
    assert.equal("127.0.0.1", client("x-forwarded-only", { "Host: a", headers[2] }))
  end)

  it("comes from whom a PROXY header names, before that of HTTP", function()
    local got = seen({ proxy_protocol = true }, { "Host: a", "X-Forwarded-For: 6.6.6.6" })
    assert.same({ "192.0.2.7:7", "192.0.2.7", 1 }, { got.remote, got.client, got.proxy.version })
    local opts = { proxy_protocol = true, trusted_proxies = { "192.0.2.7" } }
    got = seen(opts, { "Host: a", "X-Forwarded-For: 9.9.9.9" })
    assert.same({ "192.0.2.7:7", "9.9.9.9" }, { got.remote, got.client })
    opts.trusted_proxies = { "127.0.0.1" }
    assert.equal("192.0.2.7", seen(opts, { "Host: a", "X-Forwarded-For: 9.9.9.9" }).client)
  end)

  it("tells who is at the other end of a unix socket", function()
    local path = "@neap-front-" .. tostring({}):match "0x(%x+)"
    local got
    local server = assert(http.serve {
      unix = path,
      trusted_proxies = { "unix" },
      handler = function(req)
        got = { req.remote, req.client, req:peer_credentials() }
        return "ok"
      end,
    })
    local c <close> = assert(neap.unix.connect(path))
    c:write "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n"
    while c:read() do end
    server:close { grace = 0 }
    assert.same({ "unix:", "9.9.9.9" }, { got[1], got[2] })
    assert.is_true(got[3].pid > 0)
    assert.is_true(math.type(got[3].uid) == "integer" and math.type(got[3].gid) == "integer")
  end)

  it("has no peer's credentials over TCP", function()
    local err
    local server = assert(http.serve {
      handler = function(req)
        err = select(2, req:peer_credentials())
        return ""
      end,
    })
    http.get("http://" .. server.address .. "/")
    server:close { grace = 0 }
    assert.equal("ENOTSUP", err.code)
  end)

  it("tells who asked when it has been answered", function()
    local before, after
    local function tell(req) return { req.client, req.scheme, req.host, req.url, req.from_proxy, req.id } end
    local server = assert(http.serve {
      trusted_proxies = { "127.0.0.1" },
      handler = function(req)
        if req.path == "/told" then before = tell(req) end
        req:respond(200, "x")
        after = tell(req)
      end,
    })
    local url = "http://" .. server.address
    local headers = { ["x-forwarded-for"] = "9.9.9.9", ["x-forwarded-host"] = "shop.test" }
    assert(http.get(url .. "/told?a", { headers = headers }))
    assert.same(before, after)
    assert.same({ "9.9.9.9", "http", "shop.test", "http://shop.test/told?a", true },
      { table.unpack(after, 1, 5) })
    assert(http.get(url .. "/new"))
    assert.equal("127.0.0.1", after[1])
    assert.matches("^%x+$", after[6])
    server:close { grace = 0 }
  end)

  it("has its server's options checked", function()
    for _, case in ipairs {
      { { trusted_proxies = 1 }, "opts.trusted_proxies: expected table, got number" },
      { { trusted_proxies = { "x" } }, "opts.trusted_proxies%[1%]" },
      { { forwarded = "both" }, "opts.forwarded: expected" },
      { { proxy_protocol = { timeout = -1 } }, "opts.proxy_protocol.timeout" },
    } do
      case[1].handler = print
      local ok, err = pcall(http.serve, case[1])
      assert.is_false(ok)
      assert.matches(case[2], err)
    end
  end)
end)
