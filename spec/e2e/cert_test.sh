# neap cert: what it makes is what OpenSSL, and so everybody, trusts; nothing is overwritten unasked.
. "$NEAP_SOURCE/spec/support/e2e.sh"

export XDG_DATA_HOME="$tmp/data"
ca=$XDG_DATA_HOME/neap/ca
cd "$tmp"

# cert ARGS…: `out`, `err` and `code` are what came.
cert() {
  code=0
  timeout 60 "$NEAP" cert "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
  out=$(cat "$tmp/out")
  err=$(cat "$tmp/err")
}
refused() { # refused CODE REGEX
  equal "$code" "$1" "exit code of: $err"
  equal "$(wc -l <"$tmp/err")" 1 "lines of: $err"
  matches "$err" "$2"
}
# trusted FILE ARGS…: as a browser would, with the authority
trusted() {
  openssl verify -x509_strict -CAfile "$ca/ca.pem" "${@:2}" "$1" >"$tmp/verify" 2>&1
}
text() {
  openssl x509 -in "$1" -noout -text
}

# --- a certificate for localhost, and its authority on the way
cert localhost
equal "$code" 0 "$err"
matches "$out" "Made an authority for development: $ca/ca.pem"
matches "$out" 'update-ca-certificates' "how to trust it"
trusted localhost.pem -purpose sslserver -verify_hostname localhost || fail "$(cat verify)"
trusted localhost.pem -verify_ip 127.0.0.1 || fail "$(cat verify)"
trusted localhost.pem -verify_ip ::1 || fail "$(cat verify)"
trusted localhost.pem -purpose sslclient && fail "a server's certificate is good for clients"
trusted localhost.pem -verify_hostname other.test && fail "it is for other names too"
equal "$(cat localhost.pem "$ca/ca.pem")" "$(cat localhost-fullchain.pem)" "the full chain"
equal "$(openssl pkey -in localhost-key.pem -pubout)" "$(openssl x509 -in localhost.pem -noout -pubkey)"
equal "$(stat -c %a localhost-key.pem "$ca/ca-key.pem" "$ca" | xargs)" "600 600 700" "modes of keys"
equal "$(head -n 1 localhost-key.pem)" "-----BEGIN PRIVATE KEY-----" "PKCS#8"
openssl x509 -in "$ca/ca.pem" -noout -ext basicConstraints,keyUsage >ext
matches "$(cat ext)" 'Basic Constraints: critical.*CA:TRUE'
matches "$(cat ext)" 'Key Usage: critical.*Certificate Sign, CRL Sign'
# openssl's -checkend: not over in a day, over in two years.
openssl x509 -in localhost.pem -noout -checkend 86400 >/dev/null || fail "ends today"
openssl x509 -in localhost.pem -noout -checkend $((825 * 86400)) >/dev/null && fail "longer than browsers take"

# --- nothing is overwritten unasked, and the authority is made once
before=$(cat localhost.pem localhost-key.pem "$ca/ca.pem")
cert localhost
refused 1 'localhost\.pem is there already \(--force replaces it\)'
cert ca
refused 1 'ca\.pem is there already'
equal "$(cat localhost.pem localhost-key.pem "$ca/ca.pem")" "$before" "files after a refusal"
authority=$(cat "$ca/ca.pem")
cert localhost --force
equal "$code" 0 "$err"
equal "$(cat "$ca/ca.pem")" "$authority" "the authority stays"
[ "$(cat localhost.pem)" != "$(head -c ${#before} <<<"$before")" ] || fail "--force made nothing"
trusted localhost.pem || fail "$(cat verify)"

# --- names of every sort, keys of every sort
cert server '*.dev.test' dev.test 10.0.0.1 --key rsa3072 --days 30 --mutual --out made/here
equal "$code" 0 "$err"
matches "$out" 'https://www\.dev\.test:8443'
f=made/here/_wildcard.dev.test.pem
trusted $f -purpose sslserver -verify_hostname a.dev.test || fail "$(cat verify)"
trusted $f -purpose sslclient -verify_ip 10.0.0.1 || fail "$(cat verify)"
trusted $f -verify_hostname a.b.dev.test && fail "a wildcard for two labels"
matches "$(text $f)" 'Public-Key: \(3072 bit\)'
cert server ed.test --key ed25519
matches "$(text ed.test.pem)" 'ED25519'

# --- clients
cert client alice@example.com --spiffe spiffe://example.org/alice --p12 secret
equal "$code" 0 "$err"
f=alice-example.com-client
trusted $f.pem -purpose sslclient -verify_email alice@example.com || fail "$(cat verify)"
trusted $f.pem -purpose sslserver && fail "a client's certificate is good for servers"
matches "$(text $f.pem)" 'URI:spiffe://example.org/alice'
matches "$(openssl pkcs12 -in $f.p12 -passin pass:secret -nokeys)" 'alice@example.com'
cert client 'Alice Smith'
matches "$(text Alice-Smith-client.pem)" 'Subject: CN ?= ?Alice Smith'

# --- the list of revoked ones
cert crl
equal "$code" 0 "$err"
cert crl --revoke $f.pem
matches "$out" ': 1 added'
cat "$ca/ca.pem" "$ca/crl.pem" >ca+crl.pem
openssl verify -crl_check -CAfile ca+crl.pem localhost.pem >/dev/null 2>&1 || fail "revoked the wrong one"
openssl verify -crl_check -CAfile ca+crl.pem $f.pem >verify 2>&1 && fail "not revoked"
matches "$(cat verify)" 'certificate revoked'
cert crl --revoke localhost.pem
openssl crl -in "$ca/crl.pem" -noout -text -CAfile "$ca/ca.pem" >crl 2>&1
equal "$(grep -c 'Serial Number' crl)" 2 "entries of the list"
matches "$(cat crl)" 'verify OK'
matches "$(cat crl)" $'CRL Number: *\n *3'

# --- an authority of its own directory signs only its own
cert ca --out other --name 'Other CA' --key p384 --days 30
equal "$code" 0 "$err"
matches "$(text other/ca.pem)" 'CN ?= ?Other CA'
cert x.test --ca other
trusted x.test.pem && fail "trusted by the wrong authority"
openssl verify -CAfile other/ca.pem x.test.pem >/dev/null || fail "not signed by its authority"
cert crl --revoke localhost.pem --ca other
refused 1 'signed by another authority'

# --- show
cert show localhost-fullchain.pem localhost-key.pem
matches "$out" 'for +localhost, 127\.0\.0\.1, ::1'
matches "$out" 'good for +signing others'
matches "$out" 'private key'
sha=$(openssl x509 -in localhost.pem -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr A-F a-f)
matches "$out" "SHA-256 +$sha"
matches "$("$NEAP" cert show - <localhost.pem)" 'CN=localhost'

# --- misuse, one line each
cert
refused 2 'of what\?'
cert --bogus
refused 2 "unknown option '--bogus'"
cert server
refused 2 'for which name'
cert '*.com'
refused 2 'top-level'
cert 'a b'
refused 2 'not a host name'
cert a.test --days 826
refused 2 'from 1 to 825'
cert a.test --key dsa
refused 2 '--key: '
cert client a --spiffe spiffe://UPPER/x
refused 2 'no SPIFFE ID'
cert show absent.pem
refused 1 'absent\.pem: No such file'
cert show out
refused 1 'no certificate'
echo rubbish >other/ca-key.pem
cert y.test --ca other
refused 1 "authority's key"
[ ! -e y.test.pem ] && [ ! -e y.test-key.pem ] || fail "files of a failed attempt"
equal "$(find . -name '*.pem.??????')" "" "temporary files left"
