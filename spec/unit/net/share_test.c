/* Shared sockets, what may be claimed and who gets it: addresses, port 0, states that follow each
 * other, sockets that were inherited. */
#include "share_rig.h"

#include <sys/stat.h>

/* Another process, that is a socket that is not of the share. */
static int stranger(int port, bool reuse_port)
{
    int on = 1, fd = client_socket(AF_INET);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int port_of(int fd)
{
    struct sockaddr_in in;
    socklen_t n = sizeof in;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    return ntohs(in.sin_port);
}

static void all_workers_have_the_same_port(void **state)
{
    struct rig r;
    struct place p = {0};
    (void)state;
    rig_open(&r, 3, NP_SHARE_AUTO);
    do_on(&r.w[0], do_listen, &p);
    int port = p.port;
    assert_in_range(port, 1, 65535);
    for (int i = 1; i < 3; i++) {
        struct place q = {0};
        do_on(&r.w[i], do_listen, &q);
        assert_int_equal(q.port, port);
    }
    rig_close(&r);
}

/* The n-th port 0 of each is the same one; after loading it is a new one. */
static void port_0_means_the_same_for_all_and_over_reloads(void **state)
{
    struct rig r;
    int port[2];
    struct state *old;
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    for (int i = 0; i < 2; i++) {
        struct place p = {0}, q = {0};
        do_on(&r.w[i], do_listen, &p);
        do_on(&r.w[i], do_listen, &q);
        if (i == 0) port[0] = p.port, port[1] = q.port;
        assert_int_not_equal(port[0], port[1]);
        assert_int_equal(p.port, port[0]);
        assert_int_equal(q.port, port[1]);
        do_on(&r.w[i], do_loaded, NULL);
    }
    struct place late = {0};
    do_on(&r.w[0], do_listen, &late);
    assert_int_not_equal(late.port, port[0]);
    assert_int_not_equal(late.port, port[1]);
    do_on(&r.w[1], do_load_next, &(char){'b'});
    struct place p = {0}, q = {0};
    do_on(&r.w[1], do_listen, &p);
    do_on(&r.w[1], do_listen, &q);
    assert_int_equal(p.port, port[0]);
    assert_int_equal(q.port, port[1]);
    do_on(&r.w[1], do_switch, &old);
    do_on(&r.w[1], do_free, old);
    rig_close(&r);
}

/* By states that follow and listen nowhere. */
static void close_all(struct rig *r, struct place *p)
{
    struct state *old;
    for (unsigned i = 0; i < r->n; i++) {
        do_on(&r->w[i], do_load_next, &(char){'b'});
        do_on(&r->w[i], do_switch, &old);
        do_on(&r->w[i], do_free, old);
    }
    assert_int_equal(client_connect(p), -1);
}

static void an_address_is_claimed_once_in_a_state(void **state)
{
    struct rig r;
    struct place p = {0};
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    struct place again = {.port = p.port, .fixed = true, .want = NEAP_EADDRINUSE};
    char port[16];
    snprintf(port, sizeof port, ":%d", p.port);
    do_on(&r.w[0], do_listen, &again);
    assert_non_null(strstr(again.info.message, port));
    close_all(&r, &p);
    again.want = NEAP_OK;
    do_on(&r.w[0], do_listen, &again); /* it is free now */
    struct place local = {
        .port = p.port, .fixed = true, .host = "localhost", .want = NEAP_EADDRINUSE};
    do_on(&r.w[0], do_listen, &local);
    assert_non_null(strstr(local.info.message, port));
    rig_close(&r);
}

static void a_port_that_another_process_has_is_in_use(void **state)
{
    struct rig r;
    (void)state;
    for (int shares = 0; shares < 2; shares++) {
        int fd = stranger(0, shares);
        struct place p = {.fixed = true, .port = port_of(fd), .want = NEAP_EADDRINUSE};
        rig_open(&r, 2, NP_SHARE_AUTO);
        do_on(&r.w[0], do_listen, &p);
        do_on(&r.w[1], do_listen, &p);
        if (shares) { /* unless both want it so */
            p.reuse_port = true;
            p.want = NEAP_OK;
            rig_listen(&r, &p);
        }
        rig_close(&r);
        close(fd);
    }
}

static void a_port_may_be_shared_twice_in_a_state_when_asked_for(void **state)
{
    struct rig r;
    (void)state;
    for (unsigned n = 1; n < 3; n++) {
        int fd = stranger(0, true);
        struct place p = {.fixed = true, .port = port_of(fd), .reuse_port = true};
        rig_open(&r, n, NP_SHARE_AUTO);
        rig_listen(&r, &p);
        rig_listen(&r, &p);
        rig_close(&r);
        close(fd);
    }
}

static void a_held_state_takes_nothing_until_it_is_activated(void **state)
{
    struct rig r;
    struct place p = {0};
    struct state *old;
    char who[3];
    (void)state;
    rig_open(&r, 1, NP_SHARE_AUTO);
    do_on(&r.w[0], do_listen, &p);
    do_on(&r.w[0], do_load_next, &(char){'b'});
    do_on(&r.w[0], do_listen, &p);
    int one = client_open(&p, who);
    assert_string_equal(who, "0a");
    do_on(&r.w[0], do_switch, &old);
    int two = client_open(&p, who);
    assert_string_equal(who, "0b");
    assert_true(client_ask(one, who)); /* the old one's lives on */
    assert_string_equal(who, "0a");
    close(one);
    close(two);
    do_on(&r.w[0], do_free, old);
    rig_close(&r);
}

static void a_state_that_fails_leaves_the_old_one_as_it_was(void **state)
{
    struct rig r;
    struct place p = {0};
    char who[3];
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    for (int i = 0; i < 2; i++) {
        do_on(&r.w[i], do_load_next, &(char){'b'});
        do_on(&r.w[i], do_listen, &p);
    }
    for (int i = 0; i < 2; i++)
        do_on(&r.w[i], do_drop_next, NULL);
    for (int i = 0; i < 8; i++) {
        int fd = client_open(&p, who);
        assert_int_equal(who[1], 'a');
        close(fd);
    }
    rig_close(&r);
}

static void a_port_that_the_new_state_does_not_want_is_free(void **state)
{
    struct rig r;
    struct place p = {0};
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    close_all(&r, &p);
    close(stranger(p.port, false));
    rig_close(&r);
}

static void a_socket_file_outlives_a_reload_and_goes_with_the_last(void **state)
{
    struct rig r;
    struct state *old;
    struct stat before, after;
    char path[256], who[3];
    char *dir = np_test_tmpdir();
    (void)state;
    snprintf(path, sizeof path, "%s/s", dir);
    struct place p = {.path = path};
    rig_open(&r, 2, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    assert_int_equal(stat(path, &before), 0);
    for (int i = 0; i < 2; i++) {
        do_on(&r.w[i], do_load_next, &(char){'b'});
        do_on(&r.w[i], do_listen, &p);
        do_on(&r.w[i], do_switch, &old);
        do_on(&r.w[i], do_free, old);
    }
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    int fd = client_open(&p, who);
    assert_int_equal(who[1], 'b');
    close(fd);
    rig_close(&r);
    assert_int_equal(stat(path, &after), -1);
    np_test_tmpdir_remove(dir);
}

/* --- inherited */

static void a_socket_that_was_inherited_is_used_by_all(void **state)
{
    struct rig r;
    char who[3], text[256];
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    int fd = stranger(0, false), other = stranger(0, false);
    struct place p = {.fixed = true, .port = port_of(fd)};
    assert_ok(np_share_inherit(r.share, fd, "web"));
    assert_ok(np_share_inherit(r.share, other, NULL));
    assert_int_equal(np_share_unclaimed(r.share, text, sizeof text), 2);
    int early = client_connect(&p); /* it waits for who will serve it */
    assert_true(early >= 0);
    rig_listen(&r, &p);
    assert_true(client_ask(early, who));
    close(early);
    assert_int_equal(np_share_unclaimed(r.share, text, sizeof text), 1);
    assert_non_null(strstr(text, "127.0.0.1:"));
    rig_close(&r);
}

static void what_does_not_listen_cannot_be_inherited(void **state)
{
    struct np_share *s;
    int fd = client_socket(AF_INET);
    (void)state;
    assert_ok(np_share_new(1, NP_SHARE_AUTO, &s));
    assert_err(np_share_inherit(s, fd, "no"), NEAP_EINVAL);
    close(fd);
    np_share_free(s);
}

static int bound_to_any(int *port)
{
    int fd = client_socket(AF_INET6), off = 0;
    struct sockaddr_in6 in = {.sin6_family = AF_INET6};
    socklen_t n = sizeof in;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, (struct sockaddr *)&in, sizeof in) < 0 || listen(fd, 8) < 0 ||
        getsockname(fd, (struct sockaddr *)&in, &n) < 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(in.sin6_port);
    return fd;
}

static void a_socket_for_every_address_serves_either_family(void **state)
{
    struct rig r;
    struct place p = {.host = "0.0.0.0", .fixed = true};
    char who[3];
    (void)state;
    int fd = bound_to_any(&p.port);
    if (fd < 0) skip(); /* no IPv6 here */
    rig_open(&r, 1, NP_SHARE_AUTO);
    assert_ok(np_share_inherit(r.share, fd, NULL));
    do_on(&r.w[0], do_listen, &p);
    close(client_open(&p, who));
    assert_string_equal(who, "0a");
    rig_close(&r);
}

/* --- memory */

/* What a long life of listening at ever other places leaves behind. */
static void places_that_are_left_take_no_memory(void **state)
{
    struct rig r;
    struct state *old;
    int64_t live = 0;
    (void)state;
    rig_open(&r, 1, NP_SHARE_AUTO);
    char path[256];
    char *dir = np_test_tmpdir();
    for (int i = 0; i < 20; i++) {
        struct place p = {.path = path};
        snprintf(path, sizeof path, "%s/%d", dir, i);
        do_on(&r.w[0], do_load_next, &(char){'b'});
        do_on(&r.w[0], do_listen, &p);
        do_on(&r.w[0], do_switch, &old);
        do_on(&r.w[0], do_free, old);
        if (i == 2) live = np_alloc_live();
    }
    assert_int_equal(np_alloc_live(), live);
    rig_close(&r);
    np_test_tmpdir_remove(dir);
}

struct oom {
    struct np_loop loop;
    struct place *place;
};

static enum neap_err claim_and_release(void *arg)
{
    struct oom *o = arg;
    struct np_share *s;
    struct np_share_user *u;
    struct np_listener *l;
    struct np_listen_options lo = NP_LISTEN_OPTIONS_INIT;
    static const struct np_listener_handler nobody = {0};
    enum neap_err err = np_share_new(2, NP_SHARE_AUTO, &s);
    if (err) return err;
    err = np_share_user_new(s, &o->loop, 1, false, &u);
    if (!err) {
        lo.share = u;
        err = np_tcp_listen(&o->loop, "127.0.0.1", 0, &lo, &nobody, NULL, &l, NULL);
        if (!err) np_listener_close(l);
        while (o->loop.handles)
            np_loop_poll(&o->loop);
        np_share_user_free(u);
    }
    np_share_free(s);
    return err;
}

static void lost_memory_is_an_error_like_others(void **state)
{
    struct oom o;
    (void)state;
    int64_t live = np_alloc_live();
    assert_ok(np_loop_init(&o.loop, NULL, NULL));
    assert_true(np_test_oom(claim_and_release, &o) >= 5);
    np_loop_fini(&o.loop, NULL, NULL);
    assert_no_leak(live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_workers_have_the_same_port),
        cmocka_unit_test(port_0_means_the_same_for_all_and_over_reloads),
        cmocka_unit_test(an_address_is_claimed_once_in_a_state),
        cmocka_unit_test(a_port_that_another_process_has_is_in_use),
        cmocka_unit_test(a_port_may_be_shared_twice_in_a_state_when_asked_for),
        cmocka_unit_test(a_held_state_takes_nothing_until_it_is_activated),
        cmocka_unit_test(a_state_that_fails_leaves_the_old_one_as_it_was),
        cmocka_unit_test(a_port_that_the_new_state_does_not_want_is_free),
        cmocka_unit_test(a_socket_file_outlives_a_reload_and_goes_with_the_last),
        cmocka_unit_test(a_socket_that_was_inherited_is_used_by_all),
        cmocka_unit_test(what_does_not_listen_cannot_be_inherited),
        cmocka_unit_test(a_socket_for_every_address_serves_either_family),
        cmocka_unit_test(places_that_are_left_take_no_memory),
        cmocka_unit_test(lost_memory_is_an_error_like_others),
    };
    return cmocka_run_group_tests_name("net.share", tests, NULL, NULL);
}
