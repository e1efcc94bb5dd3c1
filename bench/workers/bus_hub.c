/* The hub by itself, without Lua: two buses, each on a thread, joined. Prints the half of a round
 * trip of one message, and how many a second go one way while never more than a window are under
 * way. Built by `ninja bench_bus_hub` in a release build. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/hub.h"
#include "bus/sub.h"

enum { TRIPS = 20000, WARM_UP = 2000, MESSAGES = 4000000, CHUNK = 500, WINDOW = 20000 };

#define BYTES(s) ((struct np_bytes){(s), strlen(s)})
static const char payload[64] = "x";

struct side {
    struct np_bus_hub *hub;
    unsigned id;
    struct np_loop loop;
    struct np_bus *bus;
    uv_thread_t thread;
    uv_sem_t ready;
    struct np_post go;
    struct np_defer more;
    int64_t began;
    double took[TRIPS];
    long sent, acked, got;
    int trips;
};

static void must(enum neap_err err)
{
    if (!err) return;
    fprintf(stderr, "bus_hub: %s\n", neap_err_text(err));
    exit(1);
}

static void publish(struct side *s, const char *subject)
{
    struct np_bus_out m = {.subject = BYTES(subject), .payload = {payload, sizeof payload}};
    must(np_bus_publish(s->bus, &m, NULL, NULL));
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void send_many(struct np_defer *d)
{
    struct side *s = np_container_of(d, struct side, more);
    for (int i = 0; i < CHUNK && s->sent < MESSAGES && s->sent - s->acked < WINDOW; i++, s->sent++)
        publish(s, "many");
    if (s->sent < MESSAGES && s->sent - s->acked < WINDOW) np_loop_defer(&s->loop, d);
}

static void on_pong(struct np_bus_sub *sub, struct np_bus_msg *m)
{
    struct side *s = np_bus_sub_arg(sub);
    int64_t now = np_loop_hrtime();
    if (s->trips >= WARM_UP) s->took[s->trips - WARM_UP] = (double)(now - s->began) / 2000;
    if (++s->trips < TRIPS + WARM_UP) {
        s->began = np_loop_hrtime();
        publish(s, "ping");
        return;
    }
    qsort(s->took, TRIPS, sizeof s->took[0], by_size);
    printf("bus.p50_us %.2f\nbus.p99_us %.2f\n", s->took[TRIPS / 2], s->took[TRIPS * 99 / 100]);
    s->began = np_loop_hrtime();
    send_many(&s->more);
}

static void on_ack(struct np_bus_sub *sub, struct np_bus_msg *m)
{
    struct side *s = np_bus_sub_arg(sub);
    s->acked += CHUNK;
    if (s->acked < MESSAGES) {
        np_loop_defer(&s->loop, &s->more);
        return;
    }
    printf("bus.rate %.0f\n", MESSAGES * 1e9 / (double)(np_loop_hrtime() - s->began));
    np_loop_stop(&s->loop);
}

static void on_ping(struct np_bus_sub *sub, struct np_bus_msg *m)
{
    publish(np_bus_sub_arg(sub), "pong");
}

static void on_many(struct np_bus_sub *sub, struct np_bus_msg *m)
{
    struct side *s = np_bus_sub_arg(sub);
    if (++s->got % CHUNK == 0) publish(s, "ack");
}

static void stop(struct np_post *p, struct np_loop *loop)
{
    np_loop_stop(loop);
}

static void begin(struct np_post *p, struct np_loop *loop)
{
    struct side *s = np_container_of(p, struct side, go);
    s->began = np_loop_hrtime();
    publish(s, "ping");
}

static void subscribe(struct side *s, const char *pattern, const struct np_bus_sub_handler *h)
{
    struct np_bus_sub *sub;
    must(np_bus_subscribe(s->bus, BYTES(pattern), NULL, h, s, &sub));
}

static void run(void *arg)
{
    static const struct np_bus_sub_handler pong = {.on_message = on_pong},
                                           ack = {.on_message = on_ack},
                                           ping = {.on_message = on_ping},
                                           many = {.on_message = on_many};
    struct side *s = arg;
    must(np_loop_init(&s->loop, NULL, NULL));
    must(np_bus_new(&s->loop, NULL, &s->bus));
    must(np_bus_hub_join(s->hub, s->id, s->bus));
    np_defer_init(&s->more, send_many);
    s->go.fn = begin;
    if (s->id == 0) {
        subscribe(s, "pong", &pong);
        subscribe(s, "ack", &ack);
    } else {
        subscribe(s, "ping", &ping);
        subscribe(s, "many", &many);
    }
    np_loop_await_posts(&s->loop, true);
    uv_sem_post(&s->ready);
    np_loop_run(&s->loop);
    np_bus_hub_leave(s->hub, s->id);
    np_bus_free(s->bus);
    np_loop_await_posts(&s->loop, false);
    np_loop_fini(&s->loop, NULL, NULL);
}

int main(void)
{
    static struct side sides[2];
    struct np_bus_hub *hub;
    must(np_bus_hub_new(2, NULL, &hub));
    for (unsigned i = 0; i < 2; i++) {
        sides[i].hub = hub;
        sides[i].id = i;
        uv_sem_init(&sides[i].ready, 0);
        uv_thread_create(&sides[i].thread, run, &sides[i]);
        uv_sem_wait(&sides[i].ready);
    }
    np_loop_post(&sides[0].loop, &sides[0].go);
    uv_thread_join(&sides[0].thread);
    sides[1].go.fn = stop;
    np_loop_post(&sides[1].loop, &sides[1].go);
    uv_thread_join(&sides[1].thread);
    np_bus_hub_free(hub);
    return 0;
}
