local complete = require("neap.repl.complete").complete

describe("repl.complete", function()
  local env

  before_each(function()
    local base = { visit = function() end, version = 2 }
    local class = setmetatable({ value = 1, paint = function() end }, { __index = base })
    env = {
      neap = require "neap",
      config = { host = "h", port = 1, _hidden = 1, ["not a name"] = 1, nested = { deep = { x = 1 } } },
      object = setmetatable({}, { __index = class }),
      trap = setmetatable({}, { __index = function() error "asked" end }),
      name = "text",
    }
  end)

  local function names(text)
    local _, found = complete(text, env)
    return found
  end

  it("completes globals and keywords", function()
    assert.same({ "config" }, names "conf")
    assert.same({ "function" }, names "x = func")
    assert.same({ "coroutine" }, names "print(corou")
    assert.equal(5, (complete("corou", env)))
  end)

  it("completes fields, hiding private ones until asked", function()
    assert.same({ "host", "nested", "port" }, names "config.")
    assert.same({ "_hidden" }, names "config._")
    assert.same({ "deep" }, names "f(config.nested.d")
    assert.same({ "x" }, names "config.nested.deep.")
  end)

  it("follows __index tables, and takes only methods after a colon", function()
    assert.same({ "paint", "value", "version", "visit" }, names "object.")
    assert.same({ "paint", "visit" }, names "object:")
    assert.same({ "upper" }, names "name:upp")
  end)

  it("knows neap's modules and what is in them", function()
    assert.same({ "http" }, names "neap.ht")
    assert.same({ "sleep" }, names "neap.task.sl")
    assert.same({ "neap.http.router" }, names 'require "neap.http.rou')
    for _, name in ipairs(names "neap.") do
      assert.is_not.equal("prelude", name)
      assert.is_not.equal("core", name)
    end
  end)

  it("runs nothing and finds nothing where there is nothing", function()
    assert.same({}, names "trap.x")
    assert.same({}, names "nobody.at.home")
    assert.same({}, names "f().")
    assert.same({}, names "12.")
    assert.same({}, names "")
  end)
end)
