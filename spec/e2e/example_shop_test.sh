# The shop in one process: the answers that README promises, and no order lost while an instance stops.
. "$NEAP_SOURCE/spec/support/e2e.sh"

start shop "$NEAP" run examples/shop/main.lua 0
line=$(await shop 'gateway +http://')
gateway=http://${line##*http://}

order=$(curl -s -w ' %{http_code}' "$gateway/orders" -d '{"goods":"42","quantity":3}')
matches "$order" ' 201$' "an order"
matches "$order" '"total":37\.5' "its total"
matches "$order" '"priced_by":"goods-[123]"' "who priced it"
matches "$(curl -s "$gateway/orders/1")" '"quantity":3' "the order again"
await shop 'billed.*37\.5' >/dev/null

status() {
  curl -s -o "$tmp/body" -w '%{http_code}' "$@"
}
equal "$(status "$gateway/orders/77")" 404 "an order there is not"
equal "$(status "$gateway/orders" -d '{"goods":"nothing","quantity":1}')" 404 "goods there are not"
matches "$(cat "$tmp/body")" '"error":"no such goods' "and why"
equal "$(status "$gateway/orders" -d '{"goods":"42","quantity":"3"}')" 400 "a quantity that is none"
matches "$(cat "$tmp/body")" 'order.quantity: expected integer, got string' "and why"
equal "$(status "$gateway/orders" -d '{"goods":')" 400 "no JSON"
matches "$(cat "$tmp/body")" 'JSON: ' "and why"
equal "$(status -X DELETE "$gateway/orders/1")" 405 "a method there is not"
equal "$(status "$gateway/nowhere")" 404 "a path there is not"
equal "$(status -X POST "$gateway/admin/stop/goods-9")" 404 "an instance there is not"

# Eight at a time, and an instance stops in the middle of it.
load() {
  seq 1 "$1" | xargs -P 8 -I{} curl -s -o /dev/null -w '%{http_code}\n' "$gateway/orders" \
    -d '{"goods":"7","quantity":1}'
}
load 200 >"$tmp/codes" &
loading=$!
timeout 60 grep -m1 -q 201 <(exec timeout 60 tail -n +1 -f --pid=$loading "$tmp/codes")
equal "$(status -X POST "$gateway/admin/stop/goods-2")" 200 "stopping"
wait $loading
equal "$(sort "$tmp/codes" | uniq -c | tr -s ' ')" " 200 201" "orders while an instance stops"
equal "$(status -X POST "$gateway/admin/stop/goods-2")" 404 "stopping it again"
for _ in 1 2 3 4 5 6; do
  priced=$(curl -s "$gateway/orders" -d '{"goods":"7","quantity":1}')
  matches "$priced" '"priced_by":"goods-[13]"' "an order afterwards"
done

signal shop TERM
ended shop
equal "$code" 0 "the shop's end"
