/* The simulator: callers with np_cluster's whole stack of rules against a cluster of endpoints that
 * exists on paper, on a clock of its own.
 *
 * What a caller does is np_cluster, the code that the HTTP client runs; what is simulated is the
 * rest: users and when they come, the network's round trip, servers that serve so many at a time
 * and let others wait, and what befalls them. A run is the same every time for one seed, whatever
 * the machine; with another policy the same users come at the same moments with the same requests.
 *
 * Callers are processes of their own: they share nothing and know of a server only what their own
 * requests have met, unless `shared` makes them the workers of one process.
 *
 * One thread. After np_sim_new only the pools of what is in flight allocate, and those seldom.
 */
#ifndef NP_MESH_SIM_H
#define NP_MESH_SIM_H

#include "mesh/cluster.h"
#include "mesh/sim_dist.h"
#include "mesh/sim_hist.h"

#define NP_SIM_SERVERS_MAX 65535
#define NP_SIM_CALLERS_MAX 1024
#define NP_SIM_CLASSES_MAX 16
/* The moment at which a run begins. It is not 0, which means "never" to some. */
#define NP_SIM_EPOCH (INT64_C(1000) * 1000000000)

/* An endpoint: it serves `servers` requests at a time, `queue` more wait in the order they came,
 * and whoever comes then is refused. */
struct np_sim_server_options {
    const char *name; /* the endpoint's id */
    const char *zone; /* or NULL */
    uint32_t weight;
    const struct np_pair *meta;
    size_t nmeta;
    struct np_dist service; /* ns a request of cost 1 */
    uint32_t servers;       /* ≥ 1 */
    uint32_t queue;         /* UINT32_MAX: without end */
    double contention;      /* with n in it (c servers), service takes 1 + contention · (n - 1) / c
                               times as long, ten times at most; 0: load costs nothing */
    int64_t rtt_ns;         /* the network's round trip */
    int64_t reject_ns;      /* how long a refusal takes, beside the round trip */
    int reject_status;      /* 503 or 429 */
    int64_t retry_after_ns; /* what a refusal asks for; 0: nothing */
    bool cancels;           /* it sees that a caller has left, and drops what waits; most do not */
    bool absent;            /* it is not in the set until a change has it join */
};

/* Something that befalls servers, from `at` until `until` (0 … the run's end; INT64_MAX). What is
 * not set is as it was: an all-zero change does nothing. Several at once add up. */
struct np_sim_change {
    int64_t at, until;
    int64_t ramp_ns; /* it comes on gradually: `slow`, `capacity` and the shares grow so long */
    const uint32_t *servers;
    size_t nservers;
    double slow;       /* service takes so many times as long; 0: as before */
    int64_t delay_ns;  /* on the network, each round trip */
    double error_rate; /* a share that fails … */
    int error_status;  /* … with 500, 502, 503, 504 or 429; 0: 500 */
    int64_t error_ns;  /* … after so long; below 0: as long as good ones take */
    double refuse;     /* a share whose connection is refused */
    double black_hole; /* a share that is never answered */
    double capacity;   /* of `servers` that work; 0: all */
    bool restart;      /* what is in it is lost; connections are refused until `until`, then it is
                          cold */
    int64_t cold_ns;   /* after that: `cold_slow` times as slow, which wears off in this time */
    double cold_slow;
    bool leave; /* out of the set of endpoints, though it goes on with what it has */
    bool join;  /* into it */
};

struct np_sim_segment {
    int64_t from;         /* since the run's begin */
    double rate, rate_to; /* a second, at its begin and at its end: linear in between */
};

struct np_sim_class {
    double share;        /* of the requests, by proportion */
    struct np_dist cost; /* service takes so many times as long */
    enum np_priority priority;
    bool safe;
};

struct np_sim_load {
    bool closed;
    /* open: users come whatever happens */
    bool even;                             /* at even distances; false: Poisson */
    const struct np_sim_segment *segments; /* ascending; the first begins at 0 */
    size_t nsegments;
    /* closed: so many users, each of whom waits for the answer and then thinks */
    uint32_t users;
    struct np_dist think; /* ns */
    /* both */
    const struct np_sim_class *classes; /* 1 … NP_SIM_CLASSES_MAX */
    size_t nclasses;
    uint32_t keys;      /* requests carry one of so many keys, for policies that hash; 0: none */
    double key_skew;    /* 0: all alike; the greater, the more go to few */
    int64_t timeout_ns; /* what a call may take; > 0 */
    int64_t slo_ns;     /* a good answer comes within this; 0: the time-out */
    uint32_t retries;   /* users whose call failed call again, so often */
    struct np_dist retry_delay; /* … after this, ns */
};

struct np_sim;

