-- https: whom a server answers for, and whom it lets in, for as long as it lives.
local neap = require "neap"
local http = neap.http
local certs = dofile "spec/support/certs.lua"

describe("http.serve over TLS", function()
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

  local function serve(tls)
    local server = assert(http.serve {
      handler = function(req) return { tls = req.tls } end,
      tls = tls,
    })
    servers[#servers + 1] = server
    return server
  end

  -- What a client that asks for this name is told, on a connection of its own.
  local function ask(server, name, max_version)
    local tls = { ca = dir.ca, sessions = false, max_version = max_version }
    local client = assert(http.client {
      base = "https://" .. server.address, tls = tls, tls_name = name, pool = {},
    })
    local res, err = client:get "/"
    client:close()
    return res and res:json().tls, err
  end

  it("asks the script for names however often memory is collected", function()
    local server = serve {
      cert = here.cert,
      key = here.key,
      sni = function(name) return name == "other.test" and other or nil end,
    }
    for _ = 1, 3 do
      collectgarbage()
      collectgarbage()
      assert.equal("other.test", assert(ask(server, "other.test")).server_name)
    end
  end)

  it("speaks the versions of what the script gives for a name", function()
    local server = serve {
      cert = here.cert,
      key = here.key,
      sni = function() return { cert = other.cert, key = other.key, min_version = "1.3" } end,
    }
    assert.equal("TLSv1.2", assert(ask(server, "localhost", "1.2")).version)
    assert.equal("TLSv1.3", assert(ask(server, "other.test")).version)
    assert.equal("ETLS", select(2, ask(server, "other.test", "1.2")).code)
  end)

  it("does without an answer of a script that fails, and asks no longer than somebody waits", function()
    local waiting, failed = 0, 0
    local server = serve {
      cert = here.cert,
      key = here.key,
      sni = function(name)
        if name == "fails.test" then
          failed = failed + 1
          error { code = "EINVAL", message = "on purpose" }
        end
        local over <close> = setmetatable({}, { -- luacheck: ignore 211
          __close = function() waiting = waiting - 1 end,
        })
        waiting = waiting + 1
        neap.task.future():await()
      end,
    }
    assert.equal("ETLS", select(2, ask(server, "fails.test")).code)
    assert.equal(1, failed)
    local asking = neap.task.spawn(ask, server, "waits.test")
    while waiting == 0 do neap.task.yield() end
    asking:cancel()
    while waiting > 0 do neap.task.yield() end
  end)

  it("keeps what one connection breaks with from all others", function()
    local server = serve(here)
    -- A bad record follows what the client says first under its new keys.
    local relay = assert(neap.tcp.listen({ host = "127.0.0.1", port = 0 }, function(near)
      local far = assert(neap.tcp.connect("127.0.0.1", server.port))
      local back = neap.task.spawn(function()
        for piece in function() return far:read() end do near:write(piece) end
      end)
      for piece in function() return near:read() end do
        if piece:byte() == 0x14 then piece = piece .. "\x17\x03\x03\x00\x20" .. ("j"):rep(32) end
        if not far:write(piece) then break end
      end
      back:await()
      far:close()
    end))
    local tls = assert(neap.tls.context { ca = dir.ca })
    for _ = 1, 3 do
      local stream = assert(neap.tcp.connect("127.0.0.1", relay.port, { tls = tls }))
      assert.is_nil((stream:read()))
      stream:close()
      assert(ask(server, "localhost"))
    end
    relay:close()
  end)

  it("ends the sessions of whom a new list revokes", function()
    local context = assert(neap.tls.context {
      cert = here.cert, key = here.key, verify = "required", ca = dir.ca, crl = dir:crl(),
    })
    local server = serve(context)
    for _, version in ipairs { "1.2", "1.3" } do
      local cert = dir:client("alice" .. version)
      local mine = {
        ca = dir.ca, cert = cert.cert, key = cert.key, min_version = version, max_version = version,
      }
      mine = assert(neap.tls.context(mine))
      local function ask_again()
        local client = assert(http.client { base = "https://" .. server.address, tls = mine, pool = {} })
        local res, err = client:get "/"
        client:close()
        return res and res:json().tls, err
      end
      assert.is_false(assert(ask_again()).resumed, version)
      assert(context:reload()) -- of what has not changed
      assert.is_true(assert(ask_again()).resumed, version)
      dir:crl(cert.cert)
      assert(context:reload())
      local tls, err = ask_again()
      assert.is_nil(tls, version)
      assert.is_not_nil(err)
    end
  end)
end)
