/* What the scheduler's files share: task.c (waiting, cancelling, failures) and task_run.c (making
 * and running). Nobody else's.
 */
#ifndef NP_SCRIPT_TASK_IMPL_H
#define NP_SCRIPT_TASK_IMPL_H

#include "script/task.h"

/* Ready: at once, or (`s->yielded`) at the next turn. */
void np_task_queue(struct np_task *t, struct np_link *list);
/* Its wait's timeout or its own deadline. */
void np_task_on_timer(struct np_timer *timer);

/* The wait is over; whose it was. */
static inline struct np_task *np_task_end_wait(struct np_wait *w)
{
    struct np_task *t = w->task;
    w->task = NULL;
    t->wait = NULL;
    if (np_timer_armed(&t->timer)) np_timer_stop(&t->timer);
    return t;
}

/* Only a script that meddles with coroutines behind the prelude's back leaves something here. */
static inline void np_task_leave_nothing(struct np_task *t)
{
    struct np_wait *w = t->wait;
    if (w && w->task == t) {
        w->cancel(w);
        np_task_end_wait(w);
    }
    np_list_remove(&t->ready);
}

#endif
