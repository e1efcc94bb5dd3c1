# Static files with curl as the peer: whole, resumed, revalidated, over TLS and a unix socket; a
# sandboxed service's reach; descriptors that run out.
. "${NEAP_SOURCE:?}/spec/support/e2e.sh"
command -v curl >/dev/null || skip "no curl"

mkdir -p "$tmp/app/public/sub" "$tmp/other"
head -c 20000000 /dev/urandom >"$tmp/app/public/large.bin"
seq 1 1000 >"$tmp/app/public/numbers.txt"
echo '<h1>home</h1>' >"$tmp/app/public/index.html"
echo 'sub' >"$tmp/app/public/sub/index.html"
echo 'SECRET' >"$tmp/other/secret.txt"
gzip -k "$tmp/app/public/numbers.txt"
ln -s "$tmp/other/secret.txt" "$tmp/app/public/leak.txt"
find "$tmp/app" -type f -exec touch -d '2024-01-01 00:00:00 UTC' {} +

cat >"$tmp/app/site.lua" <<'LUA'
local neap = require "neap"
local dir = assert(os.getenv "SITE")
local app = neap.http.app()
app:static("/", dir .. "/public", { precompressed = true, max_age = 60 })
local plain = assert(neap.http.serve { app = app })
local unix = assert(neap.http.serve { app = app, unix = dir .. "/sock" })
print("plain " .. plain.address)
print("unix " .. unix.address)
if os.getenv "CERT" then
  local secure = assert(neap.http.serve {
    app = app, tls = { cert = os.getenv "CERT", key = os.getenv "KEY" },
  })
  print("secure " .. secure.address)
end
print "ready"
LUA

cert=
if command -v openssl >/dev/null; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=IP:127.0.0.1' -keyout "$tmp/key.pem" -out "$tmp/cert.pem" 2>/dev/null
  cert=$tmp/cert.pem
fi
SITE=$tmp/app CERT=$cert KEY=$tmp/key.pem start site "$NEAP" run "$tmp/app/site.lua"
await site '^ready$' >/dev/null
plain=http://$(await site '^plain' | cut -d' ' -f2)

# get URL OPTIONS…: `body` (a file), `code`, and the headers in $tmp/head
get() {
  code=$(curl -sS --max-time 60 --path-as-is -D "$tmp/head" -o "$tmp/body" -w '%{http_code}' "$@")
}
header() { grep -i "^$1:" "$tmp/head" | cut -d' ' -f2- | tr -d '\r'; }

# --- whole, over each transport
whole() {
  get "$@"
  equal "$code" 200 "$*"
  cmp "$tmp/body" "$tmp/app/public/large.bin" || fail "another file: $*"
}
whole "$plain/large.bin"
whole --unix-socket "$tmp/app/sock" "http://x/large.bin"
whole --limit-rate 100M "$plain/large.bin"
if [ -n "$cert" ]; then
  secure=https://$(await site '^secure' | cut -d' ' -f2)
  whole --cacert "$cert" "$secure/large.bin"
fi
curl -sS --max-time 60 "$plain/large.bin" "$plain/numbers.txt" "$plain/large.bin" >"$tmp/body"
cat "$tmp/app/public/"{large.bin,numbers.txt,large.bin} | cmp - "$tmp/body" || fail "three on one connection"
curl -sS --max-time 60 -I "$plain/large.bin" | tr -d '\r' | grep -qi '^content-length: 20000000$' || fail "HEAD"

# --- resumed and in parts
head -c 12345678 "$tmp/app/public/large.bin" >"$tmp/part"
curl -sS --max-time 60 -C - -o "$tmp/part" "$plain/large.bin"
cmp "$tmp/part" "$tmp/app/public/large.bin" || fail "resumed"
get -r 100-199 "$plain/numbers.txt"
equal "$code $(header content-range)" "206 bytes 100-199/3893"
cmp "$tmp/body" <(tail -c +101 "$tmp/app/public/numbers.txt" | head -c 100) || fail "a range"
get -r 0-9,3890- "$plain/numbers.txt"
equal "$code" 206
grep -aq 'Content-Range: bytes 3890-3892/3893' "$tmp/body" || fail "the last of two ranges"
get -r 4000- "$plain/numbers.txt"
equal "$code $(header content-range)" "416 bytes */3893"

