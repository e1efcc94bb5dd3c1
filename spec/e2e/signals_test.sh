# SIGTERM and SIGINT: what is in flight is finished, registrations leave, and the exit codes are those
# people expect. A second signal ends the process, even one that is busy.
. "$NEAP_SOURCE/spec/support/e2e.sh"

cat >"$tmp/service.lua" <<'LUA'
local neap = require "neap"
local app = neap.http.app()
app:get("/slow", function()
  print "in flight"
  neap.task.sleep(0.2)
  return "finished\n"
end)
app:get("/stuck", function()
  print "in flight"
  neap.task.sleep(1000)
end)
local server = assert(neap.http.serve { app = app, port = 0 })
assert(neap.registry.register { name = "goods", address = server.address })
neap.registry.watch("goods", function(change) print("goods " .. change.kind) end)
print("listening on " .. server.address)
LUA

serve() { # NAME [OPTIONS]
  local name=$1
  shift
  start "$name" "$NEAP" run "$@" "$tmp/service.lua"
  address=$(await "$name" 'listening on ' | sed 's/.* //')
}

# --- a request in flight is answered, nothing new is taken, the registration leaves, exit code 0
serve drained
start client curl -sS "http://$address/slow"
await drained 'in flight' >/dev/null
signal drained TERM
await drained 'stopping' >/dev/null
if curl -sS "http://$address/slow" 2>"$tmp/refused.log"; then fail "a connection was taken while draining"; fi
ended client
equal "$code" 0 "the client's exit code"
equal "$(cat "$tmp/client.log")" finished "what was in flight"
ended drained
equal "$code" 0 "the exit code after SIGTERM and a clean drain"
grep -q 'goods removed' "$tmp/drained.log" || fail "the registration stayed"

serve interrupted
signal interrupted INT
ended interrupted
equal "$code" 0 "the exit code of a server after SIGINT"

# --- what is stuck has its time, and then the process ends with a line and exit code 1
serve late --drain-timeout 0.05
start stuck curl -sS "http://$address/stuck"
await late 'in flight' >/dev/null
signal late TERM
ended late
equal "$code" 1 "the exit code when the time was over"
grep -q '^neap: not all was drained within 0\.05 seconds' "$tmp/late.log" || fail "no word about the drain"
ended stuck

# --- a second signal ends it at once
serve second
start stuck2 curl -sS "http://$address/stuck"
await second 'in flight' >/dev/null
signal second TERM
await second 'stopping' >/dev/null
signal second TERM
ended second
equal "$code" 143 "the exit code after a second SIGTERM"
ended stuck2

# --- a script that serves nothing was broken off
echo 'print "waiting" require("neap.task").sleep(1000)' >"$tmp/waits.lua"
for pair in INT:130 TERM:143; do
  name=waits_${pair%:*}
  start "$name" "$NEAP" run "$tmp/waits.lua"
  await "$name" waiting >/dev/null
  signal "$name" "${pair%:*}"
  ended "$name"
  equal "$code" "${pair#*:}" "the exit code of a waiting script after SIG${pair%:*}"
done

# --- a script that never yields
echo 'print "busy" while true do end' >"$tmp/busy.lua"
start busy "$NEAP" run "$tmp/busy.lua"
await busy busy >/dev/null
while kill -INT "${e2e_pids[busy]}" 2>/dev/null; do :; done & # until it is gone and waited for
ended busy
equal "$code" 130 "the exit code of a busy script after SIGINT twice"

# --- a peer that goes away while it is written to does not end it (SIGPIPE)
code=0
"$NEAP" eval 'for i = 1, 1e5 do io.write(("x"):rep(100), "\n") end io.stderr:write "alive\n"' \
  2>"$tmp/pipe.log" | head -n 1 >/dev/null || code=$?
grep -q alive "$tmp/pipe.log" || fail "a broken pipe ended it"
