/* Listening and connecting: what can be asked of a port or a path, and what goes wrong. */
#include "fixture.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void listen_tcp(struct fix *f, struct acceptor *a, const struct np_listen_options *opts,
                       int port)
{
    assert_ok(np_tcp_listen(&f->loop, "127.0.0.1", port, opts, &acceptor_handler, a, &a->l, NULL));
}

static void close_listener(struct fix *f, struct acceptor *a)
{
    np_listener_close(a->l);
    run_until(f, a->closed);
}

static void picks_a_free_port_and_says_which(void **state)
{
    struct fix *f = *state;
    struct acceptor a = {0};
    char text[NP_ADDR_TEXT_MAX], want[64];
    listen_tcp(f, &a, NULL, 0);
    assert_in_range(np_listener_port(a.l), 1, 65535);
    np_listener_address(a.l, text, sizeof text);
    snprintf(want, sizeof want, "127.0.0.1:%d", np_listener_port(a.l));
    assert_string_equal(text, want);
    np_listener_close(a.l);
    np_listener_close(a.l);
    run_until(f, a.closed);
}

static void a_port_in_use_is_an_error_in_words(void **state)
{
    struct fix *f = *state;
    struct acceptor a = {0}, b = {0};
    struct neap_errinfo info;
    char port[16];
    listen_tcp(f, &a, NULL, 0);
    assert_err(np_tcp_listen(&f->loop, "127.0.0.1", np_listener_port(a.l), NULL, &acceptor_handler,
                             &b, &b.l, &info),
               NEAP_EADDRINUSE);
    snprintf(port, sizeof port, "%d", np_listener_port(a.l));
    assert_non_null(strstr(info.message, port));
    assert_err(np_tcp_listen(&f->loop, "192.0.2.1", 0, NULL, &acceptor_handler, &b, &b.l, &info),
               NEAP_EADDRNOTAVAIL);
    assert_err(np_tcp_listen(&f->loop, "example.org", 0, NULL, &acceptor_handler, &b, &b.l, &info),
               NEAP_EINVAL);
    assert_non_null(strstr(info.message, "example.org"));
    assert_err(np_tcp_listen(&f->loop, "::1", 65536, NULL, &acceptor_handler, &b, &b.l, &info),
               NEAP_EINVAL);
    close_listener(f, &a);
}

static void a_port_may_be_shared_when_asked_for(void **state)
{
    struct fix *f = *state;
    struct np_listen_options opts = NP_LISTEN_OPTIONS_INIT;
    struct acceptor a = {0}, b = {0};
    opts.reuse_port = true;
    listen_tcp(f, &a, &opts, 0);
    listen_tcp(f, &b, &opts, np_listener_port(a.l));
    assert_int_equal(np_listener_port(a.l), np_listener_port(b.l));
    close_listener(f, &a);
    close_listener(f, &b);
}

static void dial(struct fix *f, struct end *e, const struct acceptor *a)
{
    *e = (struct end){0};
    assert_ok(
        np_tcp_dial(&f->loop, "127.0.0.1", np_listener_port(a->l), NULL, &end_handler, e, &e->s));
}

static void a_paused_listener_accepts_later(void **state)
{
    struct fix *f = *state;
    struct end client, server = {0};
    struct acceptor a = {.to = &server};
    listen_tcp(f, &a, NULL, 0);
    np_listener_pause(a.l, true);
    dial(f, &client, &a);
    run_until(f, client.opened); /* the kernel's queue took it */
    run_some(f);
    assert_int_equal(a.accepted, 0);
    np_listener_pause(a.l, false);
    run_until(f, a.accepted);
    close_listener(f, &a);
    end_finish(f, &client);
    end_finish(f, &server);
}

static void an_unreferenced_listener_does_not_hold_the_loop(void **state)
{
    struct fix *f = *state;
    struct acceptor a = {0};
    listen_tcp(f, &a, NULL, 0);
    assert_true(np_loop_poll(&f->loop));
    np_listener_set_ref(a.l, false);
    np_loop_run(&f->loop);
    close_listener(f, &a);
}

static int tcp_option(struct np_stream *s, int option)
{
    char text[NP_ADDR_TEXT_MAX], other[NP_ADDR_TEXT_MAX];
    int value = -1;
    socklen_t n = sizeof value;
    union np_addr addr;
    assert_ok(np_stream_local(s, text, sizeof text));
    for (int fd = 3; fd < 256; fd++) { /* the stream does not show its descriptor */
        socklen_t len = sizeof addr;
        struct stat st;
        if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) continue;
        if (getsockname(fd, &addr.sa, &len) < 0 || addr.sa.sa_family != AF_INET) continue;
        len = sizeof addr;
        np_addr_format(&addr.sa, other, sizeof other);
        if (strcmp(text, other) != 0 || getpeername(fd, &addr.sa, &len) < 0) continue;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, option, &value, &n), 0);
    }
    return value;
}

