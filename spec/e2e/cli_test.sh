# The command line: what each command prints, its exit codes, and one clear line for what goes wrong.
. "$NEAP_SOURCE/spec/support/e2e.sh"

# neap ARGS…: runs it; `out`, `err` and `code` are what came.
neap() {
  code=0
  timeout 60 "$NEAP" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
  out=$(cat "$tmp/out")
  err=$(cat "$tmp/err")
}
# file NAME: what stands on standard input, as $tmp/NAME
file() {
  cat >"$tmp/$1"
}
one_line() { # one line on standard error, exit code $1
  equal "$code" "$1" "exit code of: $err"
  equal "$(wc -l <"$tmp/err")" 1 "lines of: $err"
  matches "$err" "$2"
}

# --- help and misuse
neap version
equal "$out" "neap $(sed -n 's/^#define NEAP_VERSION "\(.*\)"/\1/p' "$NEAP_SOURCE/src/neap.h")"
neap --version
equal "$code" 0
neap help
matches "$out" 'neap run FILE \[ARGS\]'
neap help run
matches "$out" '--drain-timeout SECONDS'
neap run --help
matches "$out" '^usage: neap run \[OPTIONS\] FILE'
neap
equal "$code" 2
matches "$err" '^usage: neap'
neap bogus
one_line 2 "^neap: unknown command 'bogus' \(try: neap help\)\$"
neap help bogus
one_line 2 "unknown command 'bogus'"
neap run --bogus x.lua
one_line 2 "^neap: run: unknown option '--bogus' \(try: neap help run\)\$"
neap run
one_line 2 'no file given'
neap run --log-level loud x.lua
one_line 2 "unknown log level 'loud'"
neap run --drain-timeout soon x.lua
one_line 2 'not a number of seconds'
neap run --log-level
one_line 2 'wants a value'

# --- run
file args.lua <<'LUA'
print(arg[-1], arg[0]:match "[^/]+$", #arg, arg[1], select("#", ...), (select(2, ...)))
LUA
neap run "$tmp/args.lua" --log-level error
equal "$out" "run	args.lua	2	--log-level	2	error"
equal "$code" 0

file waits.lua <<'LUA'
local task = require "neap.task"
task.sleep(0.001)
task.spawn(function() task.sleep(0.001) print "spawned" end)
print "main"
LUA
neap run "$tmp/waits.lua"
equal "$out" "main
spawned" "a task that outlives the main script"

code=0
out=$(echo 'print("from stdin", ...)' | timeout 60 "$NEAP" run - a) || code=$?
equal "$out" "from stdin	a"

file exits.lua <<'LUA'
require("neap.task").sleep(0)
require("neap.log").error("last words")
os.exit(7)
LUA
neap run "$tmp/exits.lua"
equal "$code" 7
matches "$err" 'last words'

file code.lua <<'LUA'
require("neap.core.runtime").exit_code(3)
LUA
neap run "$tmp/code.lua"
equal "$code" 3

# --- what goes wrong
neap run "$tmp/absent.lua"
one_line 1 '^neap: .*absent\.lua: No such file or directory$'
neap run "$tmp"
one_line 1 '^neap: .*Is a directory$'
file syntax.lua <<'LUA'
local x =
  = 1
LUA
neap run "$tmp/syntax.lua"
one_line 1 "^neap: .*syntax\.lua:2: unexpected symbol near '='\$"
file raises.lua <<'LUA'
local function inner() error("deep trouble") end
inner()
LUA
for wait in '' 'require("neap.task").sleep(0.001)'; do
  sed -i "1s/^/$wait /" "$tmp/raises.lua"
  neap run "$tmp/raises.lua"
  equal "$code" 1
  matches "$err" '^neap: .*raises\.lua:1: deep trouble'
  matches "$err" $'stack traceback:.*raises\.lua:2: in main chunk$'
done
file port.lua <<'LUA'
local neap = require "neap"
local first = assert(neap.tcp.listen { port = 0 })
assert(neap.tcp.listen { port = first.port })
LUA
neap run "$tmp/port.lua"
one_line 1 '^neap: EADDRINUSE: .*ddress already in use'
file never.lua <<'LUA'
require("neap.task").future():await()
LUA
neap run "$tmp/never.lua"
one_line 1 'waits for something that cannot come'
file spawned.lua <<'LUA'
require("neap.task").spawn(function() error("only this task") end)
require("neap.task").sleep(0.01)
print "goes on"
LUA
neap run "$tmp/spawned.lua"
equal "$out" "goes on"
equal "$code" 0
matches "$err" 'only this task'

# --- NEAP_LUA_PATH
mkdir "$tmp/neap"
echo 'return { mine = true }' >"$tmp/neap/schema.lua"
NEAP_LUA_PATH=$tmp neap eval 'require("neap.schema").mine'
equal "$out" true

# --- eval
neap eval '1 + 1'
equal "$out" 2
neap eval '({ b = { 1, 2 }, a = "x" }), "text", nil'
equal "$out" '{ a = "x", b = { 1, 2 } }
text
nil'
neap eval 'x = 1'
equal "$out" ""
neap eval 'for i = 1, ... do print(i) end' 2
equal "$out" "1
2"
neap eval 'neap.json.encode { 1 }'
equal "$out" "[1]"
neap eval 'neap.task.sleep(0.001)'
equal "$out" true
neap eval 'x = = 1'
one_line 1 "^neap: eval:1: unexpected symbol near '='\$"
neap eval 'error("no")'
equal "$code" 1
matches "$err" '^neap: eval:1: no'
neap eval
one_line 2 'no code given'
