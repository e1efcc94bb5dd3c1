/* Shared sockets under several threads: how connections are spread, and that none is lost while
 * states follow each other and workers are stuck. */
#include "share_rig.h"

enum { MANY = 64 };

struct clients {
    int fd[MANY];
    int of[MAX_WORKERS]; /* how many each worker serves */
    int n;
};

static void clients_open(struct clients *c, const struct place *p, int n)
{
    char who[3];
    for (int i = 0; i < n; i++) {
        c->fd[c->n++] = client_open(p, who);
        c->of[who[0] - '0']++;
    }
}

static void clients_close(struct clients *c)
{
    for (int i = 0; i < c->n; i++)
        close(c->fd[i]);
    c->n = 0;
}

static void nothing(struct worker *w, void *arg)
{
    (void)w;
    (void)arg;
}

/* All of them have seen that their clients left. */
static void wait_until_left(struct rig *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        while (atomic_load(&r->w[i].open))
            do_on(&r->w[i], nothing, NULL);
    }
}

static void spread(int of[MAX_WORKERS], unsigned n, int *least, int *most)
{
    *least = *most = of[0];
    for (unsigned i = 1; i < n; i++) {
        if (of[i] < *least) *least = of[i];
        if (of[i] > *most) *most = of[i];
    }
}

