# The REPL: lines from a pipe, then a person at a terminal (repl_terminal.py).
. "$NEAP_SOURCE/spec/support/e2e.sh"

repl() { # reads lines from standard input; `out`, `err`, `code`
  code=0
  timeout 60 "$NEAP" repl "$@" >"$tmp/out" 2>"$tmp/err" || code=$?
  out=$(cat "$tmp/out")
  err=$(cat "$tmp/err")
}

repl <<'LUA'
1 + 1
local a, b = "x", { 1, { two = 2 } }
a, b
function f(n)
  neap.task.sleep(0.001)
  return n * 2
end
f(21)
error("one line fails")
"and the next " .. "does not"
LUA
equal "$code" 0
equal "$out" '2
"x"	{ 1, { two = 2 } }
42
"and the next does not"'
matches "$err" '^input:1: one line fails'

repl <<<'for i = 1, 3 do'
matches "$err" "near <eof>" "unfinished input"

# What a line started goes on while the next is waited for.
mkfifo "$tmp/lines"
exec 3<>"$tmp/lines"
timeout 60 "$NEAP" repl <"$tmp/lines" >"$tmp/live.log" 2>&1 &
e2e_pids[live]=$!
echo 'neap.task.spawn(function() neap.task.sleep(0.01) print "meanwhile" end)' >&3
await live meanwhile >/dev/null
echo 'print "bye" require("neap.core.runtime").stop()' >&3
await live bye >/dev/null
ended live
equal "$code" 0 "the exit code of a REPL that a line stopped"
exec 3>&-

"$NEAP" repl extra 2>"$tmp/err" && fail "an argument was taken"
matches "$(cat "$tmp/err")" "unexpected argument 'extra'"

command -v python3 >/dev/null || skip "no python3 for the terminal"
python3 "$NEAP_SOURCE/spec/e2e/repl_terminal.py" "$tmp"