static void small_writes_are_not_delayed_on_either_side(void **state)
{
    struct fix *f = *state;
    struct end client, server = {0};
    struct acceptor a = {.to = &server};
    listen_tcp(f, &a, NULL, 0);
    dial(f, &client, &a);
    run_until(f, client.opened && a.accepted);
    assert_int_equal(tcp_option(client.s, TCP_NODELAY), 1);
    assert_int_equal(tcp_option(server.s, TCP_NODELAY), 1);
    close_listener(f, &a);
    end_finish(f, &client);
    end_finish(f, &server);
}

/* Descriptors. */

/* Takes every descriptor there is under a low limit. */
static int take_descriptors(int *taken, int max, struct rlimit *old)
{
    int n = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, old), 0);
    struct rlimit low = {.rlim_cur = 64, .rlim_max = old->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (n < max && (taken[n] = dup(0)) >= 0)
        n++;
    assert_true(n < max);
    return n;
}

static void give_descriptors(const int *taken, int n, const struct rlimit *old)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, old), 0);
    while (n-- > 0)
        close(taken[n]);
}

/* Who comes meanwhile is turned away at once; afterwards it goes on without being asked to. */
static void survives_running_out_of_descriptors(void **state)
{
    struct fix *f = *state;
    struct end first, second, server = {0};
    struct acceptor a = {.to = &server};
    struct rlimit old;
    int taken[64];
    listen_tcp(f, &a, NULL, 0);
    np_listener_pause(a.l, true);
    dial(f, &first, &a);
    run_until(f, first.opened);
    assert_ok(np_stream_read_start(first.s));
    int n = take_descriptors(taken, 64, &old);
    np_listener_pause(a.l, false);
    run_until(f, first.ended || first.errors);
    assert_int_equal(a.accepted, 0);
    give_descriptors(taken, n, &old);
    dial(f, &second, &a);
    run_until(f, a.accepted);
    close_listener(f, &a);
    end_finish(f, &first);
    end_finish(f, &second);
    end_finish(f, &server);
}

static const char busy[] = "no room";

/* Each hears it, whether it has said something already or not, and then its end. */
static void who_cannot_be_served_is_told_why(void **state)
{
    enum { WAITING = 6 };
    struct fix *f = *state;
    struct np_listen_options opts = NP_LISTEN_OPTIONS_INIT;
    struct end waiting[WAITING], server = {0};
    struct acceptor a = {.to = &server};
    struct rlimit old;
    int taken[64];
    opts.busy = busy;
    opts.busy_len = sizeof busy - 1;
    listen_tcp(f, &a, &opts, 0);
    np_listener_pause(a.l, true);
    for (int i = 0; i < WAITING; i++) {
        dial(f, &waiting[i], &a);
        run_until(f, waiting[i].opened);
        assert_ok(np_stream_read_start(waiting[i].s));
        if (i % 2) assert_ok(np_stream_write(waiting[i].s, "GET / HTTP/1.1", 14));
    }
    run_some(f);
    int n = take_descriptors(taken, 64, &old);
    np_listener_pause(a.l, false);
    run_until(f, waiting[0].ended || waiting[0].errors || a.accepted);
    for (int i = 0; i < WAITING && !a.accepted; i++) {
        run_until(f, waiting[i].ended || waiting[i].errors);
        assert_int_equal(waiting[i].errors, 0);
        end_text_is(&waiting[i], busy);
    }
    bool accepted = a.accepted > 0; /* valgrind's accept, see above */
    give_descriptors(taken, n, &old);
    close_listener(f, &a);
    for (int i = 0; i < WAITING; i++)
        end_finish(f, &waiting[i]);
    if (!accepted) return;
    end_finish(f, &server);
    skip();
}

