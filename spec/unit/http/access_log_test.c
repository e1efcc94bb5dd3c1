/* Access logs: what a line says of each way a request can end, how it is escaped, what is no
 * format.
 */
#include "http/access_log.h"

#include "site.h"

#define HELLO "GET /hello?a=b HTTP/1.1\r\nHost: shop.test\r\n"

/* A site whose log writes into a pipe; what comes out of it is `text`. */
struct logged {
    struct site t;
    struct end client;
    struct np_append_set *set;
    int fds[2];
    char text[4096];
};

static void open_log(struct logged *l, struct fix *f, struct np_access_log_options *o)
{
    struct np_http_server_options so;
    *l = (struct logged){.set = NULL};
    np_http_server_options_init(&so);
    assert_int_equal(pipe(l->fds), 0);
    assert_ok(np_append_set_new(&l->set));
    assert_ok(np_append_open_fd(l->set, l->fds[1], 0, &o->to));
    assert_ok(np_access_log_new(&f->loop, o, &so.access_log, NULL));
    site_open(f, &l->t, &so);
    site_connect(&l->t, &l->client);
}

/* Ends it all, so that the log is written. */
static const char *close_log(struct logged *l)
{
    end_finish(l->t.f, &l->client);
    run_some(l->t.f);
    site_close(&l->t);
    np_append_set_free(l->set);
    close(l->fds[1]);
    ssize_t n, at = 0;
    while ((n = read(l->fds[0], l->text + at, sizeof l->text - 1 - (size_t)at)) > 0)
        at += n;
    l->text[at] = '\0';
    close(l->fds[0]);
    return l->text;
}

static void say(struct logged *l, const char *text)
{
    assert_ok(np_stream_write(l->client.s, text, strlen(text)));
}

/* What is logged of a connection that sends this and gets `answers` answers. */
static const char *line_of(struct logged *l, struct fix *f, const char *format, const char *sent)
{
    struct np_access_log_options o = {.style = NP_ACCESS_TEXT, .format = format};
    open_log(l, f, &o);
    say(l, sent);
    run_until(f, np_buf_len(&l->client.in) > 0);
    run_some(f);
    return close_log(l);
}

static void a_line_says_what_its_format_names(void **state)
{
    struct logged l;
    assert_string_equal(line_of(&l, *state,
                                "$method $path $query $target $protocol $status $bytes "
                                "$host $scheme $remote $$ ${status}x $connection_requests",
                                HELLO "\r\n"),
                        "GET /hello a=b /hello?a=b HTTP/1.1 200 5 shop.test http pipe $ 200x 1\n");
    assert_string_equal(line_of(&l, *state,
                                "\"$request\" $header{X-Thing} $http_x_thing $http_none",
                                HELLO "X-Thing: t\r\n\r\n"),
                        "\"GET /hello?a=b HTTP/1.1\" t t -\n");
    assert_string_equal(
        line_of(&l, *state, "$remote_user", HELLO "Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"),
        "alice\n");
    assert_string_equal(line_of(&l, *state, "$remote_user $tls_version $proxy_authority",
                                HELLO "Authorization: Basic !!\r\n\r\n"),
                        "- - -\n");
}

static void headers_of_answers_are_named_as_the_handler_gave_them(void **state)
{
    struct logged l;
    assert_string_equal(line_of(&l, *state,
                                "$sent_header{Content-Type} $sent_http_content_type "
                                "$sent_http_none $status",
                                HELLO "\r\n" HELLO "\r\n"),
                        "text/plain text/plain - 200\ntext/plain text/plain - 200\n");
    assert_string_equal(line_of(&l, *state, "$status $sent_http_content_type", "NONSENSE\r\n"),
                        "400 -\n");
}

static void numbers_of_time_are_numbers(void **state)
{
    struct logged l;
    double seconds, ms, rt, msec;
    char local[64], iso[64], id[32];
    const char *text = line_of(&l, *state,
                               "$duration $duration_ms $request_time $msec $time $request_id "
                               "[$time_local]",
                               HELLO "\r\n");
    assert_int_equal(sscanf(text, "%lf %lf %lf %lf %63s %31s [%63[^]]]", &seconds, &ms, &rt, &msec,
                            iso, id, local),
                     7);
    assert_true(seconds >= 0 && ms >= 0 && rt >= 0 && msec > 1e9);
    assert_int_equal(strlen(iso), strlen("2026-11-21T07:00:00.123Z"));
    assert_int_equal(strlen(id), 16);
    assert_int_equal(strlen(local), strlen("21/Nov/2026:07:00:00 +0000"));
}

