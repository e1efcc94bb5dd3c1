-- Proxies as the environment names them, and who goes past them.
local neap = require "neap"
local http, tcp = neap.http, neap.tcp
local proxy_env = require "neap.http.proxy_env"

local function from(env) return proxy_env.from(function(name) return env[name] end) end

describe("proxy_env", function()
  it("reads the environment as curl does", function()
    local find = from { http_proxy = "http://a:1", HTTPS_PROXY = "b:2", HTTP_PROXY = "http://evil:3" }
    assert.same({ host = "a", port = 1 }, find("http", "x.test", 80))
    assert.same({ host = "b", port = 2 }, find("https", "x.test", 443))
    assert.is_nil(from { HTTP_PROXY = "http://evil:3" }("http", "x.test", 80))
    find = from { all_proxy = "c", https_proxy = "https://d" }
    assert.same({ host = "c", port = 1080 }, find("http", "x.test", 80))
    assert.same({ host = "d", port = 443, tls = true }, find("https", "x.test", 443))
    assert.is_nil(from {}("http", "x.test", 80))
  end)

  it("reads who a proxy is to be told", function()
    local proxy = proxy_env.parse "http://us%20er:p%3Aw@[::1]:3128/"
    assert.same({ host = "::1", port = 3128, authorization = "Basic dXMgZXI6cDp3" }, proxy)
    assert.equal("Basic YTo=", proxy_env.parse("http://a@b:1").authorization)
  end)

  it("says what is no proxy's URL, and not the password", function()
    local proxy, err = from { http_proxy = "socks5://u:secret@a:1" }("http", "x.test", 80)
    assert.is_nil(proxy)
    assert.equal("EINVAL", err.code)
    assert.is_nil(err.message:find("secret", 1, true))
  end)

  it("encodes base64 of any length", function()
    local cases = { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==" }
    cases["\255\0\254"] = "/wD+"
    for text, want in pairs(cases) do assert.equal(want, proxy_env.base64(text)) end
  end)

  local cases = {
    -- list, host, port, excluded
    { "*", "anything.test", 80, true },
    { "a.test", "a.test", 80, true },
    { "a.test", "A.Test.", 80, true },
    { "a.test", "b.a.test", 80, true },
    { ".a.test", "a.test", 80, true },
    { ".a.test", "b.a.test", 80, true },
    { "*.a.test", "b.a.test", 80, true },
    { "a.test", "ba.test", 80, false },
    { "a.test", "a.test.evil", 80, false },
    { "b.test, a.test", "a.test", 80, true },
    { "b.test a.test", "a.test", 80, true },
    { "a.test:8080", "a.test", 8080, true },
    { "a.test:8080", "a.test", 80, false },
    { "127.0.0.1", "127.0.0.1", 80, true },
    { "127.0.0.1:81", "127.0.0.1", 80, false },
    { "0.0.1", "127.0.0.1", 80, false },
    { "10.0.0.0/8", "10.200.3.4", 80, true },
    { "10.0.0.0/8", "11.0.0.1", 80, false },
    { "10.0.0.0/12", "10.15.255.255", 80, true },
    { "10.0.0.0/12", "10.16.0.0", 80, false },
    { "10.0.0.0/33", "10.0.0.0", 80, false },
    { "0.0.0.0/0", "8.8.8.8", 80, true },
    { "0.0.0.0/0", "::1", 80, false },
    { "::1", "0:0:0:0:0:0:0:1", 80, true },
    { "[::1]", "::1", 80, true },
    { "[::1]:81", "::1", 80, false },
    { "fd00::/8", "fd12:3456::1", 80, true },
    { "fd00::/8", "fe00::1", 80, false },
    { "::ffff:10.0.0.0/104", "::ffff:10.1.2.3", 80, true },
    { "10.0.0.0/8", "ten.test", 80, false },
    { "", "a.test", 80, false },
  }
  for _, case in ipairs(cases) do
    it(("%s for %s:%d"):format(case[1], case[2], case[3]), function()
      assert.equal(case[4], proxy_env.excluded(case[1], case[2], case[3]))
    end)
  end
end)

describe("http.client through a proxy", function()
  -- A proxy that writes down the heads it is sent, and answers each.
  local function proxy_of(heads, answer)
    return assert(tcp.listen({ port = 0 }, function(s)
      while true do
        local head = s:read_until "\r\n\r\n"
        if not head then break end
        heads[#heads + 1] = head
        s:write(answer or "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
      end
      s:close()
    end))
  end

  it("sends the whole URL, and credentials to the proxy alone", function()
    local heads = {}
    local proxy = proxy_of(heads)
    local client = http.client { proxy = "http://u:p@" .. proxy.address, pool = {} }
    assert.equal("ok", client:get("http://example.test/a?b").body)
    assert.equal("ok", client:get("http://example.test:81/").body)
    assert.equal("ok", client:get("http://example.test/c").body)
    assert.matches("^GET http://example.test/a%?b HTTP/1.1\r\n", heads[1])
    assert.matches("\r\nHost: example.test\r\n", heads[1])
    assert.matches("\r\nProxy%-Authorization: Basic dTpw", heads[1])
    assert.matches("^GET http://example.test:81/ HTTP/1.1\r\n", heads[2])
    client:close()
    proxy:close()
  end)

  it("goes past it to sockets, and where it is told to", function()
    local server = assert(http.serve { handler = function(req) return req.target end })
    local client = http.client { base = "http://" .. server.address, proxy = false }
    assert.equal("/x", client:get("/x").body)
    server:close { grace = 0 }
    local path = os.tmpname()
    os.remove(path)
    local file = assert(http.serve { unix = path, handler = function(req) return req.target end })
    client = http.client { base = "unix:" .. path, proxy = "http://127.0.0.1:1" }
    assert.equal("/y", client:get("/y").body)
    file:close { grace = 0 }
  end)

  it("says that the proxy does not answer", function()
    local stuck = assert(tcp.listen({ port = 0 }, function(s)
      while s:read() do end
      s:close()
    end))
    local client = http.client { proxy = "http://" .. stuck.address, timeouts = { tls = 0.02 } }
    local _, err = client:get "https://example.test/"
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("proxy", err.phase)
    assert.equal("proxy", err.timeout)
    stuck:close()
  end)
end)
