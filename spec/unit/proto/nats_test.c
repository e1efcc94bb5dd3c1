/* The NATS codec: what each message means, the same wherever the bytes are cut, every limit, and
 * what the writers refuse. */
#include "np_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/nats.h"
#include "proto/nats_header.h"
#include "proto/nats_json.h"
#include "proto/nats_write.h"

#define BYTES(s) ((struct np_bytes){(s), sizeof(s) - 1})

static void describe_slice(struct np_buf *b, const char *name, struct np_bytes s)
{
    if (s.p) assert_ok(np_buf_printf(b, " %s=%.*s", name, (int)s.n, s.p));
}

static void describe(struct np_buf *b, const struct np_nats_msg *m)
{
    assert_ok(np_buf_append_str(b, np_nats_op_name(m->op)));
    describe_slice(b, "subject", m->subject);
    describe_slice(b, "sid", m->sid);
    describe_slice(b, "queue", m->queue);
    describe_slice(b, "reply", m->reply);
    describe_slice(b, "headers", m->headers);
    describe_slice(b, "payload", m->payload);
    describe_slice(b, "text", m->text);
    if (m->op == NP_NATS_UNSUB) assert_ok(np_buf_printf(b, " max=%d", (int)m->max));
    assert_ok(np_buf_append(b, ";", 1));
}

/* Feeds `n` bytes from a block of their very size and describes what comes. */
static enum neap_err feed(struct np_nats_parser *p, const char *data, size_t n, struct np_buf *out)
{
    struct np_nats_msg m;
    enum neap_err err;
    char *exact = malloc(n ? n : 1);
    memcpy(exact, data, n);
    np_nats_feed(p, exact, n);
    while ((err = np_nats_next(p, &m)) == NEAP_OK)
        describe(out, &m);
    free(exact);
    return err;
}

static void check(struct np_buf *got, const char *want)
{
    assert_ok(np_buf_append(got, "", 1));
    assert_string_equal(np_buf_data(got), want);
    np_buf_fini(got);
}

/* `piece` 0: in two pieces, cut at each place in turn; else in pieces of so many bytes. */
static void parse_cut(enum np_nats_side side, const char *text, size_t n, size_t cut,
                      const char *want, enum neap_err end)
{
    struct np_nats_parser p;
    struct np_buf got = {0};
    np_nats_parser_init(&p, side, NULL);
    enum neap_err err = feed(&p, text, cut, &got);
    if (err == NEAP_EAGAIN) err = feed(&p, text + cut, n - cut, &got);
    check(&got, want);
    assert_int_equal(err, end);
    np_nats_parser_fini(&p);
}

static void parse_bytewise(enum np_nats_side side, const char *text, size_t n, const char *want,
                           enum neap_err end)
{
    struct np_nats_parser p;
    struct np_buf got = {0};
    np_nats_parser_init(&p, side, NULL);
    enum neap_err err = NEAP_EAGAIN;
    for (size_t i = 0; i < n && err == NEAP_EAGAIN; i++)
        err = feed(&p, text + i, 1, &got);
    check(&got, want);
    assert_int_equal(err, end);
    np_nats_parser_fini(&p);
}

static void parse(enum np_nats_side side, const char *text, size_t n, const char *want,
                  enum neap_err end)
{
    int64_t live = np_alloc_live();
    for (size_t cut = 0; cut <= n; cut++)
        parse_cut(side, text, n, cut, want, end);
    parse_bytewise(side, text, n, want, end);
    assert_no_leak(live);
}

struct example {
    const char *text;
    const char *want;
};

static void run_examples(enum np_nats_side side, const struct example *e)
{
    for (; e->text; e++)
        parse(side, e->text, strlen(e->text), e->want, NEAP_EAGAIN);
}

