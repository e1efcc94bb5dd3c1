local new_app = require("neap.http.app").new

-- An app's answer to a request that never saw a socket.
local function answer(app, method, path, fields)
  local req = fields or {}
  req.method, req.path = method, path
  return app.handler(req)
end

local function say(word)
  return function() return word end
end

describe("app", function()
  it("answers by the route's handler", function()
    local app = new_app()
    app:get("/", say "home")
    app:get("/goods/:id", function(req) return 200, { id = req.params.id }, { ["x-a"] = "b" } end)
    assert.equal("home", answer(app, "GET", "/"))
    assert.same({ 200, { id = "42" }, { ["x-a"] = "b" } }, { answer(app, "GET", "/goods/42") })
  end)

  it("defines by every method", function()
    local app = new_app()
    for _, name in ipairs { "get", "post", "put", "patch", "delete", "options", "head" } do
      app[name](app, "/x", say(name))
    end
    app:any("/x", say "any"):route({ "LINK", "UNLINK" }, "/x", say "link")
    for _, name in ipairs { "get", "post", "put", "patch", "delete", "options", "head" } do
      assert.equal(name, answer(app, name:upper(), "/x"))
    end
    assert.equal("link", answer(app, "UNLINK", "/x"))
    assert.equal("any", answer(app, "TRACE", "/x"))
  end)

  it("answers what has no route", function()
    local app = new_app { trailing_slash = "redirect" }
    app:post("/a", say "a")
    assert.same({ 404, { error = "not found" } }, { answer(app, "GET", "/b") })
    assert.same({ 405, { error = "method not allowed" }, { allow = "OPTIONS, POST" } },
      { answer(app, "GET", "/a") })
    assert.same({ 204, nil, { allow = "OPTIONS, POST" } }, { answer(app, "OPTIONS", "/a") })
    assert.same({ 400, { error = "malformed path" } }, { answer(app, "GET", "/%x") })
    local redirected = { answer(app, "POST", "/a/", { query_string = "q=1" }) }
    assert.same({ 308, "", { location = "/a?q=1" } }, redirected)
    app:not_found(function(req) return 404, "no " .. req.path end)
    assert.same({ 404, "no /b" }, { answer(app, "GET", "/b") })
  end)

  describe("middleware", function()
    local function mark(word)
      return function(req, next)
        req.trail = (req.trail or "") .. word
        return next(req)
      end
    end
    local function trail(req) return req.trail or "" end

    it("surrounds in the order it was added, the route's own last", function()
      local app = new_app()
      app:get("/", mark "c", mark "d", trail)
      app:use(mark "a", mark "b")
      assert.equal("abcd", answer(app, "GET", "/"))
      app:use(mark "+")
      assert.equal("ab+cd", answer(app, "GET", "/"))
    end)

    it("may answer by itself, change the answer, and sees the parameters", function()
      local app = new_app()
      app:use(function(req, next)
        if req.params and req.params.id == "0" then return 403, "no" end
        local status, body = next(req)
        return status, body .. "!"
      end)
      app:get("/:id", function(req) return 200, req.params.id end)
      assert.same({ 403, "no" }, { answer(app, "GET", "/0") })
      assert.same({ 200, "1!" }, { answer(app, "GET", "/1") })
    end)

    it("knows the route by its whole pattern", function()
      local app, api, seen = new_app(), new_app(), {}
      app:use(function(req, next)
        seen[#seen + 1] = req.route or "none"
        return next(req)
      end)
      api:get("/goods/:id", say "x")
      app:mount("/api", api)
      answer(app, "GET", "/api/goods/42")
      answer(app, "GET", "/nowhere")
      assert.same({ "/api/goods/:id", "none" }, seen)
    end)

    it("surrounds what has no route as well", function()
      local app, seen = new_app(), nil
      app:use(function(req, next)
        seen = req.unmatched.reason
        return next(req)
      end)
      assert.equal(404, (answer(app, "GET", "/x")))
      assert.equal("not_found", seen)
    end)

    it("is put together once", function()
      local app = new_app()
      app:use(mark "a"):get("/", trail)
      local req = { method = "GET", path = "/" }
      app.handler(req)
      collectgarbage()
      collectgarbage "stop"
      local before = collectgarbage "count"
      for _ = 1, 100 do
        req.trail = nil
        app.handler(req)
      end
      local after = collectgarbage "count"
      collectgarbage "restart"
      assert.equal(before, after)
    end)

    it("belongs to its own routes in a mounted app", function()
      local app, api = new_app(), new_app()
      app:use(mark "a"):get("/", trail)
      api:use(mark "b"):get("/", trail):get("/x/:id", trail)
      app:mount("/api", api)
      api:get("/later", mark "c", trail)
      assert.equal("a", answer(app, "GET", "/"))
      assert.equal("ab", answer(app, "GET", "/api"))
      assert.equal("ab", answer(app, "GET", "/api/x/1"))
      assert.equal("abc", answer(app, "GET", "/api/later"))
      api:use(mark "+")
      assert.equal("ab+c", answer(app, "GET", "/api/later"))
      assert.equal("b+", answer(api, "GET", "/"))
    end)
  end)

  it("mounts apps in apps, under prefixes with parameters", function()
    local app, users, posts = new_app(), new_app(), new_app()
    posts:get("/:post", function(req) return req.params.user .. req.params.post end)
    users:mount("/posts", posts)
    app:mount("/users/:user", users)
    assert.equal("12", answer(app, "GET", "/users/1/posts/2"))
    assert.has_error(function() posts:mount("/again", app) end, "app: cannot be mounted in itself")
  end)

  it("groups routes under a prefix", function()
    local app = new_app()
    app:group("/admin", function(admin)
      admin:use(function(req, next)
        if not req.user then return 401 end
        return next(req)
      end)
      admin:get("/stats", say "stats")
    end)
    assert.equal(401, answer(app, "GET", "/admin/stats"))
    assert.equal("stats", answer(app, "GET", "/admin/stats", { user = "me" }))
  end)

  describe("on_error", function()
    it("answers for what was raised and for nil, err", function()
      local app = new_app()
      app:get("/raise", function() error({ code = "EODD" }) end)
      app:get("/text", function() error "words" end)
      app:get("/fail", function() return nil, "failed" end)
      app:get("/fine", say "fine")
      app:get("/nothing", function() end)
      local traceback
      app:on_error(function(_, err, tb)
        traceback = tb
        return 500, type(err) == "table" and err.code or err
      end)
      assert.same({ 500, "EODD" }, { answer(app, "GET", "/raise") })
      assert.matches("stack traceback:.*app_spec.lua", traceback)
      assert.matches("words$", select(2, answer(app, "GET", "/text")))
      assert.same({ 500, "failed" }, { answer(app, "GET", "/fail") })
      assert.is_nil(traceback)
      assert.equal("fine", answer(app, "GET", "/fine"))
      assert.same({}, { answer(app, "GET", "/nothing") })
    end)

    it("leaves a cancelled task alone", function()
      local app = new_app()
      local canceled = { code = "ECANCELED" }
      app:get("/", function() error(canceled) end):on_error(function() return 500 end)
      local ok, err = pcall(answer, app, "GET", "/")
      assert.is_false(ok)
      assert.equal(canceled, err)
    end)

    it("of a mounted app goes before that of the outer", function()
      local app, api = new_app(), new_app()
      api:get("/", function() error "x" end):on_error(say "inner")
      app:get("/", function() error "x" end):on_error(say "outer"):mount("/api", api)
      assert.equal("inner", answer(app, "GET", "/api"))
      assert.equal("outer", answer(app, "GET", "/"))
    end)
  end)

  describe("refuses at the caller's line", function()
    local function refusal(fn)
      local line = debug.getinfo(fn, "S").linedefined
      local ok, message = pcall(fn)
      assert.is_false(ok)
      assert.equal(line, tonumber(message:match "app_spec%.lua:(%d+):"), message)
      return message:match "^[^:]+:%d+: (.*)$"
    end
    local app = new_app()
    app:get("/taken", say "x")
    local line = debug.getinfo(1, "l").currentline - 1

    local cases = {
      { "no handler", function() app:get("/x") end, "handler: expected function, got no value" },
      { "a handler that is none", function() app:get("/x", 1) end, "handler: expected function, got number" },
      { "a middleware that is none", function() app:get("/x", "a", say "x") end,
        "middleware 1: expected function, got string" },
      { "a path that is none", function() app:get(say "x") end, "path: expected string, got function" },
      { "a method in lower case", function() app:route("get", "/x", say "x") end,
        'method: "get" is not an upper-case token' },
      { "a middleware of the app", function() app:use({}) end, "handler: expected function, got table" },
      { "a prefix with a slash at its end", function() app:mount("/x/", new_app()) end,
        "prefix: begins with '/' and does not end with one" },
      { "another app than an app", function() app:mount("/x", {}) end,
        "app: expected neap.http.app, got table" },
      { "an option there is not", function() new_app { slash = true } end, "opts.slash: unknown option" },
    }
    for _, case in ipairs(cases) do
      it(case[1], function() assert.equal(case[3], refusal(case[2])) end)
    end

    it("a route that is there already", function()
      local message = refusal(function() app:get("/taken", say "y") end)
      assert.matches("^GET /taken: already defined as /taken at .*app_spec%.lua:" .. line .. "$", message)
    end)

    it("a mounted route that is there already", function()
      local other = new_app()
      other:get("/", say "z")
      local message = refusal(function() app:mount("/taken", other) end)
      assert.matches("^GET /taken: already defined", message)
    end)
  end)
end)
