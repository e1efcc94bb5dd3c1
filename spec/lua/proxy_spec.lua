-- The PROXY protocol on streams: sent, received, refused.

local neap = require "neap"
local tcp, unix = neap.tcp, neap.unix
local certs = dofile "spec/support/certs.lua"

-- What a listener's handler hears of a connection on which this is sent.
local function heard(opts, send)
  opts = opts or {}
  if opts.proxy_protocol == nil then opts.proxy_protocol = true end
  local got = {}
  local l <close> = assert(tcp.listen(opts, function(s)
    got.peer, got.here, got.proxy = s:peer(), s:local_address(), s:proxy()
    got.line = s:read_line()
    s:write "done\n"
  end))
  local c <close> = assert(tcp.connect("127.0.0.1", l.port, { proxy_protocol = send.header }))
  got.own, got.to = c:local_address(), l.address
  c:write(send.bytes or "hello\n")
  got.answer = c:read_line { timeout = 10 }
  return got
end

describe("the PROXY protocol", function()
  it("names the peer of a stream", function()
    local got = heard(nil, { bytes = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nhello\n" })
    assert.same({ "192.0.2.1:56324", "192.0.2.2:443", "hello" }, { got.peer, got.here, got.line })
    assert.equal(1, got.proxy.version)
    assert.equal("192.0.2.1:56324", got.proxy.source)
  end)

  it("is sent with a connection's own addresses", function()
    for _, version in ipairs { "v1", "v2" } do
      local got = heard(nil, { header = version })
      assert.equal("done", got.answer)
      assert.same({ got.own, got.to }, { got.peer, got.here })
      assert.equal(version, "v" .. got.proxy.version)
    end
  end)

  it("is sent with all that can be said", function()
    local got = heard(nil, {
      header = {
        source = "[2001:db8::1]:5", destination = "[::1]:443", authority = "shop.test",
        unique_id = "a\0b", alpn = "h2", netns = "blue", checksum = true,
        ssl = { version = "TLSv1.3", cipher = "X", common_name = "alice", verified = true },
      },
    })
    assert.equal("[2001:db8::1]:5", got.peer)
    local p = got.proxy
    assert.same({ "shop.test", "a\0b", "h2", "blue", false },
      { p.authority, p.unique_id, p.alpn, p.netns, p.is_local })
    assert.same({
      version = "TLSv1.3", cipher = "X", common_name = "alice",
      verified = true, has_certificate = true, secure = true,
    }, p.ssl)
  end)

  it("lets a proxy speak for itself", function()
    local got = heard(nil, { header = { is_local = true } })
    assert.equal(got.own, got.peer)
    assert.is_true(got.proxy.is_local)
  end)

  it("closes connections without a header, or with a bad one", function()
    for _, bytes in ipairs {
      "hello\n", "PROXY TCP4 1.2.3.4\r\nhello\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\nhello\n",
    } do
      local got = heard(nil, { bytes = bytes })
      assert.is_nil(got.answer)
      assert.is_nil(got.peer)
    end
  end)

  it("may be left away where it is not required", function()
    local opts = { proxy_protocol = { required = false } }
    local got = heard(opts, { bytes = "hello\n" })
    assert.same({ got.own, "hello" }, { got.peer, got.line })
    assert.is_nil(got.proxy)
  end)

  it("is refused from those who are not trusted", function()
    local header = { source = "1.2.3.4:5", destination = "1.2.3.4:6" }
    for _, required in ipairs { true, false } do
      local opts = { proxy_protocol = { required = required, trusted = { "10.0.0.0/8" } } }
      assert.is_nil(heard(opts, { header = header }).answer)
    end
    local opts = { proxy_protocol = { required = false, trusted = neap.cidr.new { "10.0.0.0/8" } } }
    assert.equal("hello", heard(opts, {}).line)
    opts = { proxy_protocol = { trusted = { "127.0.0.0/8" } } }
    assert.equal("1.2.3.4:5", heard(opts, { header = header }).peer)
  end)

  it("is read for those that accept, and waited for by nobody", function()
    local l <close> = assert(tcp.listen { proxy_protocol = { timeout = 60 } })
    local accepted = neap.task.spawn(function() return l:accept { timeout = 20 } end)
    local silent <close> = assert(tcp.connect("127.0.0.1", l.port))
    local c <close> = assert(tcp.connect("127.0.0.1", l.port))
    c:write "PROXY TCP4 1.2.3.4 5.6.7.8 5 9\r\nhello\n"
    local s <close> = assert(accepted:await())
    assert.same({ "1.2.3.4:5", "hello" }, { s:peer(), s:read_line() })
    l:close() -- and with it what was silent
    assert.is_nil((silent:read { timeout = 20 }))
  end)

  it("makes headers to be written by hand", function()
    assert.equal("PROXY TCP4 1.2.3.4 5.6.7.8 5 9\r\n",
      tcp.proxy_header { version = 1, source = "1.2.3.4:5", destination = "5.6.7.8:9" })
    assert.equal("PROXY UNKNOWN\r\n", tcp.proxy_header { version = 1 })
    for _, case in ipairs {
      { { version = 3 }, "between 1 and 2" },
      { { source = "1.2.3.4:5" }, "together" },
      { { source = "1.2.3.4:5", destination = "[::1]:5" }, "same family" },
      { { source = "1.2.3.4", destination = "1.2.3.4:5" }, "not an address with a port" },
      { { version = 1, authority = "a" }, "no room" },
      { { unique_id = ("x"):rep(129) }, "no room" },
      { { ssl = { verison = "x" } }, "opts.ssl.verison: unknown option" },
    } do
      local ok, err = pcall(tcp.proxy_header, case[1])
      assert.is_false(ok)
      assert.matches(case[2], err)
    end
  end)

  it("comes before HTTP", function()
    local server = assert(neap.http.serve {
      handler = function(req) return req.remote end,
      proxy_protocol = true,
    })
    local c <close> = assert(tcp.connect("127.0.0.1", server.port, { proxy_protocol = "v2" }))
    c:write "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    local own = c:local_address()
    local text = {}
    for piece in c:chunks() do text[#text + 1] = piece end
    assert.matches(own .. "$", table.concat(text))
    server:close { grace = 0 }
  end)

  it("comes before TLS", function()
    local dir = certs.new()
    local _ <close> = setmetatable({}, { __close = function() dir:remove() end })
    local identity = dir:server "localhost"
    local trust = { ca = dir.ca }
    local l <close> = assert(tcp.listen({ tls = identity, proxy_protocol = true }, function(s)
      s:write(s:peer() .. " " .. s:tls().server_name .. " " .. (s:proxy().authority or "-") .. "\n")
    end))
    local opts = { tls = trust, server_name = "localhost" }
    for _, header in ipairs { "v1", "v2" } do
      opts.proxy_protocol = header
      local c <close> = assert(tcp.connect("127.0.0.1", l.port, opts))
      assert.equal(c:local_address() .. " localhost -", c:read_line { timeout = 20 })
    end
    opts.proxy_protocol = { source = "1.2.3.4:5", destination = "5.6.7.8:9", authority = "a.test" }
    local c <close> = assert(tcp.connect("127.0.0.1", l.port, opts))
    assert.equal("1.2.3.4:5 localhost a.test", c:read_line { timeout = 20 })
    local server = assert(neap.http.serve {
      handler = function(req)
        return table.concat({ req.remote, req.client, req.url, req.proxy.authority }, " ")
      end,
      tls = identity,
      proxy_protocol = true,
    })
    local h <close> = assert(tcp.connect("127.0.0.1", server.port, opts))
    h:write "GET /a HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
    local text = {}
    for piece in h:chunks() do text[#text + 1] = piece end
    assert.matches("1%.2%.3%.4:5 1%.2%.3%.4 https://shop%.test/a a%.test$", table.concat(text))
    server:close { grace = 0 }
  end)

  it("works on unix sockets", function()
    local path = "@neap-spec-" .. tostring({}):match "0x(%x+)"
    local peer
    local l <close> = assert(unix.listen({ path = path, proxy_protocol = true }, function(s)
      peer = s:peer()
      s:write "done\n"
    end))
    local c <close> = assert(unix.connect(path, {
      proxy_protocol = { source = "1.2.3.4:5", destination = "5.6.7.8:9" },
    }))
    assert.equal("done", c:read_line())
    assert.equal("1.2.3.4:5", peer)
    assert.equal("unix:" .. path, l.address)
  end)

  it("has its options checked", function()
    for _, case in ipairs {
      { 1, "opts.proxy_protocol: expected boolean or table, got number" },
      { { require = true }, "opts.proxy_protocol.require: unknown option" },
      { { trusted = { "x" } }, "opts.proxy_protocol.trusted%[1%]: 'x' is neither" },
    } do
      local ok, err = pcall(tcp.listen, { proxy_protocol = case[1] }, print)
      assert.is_false(ok)
      assert.matches(case[2], err)
    end
    local ok, err = pcall(tcp.connect, "127.0.0.1", 1, { proxy_protocol = "v3" })
    assert.is_false(ok)
    assert.matches('"v1", "v2" or a table', err)
  end)
end)