static void a_server_reads_what_clients_send(void **state)
{
    static const struct example examples[] = {
        {"PUB a 5\r\nhello\r\n", "PUB subject=a payload=hello;"},
        {"PUB a.b inbox.1 0\r\n\r\n", "PUB subject=a.b reply=inbox.1 payload=;"},
        {"pub \ta\t 2 \r\n\r\n\r\n", "PUB subject=a payload=\r\n;"},
        {"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
         "HPUB subject=a headers=NATS/1.0\r\n\r\n payload=hi;"},
        {"hpub a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
         "HPUB subject=a reply=r headers=NATS/1.0\r\n\r\n payload=;"},
        {"SUB a.* 7\r\nSUB b.> workers 8\r\n", "SUB subject=a.* sid=7;"
                                               "SUB subject=b.> sid=8 queue=workers;"},
        {"UNSUB 7\r\nunsub 8 10\r\n", "UNSUB sid=7 max=0;UNSUB sid=8 max=10;"},
        {"CONNECT {\"verbose\":false} \r\nPING\r\nPONG\r\n",
         "CONNECT text={\"verbose\":false};PING;PONG;"},
        {"PING\nPUB a 1\nx\r\nPiNg \r\n", "PING;PUB subject=a payload=x;PING;"},
        {NULL, NULL},
    };
    run_examples(NP_NATS_SERVER, examples);
}

static void a_client_reads_what_servers_send(void **state)
{
    static const struct example examples[] = {
        {"INFO {\"server_id\":\"x\"}\r\n", "INFO text={\"server_id\":\"x\"};"},
        {"MSG a 9 2\r\nhi\r\nMSG a 9 r 0\r\n\r\n",
         "MSG subject=a sid=9 payload=hi;MSG subject=a sid=9 reply=r payload=;"},
        {"HMSG a 9 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
         "HMSG subject=a sid=9 headers=NATS/1.0 503\r\n\r\n payload=;"},
        {"HMSG a 9 r 12 13\r\nNATS/1.0\r\n\r\n!\r\n",
         "HMSG subject=a sid=9 reply=r headers=NATS/1.0\r\n\r\n payload=!;"},
        {"+OK\r\n-ERR 'Stale Connection'\r\n-ERR plain\r\nPING\r\nPONG\r\n",
         "+OK;-ERR text=Stale Connection;-ERR text=plain;PING;PONG;"},
        {NULL, NULL},
    };
    run_examples(NP_NATS_CLIENT, examples);
}

static void a_payload_may_hold_any_byte(void **state)
{
    static const char text[] = "PUB a 9\r\nPI\0NG\r\n\xff\x80\r\nPING\r\n";
    struct np_nats_parser p;
    struct np_nats_msg m;
    np_nats_parser_init(&p, NP_NATS_SERVER, NULL);
    np_nats_feed(&p, text, sizeof text - 1);
    assert_ok(np_nats_next(&p, &m));
    assert_int_equal(m.payload.n, 9);
    assert_memory_equal(m.payload.p, "PI\0NG\r\n\xff\x80", 9);
    assert_ptr_equal(m.payload.p, text + 9); /* in place */
    assert_ok(np_nats_next(&p, &m));
    assert_int_equal(m.op, NP_NATS_PING);
    np_nats_parser_fini(&p);
}

static void what_is_not_the_protocol_is_refused(void **state)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "\r\n",
        " PING\r\n",
        "PINGX\r\n",
        "PING x\r\n",
        "MSG a 1 0\r\n\r\n", /* only servers send it */
        "INFO {}\r\n",
        "PUB\r\n",
        "PUB a\r\n",
        "PUB a b c 1\r\n",
        "PUB a -1\r\n",
        "PUB a 1x\r\n",
        "PUB a 99999999999999999999\r\n",
        "PUB a 1\r\nxy\r\n",
        "PUB a 1\r\nx\n\n",
        "HPUB a 5\r\n",
        "HPUB a 5 4\r\n",
        "SUB a\r\n",
        "SUB a q 1 2\r\n",
        "SUB a q 1 2 3 4 5 6\r\n",
        "UNSUB\r\n",
        "UNSUB 1 x\r\n",
        "UNSUB 1 2 3\r\n",
        "CONNECT\r\n",
        "CONNECT []\r\n",
        "connects {}\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        parse(NP_NATS_SERVER, bad[i], strlen(bad[i]), "", NEAP_EPROTO);
}

