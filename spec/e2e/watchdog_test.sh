# Scripts that would go on for ever, at the command line: what is said of them, and how it ends.
. "$NEAP_SOURCE/spec/support/e2e.sh"

neap() {
  code=0
  timeout 60 "$NEAP" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
  out=$(cat "$tmp/out")
  err=$(cat "$tmp/err")
}
file() {
  cat >"$tmp/$1"
}

# --- options
neap help run
matches "$out" '--script-timeout SECONDS'
matches "$out" '--script-memory BYTES'
for option in --script-timeout --load-timeout --script-hard-timeout; do
  neap run $option soon x.lua
  equal "$code" 2
  matches "$err" "$option: not a number of seconds: 'soon'"
done
for bytes in lots -1 0 5q; do
  neap run --script-memory $bytes x.lua
  equal "$code" 2
  matches "$err" "--script-memory: not a number of bytes: '$bytes'"
done

# --- a file that never comes to its end while it loads
file spin.lua <<'LUA'
local n = 0
while true do n = n + 1 end
LUA
neap run --load-timeout 0.05 "$tmp/spin.lua"
equal "$code" 1
matches "$err" 'spin.lua:2: the script kept its worker from the loop for more than 0.05 s'

# --- a task that does, beside one that does not
file tasks.lua <<'LUA'
local task = require "neap.task"
task.spawn(function()
  while true do pcall(function() while true do end end) end
end)
task.sleep(0.001)
print "the other goes on"
LUA
neap run --script-timeout 0.05 "$tmp/tasks.lua"
equal "$code" 0
equal "$out" 'the other goes on'
matches "$err" 'tasks.lua:3: the script kept its worker from the loop for more than 0.05 s'
equal "$(grep -c 'kept its worker' "$tmp/err")" 1 'lines about it'

# --- for ever is what --script-timeout 0 means, and eval's and test's own
neap eval 'local n = 0 for i = 1, 3e6 do n = n + i end return n > 0'
equal "$out" true

# --- where no error reaches
file stuck.lua <<'LUA'
local task = require "neap.task"
task.sleep(0.001)
task.spawn(function()
  return string.find(("a"):rep(40), ("a?"):rep(40) .. ("a"):rep(40))
end)
task.sleep(0.001)
LUA
neap run --script-timeout 0.05 --script-hard-timeout 0.3 "$tmp/stuck.lua"
equal "$code" 70
matches "$err" 'worker 0 is stuck in string.find called at .*stuck.lua:4'
matches "$err" 'worker 0 has been in string.find called at .*stuck.lua:4 for too long'

# --- memory
file bomb.lua <<'LUA'
local task = require "neap.task"
local ok, err = task.spawn(function()
  local all = {}
  while true do all[#all + 1] = ("x"):rep(65536) .. #all end
end):await()
print(ok, err.message)
print(#("x"):rep(1 << 20))
LUA
neap run --script-timeout 0 --script-memory 16m "$tmp/bomb.lua"
equal "$code" 0
equal "$out" "nil	out of memory
1048576"

# --- tests
file long_spec.lua <<'LUA'
it("goes on for ever", function()
  while true do pcall(function() while true do end end) end
end)
it("does not", function() end)
LUA
neap test --script-timeout 0.1 "$tmp/long_spec.lua"
equal "$code" 1
matches "$out" '1 success'
LUA_ERR=$(grep -c 'kept its worker' "$tmp/out" || true)
[ "$LUA_ERR" -ge 1 ] || fail "the test report does not say why"
echo ok
