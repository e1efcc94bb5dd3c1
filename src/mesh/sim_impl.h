/* What the simulator's files share: sim.c (the run), sim_setup.c (a run is made of its options),
 * sim_users.c (who comes when), sim_calls.c (what a caller does), sim_servers.c (what a server
 * does), sim_changes.c (what befalls it), sim_series.c (what is written down).
 */
#ifndef NP_MESH_SIM_IMPL_H
#define NP_MESH_SIM_IMPL_H

#include "mesh/sim.h"
#include "mesh/sim_queue.h"

enum timer_kind {
    TIMER_ARRIVAL, /* the next user comes */
    TIMER_SAMPLE,  /* the series' next look */
    TIMER_CHANGE_BEGINS,
    TIMER_CHANGE_ENDS,
    TIMER_DISCOVERY, /* callers learn of another set */
    TIMER_DEADLINE,  /* of a call */
    TIMER_AGAIN,     /* a request's next try, or a user's next request */
    TIMER_HEDGE,
    TIMER_SERVER, /* an attempt's next step: served, or answered */
    TIMER_TRY     /* an attempt's time-out */
};

/* Objects of one size in chunks; they keep their places. The free ones are a list through their
 * first word. */
struct np_sim_pool {
    size_t size;
    size_t timers; /* in each of them */
    void *free;
    void **chunks;
    size_t nchunks, cap;
};

struct np_sim_attempt;

/* What a user wants: one or, with users' retries, several calls. */
struct np_sim_request {
    struct np_call call;             /* first: the pool's link lies in it */
    struct np_sim_attempt *attempts; /* in flight */
    struct np_sim_timer deadline, again, hedge;
    int64_t began;
    int64_t slept_at; /* … of the user's next try or request, and not of the call's */
    double cost;
    uint64_t hash;
    uint32_t caller;
    uint16_t class_index;
    uint8_t tries; /* of users' retries */
    bool calling;  /* the call was admitted and has not ended */
    bool counts;
    enum np_sim_error error; /* of the newest failure */
};

enum np_sim_place { PLACE_NOWHERE, PLACE_QUEUED, PLACE_SERVED, PLACE_RETURNING };

/* An attempt, for the caller, and for the server, which may outlive the caller's interest. */
struct np_sim_attempt {
    struct np_attempt a;                  /* first */
    struct np_sim_request *r;             /* NULL: nobody waits */
    struct np_sim_attempt *next;          /* of the request */
    struct np_sim_attempt *after, *ahead; /* in the server's queue, or among those it serves */
    struct np_sim_timer step, timeout;
    uint32_t server;
    enum np_sim_place place;
    int status; /* of the answer to come; 0: none, the connection breaks */
    int64_t rtt;
    double cost;
};

struct np_sim_list {
    struct np_sim_attempt *first, *last;
};

struct np_sim_change_state {
    struct np_sim_change c;
    struct np_sim_timer begins, ends;
    bool active;
};

struct np_sim_server_state {
    struct np_sim_server_options o;
    struct np_rng rng;
    struct np_sim_list queue, serving;
    uint32_t queued, busy;
    uint32_t nactive;                     /* changes that hold just now */
    struct np_sim_change_state **changes; /* all that may befall it */
    uint32_t nchanges;
    int64_t cold_from, cold_ns;
    double cold_slow;
    int64_t impaired_until; /* the last moment at which a change held; INT64_MAX: one does */
    bool in_set;
    struct np_sim_server_totals totals;
    double busy_ns;
};

struct np_sim_caller {
    struct np_cluster *cluster;
    const char *zone;
    struct np_endpoint **endpoints; /* by server; shared callers have the first one's */
    bool *ejected;                  /* by server, at the last look; the same */
};

