local task = require "neap.task"
local unix = require "neap.unix"

local function code(...)
  local _, err = ...
  assert.is_nil((...))
  return err.code
end

describe("unix sockets", function()
  local path

  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)
  after_each(function() os.remove(path) end)

  it("carry streams by path", function()
    local server <close> = assert(unix.listen({ path = path }, function(s)
      s:write("you said " .. s:read_line())
    end))
    assert.equal("unix:" .. path, server.address)
    assert.is_nil(server.port)
    local client <close> = assert(unix.connect(path))
    assert.equal("unix:" .. path, client:peer())
    client:write "hello\n"
    assert.equal("you said hello", client:read_exactly(14))
  end)

  it("accept as well as handle", function()
    local l <close> = assert(unix.listen { path = path, mode = 384 })
    local accepted = task.spawn(function() return l:accept { timeout = 5 } end)
    local a <close> = assert(unix.connect(path))
    local b <close> = assert(accepted:await())
    b:write "x"
    assert.equal("x", a:read())
    a:close { linger = 0 }
  end)

  it("remove their file at the end", function()
    local l = assert(unix.listen { path = path })
    l:close()
    assert.is_nil(io.open(path))
  end)

  it("say in words what is wrong", function()
    local l <close> = assert(unix.listen { path = path })
    assert.is_false(l.closed)
    assert.equal("EADDRINUSE", code(unix.listen { path = path }))
    local _, err = unix.connect(path .. ".none")
    assert.equal("ENOENT", err.code)
    assert.matches(path .. ".none", err.message, 1, true)
    assert.equal("EINVAL", code(unix.connect(("x"):rep(200))))
    assert.has_error(function() unix.listen {} end)
    assert.has_error(function() unix.connect() end)
    assert.has_error(function() unix.connect("a\0b") end)
  end)
end)
