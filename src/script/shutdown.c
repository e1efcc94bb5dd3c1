/* Shutdown in good order: a list of what drains, a grace, one call when all of it has ended. */
#include "script/shutdown.h"

static void step(struct np_defer *d);
static void grace_over(struct np_timer *t);

void np_shutdown_init(struct np_shutdown *s, struct np_loop *loop)
{
    *s = (struct np_shutdown){.loop = loop, .until = NP_TIME_NEVER};
    np_link_init(&s->objects);
    np_timer_init(&s->timer, loop, grace_over);
    np_defer_init(&s->step, step);
}

void np_shutdown_fini(struct np_shutdown *s)
{
    struct np_link *l;
    s->done = NULL;
    while ((l = np_list_pop_front(&s->objects))) {
        np_container_of(l, struct np_drain, link)->owner = NULL;
    }
    np_timer_stop(&s->timer);
    np_defer_cancel(&s->step);
}

void np_drain_add(struct np_shutdown *s, struct np_drain *d)
{
    if (d->owner) return;
    d->owner = s;
    d->called = false;
    np_list_push_back(&s->objects, &d->link);
    if (s->draining) np_loop_defer(s->loop, &s->step);
}

void np_drain_remove(struct np_drain *d)
{
    struct np_shutdown *s = d->owner;
    if (!s) return;
    d->owner = NULL;
    np_list_remove(&d->link);
    if (s->draining) np_loop_defer(s->loop, &s->step);
}

static void finish(struct np_shutdown *s)
{
    void (*done)(void *arg) = s->done;
    if (!done) return;
    s->done = NULL;
    np_timer_stop(&s->timer);
    done(s->arg);
}

static bool only_last_left(const struct np_shutdown *s)
{
    struct np_link *l;
    np_list_each (l, &s->objects) {
        if (!np_container_of(l, struct np_drain, link)->last) return false;
    }
    return true;
}

/* The last added that was not asked yet; a `drain` may remove any object, so each search starts
 * over. */
static struct np_drain *next_to_ask(struct np_shutdown *s, bool all)
{
    bool last_too = all || only_last_left(s);
    for (struct np_link *l = s->objects.prev; l != &s->objects; l = l->prev) {
        struct np_drain *d = np_container_of(l, struct np_drain, link);
        if (!d->called && (last_too || !d->last)) return d;
    }
    return NULL;
}

static void ask(struct np_shutdown *s, bool all)
{
    struct np_drain *d;
    while ((d = next_to_ask(s, all))) {
        int64_t left = s->until - np_loop_now(s->loop);
        d->called = true;
        d->drain(d, left > 0 ? left : 0);
    }
}

static void step(struct np_defer *d)
{
    struct np_shutdown *s = np_container_of(d, struct np_shutdown, step);
    ask(s, false);
    if (np_list_empty(&s->objects)) finish(s);
}

static void grace_over(struct np_timer *t)
{
    struct np_shutdown *s = np_container_of(t, struct np_shutdown, timer);
    ask(s, true);
    finish(s);
}

static void begin(struct np_shutdown *s, int64_t grace, void (*done)(void *arg), void *arg)
{
    int64_t until = np_time_add(np_loop_now(s->loop), grace);
    if (!s->draining) {
        s->draining = true;
        s->done = done;
        s->arg = arg;
    } else if (!s->done || until >= s->until) {
        return;
    }
    s->until = until;
    np_timer_stop(&s->timer);
    if (until != NP_TIME_NEVER && np_timer_start(&s->timer, grace) != NEAP_OK) {
        s->until = np_loop_now(s->loop); /* no memory for a timer: no grace, all ends at once */
    }
    np_loop_defer(s->loop, &s->step);
}

void np_shutdown_ask(struct np_shutdown *s)
{
    if (s->draining) ask(s, false);
}

void np_shutdown_retire(struct np_shutdown *s, int64_t grace, void (*done)(void *arg), void *arg)
{
    if (!s->draining) s->retiring = true;
    begin(s, grace, done, arg);
}

/* Those that were not asked yet will learn it when they are. Any of them may go meanwhile. */
static void hurry_all(struct np_shutdown *s)
{
    struct np_link *l, asked;
    np_link_init(&asked);
    np_list_splice(&asked, &s->objects);
    while ((l = np_list_pop_front(&asked))) {
        struct np_drain *d = np_container_of(l, struct np_drain, link);
        np_list_push_back(&s->objects, l);
        if (d->called && d->hurry) d->hurry(d);
    }
}

void np_shutdown_start(struct np_shutdown *s, int64_t grace, void (*done)(void *arg), void *arg)
{
    bool retired = s->retiring;
    s->retiring = false;
    if (retired) hurry_all(s);
    begin(s, grace, done, arg);
}