/* Who dials hears of it as of any other failure; when there are some again it works. */
static void dialling_without_descriptors_fails_cleanly(void **state)
{
    struct fix *f = *state;
    struct end e = {0}, server = {0};
    struct acceptor a = {.to = &server};
    struct rlimit old;
    int taken[64];
    listen_tcp(f, &a, NULL, 0);
    int n = take_descriptors(taken, 64, &old);
    enum neap_err err =
        np_tcp_dial(&f->loop, "127.0.0.1", np_listener_port(a.l), NULL, &end_handler, &e, &e.s);
    if (!err) {
        run_until(f, e.errors);
        err = e.err;
        end_finish(f, &e);
    }
    assert_int_equal(err, NEAP_EMFILE);
    give_descriptors(taken, n, &old);
    dial(f, &e, &a);
    run_until(f, e.opened && a.accepted);
    close_listener(f, &a);
    end_finish(f, &e);
    end_finish(f, &server);
}

/* Unix sockets. */

struct place {
    char *dir;
    char path[256];
};

static void place_init(struct place *p)
{
    p->dir = np_test_tmpdir();
    snprintf(p->path, sizeof p->path, "%s/s", p->dir);
}

static enum neap_err listen_unix(struct fix *f, struct acceptor *a, const char *path, int mode,
                                 struct neap_errinfo *info)
{
    struct np_listen_options opts = NP_LISTEN_OPTIONS_INIT;
    opts.unix_mode = mode;
    return np_unix_listen(&f->loop, path, &opts, &acceptor_handler, a, &a->l, info);
}

static void leave_stale_socket(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof un.sun_path);
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
}

static void replaces_a_stale_socket_file_and_removes_its_own(void **state)
{
    struct fix *f = *state;
    struct acceptor a = {0};
    struct place p;
    struct stat st;
    char text[NP_ADDR_TEXT_MAX];
    place_init(&p);
    leave_stale_socket(p.path);
    assert_ok(listen_unix(f, &a, p.path, 0600, NULL));
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    np_listener_address(a.l, text, sizeof text);
    assert_string_equal(text + 5, p.path);
    assert_int_equal(np_listener_port(a.l), 0);
    close_listener(f, &a);
    assert_int_equal(stat(p.path, &st), -1);
    np_test_tmpdir_remove(p.dir);
}

static void leaves_what_is_not_its_own(void **state)
{
    struct fix *f = *state;
    struct acceptor a = {0}, b = {0};
    struct place p;
    struct stat st;
    struct neap_errinfo info;
    place_init(&p);
    assert_ok(listen_unix(f, &a, p.path, 0, NULL));
    assert_err(listen_unix(f, &b, p.path, 0, &info), NEAP_EADDRINUSE); /* somebody listens */
    assert_non_null(strstr(info.message, p.path));
    assert_int_equal(unlink(p.path), 0);
    int fd = open(p.path, O_CREAT | O_WRONLY, 0600); /* a file that is no socket at all */
    assert_true(fd >= 0);
    close(fd);
    assert_err(listen_unix(f, &b, p.path, 0, NULL), NEAP_EADDRINUSE);
    close_listener(f, &a);
    assert_int_equal(stat(p.path, &st), 0); /* not what it bound */
    np_test_tmpdir_remove(p.dir);
}

static void says_what_is_wrong_with_a_path(void **state)
{
    struct fix *f = *state;
    struct acceptor a = {0};
    struct neap_errinfo info;
    struct end e = {0};
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_err(listen_unix(f, &a, "", 0, &info), NEAP_EINVAL);
    assert_err(listen_unix(f, &a, longer, 0, &info), NEAP_EINVAL);
    assert_err(listen_unix(f, &a, "/nonexistent/dir/s", 0, &info), NEAP_ENOENT);
    assert_err(np_unix_dial(&f->loop, longer, NULL, &end_handler, &e, &e.s), NEAP_EINVAL);
    assert_ok(np_unix_dial(&f->loop, "/nonexistent/s", NULL, &end_handler, &e, &e.s));
    run_until(f, e.errors);
    assert_int_equal(e.err, NEAP_ENOENT);
    end_finish(f, &e);
}

/* Dialling. */

static int free_port(struct fix *f)
{
    struct acceptor a = {0};
    listen_tcp(f, &a, NULL, 0);
    int port = np_listener_port(a.l);
    close_listener(f, &a);
    return port;
}

static void a_refused_connection_is_reported_once(void **state)
{
    struct fix *f = *state;
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    for (int i = 0; i < 2; i++) {
        struct end e = {0};
        assert_ok(np_tcp_dial(&f->loop, hosts[i], free_port(f), NULL, &end_handler, &e, &e.s));
        assert_ok(np_stream_write(e.s, "queued", 6));
        run_until(f, e.errors);
        assert_true(e.err == NEAP_ECONNREFUSED || e.err == NEAP_EADDRNOTAVAIL);
        assert_err(np_stream_write(e.s, "x", 1), NEAP_ECLOSED);
        run_some(f);
        assert_int_equal(e.opened, 0);
        end_finish(f, &e);
    }
}

