# The README's own commands, as they stand there: the shop and its three curl lines (on a port of the test's), and the
# first service.
. "$NEAP_SOURCE/spec/support/e2e.sh"

grep -qF './scripts/neap run examples/shop/main.lua' README.md || fail "the README names another main job"
grep -qF './scripts/test' README.md || fail "the README does not say how to test"

PORT=0 start shop "$NEAP" run examples/shop/main.lua
port=$(await shop 'gateway +http://' | sed 's/.*://')

# The curl lines of the README's first block, with the shop's real port.
mapfile -t lines < <(grep -E '^curl .*localhost:8080' README.md | sed "s/ *#.*//; s/localhost:8080/localhost:$port/")
equal "${#lines[@]}" 3 "curl lines in the README"
order=$(eval "${lines[0]}")
matches "$order" '"total":37.5' "the order's total"
matches "$order" '"priced_by":"goods-[123]"' "the instance that priced it"
matches "$(eval "${lines[1]}")" '"id":1' "the order, asked for again"
matches "$(eval "${lines[2]}")" '"stopped":"goods-2"' "stopping an instance"

# The first service, on a free port instead of 8081.
awk '/^-- hello.lua$/ { on = 1 } /^```/ { on = 0 } on' README.md | sed 's/port = 8081/port = 0/' >"$tmp/hello.lua"
start hello "$NEAP" run "$tmp/hello.lua"
address=$(await hello '^listening on ' | sed 's/listening on //')
equal "$(curl -s "$address/hello/you")" '{"hello":"you"}' "the first service"
