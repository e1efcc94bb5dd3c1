/* base/mpsc: order, the wake-up promise, many threads. */
#include "np_test.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/mpsc.h"

enum { PRODUCERS = 4, EACH = 20000 };

struct item {
    struct np_mpsc_node node;
    int producer;
    int n;
};

static void comes_out_in_order(void **state)
{
    struct np_mpsc q;
    struct item items[5];
    np_mpsc_init(&q);
    assert_null(np_mpsc_pop(&q));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            assert_int_equal(np_mpsc_push(&q, &items[i].node), i == 0);
        }
        for (int i = 0; i < 5; i++) {
            assert_ptr_equal(np_mpsc_pop(&q), &items[i].node);
        }
        assert_null(np_mpsc_pop(&q));
    }
}

static void pushing_between_pops_loses_nothing(void **state)
{
    struct np_mpsc q;
    struct item items[100];
    int out = 0, in = 0;
    np_mpsc_init(&q);
    while (out < 100) {
        for (int i = 0; i < 3 && in < 100; i++) {
            np_mpsc_push(&q, &items[in++].node);
        }
        for (int i = 0; i < 2; i++) {
            struct np_mpsc_node *n = np_mpsc_pop(&q);
            if (n) assert_ptr_equal(n, &items[out++].node);
        }
    }
}

struct channel {
    struct np_mpsc queue;
    sem_t wake;
};
struct producer {
    struct channel *channel;
    struct item *items;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (int i = 0; i < EACH; i++) {
        if (np_mpsc_push(&p->channel->queue, &p->items[i].node)) sem_post(&p->channel->wake);
    }
    return NULL;
}

/* The consumer sleeps until it is woken and drains until NULL: if a wake-up were missing it would
 * wait for ever (ctest's time limit says so). */
static void many_threads_lose_no_item_and_no_wakeup(void **state)
{
    struct channel channel;
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    int next[PRODUCERS] = {0};
    np_mpsc_init(&channel.queue);
    sem_init(&channel.wake, 0, 0);
    for (int p = 0; p < PRODUCERS; p++) {
        producers[p].channel = &channel;
        producers[p].items = calloc(EACH, sizeof(struct item));
        for (int i = 0; i < EACH; i++) {
            producers[p].items[i].producer = p;
            producers[p].items[i].n = i;
        }
    }
    for (int p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_create(&threads[p], NULL, produce, &producers[p]), 0);
    }
    for (int got = 0; got < PRODUCERS * EACH;) {
        while (sem_wait(&channel.wake) != 0) {
        }
        for (struct np_mpsc_node *n; (n = np_mpsc_pop(&channel.queue)); got++) {
            struct item *item = np_container_of(n, struct item, node);
            assert_int_equal(item->n, next[item->producer]++);
        }
    }
    for (int p = 0; p < PRODUCERS; p++) {
        pthread_join(threads[p], NULL);
        free(producers[p].items);
    }
    assert_null(np_mpsc_pop(&channel.queue));
    sem_destroy(&channel.wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_out_in_order),
        cmocka_unit_test(pushing_between_pops_loses_nothing),
        cmocka_unit_test(many_threads_lose_no_item_and_no_wakeup),
    };
    return cmocka_run_group_tests_name("base.mpsc", tests, NULL, NULL);
}
