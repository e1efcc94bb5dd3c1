# gRPC health checks against gRPC's own Python server (grpcio and grpcio-health-checking from PyPI, into
# an environment of the build directory's own). Skipped where they cannot be had.
. "$NEAP_SOURCE/spec/support/e2e.sh"

version=1.85.1
venv=$NEAP_BUILD/venv-grpcio-$version
if ! "$venv/bin/python" -c "import grpc_health.v1.health" 2>/dev/null; then
  rm -rf "$venv"
  python3 -m venv "$venv" >"$tmp/venv.log" 2>&1 || skip "python3 has no venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "grpcio==$version" \
    "grpcio-health-checking==$version" >"$tmp/pip.log" 2>&1 ||
    { rm -rf "$venv" && skip "grpcio cannot be installed"; }
fi

"$NEAP" cert --ca "$tmp/ca" --out "$tmp/cert" server 127.0.0.1 >"$tmp/cert.log"
cert=$tmp/cert/127.0.0.1-fullchain.pem
key=$tmp/cert/127.0.0.1-key.pem

mkfifo "$tmp/orders"
peer() {
  exec "$venv/bin/python" "$NEAP_SOURCE/spec/e2e/health_grpc_py.py" "$cert" "$key" <"$tmp/orders"
}
start peer peer
exec 4>"$tmp/orders"
read -r _ plain secure bare <<<"$(await peer '^ports ')"
tell() {
  echo "$*" >&4
}

cat >"$tmp/host.lua" <<'LUA'
local neap = require "neap"
local plain, secure, bare, ca = table.unpack(arg)

local function check(name, opts)
  opts.name, opts.type, opts.interval, opts.fall, opts.rise, opts.timeout = name, "grpc", 0.02, 2, 2, 20
  opts.on_change = function(_, healthy, why)
    neap.log.info(("%s is %s: %s"):format(name, healthy and "well" or "ill", why))
  end
  return assert(neap.health.check(opts))
end

check("server", { endpoints = { plain } })
check("rates", { endpoints = { { address = plain, id = "rates" } }, service_name = "rates.Rates" })
check("none", { endpoints = { { address = plain, id = "none" } }, service_name = "no.Such" })
check("bare", { endpoints = { bare } })
check("secure", { endpoints = { secure }, tls = { ca = ca } })
check("strangers", { endpoints = { { address = secure, id = "strangers" } }, tls = true })
LUA

start host "$NEAP" run "$tmp/host.lua" "127.0.0.1:$plain" "127.0.0.1:$secure" "127.0.0.1:$bare" "$tmp/ca/ca.pem"

# What each of them is.
await host 'server is well' >/dev/null
await host 'secure is well' >/dev/null
await host 'rates is ill: grpc-status 5' >/dev/null
await host 'none is ill: grpc-status 5' >/dev/null
await host 'bare is ill: grpc-status 12' >/dev/null
await host 'strangers is ill: ETLS' >/dev/null

# What they come to be.
tell set rates.Rates SERVING
await host 'rates is well: it answers' >/dev/null
tell set - NOT_SERVING
await host 'server is ill: NOT_SERVING' >/dev/null
await host 'secure is ill: NOT_SERVING' >/dev/null
tell count
checks=$(await peer '^checks ')
[ "${checks#checks }" -ge 10 ] || fail "it was asked only $checks times"

# It is gone.
kill -KILL "${e2e_pids[peer]}"
wait "${e2e_pids[peer]}" 2>/dev/null || true
unset "e2e_pids[peer]"
await host 'rates is ill: (ECONNREFUSED|ECONNRESET|EOF)' >/dev/null

signal host TERM
ended host
equal "$code" 0 "exit code of the host"
