local retry = require "neap.http.retry"

local function policy(opts) return retry.policy(retry.schema:read(opts)) end

local function withdrawals(budget, now, most)
  for n = 0, most do
    if not budget:withdraw(now) then return n end
  end
  return most
end

describe("retry budget", function()
  it("lets a quiet client retry as often as its reserve has it, per ten seconds", function()
    local budget = retry.budget(0.2, 3)
    assert.equal(3, withdrawals(budget, 100, 10))
    assert.is_false(budget:withdraw(109.9))
    assert.equal(3, withdrawals(budget, 110, 10))
  end)

  it("grants a share of the calls", function()
    local budget = retry.budget(0.2, 0)
    for i = 1, 100 do budget:deposit(100 + i / 100) end
    assert.equal(20, withdrawals(budget, 101, 50))
    assert.is_false(budget:withdraw(101))
  end)

  it("forgets deposits after ten seconds", function()
    local budget = retry.budget(0.5, 0)
    for _ = 1, 10 do budget:deposit(100) end
    assert.is_true(budget:withdraw(109))
    assert.is_false(budget:withdraw(110.5))
    budget:deposit(1000)
    assert.is_false(budget:withdraw(1000))
    budget:deposit(1000)
    assert.is_true(budget:withdraw(1001))
  end)

  it("grants nothing when it has neither", function()
    local budget = retry.budget(0, 0)
    budget:deposit(1)
    assert.is_false(budget:withdraw(1))
  end)
end)

describe("retry policy", function()
  local refused, reset = { code = "ECONNREFUSED" }, { code = "ECONNRESET" }

  it("retries an idempotent call after a failure or a status of its list", function()
    local p = policy()
    assert.is_true(p:wants("GET", nil, nil, reset))
    assert.is_true(p:wants("PUT", nil, 503))
    assert.is_false(p:wants("GET", nil, 500))
    assert.is_false(p:wants("GET", nil, 404))
    assert.is_false(p:wants("GET", nil, nil, { code = "ELIMIT" }))
    assert.is_false(p:wants("GET", nil, nil, { code = "ENOENDPOINT" }))
  end)

  it("retries another call only when it reached no server", function()
    local p = policy()
    assert.is_true(p:wants("POST", nil, nil, refused))
    assert.is_false(p:wants("POST", nil, nil, reset))
    assert.is_false(p:wants("POST", nil, 503))
  end)

  it("believes the caller about what is idempotent", function()
    local p = policy()
    assert.is_true(p:wants("POST", true, nil, reset))
    assert.is_false(p:wants("GET", false, nil, reset))
    assert.is_true(p:wants("GET", false, nil, refused))
  end)

  it("takes methods and statuses of one's own", function()
    local p = policy { methods = { "POST" }, statuses = { 500 } }
    assert.is_true(p:wants("POST", nil, 500))
    assert.is_false(p:wants("GET", nil, 500))
    assert.is_false(p:wants("POST", nil, 503))
  end)

  it("waits a random part of a span that doubles up to ten times", function()
    local p = policy { backoff = 1 }
    for attempt, most in ipairs { 1, 2, 4, 8, 10, 10 } do
      for _ = 1, 20 do
        local delay = p:delay(attempt)
        assert.is_true(delay >= 0 and delay <= most)
      end
    end
    assert.equal(7, policy({ backoff = function(attempt) return attempt + 4 end }):delay(3))
  end)

  it("refuses misspelt options", function()
    assert.error_matches(function() policy { attempt = 3 } end, "attempt: unknown option %(did you mean")
  end)
end)
