-- Sticky sessions over real sockets: by a cookie, a header, a key, or a value that the caller keeps.
local neap = require "neap"
local http = neap.http

local open = {}

local function serve(handler)
  local server = assert(http.serve { handler = handler })
  open[#open + 1] = server
  return server.address, server
end

local function instance(id)
  return (serve(function() return 200, id end))
end

local function four() return { instance "a", instance "b", instance "c", instance "d" } end

-- The URL of a gateway with such a client, and the client.
local function gateway(opts, forward)
  opts.balancer = opts.balancer or "round_robin"
  local client = http.client(opts)
  return "http://" .. serve(function(req) return req:forward(client, forward) end), client
end

describe("a sticky session", function()
  setup(function() http.get "http://127.0.0.1:1" end)
  after_each(function()
    for _, server in ipairs(open) do server:close { grace = 0 } end
    open = {}
  end)

  it("is kept by a cookie", function()
    local list = four()
    local url = gateway { endpoints = list, sticky = { cookie = "node", ttl = 60, secret = "s" } }
    local browser = http.client { cookies = true }
    local res = browser:get(url)
    local set = res.headers["set-cookie"][1]
    assert.matches("^node=%x+; ", set)
    assert.matches("HttpOnly", set)
    assert.matches("Max%-Age=60", set)
    assert.is_nil(set:find(res.body .. "127.0.0.1", 1, true))
    for _ = 1, 6 do
      local again = browser:get(url)
      assert.equal(res.body, again.body)
      assert.is_nil(again.headers["set-cookie"])
    end
    local others = {}
    for _ = 1, 8 do others[http.get(url).body] = true end
    assert.is_not_nil(next(others, next(others)))
  end)

  it("is kept by a header, and understood by whoever has the secret", function()
    local list = four()
    local how = { header = "X-Node", secret = "s" }
    local url, other = gateway { endpoints = list, sticky = how }, gateway { endpoints = list, sticky = how }
    local res = http.get(url)
    local value = res.headers["x-node"]
    for _ = 1, 4 do
      assert.equal(res.body, http.get(url, { headers = { ["x-node"] = value } }).body)
      assert.equal(res.body, http.get(other, { headers = { ["x-node"] = value } }).body)
    end
    assert.equal(200, http.get(url, { headers = { ["x-node"] = "nonsense" } }).status)
  end)

  it("moves when its endpoint is gone or refuses, and says so once", function()
    local first, server = serve(function() return "first" end)
    local url = gateway {
      endpoints = { first, instance "second" }, sticky = { cookie = "node" }, retry = { backoff = 0 },
    }
    local browser = http.client { cookies = true }
    repeat
      local res = http.get(url)
      local value = res.headers["set-cookie"][1]:match "node=(%x+)"
      if res.body == "first" then browser = value end
    until type(browser) == "string"
    local cookie = { headers = { cookie = "node=" .. browser } }
    assert.equal("first", http.get(url, cookie).body)
    server:close { grace = 0 }
    local res = http.get(url, cookie)
    assert.equal("second", res.body)
    assert.equal(1, #res.headers["set-cookie"])
  end)

  it("is that of a balancer that stands by itself", function()
    local balancer = neap.balancer.new("round_robin", { endpoints = four(), sticky = { header = "x-node" } })
    local url = gateway { balancer = balancer }
    local res = http.get(url)
    local with = { headers = { ["x-node"] = res.headers["x-node"] } }
    for _ = 1, 4 do assert.equal(res.body, http.get(url, with).body) end
  end)

  it("goes by a key without any of that", function()
    local list = four()
    local client = http.client { endpoints = list, balancer = "round_robin", sticky = "key" }
    local first = client:get("/", { hash_key = "me" }).body
    local seen = {}
    for _ = 1, 8 do
      assert.equal(first, client:get("/", { hash_key = "me" }).body)
      seen[client:get("/").body] = true
    end
    assert.is_not_nil(next(seen, next(seen)))
  end)

  it("is a caller's own to keep", function()
    local client = http.client { endpoints = four(), balancer = "round_robin", sticky = { header = "x" } }
    local res = client:get "/"
    for _ = 1, 4 do
      local again = client:get("/", { sticky = res.sticky })
      assert.same({ res.body, res.sticky }, { again.body, again.sticky })
    end
  end)
end)
