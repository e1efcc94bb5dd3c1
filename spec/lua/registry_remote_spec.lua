local core = require "neap.core.registry"
local http = require "neap.http"
local json = require "neap.json"
local log = require "neap.log"
local registry = require "neap.registry"
local task = require "neap.task"
local wire = require "neap.registry.wire"

local open = {}

local function keep(object, err)
  assert(object, err)
  open[#open + 1] = object
  return object
end

local function close_all()
  for i = #open, 1, -1 do table.remove(open, i):close() end
end

local function ids(name)
  local out = {}
  for i, endpoint in ipairs(registry.lookup(name)) do out[i] = endpoint.id end
  table.sort(out)
  return table.concat(out, " ")
end

describe("durations", function()
  it("are read as Go writes them", function()
    local cases = { ["10s"] = 10, ["1m30s"] = 90, ["500ms"] = 0.5, ["1.5h"] = 5400, ["7"] = 7 }
    for text, seconds in pairs(cases) do assert.equal(seconds, wire.seconds(text)) end
    for _, bad in ipairs { "", "s", "5x", "1.2.3s", "-1s", "5 s" } do
      assert.is_nil(wire.seconds(bad), bad)
    end
    assert.is_nil(wire.seconds(true))
    assert.equal("5s", wire.duration(5))
    assert.equal("30ms", wire.duration(0.03))
  end)
end)

describe("a served registry", function()
  local client

  before_each(function()
    local server = keep(registry.serve { port = 0 })
    client = http.client { base = "http://" .. server.address, timeout = 5 }
  end)

  after_each(function()
    for _, name in ipairs { "goods", "orders" } do
      for _, endpoint in ipairs(core.lookup(name)) do core.deregister(endpoint.id) end
    end
    close_all()
  end)

  local function put(path, body)
    return assert(client:put(path, body and { json = body } or nil))
  end

  local function get(path)
    local res = assert(client:get(path))
    return res:json(), res
  end

  local g1 = {
    ID = "g1",
    Name = "goods",
    Address = "10.0.0.1",
    Port = 80,
    Tags = { "v1" },
    Meta = { zone = "a" },
    Weights = { Passing = 3, Warning = 1 },
    Check = { TTL = "30s" },
  }

  it("registers, with a lease", function()
    assert.equal(200, put("/v1/agent/service/register", g1).status)
    local e, left = registry.get "g1"
    assert.same({ "goods", "10.0.0.1:80", 3, "a" }, { e.name, e.address, e.weight, e.zone })
    assert.same({ "v1" }, e.tags)
    assert.is_true(left > 20 and left <= 30)
    assert.equal(200, put("/v1/agent/check/pass/service:g1").status)
    assert.equal(200, put("/v1/agent/service/deregister/g1").status)
    assert.is_nil(registry.get "g1")
  end)

  it("takes what clients leave out, or say besides", function()
    put("/v1/agent/service/register", { Name = "goods", Port = 81, Tags = json.null, Proxy = false })
    local e, left = registry.get "goods"
    assert.equal("127.0.0.1:81", e.address) -- where it called from
    assert.is_nil(left)
    put("/v1/agent/service/register", { Name = "goods", ID = "s", SocketPath = "/run/s" })
    assert.equal("unix:/run/s", registry.get("s").address)
    put("/v1/agent/service/register", { Name = "goods", ID = "six", Address = "::1", Port = 82 })
    assert.equal("[::1]:82", registry.get("six").address)
  end)

  it("refuses what is malformed", function()
    local function refused(words, body)
      local res = put("/v1/agent/service/register", body)
      assert.equal(400, res.status)
      assert.matches(words, res.body)
    end
    refused("Name: required", { ID = "x" })
    refused("Port: expected integer", { Name = "goods", Port = "80" })
    refused("bad service name", { Name = "a b", Port = 80 })
    refused("bad port", { Name = "goods", Address = "a" })
    refused("bad duration", { Name = "goods", Port = 80, Check = { TTL = "soon" } })
    refused("only TTL checks", { Name = "goods", Port = 80, Check = { HTTP = "http://x", Interval = "5s" } })
    refused("Scripts are disabled", { Name = "goods", Port = 80, Check = { Args = { "sh" } } })
    refused("expected an object", 5)
    local res = assert(client:put("/v1/agent/service/register", { body = "{" }))
    assert.equal(400, res.status)
    assert.equal(404, put("/v1/agent/service/deregister/nobody").status)
    res = put "/v1/agent/check/pass/service:nobody"
    assert.equal(404, res.status)
    assert.matches('Unknown check ID "service:nobody"', res.body)
    assert.equal(404, put("/v1/agent/check/pass/other").status)
    assert.equal(400, assert(client:get "/v1/health/service/goods?filter=x").status)
  end)

  it("lists instances in Consul's shape", function()
    put("/v1/agent/service/register", g1)
    local list, res = get "/v1/health/service/goods?passing"
    assert.equal(tostring(registry.index "goods"), res.headers["x-consul-index"])
    assert.equal(1, #list)
    assert.same({
      ID = "g1",
      Service = "goods",
      Address = "10.0.0.1",
      Port = 80,
      Tags = { "v1" },
      Meta = { zone = "a" },
      Weights = { Passing = 3, Warning = 1 },
    }, list[1].Service)
    assert.same({ "service:g1", "passing" }, { list[1].Checks[1].CheckID, list[1].Checks[1].Status })
    assert.is_string(list[1].Node.Address)
    assert.equal("[]", assert(client:get "/v1/health/service/goods?tag=v2").body)
    assert.equal("[]", assert(client:get "/v1/health/service/unknown").body)
    assert.equal(1, #get "/v1/catalog/service/goods")
  end)

  it("lists services and this agent", function()
    put("/v1/agent/service/register", g1)
    local services, res = get "/v1/catalog/services"
    assert.same({ "v1" }, services.goods)
    assert.equal(tostring(registry.index()), res.headers["x-consul-index"])
    assert.equal("goods", get("/v1/agent/services").g1.Service)
    assert.equal("goods", get("/v1/agent/service/g1").Service)
    assert.equal(404, assert(client:get "/v1/agent/service/none").status)
    assert.equal("dc1", get("/v1/agent/self").Config.Datacenter)
    assert.matches("^127%.0%.0%.1:%d+$", (get "/v1/status/leader"))
  end)

  it("lets a query wait for a change of its service", function()
    put("/v1/agent/service/register", g1)
    local index = registry.index "goods"
    local path = ("/v1/health/service/goods?index=%d&wait=60s"):format(index)
    local waiting = client:async():get(path)
    put("/v1/agent/service/register", { Name = "orders", ID = "o1", Port = 90 })
    put("/v1/agent/check/pass/service:g1")
    assert.is_false(waiting:done())
    put("/v1/agent/service/deregister/g1")
    local res = assert(waiting:await(5))
    assert.equal("[]", res.body)
    assert.is_true(tonumber(res.headers["x-consul-index"]) > index)
  end)

  it("answers a waiting query when its time is over", function()
    local _, res = get(("/v1/health/service/goods?index=%d&wait=10ms"):format(registry.index "goods"))
    assert.equal(200, res.status)
    -- An index from another life of the registry does not wait.
    _, res = get "/v1/health/service/goods?index=999999999&wait=60s"
    assert.equal(200, res.status)
  end)

  it("asks for its token", function()
    local server = keep(registry.serve { port = 0, token = "secret" })
    local url = "http://" .. server.address .. "/v1/agent/self"
    assert.equal(403, assert(http.get(url)).status)
    assert.equal(403, assert(http.get(url, { headers = { ["x-consul-token"] = "guess" } })).status)
    assert.equal(200, assert(http.get(url, { headers = { ["x-consul-token"] = "secret" } })).status)
    assert.equal(200, assert(http.get(url, { headers = { authorization = "Bearer secret" } })).status)
  end)
end)

-- A registry of another process, as far as the client can see: it can go away, and forget.
local Fake = {}
Fake.__index = Fake

local function fake_registry()
  local self = setmetatable({ services = {}, index = 10, passes = {}, changed = task.future() }, Fake)
  local app = http.app()
  app:put("/v1/agent/service/register", function(req)
    local body = req:json()
    self.token = req:header "x-consul-token"
    self:set(body.ID, body)
    return 200, ""
  end)
  app:put("/v1/agent/service/deregister/:id", function(req)
    self:set(req.params.id, nil)
    return 200, ""
  end)
  app:put("/v1/agent/check/pass/:check", function(req)
    local id = req.params.check:match "^service:(.*)$"
    if not self.services[id] then return 404, "Unknown check ID" end
    self.passes[id] = (self.passes[id] or 0) + 1
    self:stir()
    return 200, ""
  end)
  app:get("/v1/health/service/:name", function(req) return self:health(req) end)
  self.app = app
  self:serve(0)
  return keep(self)
end

function Fake:serve(port)
  self.server = assert(http.serve { app = self.app, port = port })
  self.port = self.server.port
  self.url = "http://" .. self.server.address
end

function Fake:close()
  self:stir()
  if self.server then self.server:close() end
  self.server = nil
end

-- Something happened: whoever waits looks again.
function Fake:stir()
  local future = self.changed
  self.changed = task.future()
  future:resolve(true)
end

function Fake:set(id, body)
  self.services[id] = body
  self.index = self.index + 1
  self:stir()
end

function Fake:add(name, id, port, extra)
  local body = { ID = id, Name = name, Address = "10.0.0.9", Port = port }
  for key, value in pairs(extra or {}) do body[key] = value end
  self:set(id, body)
end

function Fake:health(req)
  local query = req.query
  local known = tonumber(query.index)
  local timer = task.after(math.min(wire.seconds(query.wait), 0.2), function() self:stir() end)
  local ends = core.now() + wire.seconds(query.wait)
  while known == self.index and core.now() < ends and self.server do self.changed:await(0.2) end
  timer:cancel()
  local out = json.array()
  for id, body in pairs(self.services) do
    if body.Name == req.params.name then
      out[#out + 1] = {
        Node = { Node = "far", Address = "10.9.9.9" },
        Service = {
          ID = id,
          Service = body.Name,
          Address = body.Address,
          Port = body.Port,
          Tags = body.Tags or json.array(),
          Meta = body.Meta or {},
          Weights = body.Weights or { Passing = 1, Warning = 1 },
        },
        Checks = json.array(),
      }
    end
  end
  return 200, out, { ["x-consul-index"] = tostring(self.index) }
end

-- Waits, for five seconds at most, until the condition holds.
function Fake:until_(condition)
  local give_up = core.now() + 5
  while not condition() do
    assert(core.now() < give_up, "it did not happen in time")
    self.changed:await(0.05)
  end
end

describe("a connected registry", function()
  local fake, level

  before_each(function()
    level = log.level()
    log.set_level "off"
    fake = fake_registry()
  end)

  after_each(function()
    close_all()
    log.set_level(level)
  end)

  local function connect(opts)
    opts = opts or {}
    opts.backoff_min, opts.backoff_max = 0.005, 0.02
    opts.wait = opts.wait or 1
    local remote = keep(registry.connect(fake.url, opts))
    assert(remote:ready(5))
    return remote
  end

  local function register(opts) return keep(registry.register(opts)) end

  it("is told of what is registered here", function()
    local before = register { name = "goods", id = "g1", address = "127.0.0.1:80", ttl = 0.03 }
    connect()
    register {
      name = "goods",
      id = "g2",
      address = "[::1]:81",
      tags = { "v1" },
      meta = { cpu = "4" },
      zone = "a",
      weight = 7,
    }
    fake:until_(function() return fake.services.g2 and (fake.passes.g1 or 0) >= 2 end)
    local g2 = fake.services.g2
    assert.same({ "goods", "::1", 81, 7 }, { g2.Name, g2.Address, g2.Port, g2.Weights.Passing })
    assert.same({ "v1" }, g2.Tags)
    assert.same({ cpu = "4", zone = "a" }, g2.Meta)
    assert.same({ TTL = "10s", Status = "passing" }, g2.Check)
    before:update { weight = 2 }
    fake:until_(function() return fake.services.g1.Weights.Passing == 2 end)
    before:deregister()
    fake:until_(function() return not fake.services.g1 end)
  end)

  it("gets ids that are unique beyond this process", function()
    connect()
    local g = register { name = "goods", address = "127.0.0.1:80" }
    assert.equal("goods-1", g.id)
    fake:until_(function() return fake.services["goods-127.0.0.1:80"] end)
    -- Another process's instance with the id that was made up here.
    fake:add("goods", "goods-1", 90)
    fake:until_(function() return ids "goods" == "goods-1 goods-1@10.0.0.9:90" end)
  end)

  it("shows what others registered", function()
    fake:add("far", "f1", 80, { Tags = { "v1" }, Meta = { zone = "b" }, Weights = { Passing = 5 } })
    connect()
    local e = registry.lookup("far")[1]
    assert.same({ "f1", "10.0.0.9:80", 5, "b" }, { e.id, e.address, e.weight, e.zone })
    local w = keep(registry.watch "far")
    fake:add("far", "f2", 81)
    assert.equal("f2", w:next(5).id)
    fake:set("f1", nil)
    local change = w:next(5)
    assert.same({ "removed", "f1" }, { change.kind, change.id })
    assert.equal("f2", ids "far")
  end)

  it("feeds the balancers", function()
    local balancer = require "neap.balancer"
    fake:add("far", "f1", 80)
    connect()
    local b <close> = assert(balancer.new("p2c", { service = "far" }))
    local e = assert(b:pick())
    assert.equal("f1", e.id)
    b:release(e)
  end)

  it("does not show what is our own twice", function()
    connect()
    register { name = "goods", id = "mine", address = "127.0.0.1:80" }
    fake:until_(function() return fake.services.mine end)
    fake:add("goods", "other", 81)
    fake:until_(function() return ids "goods" == "mine other" end)
  end)

  it("is not needed for what is known already", function()
    fake:add("far", "f1", 80)
    local remote = connect { grace = 0.05 }
    assert.equal("f1", ids "far")
    register { name = "goods", id = "mine", address = "127.0.0.1:80", ttl = 0.03 }
    fake:until_(function() return fake.services.mine end)

    local port = fake.port
    fake:close()
    fake:until_(function() return not remote.available end)
    assert.equal("f1", ids "far")
    assert.equal("mine", ids "goods")

    -- It is back and has forgotten everything: we register again, and what it does not list goes
    -- only when the grace is over.
    fake.services, fake.index = {}, 1
    local w = keep(registry.watch "far")
    fake:serve(port)
    fake:until_(function() return fake.services.mine end)
    assert.equal("removed", w:next(5).kind)
    assert.equal("", ids "far")
  end)

  it("keeps through a restart what registers again in time", function()
    fake:add("far", "f1", 80)
    local remote = connect { grace = 60 }
    assert.equal("f1", ids "far")
    local w = keep(registry.watch "far")
    local port = fake.port
    fake:close()
    fake:until_(function() return not remote.available end)
    fake.services, fake.index = {}, 1
    fake:serve(port)
    fake:until_(function() return remote.available end)
    fake:add("far", "f2", 82)
    assert.equal("f2", w:next(5).id)
    assert.equal("f1 f2", ids "far")
    assert.equal("ETIMEDOUT", select(2, w:next(0)).code)
  end)

  it("may be away from the start", function()
    local port = fake.port
    fake:close()
    local remote = keep(registry.connect(fake.url, { backoff_min = 0.005, backoff_max = 0.02, wait = 1 }))
    assert.same({}, (registry.lookup "far"))
    assert.is_false(remote.available)
    fake:add("far", "f1", 80)
    fake:serve(port)
    assert.is_true(remote:ready(5))
    fake:until_(function() return ids "far" == "f1" end)
  end)

  it("forgets and is forgotten when it is closed", function()
    fake:add("far", "f1", 80)
    local remote = connect { token = "secret" }
    assert.equal("f1", ids "far")
    register { name = "goods", id = "mine", address = "127.0.0.1:80" }
    fake:until_(function() return fake.services.mine end)
    assert.equal("secret", fake.token)
    assert.error_matches(function() registry.connect(fake.url) end, "connected registry already")
    remote:close()
    remote:close()
    assert.is_nil(fake.services.mine)
    assert.equal("", ids "far")
    assert.equal("mine", ids "goods")
    connect():close()
  end)

  it("refuses a malformed URL and unknown options", function()
    assert.error_matches(function() registry.connect "http://[" end, "url: ")
    assert.error_matches(function() registry.connect(fake.url, { tiemout = 1 }) end, "did you mean timeout")
  end)
end)
