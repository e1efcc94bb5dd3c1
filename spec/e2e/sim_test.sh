# `neap sim`: every example runs, says who is better, and draws; the same seed gives the same bytes.
. "$NEAP_SOURCE/spec/support/e2e.sh"

for file in examples/sim/*.lua; do
  name=$(basename "$file" .lua)
  out=$("$NEAP" sim --requests 2000 --svg "$tmp" "$file" 2>"$tmp/$name.log") || fail "$name ended with $?"
  matches "$out" "^$name: " "$name: its description"
  matches "$out" 'policy +req/s +good/s' "$name: a table"
  for policy in default p2c round_robin; do
    matches "$out" "$policy +[0-9]" "$name: $policy"
  done
  [ -s "$tmp/$name.log" ] && fail "$name: no progress bar where there is no terminal"
  python3 - "$tmp/$name-latency.svg" "$tmp/$name-load.svg" <<'PY' || fail "$name: its plots"
import sys, xml.dom.minidom
for path in sys.argv[1:]:
    svg = xml.dom.minidom.parse(path).documentElement
    assert svg.tagName == "svg" and svg.getElementsByTagName("path"), path
PY
done

# The same seed, the same numbers and plots; another, others.
file=examples/sim/slow_one_of_ten.lua
mkdir "$tmp/a" "$tmp/b" "$tmp/c"
a=$("$NEAP" sim --requests 3000 --json --svg "$tmp/a" "$file")
b=$("$NEAP" sim --requests 3000 --json --svg "$tmp/b" "$file")
c=$("$NEAP" sim --requests 3000 --json --svg "$tmp/c" --seed 7 "$file")
[ "$a" = "$b" ] || fail "one seed, two results"
[ "$a" != "$c" ] || fail "two seeds, one result"
cmp "$tmp/a/slow_one_of_ten-load.svg" "$tmp/b/slow_one_of_ten-load.svg" || fail "one seed, two plots"
python3 - <<PY || fail "the JSON"
import json
r = json.loads(r'''$a''')
assert r["scenario"] == "slow_one_of_ten" and r["seed"] == 1
assert [p["name"] for p in r["policies"]] == ["default", "p2c", "round_robin"]
p = r["policies"][0]
assert p["requests"] == 3000 and sum(p["series"]["requests"]) == 3000
assert len(p["endpoints"]) == 10
PY

# Options.
out=$("$NEAP" sim --policy peak_ewma,default --duration 2 "$file")
matches "$out" 'peak_ewma +[0-9]' "a policy by name"
case $out in *round_robin*) fail "only the policies that were asked for" ;; esac
matches "$("$NEAP" sim --markdown --requests 100 "$file")" '^\| policy \| req/s' "a table in Markdown"

refused() { # expected words, exit code, arguments
  local words=$1 code=$2 status=0
  shift 2
  "$NEAP" sim "$@" >"$tmp/out.log" 2>"$tmp/err.log" || status=$?
  [ "$status" = "$code" ] || fail "sim $*: ended with $status, not $code"
  matches "$(cat "$tmp/err.log")" "$words" "sim $*"
}
refused 'sim: no file given' 2
refused 'cannot open no.such' 2 no.such.lua
refused "--seed: expected an integer from 0, got 'x'" 2 --seed x "$file"
refused "--duration: expected seconds above 0" 2 --duration 0 "$file"
refused 'there is no policy "p2" \(did you mean p2c\?\)' 1 --policy p2 "$file"
refused '--svg: .*No such file' 2 --requests 10 --svg "$tmp/nowhere" "$file"
echo 'return 5' >"$tmp/five.lua"
refused 'expected it to return a scenario \(a table\), got number' 2 "$tmp/five.lua"
echo 'return require("neap").sim.scenario { endpoints = {}, arrival = { rate = 1 } }' >"$tmp/none.lua"
refused 'none.lua: scenario.endpoints: expected at least 1 items, got 0' 2 "$tmp/none.lua"