struct np_sim {
    struct np_sim_options o; /* its arrays are in `memory` */
    void **memory;           /* blocks that go with the run */
    size_t nmemory, memory_cap;
    struct np_sim_queue queue;
    struct np_sim_pool requests, attempts;
    struct np_sim_server_state *servers;
    struct np_sim_change_state *changes;
    struct np_sim_caller *callers;
    struct np_cluster_rules **rules; /* one a caller, or one */
    size_t nrules;
    struct np_rng arrivals, wishes, users; /* streams of their own: policies meet the same users */
    struct np_sim_timer arrival, sample, *discovery;
    int64_t now;
    int64_t stops; /* when users stop coming */
    bool stopped, over;
    uint64_t begun, live; /* requests */
    double segment_at;    /* seconds into the present segment */
    size_t segment;
    double share_sum; /* of the classes */
    enum neap_err failed;
    struct np_sim_totals *totals;
    struct np_sim_point *points;
    uint32_t *loads; /* [bucket][server] */
    int64_t bucket_ns;
    size_t sampled; /* looks so far */
};

/* sim_pool.c. Zeroed but for what a kind of object keeps; NULL when out of memory. */
void *np_sim_pool_get(struct np_sim *s, struct np_sim_pool *p);
void np_sim_pool_put(struct np_sim_pool *p, void *object);
void np_sim_pool_fini(struct np_sim_pool *p);

/* sim_setup.c */
enum neap_err np_sim_check(const struct np_sim_options *o, struct neap_errinfo *info);
enum neap_err np_sim_setup(struct np_sim *s, const struct np_sim_options *o,
                           struct neap_errinfo *info);
enum neap_err np_sim_update_callers(struct np_sim *s);

/* sim_users.c */
void np_sim_users_begin(struct np_sim *s);
void np_sim_user_arrives(struct np_sim *s);
void np_sim_user_goes_on(struct np_sim *s, struct np_sim_request *r); /* again, or the next */
/* The call has ended: `ok`, or as r->error says. */
void np_sim_user_answered(struct np_sim *s, struct np_sim_request *r, bool ok);

/* sim_calls.c */
void np_sim_call_begin(struct np_sim *s, struct np_sim_request *r);
void np_sim_call_again(struct np_sim *s, struct np_sim_request *r);
void np_sim_call_hedge(struct np_sim *s, struct np_sim_request *r);
void np_sim_call_deadline(struct np_sim *s, struct np_sim_request *r);
void np_sim_try_timeout(struct np_sim *s, struct np_sim_attempt *a);
/* The answer is here. */
void np_sim_answered(struct np_sim *s, struct np_sim_attempt *a);

/* sim_servers.c */
void np_sim_server_receives(struct np_sim *s, struct np_sim_attempt *a);
void np_sim_server_step(struct np_sim *s, struct np_sim_attempt *a);
/* Nobody waits for it any more. It is freed, here or when the server is done with it. */
void np_sim_server_left(struct np_sim *s, struct np_sim_attempt *a);
void np_sim_server_kick(struct np_sim *s, struct np_sim_server_state *v); /* may serve more now */
void np_sim_server_crash(struct np_sim *s, struct np_sim_server_state *v);
static inline size_t np_sim_server_of(const struct np_endpoint *e)
{
    return (size_t)e->port - 1;
}

/* sim_changes.c: what holds for a server just now. */
struct np_sim_weather {
    double slow, capacity, error_rate, refuse, black_hole;
    int error_status;
    int64_t error_ns, delay_ns;
};
void np_sim_weather_at(const struct np_sim_server_state *v, int64_t now, struct np_sim_weather *w);
void np_sim_change_begins(struct np_sim *s, struct np_sim_change_state *c);
void np_sim_change_ends(struct np_sim *s, struct np_sim_change_state *c);

/* sim_series.c */
void np_sim_note_attempt(struct np_sim *s, const struct np_sim_attempt *a);
void np_sim_note_request(struct np_sim *s, const struct np_sim_request *r, bool ok);
void np_sim_sample(struct np_sim *s);
void np_sim_finish_totals(struct np_sim *s);

#endif
