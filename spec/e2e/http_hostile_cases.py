"""Requests that could be read two ways, or not at all, each with the one outcome that is acceptable.

Written from the MUSTs of RFC 9110 and RFC 9112, whose sections are given. A case is (name, bytes, outcome). The
driver sends the bytes and, right behind them, a probe (`GET /probe`, which asks to close); the outcome says which
answers come, in order:

    "400"          one answer with that status, which closes: the probe is not answered
    "200 400"      an answer to a first request, then a refusal that closes
    "200 +"        an answer, and the connection goes on: the probe is answered
    "200 -"        an answer, and the connection is closed as was asked: the probe is not answered
    "200 !"        an answer, and the connection is closed for what came behind it
    "100 200 +"    1xx answers count too
    ""             no answer at all, the connection is closed

`SEES` maps a case to what the handler must have seen, "METHOD target body trailers" (see the driver's script).
`CUT` holds cases that end too early: no probe, the client ends its side.
"""

H = b"Host: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"
MAX_HEAD = 16 * 1024
MAX_BODY = 1024 * 1024


def get(headers=b"", target=b"/", host=H, version=b"HTTP/1.1", method=b"GET"):
    return method + b" " + target + b" " + version + b"\r\n" + host + headers + b"\r\n"


def post(headers, body=b""):
    return get(headers, method=b"POST") + body


def chunked(body):
    return CHUNKED + body


CASES = []
SEES = {}
CUT = []


def case(name, data, outcome, sees=None):
    CASES.append((name, data, outcome))
    if sees is not None:
        SEES[name] = sees


def cut(name, data, outcome):
    CUT.append((name, data, outcome))


# --- Content-Length (RFC 9110 8.6, RFC 9112 6.2, 6.3)
case("length: plain", post(b"Content-Length: 5\r\n", b"hello"), "200 +", "POST / hello")
case("length: zero", post(b"Content-Length: 0\r\n"), "200 +", "POST / ")
case("length: leading zeros", post(b"Content-Length: 005\r\n", b"hello"), "200 +", "POST / hello")
case("length: blanks around", post(b"Content-Length:   5  \r\n", b"hello"), "200 +", "POST / hello")
# Legal, but nobody sends it, and other readers take it for a part of the number.
case("length: tabs around", post(b"Content-Length:\t5\t\r\n", b"hello"), "400")
case("length: of GET", get(b"Content-Length: 5\r\n") + b"hello", "200 +", "GET / hello")
case("length: twice, differing", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"), "400")
case("length: twice, the same", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), "400")
case("length: twice in other cases", post(b"Content-Length: 5\r\ncontent-LENGTH: 0\r\n", b"hello"), "400")
case("length: list of the same", post(b"Content-Length: 5, 5\r\n", b"hello"), "400")
case("length: list, differing", post(b"Content-Length: 5,6\r\n", b"hello!"), "400")
case("length: list with nothing", post(b"Content-Length: 5,\r\n", b"hello"), "400")
case("length: plus", post(b"Content-Length: +5\r\n", b"hello"), "400")
case("length: minus", post(b"Content-Length: -5\r\n", b"hello"), "400")
case("length: minus zero", post(b"Content-Length: -0\r\n"), "400")
case("length: hex", post(b"Content-Length: 0x5\r\n", b"hello"), "400")
case("length: letters", post(b"Content-Length: five\r\n", b"hello"), "400")
case("length: digits, then letters", post(b"Content-Length: 5a\r\n", b"hello"), "400")
case("length: fraction", post(b"Content-Length: 5.0\r\n", b"hello"), "400")
case("length: exponent", post(b"Content-Length: 1e1\r\n", b"0123456789"), "400")
case("length: quoted", post(b'Content-Length: "5"\r\n', b"hello"), "400")
case("length: blank inside", post(b"Content-Length: 1 2\r\n", b"hello world!"), "400")
case("length: blank value", post(b"Content-Length: \r\n"), "400")
case("length: no value", post(b"Content-Length:\r\n"), "400")
case("length: 2^64", post(b"Content-Length: 18446744073709551616\r\n"), "400")
case("length: 2^64 + 5", post(b"Content-Length: 18446744073709551621\r\n", b"hello"), "400")
case("length: 2^63", post(b"Content-Length: 9223372036854775808\r\n"), "400")
case("length: a hundred digits", post(b"Content-Length: " + b"9" * 100 + b"\r\n"), "400")
case("length: more than is allowed", post(b"Content-Length: %d\r\n" % (MAX_BODY + 1)), "413")
case("length: other digits", post(b"Content-Length: \xd9\xa5\r\n", b"hello"), "400")
case("length: control byte", post(b"Content-Length: 5\x0b\r\n", b"hello"), "400")
case("length: NUL", post(b"Content-Length: 5\x00\r\n", b"hello"), "400")
case("length: name with a blank", post(b"Content-Length : 5\r\n", b"hello"), "400")
case("length: name with a tab", post(b"Content-Length\t: 5\r\n", b"hello"), "400")
case("length: underscore is another field", post(b"Content_Length: 50\r\nContent-Length: 5\r\n", b"hello"), "200 +",
     "POST / hello")

