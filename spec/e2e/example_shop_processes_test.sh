# The shop as separate processes: the gateway serves the registry and the bus for the others.
. "$NEAP_SOURCE/spec/support/e2e.sh"

shop=examples/shop
start gateway "$NEAP" run $shop/gateway.lua 0 0 0
registry=$(await gateway 'serving the registry' | grep -oE 'http://[0-9.:]+')
bus=$(await gateway 'serving the bus' | grep -oE 'nats://[0-9.:]+')
gateway=http://$(await gateway 'gateway is open' | grep -oE '127\.0\.0\.1:[0-9]+')

start goods1 "$NEAP" run $shop/goods.lua goods-1 "$registry" "$bus"
start goods2 "$NEAP" run $shop/goods.lua goods-2 "$registry" "$bus"
start orders "$NEAP" run $shop/orders.lua "$registry" "$bus"
start billing "$NEAP" run $shop/billing.lua "$bus"
for part in goods1 goods2; do await $part 'selling goods' >/dev/null; done
await orders 'taking orders' >/dev/null
await billing 'billing orders' >/dev/null

# Until the registry has told everybody of everybody.
order() {
  curl -s -w ' %{http_code}' "$gateway/orders" -d '{"goods":"42","quantity":2}'
}
for _ in $(seq 100); do
  answer=$(order)
  [[ $answer == *' 201' ]] && break
done
matches "$answer" '"total":25\.0.* 201$' "an order"
await billing 'billed' >/dev/null

equal "$(curl -s -X POST "$gateway/admin/stop/goods-2")" '{"stopped":"goods-2"}' "stopping"
for _ in 1 2 3 4; do
  matches "$(order)" '"priced_by":"goods-1".* 201$' "an order afterwards"
done
