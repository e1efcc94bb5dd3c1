# Processes joined over a bus: one that serves, or a real nats-server where there is one. Messages
# come once, queue groups balance over processes, requests cross, and all goes on after the server
# was away.
. "$NEAP_SOURCE/spec/support/e2e.sh"

cat >"$tmp/hub.lua" <<'LUA'
local neap = require "neap"
local server = assert(neap.bus.serve { port = tonumber((...)) })
print("serving " .. server.url)
LUA

cat >"$tmp/worker.lua" <<'LUA'
local neap = require "neap"
local url, name = ...
local count = 0
neap.bus.subscribe("jobs", function() count = count + 1 end, { queue = "workers" })
neap.bus.subscribe("count." .. name, function(msg) msg:respond(count) end)
neap.bus.subscribe("hello", function(msg) msg:respond("hello from " .. name) end)
neap.bus.connect(url, { reconnect_max = 0.2, on_status = function(status) print(name .. " " .. status) end })
LUA

# Asks until it is answered, for the workers come back each in their own time.
cat >"$tmp/boss.lua" <<'LUA'
local neap = require "neap"
local url = ...
local heard = 0
neap.bus.subscribe("jobs", function() heard = heard + 1 end)
local conn = assert(neap.bus.connect(url, { reconnect_max = 0.2, on_status = function(status) print("boss " .. status) end }))

local function ask(subject)
  for _ = 1, 500 do
    local answer = neap.bus.request(subject, "", { timeout = 1 })
    if answer then return answer.data end
    neap.task.sleep(0.02)
  end
  error("nobody answers on " .. subject)
end

local function round(jobs)
  local before = tonumber(ask "count.a") + tonumber(ask "count.b")
  local heard_before = heard
  for _ = 1, jobs do assert(neap.bus.publish("jobs", "x")) end
  assert(neap.bus.flush())
  local done = 0
  for _ = 1, 500 do
    done = tonumber(ask "count.a") + tonumber(ask "count.b") - before
    if done >= jobs and heard - heard_before >= jobs then break end
    neap.task.sleep(0.02)
  end
  print(("round: %d done, %d heard"):format(done, heard - heard_before))
end

assert(conn:ready())
round(200)
print(("balanced: %s"):format(math.min(tonumber(ask "count.a"), tonumber(ask "count.b")) > 40))
print(select(2, neap.bus.request("nobody", "")))
while conn.connected do neap.task.sleep(0.01) end
assert(neap.bus.publish("jobs", "while away"))
while not conn.connected do neap.task.sleep(0.01) end
round(100)
print "boss done"
conn:close()
LUA

run_with() { # run_with NAME: a server that `start_server PORT` starts, and that says `serving`
  local name=$1 url line
  start_server 0
  url=$(await server "$serving" | grep -oE '(127\.0\.0\.1|localhost):[0-9]+')
  for worker in a b; do
    start "$worker" "$NEAP" run "$tmp/worker.lua" "nats://$url" "$worker"
  done
  line=$(await a "a connected")
  line=$(await b "b connected")
  start boss "$NEAP" run "$tmp/boss.lua" "nats://$url"
  line=$(await boss "balanced: true")
  line=$(await boss "ENORESPONDERS")
  signal server TERM
  ended server
  line=$(await boss "boss away")
  start_server "${url##*:}"
  line=$(await boss "boss done")
  equal "$(grep -c 'round: 200 done, 200 heard' "$tmp/boss.log")" 1 "$name: the first round"
  equal "$(grep -c 'round: 100 done, 100 heard' "$tmp/boss.log")" 1 "$name: the round after it came back"
  ended boss
  equal "$code" 0 "$name: exit code"
  for worker in a b server; do
    signal "$worker" TERM
    ended "$worker"
  done
}

start_server() {
  serving=serving
  start server "$NEAP" run "$tmp/hub.lua" "$1"
}
run_with neap

nats=$(command -v nats-server || true)
if [ -n "$nats" ]; then
  start_server() {
    serving='Listening for client connections'
    local port=$1
    [ "$port" != 0 ] || port=-1
    start server "$nats" -a 127.0.0.1 -p "$port"
  }
  run_with nats-server
fi

# A process that is told to stop finishes the messages it is handling, and stays joined until then.
cat >"$tmp/keeper.lua" <<'LUA'
local neap = require "neap"
local open = neap.task.future()
neap.bus.subscribe("gate", function(msg) msg:respond(open:await()) end)
neap.bus.subscribe("open", function(msg) open:resolve(msg.data) end)
neap.bus.subscribe("late.done", function(msg) print("late done: " .. msg.data) end)
print("serving " .. assert(neap.bus.serve { port = 0 }).url)
LUA
cat >"$tmp/late.lua" <<'LUA'
local neap = require "neap"
neap.bus.connect((...))
neap.bus.subscribe("late", function()
  print "handling"
  local answer = assert(neap.bus.request("gate", "", { timeout = 30 }))
  neap.bus.publish("late.done", answer.data)
end)
LUA
cat >"$tmp/say.lua" <<'LUA'
local neap = require "neap"
local url, subject, data = ...
local conn = assert(neap.bus.connect(url, { retry = false }))
neap.bus.publish(subject, data)
neap.bus.flush()
conn:close()
LUA
start keeper "$NEAP" run "$tmp/keeper.lua"
url=$(await keeper serving | grep -oE 'nats://[0-9.:]+')
start late "$NEAP" run "$tmp/late.lua" "$url"
line=$(await late "connected to")
"$NEAP" run "$tmp/say.lua" "$url" late x 2>/dev/null
line=$(await late handling)
signal late TERM
line=$(await late stopping)
"$NEAP" run "$tmp/say.lua" "$url" open sesame 2>/dev/null
line=$(await keeper "late done: sesame")
ended late
equal "$code" 0 "exit code of the process that was stopped"