# --- Transfer-Encoding (RFC 9112 6.1, 6.3, 7)
case("coding: chunked", chunked(b"5\r\nhello\r\n0\r\n\r\n"), "200 +", "POST / hello")
case("coding: any case", post(b"Transfer-Encoding: ChunKED\r\n", b"1\r\na\r\n0\r\n\r\n"), "200 +", "POST / a")
case("coding: blanks around", post(b"Transfer-Encoding:\t chunked \r\n", b"0\r\n\r\n"), "200 +", "POST / ")
case("coding: with length", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), "400")
case("coding: with length before", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: with length zero", post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: chunked twice", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: given twice", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: identity beside it", post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
                                        b"0\r\n\r\n"), "501")
case("coding: identity, chunked", post(b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: identity", post(b"Transfer-Encoding: identity\r\n"), "501")
case("coding: unknown", post(b"Transfer-Encoding: cow\r\n"), "501")
case("coding: xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), "501")
case("coding: chunkedx", post(b"Transfer-Encoding: chunkedx\r\n", b"0\r\n\r\n"), "501")
case("coding: chunked not last", post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), "400")
case("coding: gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: an empty element", post(b"Transfer-Encoding: , chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: a trailing comma", post(b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n"), "400")
case("coding: parameter", post(b"Transfer-Encoding: chunked;a=b\r\n", b"0\r\n\r\n"), "501")
case("coding: quoted", post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), "501")
case("coding: nothing", post(b"Transfer-Encoding:\r\n"), "400")
case("coding: vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), "400")
case("coding: form feed", post(b"Transfer-Encoding: chunked\x0c\r\n", b"0\r\n\r\n"), "400")
case("coding: NUL", post(b"Transfer-Encoding: chunked\x00\r\n", b"0\r\n\r\n"), "400")
case("coding: bare CR", post(b"Transfer-Encoding: chunked\r\r\n", b"0\r\n\r\n"), "400")
case("coding: no-break space", post(b"Transfer-Encoding: \xa0chunked\r\n", b"0\r\n\r\n"), "501")
case("coding: name with a blank", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: name with a blank, and length", post(b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n",
                                                   b"0\r\n\r\n"), "400")
case("coding: folded", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), "400")
case("coding: in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400")
case("coding: in HTTP/1.0 with length",
     b"POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400")
case("coding: of GET", get(b"Transfer-Encoding: chunked\r\n") + b"2\r\nhi\r\n0\r\n\r\n", "200 +", "GET / hi")
case("coding: underscore is another field", post(b"Transfer_Encoding: chunked\r\nContent-Length: 2\r\n", b"hi"),
     "200 +", "POST / hi")

# --- chunks (RFC 9112 7.1)
case("chunk: several", chunked(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), "200 +", "POST / abc")
case("chunk: upper and lower hex", chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), "200 +",
     "POST / 01234567890123456789")
case("chunk: leading zeros", chunked(b"0000000000000000000005\r\nhello\r\n000\r\n\r\n"), "200 +", "POST / hello")
case("chunk: data like framing", chunked(b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), "200 +", "POST / \\r\\n0\\r\\n\\r\\n")
case("chunk: overflow", chunked(b"10000000000000000\r\n"), "400")
case("chunk: overflow to five", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "400")
case("chunk: 2^64 - 1", chunked(b"ffffffffffffffff\r\n"), "413")
case("chunk: more than is allowed", chunked(b"%x\r\n" % (MAX_BODY + 1)), "413")
case("chunk: empty size", chunked(b"\r\n0\r\n\r\n"), "400")
case("chunk: negative", chunked(b"-1\r\na\r\n0\r\n\r\n"), "400")
case("chunk: plus", chunked(b"+1\r\na\r\n0\r\n\r\n"), "400")
case("chunk: 0x", chunked(b"0x1\r\na\r\n0\r\n\r\n"), "400")
case("chunk: x", chunked(b"x\r\n"), "400")
case("chunk: g", chunked(b"1g\r\na\r\n0\r\n\r\n"), "400")
case("chunk: blank before", chunked(b" 1\r\na\r\n0\r\n\r\n"), "400")
case("chunk: blank behind", chunked(b"1 \r\na\r\n0\r\n\r\n"), "400")
case("chunk: tab behind", chunked(b"1\t\r\na\r\n0\r\n\r\n"), "400")
case("chunk: blank inside", chunked(b"1 0\r\n0123456789abcdef\r\n0\r\n\r\n"), "400")
case("chunk: bare LF behind size", chunked(b"1\na\r\n0\r\n\r\n"), "400")
case("chunk: bare CR behind size", chunked(b"1\ra\r\n0\r\n\r\n"), "400")
case("chunk: CR CR LF", chunked(b"1\r\r\na\r\n0\r\n\r\n"), "400")
case("chunk: NUL", chunked(b"1\x00\r\na\r\n0\r\n\r\n"), "400")
case("chunk: no CRLF behind data", chunked(b"1\r\na0\r\n\r\n"), "400")
case("chunk: LF alone behind data", chunked(b"1\r\na\n0\r\n\r\n"), "400")
case("chunk: CR alone behind data", chunked(b"1\r\na\r0\r\n\r\n"), "400")
case("chunk: data too long", chunked(b"1\r\nab\r\n0\r\n\r\n"), "400")
case("chunk: data too short", chunked(b"3\r\nab\r\n0\r\n\r\n"), "400")
case("chunk: last one with LF", chunked(b"0\n\r\n"), "400")
case("chunk: last one without its line", chunked(b"0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"), "400")
case("chunk: end with LF alone", chunked(b"0\r\n\n"), "400")
case("chunk: end with CR alone", chunked(b"0\r\n\rGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"), "400")

# --- chunk extensions (RFC 9112 7.1.1): legal ones are skipped
EXT_OK = {
    "name": b";a", "value": b";a=b", "quoted": b';a="b c;d"', "several": b";a;b=c;d=\"e\"",
    "escaped quote": b';a="\\""', "escaped backslash": b';a="\\\\"', "blanks around": b" ; a = b ; c",
    "tabs around": b"\t;\ta\t=\tb", "empty quoted": b';a=""', "eighth bit": b';a="\xff"', "long": b";a=" + b"b" * 4000,
}
for name, ext in EXT_OK.items():
    case("extension: " + name, chunked(b"5" + ext + b"\r\nhello\r\n0" + ext + b"\r\n\r\n"), "200 +", "POST / hello")
EXT_BAD = {
    "no name": b";", "no name, but a value": b";=b", "no value": b";a=", "two names": b";a b", "blank at the end": b";a ",
    "bare LF": b";a\nb", "bare CR": b";a\rb", "LF for CRLF": b";a\n5\r\nhello", "LF in quotes": b';a="\n"',
    "CRLF in quotes": b';a="\r\n"', "quotes not closed": b';a="b', "behind quotes": b';a="b"c', "NUL": b";a\x00",
    "control byte": b";a=\x01", "control byte in quotes": b';a="\x01"', "DEL in quotes": b';a="\x7f"',
    "eighth bit": b";\xff", "comma": b";a=b,c", "no semicolon": b" a=b", "twice a semicolon": b";;a",
    "escaped CR": b';a="\\\r"',
}
for name, ext in EXT_BAD.items():
    case("extension refused: " + name, chunked(b"5" + ext + b"\r\nhello\r\n0\r\n\r\n"), "400")
case("extension refused: over-long", chunked(b"5;a=" + b"b" * (MAX_HEAD + 100) + b"\r\nhello\r\n0\r\n\r\n"), "400")
case("extension refused: over-long in sum", chunked((b"1;a=" + b"b" * 1000 + b"\r\nx\r\n") * 40 + b"0\r\n\r\n"), "400")
case("extension refused: on the last chunk", chunked(b"5\r\nhello\r\n0;a=\r\n\r\n"), "400")

# --- trailers (RFC 9110 6.5, RFC 9112 7.1.2)
case("trailer: kept", chunked(b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-B:\t2 \r\n\r\n"), "200 +", "POST / hi x-b=2 x-sum=1")
case("trailer: empty value", chunked(b"0\r\nX-Sum:\r\n\r\n"), "200 +", "POST /  x-sum=")
TRAILERS_BAD = {
    "length": b"Content-Length: 5", "coding": b"Transfer-Encoding: chunked", "Host": b"Host: b",
    "Connection": b"Connection: close", "Authorization": b"Authorization: Basic eA==", "Cookie": b"Cookie: a=b",
    "Content-Type": b"Content-Type: text/html", "Content-Encoding": b"Content-Encoding: gzip",
    "Expect": b"Expect: 100-continue", "Trailer": b"Trailer: x", "Upgrade": b"Upgrade: x", "TE": b"TE: trailers",
    "X-Forwarded-For": b"X-Forwarded-For: 127.0.0.1", "no colon": b"X-Sum 1", "no name": b": 1",
    "blank before colon": b"X-Sum : 1", "bad name": b"X(Sum): 1", "NUL": b"X-Sum: \x00", "control byte": b"X-Sum: \x01",
    "bare CR": b"X-Sum: a\rb", "bare LF": b"X-Sum: a\nX-B: c", "folded": b"X-Sum: a\r\n b", "leading blank": b" X-Sum: a",
}
for name, line in TRAILERS_BAD.items():
    case("trailer refused: " + name, chunked(b"2\r\nhi\r\n0\r\n" + line + b"\r\n\r\n"), "400")
# A handler that reads the body hears that it is too large, whichever part of it is.
case("trailer refused: too many", chunked(b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "413")
case("trailer refused: too long", chunked(b"0\r\nX: " + b"y" * (MAX_HEAD + 10) + b"\r\n\r\n"), "413")

# --- lines and fields (RFC 9112 2.2, 5)
case("line: CRLF before a request", b"\r\n\r\n" + get(), "200 +", "GET / ")
case("line: LF before a request", b"\n" + get(), "400")
case("line: CR before a request", b"\r" + get(), "400")
case("line: many empty ones before", b"\r\n" * 100 + get(), "400")
case("line: blank before a request", b" " + get(), "400")
case("line: tab before a request", b"\t" + get(), "400")
case("line: NUL before a request", b"\x00" + get(), "400")
case("line: LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", "400")
case("line: LF ends a field", b"GET / HTTP/1.1\r\nHost: a\n\r\n", "400")
case("line: LF ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", "400")
case("line: LF alone everywhere", b"GET / HTTP/1.1\nHost: a\n\n", "400")
case("line: CR alone ends the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", "400")
case("line: CR alone in a value", get(b"X: a\rb\r\n"), "400")
case("line: CR alone in a name", get(b"X\rY: a\r\n"), "400")
case("line: CR CR LF", get(b"X: a\r\r\n"), "400")
case("line: LF CR", get(b"X: a\n\r"), "400")
case("field: folded by a blank", get(b"X: a\r\n b\r\n"), "400")
case("field: folded by a tab", get(b"X: a\r\n\tb\r\n"), "400")
case("field: folded into Host", b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n", "400")
case("field: the first begins with a blank", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400")
case("field: a blank line of blanks", get(b" \r\n"), "400")
case("field: blank before colon", get(b"X : a\r\n"), "400")
case("field: tab before colon", get(b"X\t: a\r\n"), "400")
case("field: no name", get(b": a\r\n"), "400")
case("field: no name, blank", get(b" : a\r\n"), "400")
case("field: no colon", get(b"X a\r\n"), "400")
case("field: nothing but a name", get(b"X\r\n"), "400")
case("field: a request line again", get(b"GET /b HTTP/1.1\r\n"), "400")
for c in b'()<>@,;\\"/[]?={}\x7f\x80\xff':
    case("field: name with %r" % chr(c), get(b"X" + bytes([c]) + b"Y: a\r\n"), "400")
for c in (0, 1, 8, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f):
    case("field: value with %#x" % c, get(b"X: a" + bytes([c]) + b"b\r\n"), "400")
    case("field: name with %#x" % c, get(b"X" + bytes([c]) + b": a\r\n"), "400")
case("field: value ends in NUL", get(b"X: a\x00\r\n"), "400")
case("field: tab in a value", get(b"X: a\tb\r\n"), "200 +", "GET / ")
case("field: eighth bit in a value", get(b"X: \xc3\xa9\xff\r\n"), "200 +", "GET / ")
case("field: empty value", get(b"X:\r\n"), "200 +", "GET / ")
case("field: every token character", get(b"!#$%&'*+-.^_`|~09azAZ: a\r\n"), "200 +", "GET / ")
case("field: two of a name", get(b"X: a\r\nX: b\r\n"), "200 +", "GET / ")

# --- Host (RFC 9110 7.2, RFC 9112 3.2)
case("host: missing", get(host=b""), "400")
case("host: missing in HTTP/1.0", get(host=b"", version=b"HTTP/1.0"), "200 -", "GET / ")
case("host: empty", get(host=b"Host:\r\n"), "200 +", "GET / ")
case("host: twice", get(b"Host: b\r\n"), "400")
case("host: twice, the same", get(H), "400")
case("host: twice in HTTP/1.0", get(H, version=b"HTTP/1.0"), "400")
case("host: a list", get(host=b"Host: a, b\r\n"), "400")
case("host: two words", get(host=b"Host: a b\r\n"), "400")
case("host: a path", get(host=b"Host: a/b\r\n"), "400")
case("host: a URL", get(host=b"Host: http://a\r\n"), "400")
case("host: user information", get(host=b"Host: u@a\r\n"), "400")
case("host: a query", get(host=b"Host: a?b\r\n"), "400")
case("host: a fragment", get(host=b"Host: a#b\r\n"), "400")
case("host: port", get(host=b"Host: a:8080\r\n"), "200 +", "GET / ")
case("host: port of letters", get(host=b"Host: a:http\r\n"), "400")
case("host: two ports", get(host=b"Host: a:1:2\r\n"), "400")
case("host: port alone", get(host=b"Host: :80\r\n"), "400")
case("host: IPv6", get(host=b"Host: [::1]:80\r\n"), "200 +", "GET / ")
case("host: IPv6 without brackets", get(host=b"Host: ::1\r\n"), "400")
case("host: bracket not closed", get(host=b"Host: [::1\r\n"), "400")
case("host: bad percent", get(host=b"Host: a%zz\r\n"), "400")
case("host: quotes", get(host=b'Host: "a"\r\n'), "400")
case("host: backslash", get(host=b"Host: a\\b\r\n"), "400")
case("host: eighth bit", get(host=b"Host: \xc3\xa9\r\n"), "400")
case("host: name with a blank", get(host=b"Host : a\r\n"), "400")

# --- targets (RFC 9112 3.2)
case("target: absolute", get(target=b"http://a/b?c"), "200 +", "GET http://a/b?c ")
case("target: absolute, other case", get(target=b"HTTP://A/b"), "200 +", "GET HTTP://A/b ")
case("target: absolute, the default port", get(target=b"http://a:80/b"), "200 +", "GET http://a:80/b ")
case("target: absolute, no path", get(target=b"http://a"), "200 +", "GET http://a ")
case("target: absolute, another Host", get(target=b"http://b/"), "400")
case("target: absolute, another port", get(target=b"http://a:81/"), "400")
case("target: absolute, https and port 80", get(target=b"https://a/", host=b"Host: a:80\r\n"), "400")
case("target: absolute, empty Host", get(target=b"http://a/", host=b"Host:\r\n"), "400")
case("target: absolute, no Host", get(target=b"http://a/", host=b""), "400")
case("target: absolute, no Host in HTTP/1.0", get(target=b"http://a/", host=b"", version=b"HTTP/1.0"), "200 -")
case("target: absolute, user information", get(target=b"http://a@a/"), "400")
case("target: absolute, no host", get(target=b"http:///b"), "400")
case("target: absolute, one slash", get(target=b"http:/a/b"), "400")
case("target: absolute, bad port", get(target=b"http://a:b/"), "400")
case("target: another scheme", get(target=b"ftp://a/"), "400")
case("target: file", get(target=b"file:///etc/passwd"), "400")
case("target: javascript", get(target=b"javascript:alert(1)"), "400")
case("target: authority of GET", get(target=b"a:80"), "400")
case("target: a word", get(target=b"ok"), "400")
case("target: empty", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", "400")
case("target: asterisk of GET", get(target=b"*"), "400")
case("target: asterisk of OPTIONS", get(target=b"*", method=b"OPTIONS"), "200 +", "OPTIONS * ")
case("target: asterisk and more", get(target=b"*/a", method=b"OPTIONS"), "400")
case("target: fragment", get(target=b"/a#b"), "400")
case("target: fragment of absolute", get(target=b"http://a/#b"), "400")
case("target: a query only", get(target=b"?a"), "400")
case("target: two question marks", get(target=b"/a?b?c"), "200 +", "GET /a?b?c ")
case("target: two slashes", get(target=b"//b/c"), "200 +", "GET //b/c ")
case("target: dots", get(target=b"/../../etc/passwd"), "200 +", "GET /../../etc/passwd ")
case("target: bad percent is the handler's", get(target=b"/%zz%"), "200 +", "GET /%zz% ")
case("target: escaped NUL is the handler's", get(target=b"/%00"), "200 +", "GET /%00 ")
case("target: escaped CRLF stays escaped", get(target=b"/%0d%0aX:%20y"), "200 +", "GET /%0d%0aX:%20y ")
case("target: a blank", get(target=b"/a b"), "400")
case("target: a tab", get(target=b"/a\tb"), "400")
case("target: eighth bit", get(target=b"/\xc3\xa9"), "400")
for c in (0, 1, 0x0b, 0x1f, 0x7f):
    case("target: %#x" % c, get(target=b"/a" + bytes([c])), "400")
case("target: CR", get(target=b"/a\rb"), "400")
case("target: LF", get(target=b"/a\nb"), "400")
case("target: long, but not too long", get(target=b"/" + b"a" * 8000), "200 +")
case("target: too long", get(target=b"/" + b"a" * (MAX_HEAD + 10)), "414")
case("CONNECT: to a port", get(target=b"b:443", host=b"Host: b:443\r\n", method=b"CONNECT"), "403")
case("CONNECT: a path", get(target=b"/a", method=b"CONNECT"), "400")
case("CONNECT: no port", get(target=b"a", method=b"CONNECT"), "400")
case("CONNECT: port 0", get(target=b"a:0", method=b"CONNECT"), "400")
case("CONNECT: port 65536", get(target=b"a:65536", method=b"CONNECT"), "400")
case("CONNECT: absolute", get(target=b"http://a/", method=b"CONNECT"), "400")
case("CONNECT: another Host", get(target=b"b:443", method=b"CONNECT"), "400")
case("CONNECT: with a body", get(b"Content-Length: 2\r\n", target=b"a:443", method=b"CONNECT") + b"hi", "400")

# --- methods (RFC 9110 9.1)
case("method: lower case", get(method=b"get"), "501")
case("method: mixed case", get(method=b"Get"), "501")
case("method: unknown", get(method=b"BREW"), "501")
case("method: long", get(method=b"A" * 1000), "501")
case("method: too long", get(method=b"A" * (MAX_HEAD + 10)), "414")
case("method: not a token", get(method=b"G@T"), "400")
case("method: empty", b" / HTTP/1.1\r\nHost: a\r\n\r\n", "400")
case("method: quoted", get(method=b'"GET"'), "400")
case("method: NUL", get(method=b"GE\x00T"), "400")
case("method: eighth bit", get(method=b"G\xc3\x89T"), "400")
case("method: of RTSP", get(method=b"DESCRIBE"), "501")
case("method: two blanks behind it", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400")
case("method: a tab behind it", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400")
case("method: PURGE", get(method=b"PURGE"), "200 +", "PURGE / ")
case("method: HEAD has no body", get(method=b"HEAD"), "200 +")
case("method: TRACE with a body", get(b"Content-Length: 2\r\n", method=b"TRACE") + b"hi", "200 +", "TRACE / hi")

# --- versions (RFC 9110 2.5, RFC 9112 2.3)
case("version: 1.0", get(version=b"HTTP/1.0"), "200 -", "GET / ")
case("version: 1.0, kept alive", get(b"Connection: keep-alive\r\n", version=b"HTTP/1.0"), "200 +", "GET / ")
case("version: 0.9", get(version=b"HTTP/0.9"), "505")
case("version: none", b"GET /\r\n", "400")
case("version: none, but fields", b"GET /\r\nHost: a\r\n\r\n", "400")
case("version: 1.2", get(version=b"HTTP/1.2"), "505")
case("version: 1.9", get(version=b"HTTP/1.9"), "505")
case("version: 2.0", get(version=b"HTTP/2.0"), "505")
case("version: 2", get(version=b"HTTP/2"), "400")
case("version: 3", get(version=b"HTTP/3"), "400")
case("version: 3.0", get(version=b"HTTP/3.0"), "505")
case("version: 1.10", get(version=b"HTTP/1.10"), "400")
case("version: 11.1", get(version=b"HTTP/11.1"), "400")
case("version: 1.", get(version=b"HTTP/1."), "400")
case("version: 1", get(version=b"HTTP/1"), "400")
case("version: letters", get(version=b"HTTP/x.y"), "400")
case("version: a comma", get(version=b"HTTP/1,1"), "400")
case("version: lower case", get(version=b"http/1.1"), "400")
case("version: another protocol", get(version=b"HTTPS/1.1"), "400")
case("version: a blank inside", get(version=b"HTTP/ 1.1"), "400")
case("version: a blank behind", get(version=b"HTTP/1.1 "), "400")
case("version: two blanks before", get(version=b" HTTP/1.1"), "400")
case("version: twice", get(version=b"HTTP/1.1 HTTP/1.1"), "400")
case("version: a NUL behind", get(version=b"HTTP/1.1\x00"), "400")
case("version: HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505")
case("version: TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32, "400")
case("version: SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "400")
case("version: a PROXY header nobody waits for", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get(), "400")

# --- limits (RFC 9110 15.5.14, 15.5.15, RFC 6585)
case("limit: a long field", get(b"X: " + b"a" * 8000 + b"\r\n"), "200 +", "GET / ")
case("limit: too long a field", get(b"X: " + b"a" * MAX_HEAD + b"\r\n"), "431")
case("limit: too long a name", get(b"X" * MAX_HEAD + b": a\r\n"), "431")
case("limit: too long in sum", get(b"".join(b"X-%d: %s\r\n" % (i, b"a" * 500) for i in range(50))), "431")
case("limit: many fields", get(b"".join(b"X-%d: a\r\n" % i for i in range(90))), "200 +", "GET / ")
case("limit: too many fields", get(b"".join(b"X-%d: a\r\n" % i for i in range(200))), "431")
case("limit: a body of exactly the limit", post(b"Content-Length: %d\r\n" % MAX_BODY, b"a" * MAX_BODY), "200 +")
case("limit: a chunked body over it", chunked(b"8000\r\n" + b"a" * 0x8000 + b"\r\n" + b"fffff\r\n"), "413")

# --- Connection, Expect, Upgrade (RFC 9110 7.6.1, 7.8, 10.1.1; RFC 9112 9)
case("connection: close", get(b"Connection: close\r\n"), "200 -", "GET / ")
case("connection: close in a list", get(b"Connection: x, Close\r\n"), "200 -", "GET / ")
case("connection: close in a second field", get(b"Connection: x\r\nConnection: close\r\n"), "200 -", "GET / ")
case("connection: keep-alive and close", get(b"Connection: keep-alive, close\r\n"), "200 -", "GET / ")
case("connection: names a field", get(b"Connection: x\r\nX: y\r\n"), "200 +", "GET / ")
case("expect: continue", post(b"Content-Length: 2\r\nExpect: 100-continue\r\n", b"hi"), "100 200 +", "POST / hi")
case("expect: continue without a body", get(b"Expect: 100-continue\r\n"), "200 +", "GET / ")
case("expect: continue of too much", post(b"Content-Length: 9999999\r\nExpect: 100-continue\r\n"), "413")
case("expect: continue with a bad length", post(b"Content-Length: x\r\nExpect: 100-continue\r\n"), "400")
case("expect: continue in HTTP/1.0", b"POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi", "200 -",
     "POST / hi")
case("expect: unknown", get(b"Expect: the-best\r\n"), "417")
case("expect: continue and another", get(b"Expect: 100-continue, x\r\n"), "417")
case("expect: empty", get(b"Expect:\r\n"), "417")
case("upgrade: nobody takes it", get(b"Connection: upgrade\r\nUpgrade: websocket\r\n"), "200 +", "GET / ")
case("upgrade: h2c", get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"), "200 +",
     "GET / ")
case("upgrade: with a body", post(b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n", b"hi"), "200 +",
     "POST / hi")
case("upgrade: TLS", get(b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", method=b"OPTIONS", target=b"*"), "200 +")
case("upgrade: without Connection", get(b"Upgrade: websocket\r\n"), "200 +", "GET / ")

# --- smuggling (RFC 9112 11.2): what one reader takes for a body is another's next request
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
case("smuggling: CL.TE", post(b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (5 + len(SMUGGLED)),
                              b"0\r\n\r\n" + SMUGGLED), "400")
case("smuggling: TE.CL", post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                              b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"), "400")
case("smuggling: TE.TE", post(b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n", b"0\r\n\r\n" + SMUGGLED), "400")
case("smuggling: CL.CL", post(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), "400")
case("smuggling: CL.0 of GET", get(b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED, "200 +")
case("smuggling: coding hidden by LF", post(b"X: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                                            b"0\r\n\r\n"), "400")
case("smuggling: coding hidden by CR", post(b"X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                                            b"0\r\n\r\n"), "400")
case("smuggling: coding hidden by NUL", post(b"X: a\x00\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), "400")
case("smuggling: length hidden by folding", post(b"X: a\r\n Content-Length: 5\r\n", b"hello"), "400")
case("smuggling: coding with a tab before it", post(b"\tTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                                                    b"0\r\n\r\n"), "400")
case("smuggling: chunk size with NUL", chunked(b"0\x00\r\n\r\n" + SMUGGLED), "400")
case("smuggling: chunk extension ended by LF", chunked(b"5;\nhello\r\n0\r\n\r\n" + SMUGGLED), "400")
case("smuggling: a body longer than its length", post(b"Content-Length: 2\r\n", b"hi" + OK), "200 200 +")
case("smuggling: a body that nobody reads", get(b"Content-Length: %d\r\n" % len(SMUGGLED), target=b"/unread",
                                                method=b"POST") + SMUGGLED, "200 +")
case("smuggling: a chunked body that nobody reads", get(b"Transfer-Encoding: chunked\r\n", target=b"/unread",
                                                        method=b"POST") + b"%x\r\n%s\r\n0\r\n\r\n" % (
                                                            len(SMUGGLED), SMUGGLED), "200 +")
case("smuggling: a bad chunk that nobody reads", get(b"Transfer-Encoding: chunked\r\n", target=b"/unread",
                                                     method=b"POST") + b"zz\r\n\r\n" + SMUGGLED, "200 !")
case("smuggling: body of HEAD", get(b"Content-Length: %d\r\n" % len(SMUGGLED), method=b"HEAD") + SMUGGLED, "200 +")

# --- pipelining (RFC 9112 9.3.2)
case("pipeline: two", OK + OK, "200 200 +")
case("pipeline: empty lines between", OK + b"\r\n" + OK, "200 200 +")
case("pipeline: the second is bad", OK + b"GET / HTTP/1.1\r\n\r\n" + OK, "200 400")
case("pipeline: the second is unknown", OK + get(method=b"BREW") + OK, "200 501")
case("pipeline: the third is bad", OK + OK + get(b"X : y\r\n") + OK, "200 200 400")
case("pipeline: a bad chunk in the middle", OK + chunked(b"1\r\naX") + OK, "200 400")
case("pipeline: close in the middle", OK + get(b"Connection: close\r\n") + OK, "200 200 -")
case("pipeline: garbage in the middle", OK + b"\x00\x01\x02" + OK, "200 400")
case("pipeline: bodies of every kind", post(b"Content-Length: 2\r\n", b"hi") + chunked(b"2\r\nhi\r\n0\r\n\r\n") + OK,
     "200 200 200 +")
case("pipeline: handlers that wait", get(target=b"/wait") + OK + get(target=b"/wait") + OK, "200 200 200 200 +")
case("pipeline: bad behind one that waits", get(target=b"/wait") + b"BAD\r\n\r\n" + OK, "200 400")
case("pipeline: twenty", OK * 20, "200 " * 20 + "+")
case("pipeline: CONNECT in the middle", OK + get(target=b"a:1", method=b"CONNECT") + OK, "200 403")

# --- the client's end comes early (RFC 9112 8)
cut("cut: nothing", b"", "")
cut("cut: empty lines", b"\r\n\r\n", "")
cut("cut: inside the request line", b"GET / HT", "400")
cut("cut: behind the request line", b"GET / HTTP/1.1\r\n", "400")
cut("cut: inside the fields", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", "400")
cut("cut: before the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n", "400")
cut("cut: inside the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\r", "400")
cut("cut: behind a whole one", OK, "200")
cut("cut: the second, in its head", OK + b"GET / HTTP", "200 400")
cut("cut: inside a body", post(b"Content-Length: 5\r\n", b"he"), "")
cut("cut: before a body", post(b"Content-Length: 5\r\n"), "")
cut("cut: inside a chunk's size", chunked(b"5"), "")
cut("cut: inside a chunk", chunked(b"5\r\nhe"), "")
cut("cut: behind a chunk", chunked(b"5\r\nhello\r\n"), "")
cut("cut: inside the last chunk", chunked(b"5\r\nhello\r\n0\r\n"), "")
cut("cut: inside a trailer", chunked(b"5\r\nhello\r\n0\r\nX-Sum: "), "")