static void a_stranger_is_known_by_its_first_bytes(void **state)
{
    parse(NP_NATS_SERVER, "\x16\x03\x01", 3, "", NEAP_EPROTO); /* a TLS hello */
    parse(NP_NATS_SERVER, "PINX", 4, "", NEAP_EPROTO);
    parse(NP_NATS_SERVER, "CONN", 4, "", NEAP_EAGAIN);
}

static void an_error_stays(void **state)
{
    struct np_nats_parser p;
    struct np_nats_msg m;
    np_nats_parser_init(&p, NP_NATS_SERVER, NULL);
    np_nats_feed(&p, "NO\r\nPING\r\n", 10);
    assert_err(np_nats_next(&p, &m), NEAP_EPROTO);
    assert_string_equal(p.why, "Unknown Protocol Operation");
    np_nats_feed(&p, "PING\r\n", 6);
    assert_err(np_nats_next(&p, &m), NEAP_EPROTO);
    np_nats_parser_fini(&p);
}

/* One message under limits of 16 bytes a line and 8 of payload, at every cut. */
static void limited(const char *text, enum neap_err want)
{
    static const struct np_nats_limits limits = {16, 8};
    size_t n = strlen(text);
    for (size_t cut = 0; cut <= n; cut++) {
        struct np_nats_parser p;
        struct np_buf got = {0};
        np_nats_parser_init(&p, NP_NATS_SERVER, &limits);
        enum neap_err err = feed(&p, text, cut, &got);
        if (err == NEAP_EAGAIN) err = feed(&p, text + cut, n - cut, &got);
        assert_int_equal(err, want);
        np_buf_fini(&got);
        np_nats_parser_fini(&p);
    }
}

static void lines_and_payloads_are_bounded(void **state)
{
    limited("SUB 123456789 12\r\n", NEAP_EAGAIN);
    limited("SUB 1234567890 12\r\n", NEAP_ELIMIT);
    limited("SUB 1234567890 12\n", NEAP_ELIMIT);
    limited("SUB 1234567890123456", NEAP_ELIMIT); /* before its end has come */
    limited("PUB a 8\r\n12345678\r\n", NEAP_EAGAIN);
    limited("PUB a 9\r\n", NEAP_EMSGSIZE); /* before its payload has come */
    limited("HPUB a 6 9\r\n", NEAP_EMSGSIZE);
}

static void a_cut_message_leaves_no_large_block_behind(void **state)
{
    enum { SIZE = 512 * 1024 };
    char *text = malloc(SIZE + 64);
    int head = snprintf(text, 64, "PUB a %d\r\n", SIZE);
    memset(text + head, 'x', SIZE);
    memcpy(text + head + SIZE, "\r\n", 2);
    struct np_nats_parser p;
    struct np_nats_msg m;
    np_nats_parser_init(&p, NP_NATS_SERVER, NULL);
    np_nats_feed(&p, text, 100);
    assert_err(np_nats_next(&p, &m), NEAP_EAGAIN);
    np_nats_feed(&p, text + 100, (size_t)head + SIZE + 2 - 100);
    assert_ok(np_nats_next(&p, &m));
    assert_int_equal(m.payload.n, SIZE);
    assert_memory_equal(m.payload.p, text + head, SIZE);
    assert_err(np_nats_next(&p, &m), NEAP_EAGAIN);
    assert_in_range(p.cut.cap, 0, 64 * 1024);
    np_nats_parser_fini(&p);
    free(text);
}

static enum neap_err parse_in_pieces(void *arg)
{
    static const char text[] = "SUB a 1\r\nPUB a 100\r\n"
                               "0123456789012345678901234567890123456789012345678901234567890123456"
                               "789012345678901234567890123456789\r\n";
    struct np_nats_parser p;
    struct np_nats_msg m;
    enum neap_err err = NEAP_EAGAIN;
    np_nats_parser_init(&p, NP_NATS_SERVER, NULL);
    for (size_t i = 0; i < sizeof text - 1 && err == NEAP_EAGAIN; i++) {
        np_nats_feed(&p, text + i, 1);
        while ((err = np_nats_next(&p, &m)) == NEAP_OK)
            ;
    }
    np_nats_parser_fini(&p);
    return err == NEAP_EAGAIN ? NEAP_OK : err;
}

