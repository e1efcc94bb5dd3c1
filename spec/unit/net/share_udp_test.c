/* Shared datagram sockets: one port for all workers, and no datagram lost when states follow each
 * other. */
#include "share_rig.h"

/* --- the server's side */

static void on_recv(struct np_udp *u, const char *data, size_t n, const struct sockaddr *from,
                    bool truncated)
{
    const struct state *st = np_udp_arg(u);
    char answer[2] = {(char)('0' + st->w->id), st->mark};
    (void)data;
    must(!truncated && n == 1);
    must(np_udp_send(u, answer, 2, from) == NEAP_OK);
}

static void on_udp_close(struct np_udp *u)
{
    struct state *st = np_udp_arg(u);
    st->udp = NULL;
}

static const struct np_udp_handler udp_handler = {.on_recv = on_recv, .on_close = on_udp_close};

static void do_open(struct worker *w, void *place)
{
    struct place *p = place;
    struct state *st = w->next ? w->next : w->now;
    struct np_udp_options o = {.share = st->user, .reuse_port = p->reuse_port};
    enum neap_err err = np_udp_open(&w->loop, "127.0.0.1", p->fixed ? p->port : 0, &o, &udp_handler,
                                    st, &st->udp, &p->info);
    if (err != p->want) fprintf(stderr, "%s\n", p->info.message);
    must(err == p->want);
    if (err) return;
    must(np_udp_recv_start(st->udp) == NEAP_OK);
    must(np_udp_local(st->udp, p->address, sizeof p->address, &p->port) == NEAP_OK);
}

static void open_all(struct rig *r, struct place *p)
{
    for (unsigned i = 0; i < r->n; i++)
        do_on(&r->w[i], do_open, p);
}

/* --- the client's side */

static struct sockaddr_in at_port(int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return in;
}

static int udp_socket(int port, bool reuse_port)
{
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = at_port(port);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&in, sizeof in) == 0) return fd;
    close(fd);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_in in;
    socklen_t n = sizeof in;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
    return ntohs(in.sin_port);
}

static struct place free_place(void)
{
    int fd = udp_socket(0, false);
    struct place p = {.port = port_of(fd), .fixed = true};
    close(fd);
    return p;
}

static void ask(int fd, int port)
{
    struct sockaddr_in in = at_port(port);
    assert_int_equal(sendto(fd, "?", 1, 0, (struct sockaddr *)&in, sizeof in), 1);
}

static void hear(int fd, char who[3])
{
    who[2] = '\0';
    assert_int_equal(recv(fd, who, 2, 0), 2);
}

/* --- tests */

static void each_worker_gets_the_datagrams_of_some(void **state)
{
    struct rig r;
    struct place p = free_place();
    int by[2] = {0, 0};
    char who[3];
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    open_all(&r, &p);
    for (int i = 0; i < 64; i++) {
        int fd = udp_socket(0, false);
        char again[3];
        ask(fd, p.port);
        hear(fd, who);
        ask(fd, p.port);
        hear(fd, again);
        assert_string_equal(who, again); /* a peer stays with its worker */
        by[who[0] - '0']++;
        close(fd);
    }
    assert_true(by[0] > 0 && by[1] > 0);
    rig_close(&r);
}

static void a_port_that_another_process_has_is_in_use(void **state)
{
    struct rig r;
    (void)state;
    for (int shares = 0; shares < 2; shares++) {
        int fd = udp_socket(0, shares);
        struct place p = {.port = port_of(fd), .fixed = true, .want = NEAP_EADDRINUSE};
        rig_open(&r, 2, NP_SHARE_AUTO);
        open_all(&r, &p);
        assert_non_null(strstr(p.info.message, "127.0.0.1"));
        rig_close(&r);
        close(fd);
    }
}

static void strangers_cannot_take_the_port(void **state)
{
    struct rig r;
    struct place p = free_place();
    (void)state;
    rig_open(&r, 1, NP_SHARE_AUTO);
    open_all(&r, &p);
    assert_int_equal(udp_socket(p.port, true), -1);
    rig_close(&r);
    int fd = udp_socket(p.port, false);
    assert_true(fd >= 0);
    close(fd);
}

static void port_0_is_ones_own(void **state)
{
    struct rig r;
    struct place p = {0};
    char who[3];
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    do_on(&r.w[0], do_open, &p);
    int first = p.port, fd = udp_socket(0, false);
    do_on(&r.w[1], do_open, &p);
    assert_int_not_equal(p.port, first);
    ask(fd, first);
    hear(fd, who);
    assert_string_equal(who, "0a");
    ask(fd, p.port);
    hear(fd, who);
    assert_string_equal(who, "1a");
    close(fd);
    rig_close(&r);
}

