# `neap test`: specs simply wait; a test fails for what it leaves behind and when its time is over; the
# exit codes and options are busted's.
. "$NEAP_SOURCE/spec/support/e2e.sh"

neap_test() { # ARGS…: `out` is both outputs
  code=0
  out=$(timeout 100 "$NEAP" test -o TAP "$@" 2>&1 </dev/null) || code=$?
}
mkdir "$tmp/good" "$tmp/bad"

cat >"$tmp/good/waits_spec.lua" <<'LUA'
local neap = require "neap"
describe("a service", function()
  local server, client, order
  setup(function() order = {} end)
  before_each(function()
    neap.task.sleep(0.001)
    local app = neap.http.app()
    app:get("/", function() neap.task.sleep(0.001) return "hello" end)
    server = assert(neap.http.serve { app = app, port = 0 })
    client = neap.http.client { base = "http://" .. server.address }
  end)
  after_each(function()
    server:close()
    neap.task.sleep(0.001)
    order[#order + 1] = "after"
  end)
  it("is asked #first", function()
    assert.equal("hello", client:get("/").body)
  end)
  it("starts tasks that end in time", function()
    neap.task.spawn(function() neap.task.sleep(0.02) end)
    assert.same({ "after" }, order)
  end)
  it("has a last word", function()
    finally(function() neap.task.sleep(0.001) end)
  end)
  pending("is to come")
end)
LUA
cp "$tmp/good/waits_spec.lua" "$tmp/good/again_spec.lua"

neap_test "$tmp/good"
equal "$code" 0 "good specs: $out"
equal "$(grep -c '^ok' <<<"$out")" 8 "tests of both files: $out"

neap_test --tags first "$tmp/good/waits_spec.lua"
equal "$(grep -c '^ok' <<<"$out")" 1 "--tags"
neap_test --filter 'last word' "$tmp/good"
equal "$(grep -c '^ok' <<<"$out")" 2 "--filter"

cat >"$tmp/bad/bad_spec.lua" <<'LUA'
local neap = require "neap"
describe("bad", function()
  it("fails after waiting", function() neap.task.sleep(0.001) assert.equal(1, 2) end)
  it("raises", function() error("boo") end)
  it("leaks a task", function() neap.task.spawn(function() neap.task.sleep(1000) end) end)
  it("leaks a server", function() kept = assert(neap.tcp.listen { port = 0 }) end)
  it("hangs", function() neap.task.future():await() end)
  it("is fine", function() end)
end)
LUA
neap_test --timeout 3 "$tmp/bad"
equal "$code" 1 "the exit code: $out"
equal "$(grep -c '^ok' <<<"$out")" 1 "what passes: $out"
equal "$(grep -c '^not ok' <<<"$out")" 5 "what fails: $out"
matches "$out" 'bad_spec\.lua:3: Expected objects to be equal'
matches "$out" 'bad_spec\.lua:4: boo'
matches "$out" 'bad_spec\.lua:5: the test left 1 tasks behind'
matches "$out" 'a task \(task\) is still waiting:'
matches "$out" 'bad_spec\.lua:6: the test left 1 handles'
matches "$out" 'open: 1 [a-z]+'
matches "$out" 'bad_spec\.lua:7: timed out after 3 seconds'

neap_test --no-leak-check --filter leaks "$tmp/bad"
equal "$code" 0 "without the look for leaks"

neap_test "$tmp/absent"
equal "$code" 1 "no such path"
neap_test --timeout soon "$tmp/good"
equal "$code" 2
matches "$out" "not a number of seconds"

# os.exit in a spec is that test's failure, not the end of the run.
printf 'it("exits", function() os.exit(0) end)\nit("goes on", function() end)\n' >"$tmp/bad/exit_spec.lua"
neap_test "$tmp/bad/exit_spec.lua"
equal "$code" 1
matches "$out" 'ok [0-9]+ - goes on'

# Without busted: one line.
code=0
out=$(LUA_PATH="$tmp/?.lua" LUA_PATH_5_4="$tmp/?.lua" timeout 60 "$NEAP" test "$tmp/good" 2>&1) || code=$?
equal "$code" 1
equal "$out" "neap: test: busted is not installed (Debian: apt install lua-busted)"
