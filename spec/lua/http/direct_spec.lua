-- The short way from an app to its static files: it never goes where the router would not.
local new_app = require("neap.http.app").new
local static = require "neap.http.static"

describe("an app's short way to files", function()
  local app, taken

  -- A handler like that of app:static, which takes note of how it was reached.
  local function files()
    local function handler(req)
      taken = "routed " .. (req.params and req.params.path or "")
      return taken
    end
    static.direct[handler] = function(_, path, from)
      taken = "direct " .. path:sub(from)
      return not path:find("absent", 1, true)
    end
    return handler
  end

  local function ask(path, method)
    taken = nil
    method = method or "GET"
    local status = app.handler({ method = method, path = path }, method, path)
    return taken or status
  end

  -- The first request of a route puts its chain together.
  local function warm(path)
    ask(path)
    return ask(path)
  end

  before_each(function() app = new_app() end)

  it("leads below the root and below one literal segment", function()
    app:get("/*path", files())
    assert.equal("direct a/b.txt", warm "/a/b.txt")
    assert.equal("direct ", ask "/")
    app = new_app()
    app:get("/assets/*path", files()):get("/", function() return "home" end)
    assert.equal("direct a/b.txt", warm "/assets/a/b.txt")
    assert.equal("direct %61", ask "/assets/%61")
    assert.equal(404, ask "/assets")
    assert.equal(404, ask "/other/a")
    assert.equal("home", ask "/")
  end)

  it("goes by the handler when the file cannot be had", function()
    app:get("/*path", files())
    warm "/a"
    assert.equal("routed absent", ask "/absent")
  end)

  it("leaves everything else to the router", function()
    app:get("/*path", files())
    assert.equal("direct a", warm "/a")
    app:get("/api/:id", function() return "api" end)
    assert.equal("api", ask "/api/1")
    assert.equal("routed a", ask "/a")
    app:post("/*path", function() return "posted" end)
    assert.equal("posted", ask("/a", "POST"))
    app:get("/a", function() return "literal" end)
    assert.equal("literal", ask "/a")
  end)

  it("knows segments that are written in other ways", function()
    app:get("/assets/*path", files()):get("/100%25/*path", function() return "percent" end)
    warm "/assets/a"
    assert.equal("routed a", ask "/%61ssets/a")
    assert.equal("percent", ask "/100%25/a")
    assert.equal(404, ask "/100%2525/a")
    assert.equal(400, ask "/assets%")
  end)

  it("does not go round middleware or error handlers", function()
    app:get("/*path", files())
    warm "/a"
    app:use(function(req, next)
      req.seen = true
      return next(req)
    end)
    assert.equal("routed a", warm "/a")
    app = new_app()
    app:get("/*path", files())
    warm "/a"
    app:on_error(function() return 500 end)
    assert.equal("routed a", warm "/a")
  end)

  it("is not for handlers of the script's that call the app's", function()
    app:get("/*path", files())
    warm "/a"
    assert.equal("routed a", app.handler { method = "GET", path = "/a" })
  end)

  it("works for apps that are mounted", function()
    local inner = new_app()
    inner:get("/*path", files())
    app:mount("/v1", inner)
    assert.equal("direct x", warm "/v1/x")
  end)
end)