# --- revalidated
curl -sS --etag-save "$tmp/etag" -o /dev/null "$plain/numbers.txt"
get --etag-compare "$tmp/etag" "$plain/numbers.txt"
equal "$code" 304 "by its tag"
get -z 'Mon, 01 Jan 2024 00:00:00 GMT' "$plain/numbers.txt"
equal "$code" 304 "by its date"
get -z 'Sun, 31 Dec 2023 23:59:59 GMT' "$plain/numbers.txt"
equal "$code $(header cache-control)" "200 public, max-age=60"

# --- coded, redirected, refused
get --compressed "$plain/numbers.txt"
equal "$(header content-encoding)" gzip
cmp "$tmp/body" "$tmp/app/public/numbers.txt" || fail "decoded"
get -L "$plain/sub"
equal "$code $(cat "$tmp/body")" "200 sub"
for path in /../other/secret.txt /%2e%2e/other/secret.txt /sub/..%2f..%2fsite.lua /leak.txt "//$tmp/other/secret.txt"; do
  get "$plain$path"
  case $code in 400 | 404) ;; *) fail "$path: $code" ;; esac
  ! grep -q SECRET "$tmp/body" || fail "$path told it"
done
get -X POST "$plain/numbers.txt"
equal "$code $(header allow)" "405 GET, HEAD, OPTIONS"

# --- a sandboxed service serves what is below its directory, and nothing else
cat >"$tmp/app/boxed.lua" <<LUA
local neap = require "neap"
local function told(ok, ...)
  if ok then return "allowed" end
  return tostring((...))
end
local function try(...) return told(pcall(neap.http.app().static, neap.http.app(), "/", ...)) end
print(try "$tmp/app/public")
print(try "$tmp/app")
print(try "$tmp/other")
print(try "$tmp/app/../other")
print(try "/")
print(try("$tmp/app/public", { links = "all" }))
print(try("$tmp/app/public", { mime_types = "/etc/passwd" }))
local app = neap.http.app()
app:static("/files", "$tmp/app/public")
app:get("/send/*path", function(req)
  local ok, err = req:send_file("/" .. req.params.path)
  if not ok then return 403, err.code end
end)
app:get("/below/*path", function(req)
  local ok, err = req:send_file(req.params.path, { root = "/" })
  if not ok then return 403, err.code end
end)
print("plain " .. assert(neap.http.serve { app = app }).address)
LUA
start boxed "$NEAP" run --sandbox "$tmp/app/boxed.lua"
boxed=http://$(await boxed '^plain' | cut -d' ' -f2)
equal "$(grep -c '^allowed$' "$tmp/boxed.log")" 2
equal "$(grep -c 'outside of the script.s directory' "$tmp/boxed.log")" 3
grep -q 'opts.links: "all" is not available in a sandbox' "$tmp/boxed.log" || fail "links"
grep -q 'opts.mime_types: a path is not available in a sandbox' "$tmp/boxed.log" || fail "mime_types"
get "$boxed/files/index.html"
equal "$code $(cat "$tmp/body")" "200 <h1>home</h1>"
get "$boxed/files/leak.txt"
equal "$code" 404
get "$boxed/send$tmp/app/public/index.html"
equal "$code" 200
for path in "send$tmp/other/secret.txt" "send$tmp/app/public/leak.txt" "below$tmp/other/secret.txt" send/etc/passwd; do
  get "$boxed/$path"
  equal "$code $(cat "$tmp/body")" "403 EACCES" "$path"
done

# --- no descriptor is left: 503, and then it goes on
cat >"$tmp/few.py" <<'PY'
import http.client, socket, sys
port = int(sys.argv[1])
kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
def ask():
    kept.request("GET", "/numbers.txt")
    res = kept.getresponse()
    res.read()
    return res.status
assert ask() == 200
others = []
while True:  # until the service cannot take another
    s = socket.create_connection(("127.0.0.1", port), timeout=30)
    s.sendall(b"GET /sub/ HTTP/1.1\r\nHost: x\r\n\r\n")
    others.append(s)
    status = s.recv(65536).split(b" ")[1]
    if status == b"503": break
    assert status == b"200" and len(others) < 1000, status
status = ask()
assert status == 503, status
for s in others: s.close()
for _ in range(1000):
    status = ask()
    if status == 200: break
assert status == 200, status
print("held")
PY
signal site TERM
ended site
equal "$code" 0
SITE=$tmp/app start few bash -c 'ulimit -n 60 && exec "$0" run "$1"' "$NEAP" "$tmp/app/site.lua"
few=$(await few '^plain' | cut -d: -f2)
equal "$(python3 "$tmp/few.py" "$few")" held
