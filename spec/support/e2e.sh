# What the end-to-end scripts share; bash. Source it first:  . "$NEAP_SOURCE/spec/support/e2e.sh"
#
# NEAP is the program, NEAP_SOURCE the checkout, NEAP_BUILD its build directory (ctest sets them).
# `tmp` is a directory of the test's own. What was started with `start` is ended when the script
# ends, however it ends; when the test fails, the output of each is shown. Nothing sleeps: waiting
# means following a file until the line comes.
set -euo pipefail

tmp=$(mktemp -d)
declare -A e2e_pids=()

e2e_finish() {
  local status=$? name
  trap - EXIT
  for name in "${!e2e_pids[@]}"; do
    kill -TERM "${e2e_pids[$name]}" 2>/dev/null || true
  done
  for name in "${!e2e_pids[@]}"; do
    timeout 20 tail -f --pid="${e2e_pids[$name]}" /dev/null || kill -KILL "${e2e_pids[$name]}" || true
    wait "${e2e_pids[$name]}" 2>/dev/null || true
  done
  if [ $status -ne 0 ]; then
    for name in "$tmp"/*.log; do
      if [ -s "$name" ]; then
        echo "---- ${name##*/}" && tail -n 60 "$name"
      fi
    done
  fi
  rm -rf "$tmp"
  exit $status
}
trap e2e_finish EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

skip() {
  echo "skipped: $*"
  exit 77
}

# start NAME COMMAND…: in the background; both its outputs go to $tmp/NAME.log.
start() {
  local name=$1
  shift
  : >"$tmp/$name.log"
  "$@" >>"$tmp/$name.log" 2>&1 </dev/null &
  e2e_pids[$name]=$!
}

# await NAME REGEX [SECONDS]: follows NAME's log until a line matches (grep -E) and prints that line.
# Fails when the process ends first or the time (60 s) is over.
await() {
  local name=$1 regex=$2 seconds=${3:-60} line
  if ! line=$(timeout "$seconds" grep -m1 -E -- "$regex" \
    <(exec timeout "$seconds" tail -n +1 -f --pid="${e2e_pids[$name]}" "$tmp/$name.log")); then
    fail "$name did not say: $regex"
  fi
  echo "$line"
}

# signal NAME SIGNAL
signal() {
  kill -"$2" "${e2e_pids[$1]}"
}

# ended NAME: waits for it to end; its exit code is in `code`.
ended() {
  local status=0
  wait "${e2e_pids[$1]}" || status=$?
  unset "e2e_pids[$1]"
  code=$status
}

# equal GOT WANT [WHAT]
equal() {
  [ "$1" = "$2" ] || fail "${3:-values differ}
  wanted: $2
  got:    $1"
}

# matches TEXT REGEX [WHAT]
matches() {
  [[ $1 =~ $2 ]] || fail "${3:-no match}
  wanted: $2
  got:    $1"
}
