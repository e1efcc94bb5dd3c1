# Existing NATS clients just work: the Python project's own client (nats-py, from PyPI, into an
# environment of the build directory's own) against neap.bus.serve. Skipped where it cannot be had.
. "$NEAP_SOURCE/spec/support/e2e.sh"

version=2.16.0
venv=$NEAP_BUILD/venv-nats-py-$version
if ! "$venv/bin/python" -c "import nats" 2>/dev/null; then
  rm -rf "$venv"
  python3 -m venv "$venv" >"$tmp/venv.log" 2>&1 || skip "python3 has no venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "nats-py==$version" >"$tmp/pip.log" 2>&1 ||
    { rm -rf "$venv" && skip "nats-py cannot be installed"; }
fi

cat >"$tmp/host.lua" <<'LUA'
local neap = require "neap"

neap.bus.subscribe("lua.upper", function(msg)
  msg:respond(msg.data:upper(), { headers = { Seen = msg.headers.Trace or "no" } })
end, { queue = "services", concurrency = 16 })

neap.bus.subscribe("lua.ask", function(msg)
  local answer, err = neap.bus.request(msg.data, "from lua", { timeout = 5 })
  msg:respond(answer and answer.data or err.code)
end, { concurrency = 16 })

local share = 0
neap.bus.subscribe("share", function() share = share + 1 end, { queue = "workers" })
neap.bus.subscribe("lua.share", function(msg) msg:respond(share) end)

local server = assert(neap.bus.serve { port = 0, max_pending = 4 * 1024 * 1024, ping_interval = 0.2 })
neap.log.info("serving", { url = server.url })
LUA

start host "$NEAP" run "$tmp/host.lua"
url=$(await host serving | grep -oE 'nats://[0-9.:]+')
timeout 120 "$venv/bin/python" "$NEAP_SOURCE/spec/e2e/bus_nats_py.py" "$url"
signal host TERM
ended host
equal "$code" 0 "exit code of the host"
