# Finalisers of a script that change, take or close what a binding is busy with.
. "${NEAP_SOURCE:?}/spec/support/e2e.sh"

for case in headers metadata changes closed_watch registrations datagrams closed_socket frames closed_stream \
  subscription; do
  out=$("$NEAP" run --log-level off --script-timeout 30 "$NEAP_SOURCE/spec/support/finalisers.lua" "$case" 2>&1) ||
    fail "$case: $out"
  equal "$out" "done" "$case"
done
