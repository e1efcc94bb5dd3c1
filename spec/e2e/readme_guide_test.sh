# The guide's listings: each one that names its file runs, ends by itself and prints what stands below it.
. "$NEAP_SOURCE/spec/support/e2e.sh"

# Writes FILE.lua and FILE.lua.want for each pair of a lua block that begins with "-- FILE.lua" and the text block after it.
awk -v dir="$tmp" '
  /^```/ && file != "" { close(out); file = ""; next }
  /^```lua$/ { block = 1; next }
  /^```text$/ && listing != "" { file = listing ".want"; out = dir "/" file; listing = ""; printf "" > out; next }
  block == 1 && /^-- [a-z]+\.lua$/ { listing = $2; file = $2; out = dir "/" file; block = 0; print > out; next }
  { block = 0 }
  file != "" { print > out }
' docs/guide.md

count=0
for want in "$tmp"/*.want; do
  script=$(basename "$want" .want)
  (cd "$tmp" && timeout 60 "$NEAP" run "$script" >"$script.got" 2>"$script.log") || fail "$script ended with $?"
  diff -u "$want" "$tmp/$script.got" || fail "$script prints something else"
  count=$((count + 1))
done
listings=$(grep -c '^-- [a-z]*\.lua$' docs/guide.md)
equal "$count" "$listings" "listings that were run"