static void refuses_what_cannot_be_dialled(void **state)
{
    struct fix *f = *state;
    struct end e = {0};
    assert_err(np_tcp_dial(&f->loop, "", 80, NULL, &end_handler, &e, &e.s), NEAP_EINVAL);
    assert_err(np_tcp_dial(&f->loop, "127.0.0.1", 0, NULL, &end_handler, &e, &e.s), NEAP_EINVAL);
    assert_err(np_tcp_dial(&f->loop, "127.0.0.1", 65536, NULL, &end_handler, &e, &e.s),
               NEAP_EINVAL);
    assert_int_equal(e.closed, 0);
}

static void what_is_written_while_connecting_is_sent_then(void **state)
{
    struct fix *f = *state;
    struct end client, server = {0};
    struct acceptor a = {.to = &server};
    listen_tcp(f, &a, NULL, 0);
    dial(f, &client, &a);
    assert_int_equal(client.s->state, NP_STREAM_CONNECTING);
    assert_ok(np_stream_read_start(client.s));
    assert_ok(np_stream_write(client.s, "early ", 6));
    assert_ok(np_stream_write(client.s, "bird", 4));
    assert_ok(np_stream_shutdown(client.s));
    run_until(f, a.accepted);
    assert_ok(np_stream_read_start(server.s));
    run_until(f, server.ended);
    end_text_is(&server, "early bird");
    assert_int_equal(client.opened, 1);
    assert_ok(np_stream_write(server.s, "worm", 4));
    run_until(f, client.got == 4);
    close_listener(f, &a);
    end_finish(f, &client);
    end_finish(f, &server);
}

static void may_be_closed_while_connecting_and_in_on_open(void **state)
{
    struct fix *f = *state;
    struct end client, server = {0};
    struct acceptor a = {.to = &server};
    listen_tcp(f, &a, NULL, 0);
    dial(f, &client, &a);
    end_finish(f, &client);
    assert_int_equal(client.opened + client.errors, 0);
    run_some(f);
    if (a.accepted) end_finish(f, &server); /* the kernel may have been quicker */
    a.accepted = 0;
    dial(f, &client, &a);
    client.close_in = "open";
    run_until(f, client.closed && a.accepted);
    end_finish(f, &client);
    end_finish(f, &server);
    close_listener(f, &a);
}

static void connecting_is_given_up_in_time(void **state)
{
    struct fix *f = *state;
    struct np_dial_options opts = NP_DIAL_OPTIONS_INIT;
    struct end e = {0}, filler[8];
    struct acceptor a = {0};
    struct np_listen_options small = {.backlog = 1};
    listen_tcp(f, &a, &small, 0);
    np_listener_pause(a.l, true);
    /* A full backlog: the kernel drops what knocks. */
    for (int i = 0; i < 8; i++)
        dial(f, &filler[i], &a);
    run_some(f);
    opts.timeout = 2 * NP_NS_PER_MS;
    assert_ok(
        np_tcp_dial(&f->loop, "127.0.0.1", np_listener_port(a.l), &opts, &end_handler, &e, &e.s));
    run_until(f, e.errors);
    assert_int_equal(e.err, NEAP_ETIMEDOUT);
    end_finish(f, &e);
    for (int i = 0; i < 8; i++)
        end_finish(f, &filler[i]);
    close_listener(f, &a);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(picks_a_free_port_and_says_which),
        T(a_port_in_use_is_an_error_in_words),
        T(a_port_may_be_shared_when_asked_for),
        T(a_paused_listener_accepts_later),
        T(an_unreferenced_listener_does_not_hold_the_loop),
        T(small_writes_are_not_delayed_on_either_side),
        T(survives_running_out_of_descriptors),
        T(who_cannot_be_served_is_told_why),
        T(dialling_without_descriptors_fails_cleanly),
        T(replaces_a_stale_socket_file_and_removes_its_own),
        T(leaves_what_is_not_its_own),
        T(says_what_is_wrong_with_a_path),
        T(a_refused_connection_is_reported_once),
        T(refuses_what_cannot_be_dialled),
        T(what_is_written_while_connecting_is_sent_then),
        T(may_be_closed_while_connecting_and_in_on_open),
        T(connecting_is_given_up_in_time),
    };
    return cmocka_run_group_tests_name("net.listener", tests, NULL, NULL);
}