/* Where each has a socket of its own the kernel draws lots; whoever drew too many passes on. */
static void many_connections_are_spread_evenly(void **state)
{
    struct rig r;
    struct place p = {0};
    (void)state;
    rig_open(&r, 4, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    for (int round = 0; round < 3; round++) {
        struct clients c = {0};
        int least, most;
        clients_open(&c, &p, MANY);
        spread(c.of, 4, &least, &most);
        assert_in_range(most - least, 0, 4 + least / 8 + 1);
        clients_close(&c);
        wait_until_left(&r);
    }
    rig_close(&r);
}

static void handing_out_gives_each_worker_the_same(void **state)
{
    struct rig r;
    struct place p = {0};
    (void)state;
    rig_open(&r, 4, NP_SHARE_HAND_OUT);
    rig_listen(&r, &p);
    for (int round = 0; round < 3; round++) {
        struct clients c = {0};
        clients_open(&c, &p, MANY);
        for (int i = 0; i < 4; i++)
            assert_int_equal(c.of[i], MANY / 4);
        clients_close(&c);
        wait_until_left(&r);
    }
    rig_close(&r);
}

static void connections_of_a_unix_socket_are_spread(void **state)
{
    struct rig r;
    char path[256];
    char *dir = np_test_tmpdir();
    struct place p = {.path = path};
    struct clients c = {0};
    int least, most;
    (void)state;
    snprintf(path, sizeof path, "%s/s", dir);
    rig_open(&r, 4, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    clients_open(&c, &p, MANY);
    spread(c.of, 4, &least, &most);
    assert_in_range(most - least, 0, 4 + least / 8 + 1);
    clients_close(&c);
    rig_close(&r);
    np_test_tmpdir_remove(dir);
}

static void do_pause(struct worker *w, void *on)
{
    np_listener_pause(w->now->l[0], *(bool *)on);
}

static void a_worker_that_is_paused_is_given_nothing(void **state)
{
    struct rig r;
    struct place p = {0};
    struct clients c = {0};
    (void)state;
    rig_open(&r, 3, NP_SHARE_HAND_OUT);
    rig_listen(&r, &p);
    do_on(&r.w[1], do_pause, &(bool){true});
    clients_open(&c, &p, 30);
    assert_int_equal(c.of[0], 15);
    assert_int_equal(c.of[1], 0);
    assert_int_equal(c.of[2], 15);
    do_on(&r.w[1], do_pause, &(bool){false});
    clients_open(&c, &p, 15);
    assert_int_equal(c.of[1], 15); /* it has some to catch up on */
    clients_close(&c);
    rig_close(&r);
}

/* --- states that follow each other, under load */

struct load {
    pthread_t thread;
    const struct place *p;
    atomic_bool *stop;
    atomic_int *served;
    int failed;
};

static void *client_main(void *arg)
{
    struct load *load = arg;
    char who[3];
    while (!atomic_load(load->stop)) {
        int fd = client_connect(load->p);
        bool ok = fd >= 0 && client_ask(fd, who) && client_ask(fd, who);
        if (!ok) load->failed++;
        if (fd >= 0) close(fd);
        atomic_fetch_add(load->served, 1);
    }
    return NULL;
}

enum { CLIENTS = 3, RELOADS = 25 };

/* The old state is freed when its connections have ended, as the host drains it. */
static void do_drain(struct worker *w, void *old)
{
    struct state *st = old;
    while (st->n > 0)
        np_listener_close(st->l[--st->n]);
    (void)w;
}

static void reload(struct rig *r, const struct place *p, char mark, struct state *old[MAX_WORKERS])
{
    struct place own = *p; /* the clients look at the other */
    for (unsigned i = 0; i < r->n; i++) {
        do_on(&r->w[i], do_load_next, &mark);
        do_on(&r->w[i], do_listen, &own);
    }
    for (unsigned i = 0; i < r->n; i++)
        do_on(&r->w[i], do_switch, &old[i]);
    for (unsigned i = 0; i < r->n; i++)
        do_on(&r->w[i], do_drain, old[i]);
}

static void reload_under_load(unsigned workers, enum np_share_mode mode, struct place *p)
{
    static struct state *old[RELOADS][MAX_WORKERS];
    struct rig r;
    struct load load[CLIENTS];
    atomic_bool stop = false;
    atomic_int served = 0;
    rig_open(&r, workers, mode);
    rig_listen(&r, p);
    for (int i = 0; i < CLIENTS; i++) {
        load[i] = (struct load){.p = p, .stop = &stop, .served = &served};
        assert_int_equal(pthread_create(&load[i].thread, NULL, client_main, &load[i]), 0);
    }
    for (int k = 0; k < RELOADS; k++) {
        int before = atomic_load(&served);
        reload(&r, p, (char)('b' + k), old[k]);
        while (atomic_load(&served) < before + CLIENTS) /* some between any two */
            do_on(&r.w[0], nothing, NULL);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(load[i].thread, NULL);
        assert_int_equal(load[i].failed, 0);
    }
    assert_true(atomic_load(&served) >= RELOADS * CLIENTS);
    wait_until_left(&r);
    for (int k = 0; k < RELOADS; k++) {
        for (unsigned i = 0; i < workers; i++)
            do_on(&r.w[i], do_free, old[k][i]);
    }
    rig_close(&r);
}

static void no_connection_is_lost_when_states_follow_each_other(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers++) {
        struct place p = {0};
        reload_under_load(workers, NP_SHARE_AUTO, &p);
    }
}

static void nor_when_connections_are_handed_out(void **state)
{
    struct place p = {0};
    (void)state;
    reload_under_load(3, NP_SHARE_HAND_OUT, &p);
}

static void nor_on_a_unix_socket(void **state)
{
    char path[256];
    char *dir = np_test_tmpdir();
    struct place p = {.path = path};
    (void)state;
    snprintf(path, sizeof path, "%s/s", dir);
    reload_under_load(2, NP_SHARE_AUTO, &p);
    np_test_tmpdir_remove(dir);
}

/* --- a worker that is stuck */

struct stuck {
    sem_t in, out;
    struct order o;
};

static void do_be_stuck(struct worker *w, void *arg)
{
    struct stuck *s = arg;
    (void)w;
    sem_post(&s->in);
    while (sem_wait(&s->out) < 0)
        continue;
}

static void stick(struct worker *w, struct stuck *s)
{
    sem_init(&s->in, 0, 0);
    sem_init(&s->out, 0, 0);
    order_send(&s->o, w, do_be_stuck, s);
    while (sem_wait(&s->in) < 0)
        continue;
}

static void unstick(struct stuck *s)
{
    sem_post(&s->out);
    order_wait(&s->o);
    sem_destroy(&s->in);
    sem_destroy(&s->out);
}

/* What it was handed and has not taken is served by others, while it is still stuck. */
static void what_a_stuck_worker_was_handed_goes_to_others(void **state)
{
    struct rig r;
    struct place p = {0};
    struct stuck s;
    int fd[40];
    char who[3];
    int n = 0;
    (void)state;
    rig_open(&r, 2, NP_SHARE_HAND_OUT);
    do_on(&r.w[0], do_listen, &p); /* first: it accepts */
    do_on(&r.w[1], do_listen, &p);
    stick(&r.w[1], &s);
    for (; n < 40; n++) {
        fd[n] = client_connect(&p);
        assert_true(fd[n] >= 0);
    }
    np_share_drop_worker(r.share, 1);
    for (int i = 0; i < n; i++) {
        assert_true(client_ask(fd[i], who));
        assert_string_equal(who, "0a");
    }
    unstick(&s);
    struct place late = {.want = NEAP_ECLOSED};
    do_on(&r.w[1], do_listen, &late); /* its place is another's */
    for (int i = 0; i < n; i++)
        close(fd[i]);
    wait_until_left(&r);
    rig_close(&r);
}

/* A stuck worker takes some 16 of what is handed out, the rest stays with who can serve it. */
static void a_stuck_worker_is_not_given_ever_more(void **state)
{
    struct rig r;
    struct place p = {0};
    struct stuck s;
    struct worker *w;
    int fd[40];
    char who[3];
    int by[2] = {0, 0};
    (void)state;
    rig_open(&r, 2, NP_SHARE_HAND_OUT);
    rig_listen(&r, &p);
    w = &r.w[1];
    stick(w, &s);
    for (int i = 0; i < 40; i++) {
        fd[i] = client_connect(&p);
        assert_true(fd[i] >= 0);
    }
    while (atomic_load(&r.w[0].accepted) < 40 - 17)
        do_on(&r.w[0], nothing, NULL);
    unstick(&s);
    for (int i = 0; i < 40; i++) {
        assert_true(client_ask(fd[i], who));
        by[who[0] - '0']++;
        close(fd[i]);
    }
    assert_in_range(by[1], 1, 17);
    wait_until_left(&r);
    rig_close(&r);
}

/* A thread of its number takes over its socket, with what waits in the kernel's queue. */
static void a_replacement_serves_what_waited_for_a_stuck_worker(void **state)
{
    struct rig r;
    struct worker anew;
    struct place p = {0};
    struct stuck s;
    int fd[MANY];
    char who[3];
    int by[2] = {0, 0};
    (void)state;
    rig_open(&r, 2, NP_SHARE_AUTO);
    rig_listen(&r, &p);
    stick(&r.w[1], &s);
    for (int i = 0; i < MANY; i++) {
        fd[i] = client_connect(&p);
        assert_true(fd[i] >= 0);
    }
    np_share_drop_worker(r.share, 1);
    worker_begin(&anew, r.share, 1);
    do_on(&anew, do_listen, &p);
    for (int i = 0; i < MANY; i++) {
        assert_true(client_ask(fd[i], who));
        by[who[0] - '0']++;
    }
    assert_true(by[1] > 0);
    assert_int_equal(atomic_load(&r.w[1].accepted), 0);
    for (int i = 0; i < MANY; i++)
        close(fd[i]);
    unstick(&s);
    wait_until_left(&r);
    worker_end(&anew);
    rig_close(&r);
}

/* One that ends leaves its connections to the others. */
static void a_worker_that_ends_leaves_the_port_to_the_others(void **state)
{
    struct rig r;
    struct place p = {0};
    char who[3];
    (void)state;
    rig_open(&r, 2, NP_SHARE_HAND_OUT);
    rig_listen(&r, &p);
    worker_end(&r.w[0]);
    for (int i = 0; i < 10; i++) {
        close(client_open(&p, who));
        assert_int_equal(who[0], '1');
    }
    worker_end(&r.w[1]);
    np_share_free(r.share);
    assert_no_leak(r.live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_connections_are_spread_evenly),
        cmocka_unit_test(handing_out_gives_each_worker_the_same),
        cmocka_unit_test(connections_of_a_unix_socket_are_spread),
        cmocka_unit_test(a_worker_that_is_paused_is_given_nothing),
        cmocka_unit_test(no_connection_is_lost_when_states_follow_each_other),
        cmocka_unit_test(nor_when_connections_are_handed_out),
        cmocka_unit_test(nor_on_a_unix_socket),
        cmocka_unit_test(what_a_stuck_worker_was_handed_goes_to_others),
        cmocka_unit_test(a_stuck_worker_is_not_given_ever_more),
        cmocka_unit_test(a_replacement_serves_what_waited_for_a_stuck_worker),
        cmocka_unit_test(a_worker_that_ends_leaves_the_port_to_the_others),
    };
    return cmocka_run_group_tests_name("net.share_workers", tests, NULL, NULL);
}