static enum neap_err write_all(void *arg)
{
    struct np_buf b = {0};
    struct np_nats_out m = {BYTES("a"), BYTES("r"), {NULL, 0}, BYTES("payload")};
    struct np_nats_connect c = NP_NATS_CONNECT_INIT;
    struct np_nats_info i = {.server_id = BYTES("\"quoted\"\n")};
    enum neap_err err = np_nats_write_info(&b, &i);
    if (!err) err = np_nats_write_connect(&b, &c);
    if (!err) err = np_nats_write_pub(&b, &m);
    if (!err) err = np_nats_write_msg(&b, BYTES("12"), &m);
    if (!err) err = np_nats_write_sub(&b, BYTES("a.>"), BYTES("q"), 3);
    if (!err) err = np_nats_write_err(&b, "Stale Connection");
    np_buf_fini(&b);
    if (!err) err = np_nats_headers_add(&b, "A", 1, "b", 1);
    if (!err) err = np_nats_headers_end(&b);
    np_buf_fini(&b);
    return err;
}

static void out_of_memory_is_survived(void **state)
{
    assert_true(np_test_oom(parse_in_pieces, NULL) > 0);
    assert_true(np_test_oom(write_all, NULL) > 0);
}

static void writers_write_the_protocol(void **state)
{
    struct np_buf b = {0};
    struct np_nats_out m = {BYTES("a.b"), {NULL, 0}, {NULL, 0}, BYTES("hi")};
    assert_ok(np_nats_write_pub(&b, &m));
    m.reply = BYTES("r.1");
    assert_ok(np_nats_write_pub(&b, &m));
    assert_ok(np_nats_write_msg(&b, BYTES("s7"), &m));
    m.headers = BYTES("NATS/1.0\r\n\r\n");
    assert_ok(np_nats_write_msg(&b, BYTES("s7"), &m));
    assert_ok(np_nats_write_pub(&b, &m));
    assert_ok(np_nats_write_sub(&b, BYTES("a.*"), (struct np_bytes){NULL, 0}, 1));
    assert_ok(np_nats_write_sub(&b, BYTES("a.>"), BYTES("q"), 18446744073709551615u));
    assert_ok(np_nats_write_unsub(&b, 1, 0));
    assert_ok(np_nats_write_unsub(&b, 1, 5));
    assert_ok(np_nats_write_ping(&b));
    assert_ok(np_nats_write_pong(&b));
    assert_ok(np_nats_write_ok(&b));
    assert_ok(np_nats_write_err(&b, "Slow Consumer"));
    check(&b, "PUB a.b 2\r\nhi\r\n"
              "PUB a.b r.1 2\r\nhi\r\n"
              "MSG a.b s7 r.1 2\r\nhi\r\n"
              "HMSG a.b s7 r.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
              "HPUB a.b r.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
              "SUB a.* 1\r\n"
              "SUB a.> q 18446744073709551615\r\n"
              "UNSUB 1\r\nUNSUB 1 5\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'Slow Consumer'\r\n");
}

static void writers_refuse_what_would_break_the_line(void **state)
{
    static const char *const bad[] = {"", "a b", "a\r\nPING", "a\tb", "a\x7f", "\x01"};
    struct np_buf b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct np_bytes w = {bad[i], strlen(bad[i])};
        struct np_nats_out m = {.subject = w};
        assert_err(np_nats_write_pub(&b, &m), NEAP_EINVAL);
        assert_err(np_nats_write_sub(&b, w, (struct np_bytes){NULL, 0}, 1), NEAP_EINVAL);
        m = (struct np_nats_out){.subject = BYTES("a"), .reply = w};
        if (w.n > 0) assert_err(np_nats_write_pub(&b, &m), NEAP_EINVAL);
        if (w.n > 0) assert_err(np_nats_write_sub(&b, BYTES("a"), w, 1), NEAP_EINVAL);
        m.reply.n = 0;
        assert_err(np_nats_write_msg(&b, w, &m), NEAP_EINVAL);
    }
    assert_err(np_nats_write_err(&b, "it's"), NEAP_EINVAL);
    assert_err(np_nats_write_err(&b, "a\nb"), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 0);
    np_buf_fini(&b);
}

