-- TLS on streams: contexts, listeners, connections, STARTTLS.
local neap = require "neap"
local tcp, tls, task = neap.tcp, neap.tls, neap.task
local certs = dofile "spec/support/certs.lua"

describe("neap.tls", function()
  local dir, here, other, worker, listeners

  setup(function()
    dir = certs.new()
    here = dir:server "127.0.0.1 localhost"
    other = dir:server "other.test"
    worker = dir:make("client", "worker-1", "--spiffe spiffe://test/worker")
  end)
  teardown(function() dir:remove() end)
  before_each(function() listeners = {} end)
  after_each(function()
    for _, l in ipairs(listeners) do l:close() end
  end)

  local function listen(context, handler)
    local l = assert(tcp.listen({ port = 0, tls = context }, handler))
    listeners[#listeners + 1] = l
    return l.port
  end

  local function echo(stream)
    while true do
      local line = stream:read_line()
      if not line then return end
      stream:write(line .. "\n")
    end
  end

  local function trusting(more)
    local opts = { ca = dir.ca }
    for k, v in pairs(more or {}) do opts[k] = v end
    return assert(tls.context(opts))
  end

  it("secures what a listener accepts", function()
    local seen
    local port = listen({ cert = here.cert, key = here.key, alpn = { "echo/1" } }, function(stream)
      seen = stream:tls()
      echo(stream)
    end)
    local s = assert(tcp.connect("127.0.0.1", port, { tls = trusting { alpn = { "echo/1" } } }))
    assert.is_true(s:write "hello\n")
    assert.equal("hello", s:read_line())
    local info = s:tls()
    assert.equal("TLSv1.3", info.version)
    assert.equal("echo/1", info.alpn)
    assert.is_true(info.verified)
    assert.equal("echo/1", seen.alpn)
    assert.is_nil(seen.peer)
    assert.truthy(s:peer_certificate():find("BEGIN CERTIFICATE", 1, true))
    assert.truthy(tostring(s):find("tls", 1, true))
    s:close()
  end)

  it("says why a certificate is not believed", function()
    local port = listen({ cert = other.cert, key = other.key }, echo)
    local s, err = tcp.connect("127.0.0.1", port, { tls = trusting() })
    assert.is_nil(s)
    assert.equal("ETLS", err.code)
    assert.truthy(err.message:find("not for 127.0.0.1", 1, true))
    s, err = tcp.connect("127.0.0.1", port, { tls = true }) -- the system's roots know nothing of it
    assert.is_nil(s)
    assert.truthy(err.message:find("certificate verify failed", 1, true))
    s = assert(tcp.connect("127.0.0.1", port, { tls = trusting(), server_name = "other.test" }))
    s:close()
    s = assert(tcp.connect("127.0.0.1", port, { tls = { verify = "none" } }))
    assert.is_false(s:tls().verified)
    s:close()
  end)

  it("knows clients by their certificates", function()
    local done = {}
    local strict = { cert = here.cert, key = here.key, ca = dir.ca, verify = "required" }
    local port = listen(strict, function(stream)
      done[#done + 1] = stream:tls().peer
      echo(stream)
    end)
    local mine = trusting { cert = worker.cert, key = worker.key }
    local s = assert(tcp.connect("127.0.0.1", port, { tls = mine }))
    s:write "x\n"
    assert.equal("x", s:read_line())
    assert.equal("spiffe://test/worker", done[1].spiffe_id)
    s:close()
    s = tcp.connect("127.0.0.1", port, { tls = trusting() }) -- of 1.3: done before the server has looked
    if s then
      local line, err = s:read_line()
      assert.is_nil(line)
      assert.truthy(err.code == "ETLS" or err.code == "ECONNRESET", err.code)
      s:close()
    end
    assert.equal(1, #done)
  end)

  it("goes over to TLS in the middle", function()
    local l = assert(tcp.listen({ port = 0 }, function(stream)
      assert.equal("STARTTLS", stream:read_line())
      stream:write "go ahead\n"
      local ok, err = stream:starttls { server = true, tls = { cert = here.cert, key = here.key } }
      if ok then echo(stream) else assert.equal("ETLS", err.code) end
    end))
    listeners[1] = l
    local s = assert(tcp.connect("127.0.0.1", l.port))
    assert.is_nil(s:tls())
    s:write "STARTTLS\n"
    assert.equal("go ahead", s:read_line())
    assert.equal(s, assert(s:starttls { tls = trusting(), server_name = "localhost" }))
    assert.truthy(table.concat(s:tls().peer.names, " "):find("DNS:localhost", 1, true))
    s:write "secret\n"
    assert.equal("secret", s:read_line())
    s:close()
  end)

  it("takes no plain byte for a protected one", function()
    local got
    local l = assert(tcp.listen({ port = 0 }, function(stream)
      stream:read_line()
      stream:write "go ahead\n"
      local ok, err = stream:starttls { server = true, tls = { cert = here.cert, key = here.key } }
      got = { ok, err }
    end))
    listeners[1] = l
    local s = assert(tcp.connect("127.0.0.1", l.port))
    s:write "STARTTLS\nRCPT evil\n" -- the second line comes before the handshake
    assert.equal("go ahead", s:read_line())
    local ok, err = s:starttls { tls = trusting(), server_name = "localhost" }
    assert.is_nil(ok)
    assert.truthy(err.code)
    while not got do task.sleep(0) end
    assert.is_nil(got[1])
    assert.equal("ETLS", got[2].code)
  end)

  it("asks the script for a name, which may wait", function()
    local asked = {}
    local port = listen({
      cert = here.cert,
      key = here.key,
      sni = function(name)
        asked[#asked + 1] = name
        task.sleep(0)
        if name == "other.test" then return { cert = other.cert, key = other.key } end
      end,
    }, echo)
    local s = assert(tcp.connect("127.0.0.1", port, { tls = trusting(), server_name = "other.test" }))
    s:close()
    s = assert(tcp.connect("127.0.0.1", port, { tls = trusting(), server_name = "localhost" }))
    s:close()
    local none, err = tcp.connect("127.0.0.1", port, { tls = trusting(), server_name = "nobody.test" })
    assert.is_nil(none)
    assert.truthy(err.message:find("unrecognized name", 1, true))
    assert.same({ "other.test", "nobody.test" }, asked)
  end)

  it("resumes sessions", function()
    local port = listen({ cert = here.cert, key = here.key }, echo)
    local context = trusting()
    local resumed = {}
    for i = 1, 2 do
      local s = assert(tcp.connect("127.0.0.1", port, { tls = context }))
      s:write "x\n"
      s:read_line()
      resumed[i] = s:tls().resumed
      s:close()
    end
    assert.same({ false, true }, resumed)
    assert.is_true(tls.rotate_ticket_keys())
  end)

  it("says what does not fit", function()
    local context, err = tls.context { cert = "/nonexistent/x.pem" }
    assert.is_nil(context)
    assert.equal("ENOENT", err.code)
    assert.truthy(err.message:find("/nonexistent/x.pem", 1, true))
    context, err = tls.context { cert = here.cert, key = other.key }
    assert.is_nil(context)
    assert.equal("ETLS", err.code)
    assert.has_error(function() tls.context { certificate = "x" } end, "opts.certificate: unknown option")
    assert.has_error(function() tls.context { verify = "maybe" } end,
      "opts.verify: expected none, optional or required, got 'maybe'")
    assert.has_error(function() tls.context { min_version = "1.1" } end,
      "opts.min_version: expected 1.2 or 1.3, got '1.1'")
    assert.has_error(function() tcp.listen({ port = 0, tls = true }, echo) end,
      "opts.tls: expected neap.tls.context or table, got boolean")
    assert.has_error(function() tcp.listen({ port = 0, tls = {} }, echo) end,
      "opts.tls: a server needs a certificate (cert, key) or sni")
  end)
end)