static void a_held_state_receives_nothing(void **state)
{
    struct rig r;
    struct place p = free_place();
    struct state *old;
    char who[3];
    (void)state;
    int fd = udp_socket(0, false);
    rig_open(&r, 1, NP_SHARE_AUTO);
    open_all(&r, &p);
    do_on(&r.w[0], do_load_next, &(char){'b'});
    do_on(&r.w[0], do_open, &p);
    for (int i = 0; i < 20; i++) {
        ask(fd, p.port);
        hear(fd, who);
        assert_string_equal(who, "0a");
    }
    do_on(&r.w[0], do_switch, &old);
    for (int i = 0; i < 20; i++) {
        ask(fd, p.port);
        hear(fd, who);
        assert_string_equal(who, "0b");
    }
    do_on(&r.w[0], do_free, old);
    ask(fd, p.port);
    hear(fd, who);
    close(fd);
    rig_close(&r);
}

enum { CLIENTS = 2, RELOADS = 20, BURST = 8 };

struct load {
    pthread_t thread;
    int port;
    atomic_bool *stop;
    atomic_int *served;
    int lost;
};

/* Several at once, so that some stand in the socket while its states change. */
static void *client_main(void *arg)
{
    struct load *load = arg;
    char who[3];
    struct sockaddr_in in = at_port(load->port);
    while (!atomic_load(load->stop)) {
        int fd = udp_socket(0, false);
        for (int i = 0; i < BURST; i++)
            must(sendto(fd, "?", 1, 0, (struct sockaddr *)&in, sizeof in) == 1);
        for (int i = 0; i < BURST && !load->lost; i++)
            load->lost += recv(fd, who, 2, 0) != 2;
        close(fd);
        atomic_fetch_add(load->served, 1);
    }
    return NULL;
}

static void nothing(struct worker *w, void *arg)
{
    (void)w;
    (void)arg;
}

static void reload(struct rig *r, struct place *p, char mark)
{
    struct state *old[MAX_WORKERS];
    for (unsigned i = 0; i < r->n; i++) {
        do_on(&r->w[i], do_load_next, &mark);
        do_on(&r->w[i], do_open, p);
    }
    for (unsigned i = 0; i < r->n; i++)
        do_on(&r->w[i], do_switch, &old[i]);
    for (unsigned i = 0; i < r->n; i++)
        do_on(&r->w[i], do_free, old[i]);
}

static void no_datagram_is_lost_when_states_follow_each_other(void **state)
{
    struct rig r;
    struct place p = free_place();
    struct load load[CLIENTS];
    atomic_bool stop = false;
    atomic_int served = 0;
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    open_all(&r, &p);
    for (int i = 0; i < CLIENTS; i++) {
        load[i] = (struct load){.port = p.port, .stop = &stop, .served = &served};
        assert_int_equal(pthread_create(&load[i].thread, NULL, client_main, &load[i]), 0);
    }
    for (int k = 0; k < RELOADS; k++) {
        int before = atomic_load(&served);
        reload(&r, &p, (char)('b' + k));
        while (atomic_load(&served) < before + CLIENTS)
            do_on(&r.w[0], nothing, NULL);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(load[i].thread, NULL);
        assert_int_equal(load[i].lost, 0);
    }
    rig_close(&r);
}

static void a_socket_that_was_inherited_is_used_by_all(void **state)
{
    struct rig r;
    char who[3], text[128];
    (void)state;
    int server = udp_socket(0, false), fd = udp_socket(0, false);
    struct place p = {.port = port_of(server), .fixed = true};
    rig_open(&r, 2, NP_SHARE_AUTO);
    assert_ok(np_share_inherit(r.share, server, "dns"));
    ask(fd, p.port); /* before anybody reads */
    open_all(&r, &p);
    hear(fd, who);
    assert_int_equal(np_share_unclaimed(r.share, text, sizeof text), 0);
    close(fd);
    rig_close(&r);
}

/* A group that the state before has joined on the same socket is no error. */
static void do_join(struct worker *w, void *arg)
{
    struct state *st = w->next ? w->next : w->now;
    *(enum neap_err *)arg = np_udp_membership(st->udp, "239.255.0.1", "127.0.0.1", true);
}

static void memberships_outlive_states(void **state)
{
    struct rig r;
    struct place p = free_place();
    struct state *old;
    enum neap_err err;
    (void)state;
    rig_open(&r, 1, NP_SHARE_AUTO);
    open_all(&r, &p);
    do_on(&r.w[0], do_join, &err);
    bool possible = err == NEAP_OK;
    if (possible) {
        do_on(&r.w[0], do_load_next, &(char){'b'});
        do_on(&r.w[0], do_open, &p);
        do_on(&r.w[0], do_join, &err);
        assert_ok(err);
        do_on(&r.w[0], do_switch, &old);
        do_on(&r.w[0], do_free, old);
    }
    rig_close(&r);
    if (!possible) skip(); /* no multicast here */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_worker_gets_the_datagrams_of_some),
        cmocka_unit_test(a_port_that_another_process_has_is_in_use),
        cmocka_unit_test(strangers_cannot_take_the_port),
        cmocka_unit_test(port_0_is_ones_own),
        cmocka_unit_test(a_held_state_receives_nothing),
        cmocka_unit_test(no_datagram_is_lost_when_states_follow_each_other),
        cmocka_unit_test(a_socket_that_was_inherited_is_used_by_all),
        cmocka_unit_test(memberships_outlive_states),
    };
    return cmocka_run_group_tests_name("net.share_udp", tests, NULL, NULL);
}