static void headers_are_written_and_read_back(void **state)
{
    struct np_buf b = {0};
    assert_ok(np_nats_headers_add(&b, "Trace-Id", 8, "42", 2));
    assert_ok(np_nats_headers_add(&b, "K", 1, "", 0));
    assert_ok(np_nats_headers_add(&b, "K", 1, " a: b ", 6));
    assert_err(np_nats_headers_add(&b, "", 0, "x", 1), NEAP_EINVAL);
    assert_err(np_nats_headers_add(&b, "a b", 3, "x", 1), NEAP_EINVAL);
    assert_err(np_nats_headers_add(&b, "a:", 2, "x", 1), NEAP_EINVAL);
    assert_err(np_nats_headers_add(&b, "a", 1, "x\r\ny: z", 7), NEAP_EINVAL);
    assert_err(np_nats_headers_add(&b, "a", 1, "\0", 1), NEAP_EINVAL);
    assert_ok(np_nats_headers_end(&b));
    struct np_bytes block = {np_buf_data(&b), np_buf_len(&b)};
    struct np_nats_headers h;
    struct np_bytes name, value;
    assert_true(np_nats_headers_read(block, &h));
    assert_int_equal(h.status, 0);
    assert_true(np_nats_headers_next(&h, &name, &value));
    assert_memory_equal(name.p, "Trace-Id", name.n);
    assert_memory_equal(value.p, "42", 2);
    assert_true(np_nats_headers_next(&h, &name, &value));
    assert_int_equal(value.n, 0);
    assert_true(np_nats_headers_next(&h, &name, &value));
    assert_int_equal(value.n, 4);
    assert_memory_equal(value.p, "a: b", 4);
    assert_false(np_nats_headers_next(&h, &name, &value));
    assert_int_equal(np_nats_header_get(block, "Trace-Id", 8).n, 2);
    assert_null(np_nats_header_get(block, "trace-id", 8).p);
    np_buf_fini(&b);
}

static void a_status_is_read(void **state)
{
    struct np_nats_headers h;
    struct np_bytes name, value;
    assert_true(np_nats_headers_read(BYTES("NATS/1.0 503\r\n\r\n"), &h));
    assert_int_equal(h.status, 503);
    assert_false(np_nats_headers_next(&h, &name, &value));
    assert_true(np_nats_headers_read(BYTES("NATS/1.0 408 Request Timeout\r\nA:1\r\n\r\n"), &h));
    assert_int_equal(h.status, 408);
    assert_memory_equal(h.description.p, "Request Timeout", h.description.n);
    assert_true(np_nats_headers_next(&h, &name, &value));
    assert_false(np_nats_headers_read(BYTES(""), &h));
    assert_false(np_nats_headers_read(BYTES("NATS/1.0\r\n"), &h));
    assert_false(np_nats_headers_read(BYTES("HTTP/1.1\r\n\r\n"), &h));
    assert_false(np_nats_headers_read(BYTES("NATS/1.0\r\nA: b"), &h));
    assert_true(np_nats_headers_read(BYTES("NATS/1.0\r\nno colon\r\n\r\n"), &h));
    assert_false(np_nats_headers_next(&h, &name, &value));
}