/* A policy that is not np_cluster's. May be all NULL. */
struct np_sim_hooks {
    void *arg;
    /* The endpoint for an attempt of `call`, one of np_selector_usable's; NEAP_EAGAIN: the policy
     * of the options shall pick. Borrowed. */
    enum neap_err (*pick)(void *arg, struct np_sim *s, size_t caller, const struct np_call *call,
                          struct np_endpoint **out);
    void (*release)(void *arg, struct np_sim *s, size_t caller, struct np_endpoint *e,
                    const struct np_result *r);
};

struct np_sim_options {
    uint64_t seed; /* 0 is one like others */
    const struct np_sim_server_options *servers;
    size_t nservers;
    const struct np_sim_change *changes;
    size_t nchanges;
    struct np_sim_load load;
    uint32_t callers;                /* ≥ 1; users are spread over them */
    bool shared;                     /* they are the workers of one process */
    const char *const *caller_zones; /* in turn; none: the cluster's options hold */
    size_t ncaller_zones;
    int64_t zone_rtt_ns;  /* more for a request into another zone */
    int64_t discovery_ns; /* until callers learn of a changed set */
    int64_t duration_ns;  /* > 0; what is in flight then is waited for */
    int64_t warmup_ns;    /* what began before counts for nothing */
    uint64_t requests;    /* no more than so many; 0: no bound */
    uint32_t buckets;     /* of the time series, ≥ 1 */
    struct np_cluster_options cluster;
    /* Statuses that are retried, a bit each; all zero: as the fault says. */
    uint64_t retry_statuses[10];
    struct np_sim_hooks hooks;
};

enum np_sim_error {
    NP_SIM_TIMEOUT, /* no answer in time */
    NP_SIM_REFUSED, /* no connection, or it was reset */
    NP_SIM_STATUS,  /* an answer that says it failed */
    NP_SIM_FULL,    /* … because the server is full */
    NP_SIM_SHED,    /* refused by the caller's own rules, or there was no endpoint */
    NP_SIM_ERRORS
};
const char *np_sim_error_name(enum np_sim_error e);

/* Everything is copied. NEAP_EINVAL with words, NEAP_ENOMEM. */
NEAP_MUST_CHECK enum neap_err np_sim_new(const struct np_sim_options *o, struct np_sim **out,
                                         struct neap_errinfo *info);
void np_sim_free(struct np_sim *s); /* NULL is allowed */
/* Runs on by so many events at most. `*over` when the run is. A failure (NEAP_ENOMEM) ends it. */
NEAP_MUST_CHECK enum neap_err np_sim_step(struct np_sim *s, uint64_t events, bool *over);
int64_t np_sim_now(const struct np_sim *s);     /* on the clusters' clock, see NP_SIM_EPOCH */
double np_sim_progress(const struct np_sim *s); /* 0 … 1 */
struct np_cluster *np_sim_cluster(const struct np_sim *s, size_t caller);

/* What a user sees. "Latency" is that of all requests, where one that failed counts as the time-out
 * (or as the time the user spent, if that is more): who gets no answer has not got it sooner by
 * failing fast. */
struct np_sim_totals {
    double span;       /* seconds that count */
    uint64_t requests; /* of users, that counted */
    uint64_t ok;       /* answered well */
    uint64_t good;     /* … within the objective */
    uint64_t errors[NP_SIM_ERRORS];
    uint64_t calls;    /* with users' retries */
    uint64_t attempts; /* that went to servers */
    uint64_t retries, hedges, hedges_won;
    uint64_t refused[NP_RULES]; /* calls that the rules refused, by rule */
    uint64_t would_refuse[NP_RULES];
    uint64_t ejections, ejections_right; /* right: something was the matter with it just then */
    uint64_t wasted;                     /* served, though nobody waited any more */
    struct {
        uint64_t requests, good;
    } classes[NP_SIM_CLASSES_MAX];
    uint64_t policy_faults; /* a hook asked for help */
    uint64_t events;
    double fairness; /* Jain's index of attempts by capacity */
    struct np_sim_hist latency;
    struct np_sim_hist success; /* of good answers alone */
};
const struct np_sim_totals *np_sim_totals(const struct np_sim *s);

struct np_sim_point {
    uint32_t requests, ok, good;
    uint32_t attempts;
    uint32_t ejected;           /* endpoints, over all callers, at its end */
    double limit;               /* the concurrency limit, the callers' mean; 0: there is none */
    struct np_sim_hist latency; /* by when the request began */
};
/* Bucket i of the series; NULL beyond the last. */
const struct np_sim_point *np_sim_point(const struct np_sim *s, size_t i);

struct np_sim_server_totals {
    uint64_t attempts, served, failed,
        refused; /* failed: said so; refused: full or no connection */
    uint32_t queued_most;
    double busy; /* the mean share of its servers that worked */
};
struct np_sim_server_totals np_sim_server(const struct np_sim *s, size_t server);
/* Attempts that came to `server` in bucket i. */
uint32_t np_sim_server_load(const struct np_sim *s, size_t server, size_t i);

#endif
