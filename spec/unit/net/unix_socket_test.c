/* Unix sockets: abstract ones, who is at the other end, and what a stream is told of its
 * connection.
 */
#include <pthread.h>
#include <unistd.h>

#include "fixture.h"
#include "net/credentials.h"

struct pair {
    struct end a, b;
    struct acceptor acc;
    char path[64];
};

/* An abstract name of this test's own. */
static void listen_abstract(struct fix *f, struct pair *p)
{
    memset(p, 0, sizeof *p);
    p->acc.to = &p->b;
    snprintf(p->path, sizeof p->path, "@neap-unit-%d", (int)getpid());
    assert_ok(np_unix_listen(&f->loop, p->path, NULL, &acceptor_handler, &p->acc, &p->acc.l, NULL));
}

static void close_listener(struct fix *f, struct pair *p)
{
    np_listener_close(p->acc.l);
    run_until(f, p->acc.closed);
}

static void abstract_sockets_carry_streams(void **state)
{
    struct fix *f = *state;
    struct pair p;
    char text[NP_ADDR_TEXT_MAX], want[80];
    listen_abstract(f, &p);
    snprintf(want, sizeof want, "unix:%s", p.path);
    np_listener_address(p.acc.l, text, sizeof text);
    assert_string_equal(text, want);
    assert_int_equal(access(p.path, F_OK), -1); /* no file */
    assert_ok(np_unix_dial(&f->loop, p.path, NULL, &end_handler, &p.a, &p.a.s));
    assert_ok(np_stream_write(p.a.s, "hello", 5)); /* while it is connecting */
    run_until(f, p.a.opened && p.acc.accepted);
    assert_ok(np_stream_peer(p.a.s, text, sizeof text));
    assert_string_equal(text, want);
    assert_ok(np_stream_read_start(p.b.s));
    run_until(f, np_buf_len(&p.b.in) == 5);
    end_finish(f, &p.a);
    end_finish(f, &p.b);
    close_listener(f, &p);
}

static void abstract_sockets_fail_in_words(void **state)
{
    struct fix *f = *state;
    struct pair p;
    struct np_listener *l;
    struct neap_errinfo info = {0};
    struct np_listen_options o = NP_LISTEN_OPTIONS_INIT;
    struct end a = {.s = NULL};
    listen_abstract(f, &p);
    assert_err(np_unix_listen(&f->loop, p.path, NULL, &acceptor_handler, &p.acc, &l, &info),
               NEAP_EADDRINUSE);
    assert_non_null(strstr(info.message, p.path));
    o.unix_mode = 0600;
    assert_err(np_unix_listen(&f->loop, "@neap-mode", &o, &acceptor_handler, &p.acc, &l, &info),
               NEAP_EINVAL);
    assert_err(np_unix_listen(&f->loop, "@", NULL, &acceptor_handler, &p.acc, &l, &info),
               NEAP_EINVAL);
    close_listener(f, &p);
    assert_ok(np_unix_dial(&f->loop, p.path, NULL, &end_handler, &a, &a.s));
    run_until(f, a.errors);
    assert_int_equal(a.err, NEAP_ECONNREFUSED);
    end_finish(f, &a);
}

static void a_dialling_stream_may_be_closed_at_once(void **state)
{
    struct fix *f = *state;
    struct pair p;
    listen_abstract(f, &p);
    assert_ok(np_unix_dial(&f->loop, p.path, NULL, &end_handler, &p.a, &p.a.s));
    np_stream_close(p.a.s);
    run_until(f, p.a.closed && p.acc.accepted);
    assert_int_equal(p.a.opened, 0);
    end_finish(f, &p.a);
    end_finish(f, &p.b);
    close_listener(f, &p);
}

static void the_kernel_knows_who_is_there(void **state)
{
    static const struct {
        int kind;
        enum neap_err err;
    } t[] = {{UNIX, NEAP_OK}, {TCP, NEAP_ENOTSUP}, {PIPE, NEAP_ENOTSUP}, {TLS, NEAP_ENOTSUP}};
    struct fix *f = *state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct end a, b;
        struct np_credentials c = {0};
        join(f, t[i].kind, &a, &b);
        assert_err(np_stream_credentials(b.s, &c), t[i].err);
        if (!t[i].err) {
            assert_int_equal(c.pid, getpid());
            assert_int_equal(c.uid, geteuid());
            assert_int_equal(c.gid, getegid());
        }
        end_finish(f, &a);
        end_finish(f, &b);
    }
}

static int freed;

static void free_note(void *note)
{
    freed++;
    np_free(note);
}

static void notes_are_found_below_filters(void **state)
{
    struct fix *f = *state;
    static const int kinds[] = {PIPE, TLS_PIPE};
    for (int i = 0; i < 2; i++) {
        struct end a, b;
        join(f, kinds[i], &a, &b);
        freed = 0;
        struct np_stream *under = (struct np_stream *)np_stream_transport(b.s);
        assert_string_equal(under->ops->kind, "pipe");
        assert_null(np_stream_note(b.s));
        assert_ok(np_stream_set_note(under, np_strdup("one"), free_note));
        assert_string_equal(np_stream_note(b.s), "one");
        assert_ok(np_stream_set_note(under, np_strdup("two"), free_note));
        assert_int_equal(freed, 1);
        assert_string_equal(np_stream_note(b.s), "two");
        assert_null(np_stream_note(a.s));
        end_finish(f, &a);
        end_finish(f, &b);
        assert_int_equal(freed, 2);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)
    const struct CMUnitTest tests[] = {
        TEST(abstract_sockets_carry_streams),          TEST(abstract_sockets_fail_in_words),
        TEST(a_dialling_stream_may_be_closed_at_once), TEST(the_kernel_knows_who_is_there),
        TEST(notes_are_found_below_filters),
    };
    return cmocka_run_group_tests_name("net.unix_socket", tests, NULL, NULL);
}
