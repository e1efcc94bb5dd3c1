/* The controller's own structure, shared by concurrency.c and concurrency_window.c only. */
#ifndef NP_MESH_CONCURRENCY_IMPL_H
#define NP_MESH_CONCURRENCY_IMPL_H

#include <pthread.h>

#include "mesh/concurrency.h"

#define NP_CONCURRENCY_MAX 1000000u
#define NP_CONCURRENCY_BUCKETS 224u /* 1 µs … 4.5 min, eight a doubling */

struct np_concurrency {
    atomic_uint refs;
    /* what the way in reads */
    atomic_uint inflight;
    atomic_uint caps[NP_PRIORITY_CLASSES];
    atomic_uint peak;    /* of those in flight, in this window */
    atomic_bool pressed; /* somebody was turned away in this window */
    atomic_bool shadow, adaptive;
    atomic_uint limit;
    atomic_ullong admitted[NP_PRIORITY_CLASSES], refused[NP_PRIORITY_CLASSES];
    /* the window under way */
    atomic_llong began;   /* 0: with the next sample */
    atomic_llong fell_at; /* what began before is no sample */
    atomic_llong window_ns;
    atomic_uint min_samples, samples;
    atomic_uint buckets[NP_CONCURRENCY_BUCKETS];
    _Atomic(double) min_rtt, sampled; /* ns; 0: none yet */
    /* what is learnt, under the lock */
    pthread_mutex_t lock;
    struct np_concurrency_options opts;
    double exact;                    /* the limit, with its fraction */
    double descent_from;             /* the limit before it; 0: there is none under way */
    double descent_sampled;          /* by the step before */
    int64_t next_descent;            /* not before; 0: not set yet */
    double high_limit, high_sampled; /* where the limit began to fall; 0: it does not fall */
    int64_t backed_off;              /* when an overload last shrank it */
    unsigned overloads, timeouts;    /* in this window */
    /* who waits */
    pthread_mutex_t watchers_lock;
    struct np_link watchers;
    atomic_uint waiting; /* of all watchers */
};

/* concurrency.c; under the lock */
void np_concurrency_set_limit(struct np_concurrency *c, double limit);
double np_concurrency_bucket_ns(unsigned bucket);

/* concurrency_window.c; under the lock. A window may be over; an overload was met. */
void np_concurrency_window(struct np_concurrency *c, int64_t now);
void np_concurrency_overload(struct np_concurrency *c, bool timed_out, int64_t now);

#endif