static void connect_is_read_with_its_defaults(void **state)
{
    struct np_nats_connect c;
    assert_true(np_nats_read_connect(BYTES("{}"), &c));
    assert_true(c.verbose && c.pedantic && c.echo);
    assert_false(c.headers || c.no_responders);
    assert_true(np_nats_read_connect(
        BYTES(" { \"verbose\" : false, \"pedantic\":false,\"echo\":false,\"headers\":true,"
              "\"no_responders\":true,\"protocol\":1,\"name\":\"a \\\"b\\u00e9\",\"lang\":\"go\","
              "\"other\":[1,-2.5e+3,{\"verbose\":true},null,\"x\"],\"user\":null} "),
        &c));
    assert_false(c.verbose || c.pedantic || c.echo);
    assert_true(c.headers && c.no_responders);
    assert_int_equal(c.protocol, 1);
    assert_memory_equal(c.lang.p, "go", c.lang.n);
    assert_memory_equal(c.name.p, "a \\\"b\\u00e9", c.name.n);
}

static void bad_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":tru}",
        "{} x",
        "{\"a\":\"",
        "{\"a\":[1,]}",
        "{a:1}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"verbose\":1}",
        "{\"name\":2}",
        "{\"protocol\":-1}",
        "{\"protocol\":1.5}",
        "{\"protocol\":1e3}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}",
        "{\"a\":{\"b\" 1}}",
        "{\"protocol\":9999999999999999999}",
    };
    struct np_nats_connect c;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(np_nats_read_connect((struct np_bytes){bad[i], strlen(bad[i])}, &c));
}

static void info_and_connect_are_written_and_read_back(void **state)
{
    struct np_buf b = {0};
    struct np_nats_info in = {.server_id = BYTES("ABC"),
                              .host = BYTES("0.0.0.0"),
                              .port = 4222,
                              .max_payload = 1048576,
                              .proto = 1,
                              .headers = true,
                              .neap_path = BYTES("ABC,DEF")};
    assert_ok(np_nats_write_info(&b, &in));
    struct np_nats_connect out = NP_NATS_CONNECT_INIT;
    out.name = BYTES("quo\"te\\\n");
    assert_ok(np_nats_write_connect(&b, &out));
    struct np_nats_parser p;
    struct np_nats_msg m;
    np_nats_parser_init(&p, NP_NATS_CLIENT, NULL);
    np_nats_feed(&p, np_buf_data(&b), np_buf_len(&b));
    assert_ok(np_nats_next(&p, &m));
    struct np_nats_info got;
    assert_true(np_nats_read_info(m.text, &got));
    assert_int_equal(got.port, 4222);
    assert_int_equal(got.max_payload, 1048576);
    assert_true(got.headers);
    assert_false(got.auth_required);
    assert_memory_equal(got.neap_path.p, "ABC,DEF", got.neap_path.n);
    np_buf_consume(&b, (size_t)(p.in - np_buf_data(&b)));
    np_nats_parser_fini(&p);

    np_nats_parser_init(&p, NP_NATS_SERVER, NULL);
    np_nats_feed(&p, np_buf_data(&b), np_buf_len(&b));
    assert_ok(np_nats_next(&p, &m));
    struct np_nats_connect back;
    assert_true(np_nats_read_connect(m.text, &back));
    assert_int_equal(back.name.n, strlen("quo\\\"te\\\\\\u000a"));
    np_nats_parser_fini(&p);
    np_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_reads_what_clients_send),
        cmocka_unit_test(a_client_reads_what_servers_send),
        cmocka_unit_test(a_payload_may_hold_any_byte),
        cmocka_unit_test(what_is_not_the_protocol_is_refused),
        cmocka_unit_test(a_stranger_is_known_by_its_first_bytes),
        cmocka_unit_test(an_error_stays),
        cmocka_unit_test(lines_and_payloads_are_bounded),
        cmocka_unit_test(a_cut_message_leaves_no_large_block_behind),
        cmocka_unit_test(out_of_memory_is_survived),
        cmocka_unit_test(writers_write_the_protocol),
        cmocka_unit_test(writers_refuse_what_would_break_the_line),
        cmocka_unit_test(headers_are_written_and_read_back),
        cmocka_unit_test(a_status_is_read),
        cmocka_unit_test(connect_is_read_with_its_defaults),
        cmocka_unit_test(bad_json_is_refused),
        cmocka_unit_test(info_and_connect_are_written_and_read_back),
    };
    return cmocka_run_group_tests_name("proto.nats", tests, NULL, NULL);
}
