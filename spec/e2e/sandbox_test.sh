# A service in a sandbox: what scripts try to get out of it fails and says why; what they need works.
. "${NEAP_SOURCE:?}/spec/support/e2e.sh"

run() { # run OPTIONS… FILE: `out` and `code`
  code=0
  timeout 60 "$NEAP" run "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
  out=$(cat "$tmp/out")
  err=$(cat "$tmp/err")
}

mkdir -p "$tmp/app/lib"
cp "$NEAP_SOURCE/spec/support/sandbox_attempts.lua" "$tmp/app/attempts.lua"

# --- attempts
cat >"$tmp/app/tries.lua" <<'LUA'
local attempts, failed = require "attempts", 0
local function matches(text, patterns)
  for pattern in patterns:gmatch "[^|]+" do
    if text:find(pattern) then return true end
  end
end
for i, attempt in ipairs(attempts) do
  local chunk = assert(load(attempt[1], "=attempt"))
  local results = table.pack(pcall(chunk))
  local refused = not results[1] or not results[2]
  local words = tostring(results[1] and results[3] or results[2])
  if not refused or not matches(words, attempt[2]) then
    failed = failed + 1
    print(("%d: %s\n  gave %s"):format(i, attempt[1], words))
  end
end
print(#attempts >= 40 and "enough", failed)
LUA
run --sandbox "$tmp/app/tries.lua"
equal "$out" "enough	0" "attempts"
equal "$code" 0 "$err"

# --- what stands elsewhere, reached by links
echo 'return "a secret"' >"$tmp/secret.lua"
ln -s "$tmp/secret.lua" "$tmp/app/link.lua"
ln -s "$tmp" "$tmp/app/up"
mkfifo "$tmp/app/pipe.lua"
cp "$tmp/secret.lua" "$tmp/app2.lua"
cat >"$tmp/app/links.lua" <<LUA
for _, name in ipairs { "link", "up.secret", "up/secret", "../secret", "pipe", "..app2" } do
  local ok, err = pcall(require, name)
  print(ok and "LOADED" or tostring(err):match "outside" or tostring(err):match "no file" or err)
end
for _, path in ipairs { "$tmp/secret.lua", "$tmp/app/../secret.lua", "$tmp/app/link.lua", "$tmp/app/pipe.lua",
                        "/dev/zero", "$tmp/app", "$tmp/app2.lua" } do
  local fn, err = loadfile(path)
  print(fn and "LOADED" or err:match "outside" or err:match "no file" or err)
end
print(dofile "$tmp/app/lib/mod.lua".where)
LUA
echo 'return { where = "below" }' >"$tmp/app/lib/mod.lua"
run --sandbox "$tmp/app/links.lua"
equal "$out" "outside
outside
outside
no file
no file
no file
outside
outside
outside
no file
no file
no file
outside
below"

# --- bytecode in files, as a module and as the script itself
printf '\033Lua' >"$tmp/app/binary.lua"
echo 'print(select(2, pcall(require, "binary")))' >"$tmp/app/loads_binary.lua"
run --sandbox "$tmp/app/loads_binary.lua"
matches "$out" "attempt to load a binary chunk"
run --sandbox "$tmp/app/binary.lua"
equal "$code" 1
matches "$err" "attempt to load a binary chunk"

# --- what works: one's own modules, waits, servers, output, the library's inside
cat >"$tmp/app/works.lua" <<'LUA'
#!/usr/bin/env neap
local mod, task, http = require "lib.mod", require "neap.task", require "neap.http"
string.shout = function(s) return s:upper() .. "!" end
assert(("a"):shout() == "A!" and require "string" == string and _G._G == _G)
assert(package.loaded["lib.mod"] == mod and require "lib.mod" == mod)
package.loaded["lib.mod"] = nil
assert(require "lib.mod" ~= mod)
package.preload.made = function(name) return { name = name } end
assert(require "made".name == "made")
table.insert, pairs, require "string".format = nil, nil, nil -- nobody's but ours
task.sleep(0.001)
local app = http.app()
app:get("/", function() return { status = 200, body = require "neap.json".encode { 1 } } end)
local server = assert(http.serve { port = 0, app = app })
local res = assert(http.get(("http://127.0.0.1:%d/"):format(server.port)))
assert(res.status == 200, res.body)
server:close()
local gen = coroutine.wrap(function() task.sleep(0.001) coroutine.yield(7) end)
io.write("to ", "stdout ", gen(), "\n")
io.stdout:write("and ", "so\n")
io.stderr:write "errors\n"
print(mod.where, arg[0]:match "[^/]+$", ...)
LUA
run --sandbox --allow-net '127.0.0.1:*' "$tmp/app/works.lua" one
equal "$out" "to stdout 7
and so
below	works.lua	one" "$err"
equal "$err" "errors"
equal "$code" 0

# --- the network
cat >"$tmp/app/net.lua" <<LUA
local tcp, udp, unix, dns, http = require "neap.tcp", require "neap.udp", require "neap.unix", require "neap.dns",
  require "neap.http"
local function tell(_, err) print(err and err.code or "no error", err and err.message) end
tell(tcp.connect("127.0.0.1", 1))
tell(tcp.connect("::ffff:127.0.0.1", 1))
tell(tcp.connect("evil.example", 80))
tell(unix.connect "/run/evil.sock")
tell(unix.listen { path = "$tmp/evil.sock" })
tell(dns.resolve "secret.evil.example")
tell(dns.srv "_x._tcp.evil.example")
tell(dns.set_servers "127.0.0.1:53")
tell(http.get "http://evil.example/")
tell(http.get "http://[::1]:8/")
local u = assert(udp.open { host = "127.0.0.1", port = 0 })
tell(u:send("x", "127.0.0.1", 9))
tell(u:connect("127.0.0.1", 9))
tell(u:join "239.1.2.3")
u:close()
tell(require "neap.bus".connect "nats://evil.example:4222")
LUA
run --sandbox --log-level error "$tmp/app/net.lua"
equal "$(cut -f1 <<<"$out" | sort | uniq -c | tr -s ' ')" " 14 EACCES" "$out $err"
matches "$out" 'network access to evil.example:80 is not allowed \(--allow-net\)'
[ ! -e "$tmp/evil.sock" ] || fail "a socket was made"

cat >"$tmp/app/redirect.lua" <<'LUA'
local http, tcp = require "neap.http", require "neap.tcp"
local l = assert(tcp.listen { host = "127.0.0.1", port = 0 })
local server = assert(http.serve { host = "127.0.0.1", port = 0, handler = function()
  return 302, "", { location = ("http://localhost:%d/"):format(l.port) }
end })
local _, err = http.get(("http://127.0.0.1:%d/"):format(server.port), { redirects = 3 })
print(err and err.code, err and err.message:match "network access to localhost")
l:close()
server:close()
LUA
run --sandbox --log-level error --allow-net '127.0.0.1:*' "$tmp/app/redirect.lua"
equal "$out" "EACCES	network access to localhost" "$err"

# --- the policy without a sandbox
echo 'print(os.getenv "HOME" ~= nil, select(2, require "neap.tcp".connect("127.0.0.1", 1)).code)' >"$tmp/app/free.lua"
run --allow-net '10.0.0.0/8:*' --log-level error "$tmp/app/free.lua"
equal "$out" "true	EACCES"
run --allow-net 'nonsense' "$tmp/app/free.lua"
equal "$code" 2
matches "$err" "^neap: --allow-net: 'nonsense': wanted host:port"
run --sandbox -i "$tmp/app/free.lua"
equal "$code" 2
matches "$err" "no REPL in a sandbox"

# --- more than one worker, and threads
cat >"$tmp/app/workers.lua" <<'LUA'
local ok, err = pcall(os.execute, "true")
print(ok, err)
LUA
run --sandbox --workers 2 "$tmp/app/workers.lua"
equal "$(sort -u <<<"$out")" "false	os.execute is not available in a sandbox"
echo 'return require "lib.mod".where' >"$tmp/app/work.lua"
cat >"$tmp/app/threads.lua" <<LUA
local thread = require "neap.thread"
print(thread("$tmp/app/work.lua"))
print(thread(function() return require "lib.mod".where end))
print((select(2, thread "$tmp/secret.lua").message:match "outside"))
print((select(2, thread "$tmp/app/link.lua").message:match "outside"))
print((select(2, thread(function() return os.execute "true" end)).message:match "os.execute is not available"))
print((select(2, thread(function() return io.open "/etc/passwd" end)).message:match "io.open is not available"))
LUA
run --sandbox "$tmp/app/threads.lua"
equal "$out" "below
below
outside
outside
os.execute is not available
io.open is not available" "$err"

# --- finalisers that run when the state closes open nothing, which nobody would close any more
cat >"$tmp/app/late.lua" <<'LUA'
local tcp, udp, task, registry, balancer = require "neap.tcp", require "neap.udp", require "neap.task",
  require "neap.registry", require "neap.balancer"
local function print(ok, opened) io.write(ok and opened ~= nil and "opened" or "refused", "\n") end
keep = setmetatable({}, { __gc = function()
  print(pcall(tcp.listen, { port = 0 }))
  print(pcall(udp.open, { port = 0 }))
  print(pcall(task.spawn, print))
  print(pcall(registry.watch, "x", print))
  print(pcall(balancer.new, "p2c", { service = "x" }))
end })
LUA
run "$tmp/app/late.lua"
equal "$(sort -u <<<"$out")" "refused" "$err"
equal "$err" ""
equal "$code" 0