static void every_way_to_end_is_logged(void **state)
{
    struct logged l;
    static const char format[] = "$method $status $aborted $request";
    assert_string_equal(line_of(&l, *state, format, "NONSENSE\r\n\r\n"), "- 400 0 -\n");
    assert_string_equal(line_of(&l, *state, format, HELLO "\r\n" HELLO "\r\n"),
                        "GET 200 0 GET /hello?a=b HTTP/1.1\n"
                        "GET 200 0 GET /hello?a=b HTTP/1.1\n");
    assert_string_equal(
        line_of(&l, *state, "$status $bytes", "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
        "200 0\n");
    assert_string_equal(
        line_of(&l, *state, "$status $bytes", "GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n"),
        "200 31\n"); /* three chunks and the last */
    assert_string_equal(line_of(&l, *state, "$status $connection_requests",
                                "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                        "200 1\n");
    assert_string_equal(line_of(&l, *state, "$status", "GET /none HTTP/1.0\r\n\r\n"), "204\n");
}

static void a_client_that_leaves_is_logged_as_499(void **state)
{
    struct logged l;
    struct np_access_log_options o = {.format = "$status $aborted $path $bytes"};
    open_log(&l, *state, &o);
    say(&l, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(l.t.f, l.t.nheld);
    np_stream_close(l.client.s);
    run_until(l.t.f, l.t.aborts);
    assert_string_equal(close_log(&l), "499 1 /later 0\n");
}

static void an_answer_that_breaks_off_keeps_its_status(void **state)
{
    struct logged l;
    struct np_access_log_options o = {.format = "$status $aborted $bytes"};
    open_log(&l, *state, &o);
    say(&l, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    run_until(l.t.f, l.t.nheld);
    assert_ok(np_http_start(l.t.held[0], 201, NULL, 0, 10));
    assert_ok(np_http_write(l.t.held[0], "abc", 3));
    np_http_abort(l.t.held[0]);
    assert_string_equal(close_log(&l), "201 1 3\n");
}

static void what_a_peer_sent_cannot_forge_a_line(void **state)
{
    struct logged l;
    static const char sent[] = HELLO "User-Agent: a\"b\\c\xc3\xa9\xff\td\r\n\r\n";
    struct np_access_field fields[] = {{"agent", "$user_agent"}, {"both", "$user_agent!"}};
    struct np_access_log_options o = {.style = NP_ACCESS_JSON, .fields = fields, .nfields = 2};
    assert_string_equal(line_of(&l, *state, "\"$user_agent\"", sent),
                        "\"a\\x22b\\x5Cc\\xC3\\xA9\\xFF\\x09d\"\n");
    open_log(&l, *state, &o);
    say(&l, sent);
    run_until(l.t.f, np_buf_len(&l.client.in) > 0);
    assert_string_equal(close_log(&l), "{\"agent\":\"a\\\"b\\\\c\xc3\xa9\\u00ff\\u0009d\","
                                       "\"both\":\"a\\\"b\\\\c\xc3\xa9\\u00ff\\u0009d!\"}\n");
}

static void json_keeps_types(void **state)
{
    struct logged l;
    struct np_access_field fields[] = {
        {"s", "$status"}, {"a", "$aborted"}, {"n", "$referer"}, {"\"q", "x$status\""}};
    struct np_access_log_options o = {.style = NP_ACCESS_JSON, .fields = fields, .nfields = 4};
    open_log(&l, *state, &o);
    say(&l, HELLO "\r\n");
    run_until(l.t.f, np_buf_len(&l.client.in) > 0);
    assert_string_equal(close_log(&l),
                        "{\"s\":200,\"a\":false,\"n\":null,\"\\\"q\":\"x200\\\"\"}\n");
    o = (struct np_access_log_options){.style = NP_ACCESS_JSON};
    open_log(&l, *state, &o);
    say(&l, HELLO "\r\n");
    run_until(l.t.f, np_buf_len(&l.client.in) > 0);
    assert_non_null(strstr(close_log(&l), "\"method\":\"GET\",\"scheme\":\"http\","
                                          "\"host\":\"shop.test\",\"path\":\"/hello\""));
}

static struct np_append_block *batch;

static void on_batch(void *arg, struct np_append_block *b)
{
    assert_null(batch);
    batch = b;
}

static void records_are_handed_over_in_batches(void **state)
{
    struct fix *f = *state;
    struct site t;
    struct end client;
    struct np_access_field fields[] = {{"status", "$status"},
                                       {"both", "$method $status"},
                                       {"none", "$referer"},
                                       {"aborted", "$aborted"}};
    struct np_access_log_options o = {.style = NP_ACCESS_RECORD,
                                      .fields = fields,
                                      .nfields = 4,
                                      .on_batch = on_batch,
                                      .flush = 1};
    struct np_http_server_options so;
    np_http_server_options_init(&so);
    assert_ok(np_access_log_new(&f->loop, &o, &so.access_log, NULL));
    assert_int_equal(np_access_log_fields(so.access_log), 4);
    assert_string_equal(np_access_log_field(so.access_log, 1), "both");
    site_open(f, &t, &so);
    site_connect(&t, &client);
    assert_ok(np_stream_write(client.s, HELLO "\r\n" HELLO "\r\n", 2 * sizeof HELLO + 2));
    run_until(f, batch);
    static const struct {
        enum np_access_kind kind;
        const char *text;
    } want[] = {{NP_ACCESS_NUMBER, "200"},
                {NP_ACCESS_STRING, "GET 200"},
                {NP_ACCESS_NONE, ""},
                {NP_ACCESS_BOOL, "0"}};
    size_t at = 0;
    enum np_access_kind kind;
    struct np_bytes text;
    for (int i = 0; i < 8; i++) {
        assert_true(np_access_read(batch, &at, &kind, &text));
        assert_int_equal(kind, want[i % 4].kind);
        assert_string_equal(text.p, want[i % 4].text);
    }
    assert_false(np_access_read(batch, &at, &kind, &text));
    assert_int_equal(batch->lines, 2);
    np_free(batch);
    batch = NULL;
    end_finish(f, &client);
    site_close(&t);
}

static void long_lines_and_many_of_them_find_room(void **state)
{
    struct logged l;
    struct np_access_log_options o = {.format = "$path $target $target $target", .buffer = 1024};
    char *big = malloc(12000);
    open_log(&l, *state, &o);
    snprintf(big, 12000, "GET /%01500d HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    for (int i = 0; i < 10; i++)
        say(&l, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    say(&l, big);
    run_until(l.t.f, l.t.requests == 11);
    end_finish(l.t.f, &l.client);
    run_some(l.t.f);
    /* 10 short ones and a long one */
    size_t want = 10 * strlen("/hello /hello /hello /hello\n") + 4 * 1501 + 4;
    site_close(&l.t);
    np_append_set_free(l.set);
    close(l.fds[1]);
    size_t got = 0;
    for (ssize_t n; (n = read(l.fds[0], big, 12000)) > 0;)
        got += (size_t)n;
    assert_int_equal(got, want);
    close(l.fds[0]);
    free(big);
}

static void what_is_no_format_is_refused_in_words(void **state)
{
    struct fix *f = *state;
    static const struct {
        const char *format, *words;
    } bad[] = {{"$nonsense", "'$nonsense'"}, {"a $", "behind '$'"},    {"${status", "no '}'"},
               {"$header{a b}", "'a b'"},    {"$header{x", "no '}'"},  {"$header{}", "no header"},
               {"a\nb", "one line"},         {"$header", "'$header'"}, {"$ x", "behind '$'"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct np_access_log_options o = {.format = bad[i].format};
        struct np_access_log *log;
        struct neap_errinfo info = {0};
        assert_err(np_access_log_new(&f->loop, &o, &log, &info), NEAP_EINVAL);
        if (!strstr(info.message, bad[i].words)) fail_msg("%s: %s", bad[i].format, info.message);
    }
}

static enum neap_err make(void *arg)
{
    struct np_access_log_options o = {.style = NP_ACCESS_RECORD, .on_batch = on_batch};
    struct np_access_log *log = NULL;
    enum neap_err err = np_access_log_new(arg, &o, &log, NULL);
    if (!err) np_access_log_free(log);
    return err;
}

static void lost_memory_is_survived(void **state)
{
    struct fix *f = *state;
    assert_true(np_test_oom(make, &f->loop) > 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_says_what_its_format_names),
        TEST(headers_of_answers_are_named_as_the_handler_gave_them),
        TEST(numbers_of_time_are_numbers),
        TEST(every_way_to_end_is_logged),
        TEST(a_client_that_leaves_is_logged_as_499),
        TEST(an_answer_that_breaks_off_keeps_its_status),
        TEST(what_a_peer_sent_cannot_forge_a_line),
        TEST(json_keeps_types),
        TEST(records_are_handed_over_in_batches),
        TEST(long_lines_and_many_of_them_find_room),
        TEST(what_is_no_format_is_refused_in_words),
        TEST(lost_memory_is_survived),
    };
    return cmocka_run_group_tests_name("http.access_log", tests, NULL, NULL);
}
