-- https: whom a client believes, and what it keeps.
local neap = require "neap"
local http, tcp = neap.http, neap.tcp
local certs = dofile "spec/support/certs.lua"

describe("http.client over TLS", function()
  local dir, here, other, servers

  setup(function()
    dir = certs.new()
    here = dir:server "127.0.0.1 localhost"
    other = dir:server "other.test"
  end)
  teardown(function() dir:remove() end)
  before_each(function() servers = {} end)
  after_each(function()
    for _, server in ipairs(servers) do server:close { grace = 0 } end
  end)

  local function serve(handler, cert)
    local server = assert(http.serve {
      handler = handler,
      max_body_bytes = 16 * 1024 * 1024,
      tls = cert and { cert = cert.cert, key = cert.key },
    })
    servers[#servers + 1] = server
    return (cert and "https://" or "http://") .. server.address, server
  end

  local function trusting(opts)
    opts.tls = { ca = dir.ca }
    return assert(http.client(opts))
  end

  it("calls https and keeps the connection", function()
    local base = serve(function(req)
      return { path = req.path, body = req:body(), host = req.headers.host }
    end, here)
    local client = trusting { base = base, pool = {} }
    for i = 1, 3 do
      local res = assert(client:post("/a", { body = ("x"):rep(100000) }))
      assert.equal("/a", res:json().path, i)
      assert.equal(100000, #res:json().body)
      assert.equal(base:sub(9), res:json().host)
    end
    assert.equal(1, client:stats().connects)
    assert.equal(2, client:stats().reused)
  end)

  it("streams both ways", function()
    local base = serve(function(req)
      req:start(200)
      for piece in req:chunks() do req:write(piece) end
      req:finish()
    end, here)
    local n = 0
    local res = assert(trusting { base = base }:post("/", { stream = true, body = function()
      n = n + 1
      return n <= 64 and ("y"):rep(65536) or nil
    end }))
    local got = 0
    for piece in res:chunks() do got = got + #piece end
    assert.equal(64 * 65536, got)
  end)

  it("believes nobody it does not know, nor another name", function()
    local base = serve(function() return "secret" end, here)
    local res, err = http.get(base)
    assert.is_nil(res)
    assert.equal("ETLS", err.code)
    assert.equal("tls", err.phase)
    assert.matches("certificate", err.message)
    local wrong = serve(function() return "secret" end, other)
    res, err = trusting { base = wrong }:get "/"
    assert.is_nil(res)
    assert.equal("ETLS", err.code)
    local named = http.client { base = wrong, tls = { ca = dir.ca }, tls_name = "other.test" }
    assert.equal("secret", named:get("/").body)
  end)

  it("shares no connection between contexts", function()
    local base = serve(function() return "ok" end, here)
    assert.equal("ok", trusting { base = base }:get("/").body)
    local _, err = http.get(base)
    assert.equal("ETLS", err.code)
  end)

  it("says what TLS could not load", function()
    local client, err = http.client { tls = { ca = "/nowhere/ca.pem" } }
    assert.is_nil(client)
    assert.equal("ENOENT", err.code)
  end)

  it("speaks TLS to a service's instances, by the service's name", function()
    local _, server = serve(function() return "ok" end, other)
    local one = assert(neap.registry.register { name = "other.test", address = server.address })
    local two = assert(neap.registry.register { name = "third.test", address = server.address })
    assert.equal("ok", http.client({ service = "other.test", tls = { ca = dir.ca } }):get("/").body)
    local _, err = http.client({ service = "third.test", tls = { ca = dir.ca } }):get "/"
    assert.equal("ETLS", err.code)
    _, err = http.client({ service = "other.test", tls = true }):get "/" -- by the system's roots
    assert.equal("ETLS", err.code)
    one:deregister()
    two:deregister()
  end)

  it("follows no redirect from https to http, unless told to", function()
    local plain = serve(function(req) return req.headers.authorization or "none" end)
    local base = serve(function() return 302, "", { location = plain .. "/x" } end, here)
    local client = trusting { base = base, auth = { bearer = "t" } }
    local res, err = client:get "/"
    assert.is_nil(res)
    assert.equal("EREDIRECTS", err.code)
    client = trusting { base = base, auth = { bearer = "t" }, redirect_to_http = true }
    assert.equal("none", client:get("/").body)
  end)

  it("sends cookies that are for https to https alone", function()
    local function tell(req)
      if req.path == "/set" then
        return 200, "", { ["set-cookie"] = { "safe=1; Path=/; Secure", "any=2; Path=/" } }
      end
      return req.headers.cookie or "none"
    end
    local base, plain = serve(tell, here), serve(tell)
    local client = trusting { cookies = true }
    assert(client:get(base .. "/set"))
    assert.equal("safe=1; any=2", client:get(base .. "/").body)
    assert.equal("any=2", client:get(plain .. "/").body)
  end)

  it("says that the handshake took too long", function()
    local listener = assert(tcp.listen({ port = 0 }, function(s)
      while s:read() do end
      s:close()
    end))
    local client = http.client { timeouts = { tls = 0.02 } }
    local res, err = client:get("https://" .. listener.address)
    assert.is_nil(res)
    assert.equal("ETIMEDOUT", err.code)
    assert.equal("tls", err.phase)
    assert.equal("tls", err.timeout)
    listener:close()
  end)

  -- An app that is a proxy, and writes down what it is asked.
  local function tunnels(asked)
    local app = http.app()
    app:connect(function(req)
      asked[#asked + 1] = { req.target, req.headers["proxy-authorization"] }
      local host, port = req.target:match "^(.*):(%d+)$"
      local to = assert(tcp.connect(host, tonumber(port)))
      local from = assert(req:tunnel())
      neap.task.spawn(function()
        for piece in function() return (to:read()) end do from:write(piece) end
        from:close()
      end)
      for piece in function() return (from:read()) end do to:write(piece) end
      to:close()
    end)
    return app.handler
  end

  it("reaches https through a proxy's tunnel", function()
    local base = serve(function(req) return req.target end, here)
    for _, cert in ipairs { false, here } do -- a plain proxy, and one that speaks TLS itself
      local asked = {}
      local proxy = serve(tunnels(asked), cert or nil):gsub("//", "//user:pass@")
      local client = trusting { base = base, proxy = proxy, pool = {} }
      assert.equal("/a?b", client:get("/a?b").body)
      assert.equal("/c", client:get("/c").body)
      assert.same({ { base:sub(9), "Basic dXNlcjpwYXNz" } }, asked)
      client:close()
    end
  end)

  it("says what a proxy refused", function()
    local proxy = serve(function() return 407, "no" end)
    local client = trusting { base = "https://127.0.0.1:1", proxy = proxy }
    local res, err = client:get "/"
    assert.is_nil(res)
    assert.equal("EPROXY", err.code)
    assert.equal("proxy", err.phase)
    assert.matches("407", err.message)
  end)
end)
