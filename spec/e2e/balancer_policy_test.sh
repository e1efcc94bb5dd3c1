# A policy in Lua that never ends, or always fails: requests go on, and the log stays short.
. "${NEAP_SOURCE:?}/spec/support/e2e.sh"

cat >"$tmp/spin.lua" <<'LUA'
local neap = require "neap"
local b = assert(neap.balancer.new({
  pick = function(ctx, endpoints)
    while ctx.spin do end
    return endpoints[1]
  end,
}, { endpoints = { "a:1", "b:1" } }))
local picking = neap.task.spawn(function()
  local e = assert(b:pick { spin = true })
  b:release(e)
  return b:stats().faults
end)
print("faults " .. picking:await(20))
LUA
out=$("$NEAP" run --script-timeout 0.2 --load-timeout 30 "$tmp/spin.lua" 2>"$tmp/spin.log") || fail "spin: $out"
equal "$out" "faults 1" "a policy that spins"
grep -q "a balancer's policy failed; another picks instead" "$tmp/spin.log" || fail "nothing of the policy in the log"
grep -q "spin.lua:4" "$tmp/spin.log" || fail "the log does not say where"

cat >"$tmp/broken.lua" <<'LUA'
local neap = require "neap"
neap.balancer.define("broken", { pick = function() error "boom" end })
local b = assert(neap.balancer.new("broken", { endpoints = { "a:1", "b:1" } }))
for _ = 1, 1000 do b:release(assert(b:pick())) end
print(b:stats().faults)
LUA
out=$("$NEAP" run "$tmp/broken.lua" 2>"$tmp/broken.log") || fail "broken: $out"
equal "$out" 1000 "faults of a broken policy"
equal "$(grep -c "policy failed" "$tmp/broken.log")" 1 "lines in the log"
grep -q '"policy":"broken"' "$tmp/broken.log" || fail "the log does not name the policy"
grep -q "broken.lua:2: boom" "$tmp/broken.log" || fail "the log does not say where"
