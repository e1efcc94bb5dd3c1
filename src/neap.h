/* neap: a programmable communication runtime.
 *
 * The whole public C API, and the only installed header. A host (`neap_t`) is one or more
 * workers (a loop and a Lua state each) and what they share; two hosts can live in one process.
 *
 * The host's thread is the one that runs its loop: the caller of neap_run, or the program's own
 * loop. Its first worker (`neap.worker.id` 0) lives there, the others have threads of their own,
 * which C never sees: whatever scripts of any worker ask of C is done on the host's thread. Unless
 * a function says otherwise it must be called on that thread, too.
 *
 * Strings and bytes lent to a callback hold until it returns. Times are seconds, sizes are bytes.
 */
#ifndef NEAP_H
#define NEAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEAP_VERSION_MAJOR 0
#define NEAP_VERSION_MINOR 1
#define NEAP_VERSION_PATCH 0
#define NEAP_VERSION "0.1.0"

#if defined(__GNUC__)
#define NEAP_API __attribute__((visibility("default")))
#define NEAP_MUST_CHECK __attribute__((warn_unused_result))
#define NEAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define NEAP_API
#define NEAP_MUST_CHECK
#define NEAP_PRINTF(fmt, args)
#endif

/* Every error neap reports, by C code and by the stable name scripts see as `err.code`. */
#define NEAP_ERR_MAP(X)                       \
    X(ENOMEM, "out of memory")                \
    X(EINVAL, "invalid argument")             \
    X(ETIMEDOUT, "timed out")                 \
    X(ECANCELED, "canceled")                  \
    X(ECLOSED, "closed")                      \
    X(EOF, "end of stream")                   \
    X(EADDRINUSE, "address already in use")   \
    X(EADDRNOTAVAIL, "address not available") \
    X(ECONNREFUSED, "connection refused")     \
    X(ECONNRESET, "connection reset by peer") \
    X(ECONNABORTED, "connection aborted")     \
    X(ENOTCONN, "not connected")              \
    X(EPIPE, "broken pipe")                   \
    X(EHOSTUNREACH, "host unreachable")       \
    X(ENETUNREACH, "network unreachable")     \
    X(EACCES, "permission denied")            \
    X(EMFILE, "too many open files")          \
    X(ENOENT, "no such file or directory")    \
    X(EEXIST, "already exists")               \
    X(EBUSY, "busy")                          \
    X(EAGAIN, "try again")                    \
    X(EIO, "input/output error")              \
    X(EMSGSIZE, "message too large")          \
    X(ELIMIT, "limit exceeded")               \
    X(EPROTO, "protocol error")               \
    X(ENOTSUP, "not supported")               \
    X(ENOTFOUND, "not found")                 \
    X(EDNS, "name resolution failed")         \
    X(ETLS, "TLS failed")                     \
    X(ENOENDPOINT, "no endpoint available")   \
    X(ENORESPONDERS, "no responders")         \
    X(ESCRIPT, "script error")                \
    X(EREDIRECTS, "too many redirects")       \
    X(EPROXY, "refused by the proxy")         \
    X(EINTERNAL, "internal error")

enum neap_err {
    NEAP_OK = 0,
#define NEAP_ERR_ENUM(name, text) NEAP_##name,
    NEAP_ERR_MAP(NEAP_ERR_ENUM)
#undef NEAP_ERR_ENUM
        NEAP_ERR_COUNT
};

/* What went wrong, in words. Filled by a callee that fails; untouched by one that succeeds. */
struct neap_errinfo {
    enum neap_err code;
    char message[240];
};

/* The stable name ("ETIMEDOUT") and the plain text ("timed out") of a code. Never NULL. */
NEAP_API const char *neap_err_name(enum neap_err err);
NEAP_API const char *neap_err_text(enum neap_err err);

/* --- a host's life ---------------------------------------------------------------------------
 *
 *     neap_t *n;
 *     neap_options o = NEAP_OPTIONS_INIT;
 *     if (neap_open(&o, &n) != NEAP_OK) …
 *     if (neap_load_file(n, "policy.lua") != NEAP_OK) fprintf(stderr, "%s\n", neap_error(n));
 *     neap_run(n);
 *     neap_close(n);
 */
typedef struct neap neap_t;
struct uv_loop_s; /* libuv's uv_loop_t */

typedef enum neap_log_format { NEAP_LOG_AUTO, NEAP_LOG_TEXT, NEAP_LOG_JSON } neap_log_format;

/* Always begin with NEAP_OPTIONS_INIT; a field left zero means its default. What the pointers point
 * to is copied by neap_open. */
typedef struct neap_options {
    size_t size;                /* sizeof(neap_options), for programs built against older headers */
    const char *log_level;      /* "trace" … "error", "off"; default "info" */
    neap_log_format log_format; /* default auto: text if the log goes to a terminal, else JSON */
    int log_fd;                 /* default 0 means standard error; not closed by the host */
    const char *lua_path;       /* a directory whose neap/….lua stand before the built-in ones */
    size_t memory_limit;        /* of each Lua state, bytes; default 512 MiB */
    double drain_timeout;       /* seconds neap_stop waits for what is in flight; default 30 */
    const char *const *args;    /* what scripts see as arg[1] … and a file as its `...` */
    size_t nargs;
    bool keep_alive;     /* neap_run goes on until neap_stop, even if nothing is left to do */
    bool handle_signals; /* SIGINT and SIGTERM stop the host, from its first use to its end; a
                            second one ends the process, and SIGPIPE is ignored. For programs that
                            leave their signals to neap. */
    /* Called on the loop's thread when a stop is through: all has drained, or the time for it was
     * over. On an embedder's loop the time to call neap_close. */
    void (*on_stopped)(neap_t *n, void *user);
    void *user;
    unsigned workers; /* threads that run the scripts, each with a loop and Lua states of its own;
                         default 1: only the one that calls neap_run, or the program's loop */
    unsigned threads; /* at most so many for neap.thread; default: the machine's cores */
    bool hand_out;    /* one socket for all workers, each connection to the one that has fewest,
                         even where each could have a socket of its own */
    double script_timeout; /* seconds a script may keep its loop; then it gets an error. Default
                              0: for ever */
    double
        script_load_timeout; /* the same while a file loads, and for a reload in all; default 10 */
    double script_hard_timeout; /* seconds after which a script that no error reaches ends the
                                   process (code 70); default 0: never */
    bool sandbox;               /* scripts reach no files, processes, or C modules */
    const char *allow_net; /* where scripts may connect to: "host:port,…", "*.example.com:443";
                              NULL: anywhere, in a sandbox nowhere */
    /* All on the loop's thread; each may be NULL. */
    void (*on_ready)(neap_t *n, void *user);     /* every worker has loaded what it was told */
    void (*on_stopping)(neap_t *n, void *user);  /* a stop has begun */
    void (*on_reloading)(neap_t *n, void *user); /* a reload has begun */
    void (*on_reloaded)(neap_t *n, enum neap_err err, const char *message, void *user);
} neap_options;
#define NEAP_OPTIONS_INIT                                                                      \
    {                                                                                          \
        sizeof(neap_options), NULL, NEAP_LOG_AUTO, 0, NULL, 0, 0, NULL, 0, false, false, NULL, \
            NULL, 0, 0, false, 0, 0, 0, false, NULL, NULL, NULL, NULL, NULL                    \
    }

/* Makes a host; `options` may be NULL. NEAP_EINVAL for options that make no sense, NEAP_ENOMEM.
 * On success `*out` is the caller's, to be ended by neap_close. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_open(const neap_options *options, neap_t **out);

/* Why the last call on this host failed, in words; for a script error with the traceback. Holds
 * until the next call on the host; never NULL. */
NEAP_API const char *neap_error(const neap_t *n);

/* Puts the host on the program's own loop. The first call after neap_open, if at all: NEAP_EBUSY
 * when the host has a loop already. The loop must outlive the host: see neap_close. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_attach(neap_t *n, struct uv_loop_s *loop);

/* Runs a file ("-": standard input) or a text as a task: until it ends or first waits; the rest
 * runs with the loop. A table it returns can be had as `require "<file's base name>"`, or `name`
 * for a text. NEAP_ENOENT, NEAP_EACCES; NEAP_ESCRIPT for a syntax error, or an error it raised
 * before it first waited. One that it raises later is logged, and neap_run returns NEAP_ESCRIPT.
 *
 * The first worker loads it inside this call; when that went well, the others load it on their
 * threads, and a failure there counts as one that came later. on_ready is called when all have. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_load_file(neap_t *n, const char *path);
NEAP_API NEAP_MUST_CHECK enum neap_err neap_load_string(neap_t *n, const char *code, size_t len,
                                                        const char *name);

/* Runs the host's own loop until it is stopped, or nothing is left that could wake any worker. The
 * calling thread becomes the host's. NEAP_EINVAL for a host on a program's loop, NEAP_ESCRIPT when
 * a loaded file failed after its first wait (that ends the run), NEAP_ETIMEDOUT when a stop's time
 * was over before all had drained. May be called again. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_run(neap_t *n);

/* Stops the host: listeners close, registrations leave the registry, what is in flight is finished
 * within drain_timeout; then neap_run returns, or on_stopped is called. That goes for all workers;
 * one that has not come back from its script a second after the time is over is left behind. A
 * second call, or the first one with `now`, ends the waiting at once. A reload that is under way
 * fails. Any thread, and signal handlers; not after neap_close. */
NEAP_API void neap_stop(neap_t *n);
NEAP_API void neap_stop_now(neap_t *n);

/* Loads the files and texts that were loaded so far anew, in every worker, beside what runs; when
 * all have been loaded, all workers go over to the new code, else none: on_reloaded says which,
 * once for each on_reloading. What is in flight ends on the old code, within drain_timeout; so do
 * calls of neap_call_function that have begun, while later ones go to the new code. Listeners,
 * registrations and subscriptions that the new code has too are handed over; what C has exported
 * and subscribed to stays as it is. Asked for again meanwhile, one more follows. Any thread, and
 * signal handlers; not after neap_close. */
NEAP_API void neap_reload(neap_t *n);

/* Frees all. Tasks are cancelled, what is open is closed, the other workers' threads are joined
 * (one whose script does not come back within 5 s is left behind, with the memory it uses). On a
 * loop of its own that is done when this returns. On a program's loop the handles close as that
 * loop runs on, and `closed` (may be NULL) is called from it when the last is gone: only then may
 * the loop end. NULL is allowed. Not from inside a function that a script or the host calls. What
 * is called while it closes (results, cancellations) gets NEAP_ECLOSED from the functions of this
 * header. */
NEAP_API void neap_close(neap_t *n);
NEAP_API void neap_close_with(neap_t *n, void (*closed)(void *user), void *user);

/* Has `fn` called on the host's thread, from its loop, soon. Any thread; not after neap_close.
 * NEAP_ENOMEM. What is posted and not called yet when the host closes is called by neap_close. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_post(neap_t *n, void (*fn)(neap_t *n, void *user),
                                                 void *user);

/* --- values ---------------------------------------------------------------------------------- */

typedef enum neap_type {
    NEAP_NIL,
    NEAP_BOOLEAN,
    NEAP_INTEGER,
    NEAP_NUMBER,
    NEAP_STRING,
    NEAP_TABLE
} neap_type;

struct neap_field;

/* A plain value, as it goes between C and Lua: a tree of scalars, strings and tables. Functions and
 * userdata do not pass, nor tables nested deeper than 32 or with more than 65536 fields in all. */
typedef struct neap_value {
    neap_type type;
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct {
            const char *data; /* NUL-terminated when it comes from neap; may hold NULs */
            size_t len;
        } string;
        struct {
            const struct neap_field *fields;
            size_t count;
        } table;
    } as;
} neap_value;

struct neap_field {
    neap_value key;
    neap_value value;
};

/* Makers. Strings and fields are borrowed: they must live as long as the value is used. */
NEAP_API neap_value neap_nil(void);
NEAP_API neap_value neap_boolean(bool v);
NEAP_API neap_value neap_integer(int64_t v);
NEAP_API neap_value neap_number(double v);
NEAP_API neap_value neap_string(const char *text);
NEAP_API neap_value neap_bytes(const char *data, size_t len);
NEAP_API neap_value neap_table(const struct neap_field *fields, size_t count);
/* The field of a table by name; NULL where there is none, or `v` is no table (or NULL). */
NEAP_API const neap_value *neap_value_field(const neap_value *v, const char *name);
/* The i-th item (from 1) of a table; NULL where there is none. */
NEAP_API const neap_value *neap_value_item(const neap_value *v, size_t i);

/* --- C functions that scripts call ------------------------------------------------------------ */

typedef struct neap_call neap_call;
typedef void (*neap_function)(neap_call *call, void *user);

/* Makes `fn` callable as `require "neap.host".<name>(…)`. It reads the arguments, sets results, and
 * finishes the call exactly once: before it returns, or later from the host's thread while the task
 * that called it waits (which keeps the loop alive; another thread comes by with neap_post). `user`
 * must live as long as the host. Exporting a name again replaces it. NEAP_EINVAL for a name that is
 * no identifier, NEAP_ENOMEM.
 *
 * Scripts of every worker may call it, and it runs on the host's thread for all of them, one call
 * at a time: it needs no locks. A script of another worker than the first waits for the way there
 * and back (some 15 µs), so it cannot call from where a script cannot wait (a comparator of
 * table.sort). */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_export(neap_t *n, const char *name, neap_function fn,
                                                   void *user);

/* The arguments, from 1; lent until the call is finished. One that is absent reads as nil. */
NEAP_API size_t neap_arg_count(const neap_call *call);
NEAP_API const neap_value *neap_arg(const neap_call *call, size_t i);
/* The argument as a C value. NEAP_EINVAL if it is none, and then the call has been given an error
 * that says so: finish it and return. A whole number passes as an integer; no text does. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_arg_integer(neap_call *call, size_t i, int64_t *out);
NEAP_API NEAP_MUST_CHECK enum neap_err neap_arg_number(neap_call *call, size_t i, double *out);
NEAP_API NEAP_MUST_CHECK enum neap_err neap_arg_boolean(neap_call *call, size_t i, bool *out);
NEAP_API NEAP_MUST_CHECK enum neap_err neap_arg_string(neap_call *call, size_t i, const char **out,
                                                       size_t *len);

/* One more result; `v` is copied. Out of memory shows as the error of the call. */
NEAP_API void neap_return(neap_call *call, neap_value v);
/* The call fails as expected failures do: it gives nil and an error of this code and message. */
NEAP_API void neap_return_error(neap_call *call, enum neap_err code, const char *message);
/* The call raises an error: the script's author misused it. */
NEAP_API void neap_raise(neap_call *call, const char *message);
/* Ends the call; the handle is gone. Where its task was cancelled meanwhile, its code was replaced
 * by a reload, or the host closed, that is all it does: so an operation under way may finish its
 * call as if nothing had happened. On the host's thread; after the host, on any. */
NEAP_API void neap_call_finish(neap_call *call);
/* Have `fn` called (once, at most) when the result is not wanted any more, to stop the work early.
 * On the host's thread, or inside neap_close. The call must be finished all the same; `fn` may do
 * so. */
NEAP_API void neap_call_on_cancel(neap_call *call, void (*fn)(neap_call *call, void *user),
                                  void *user);
/* The host of a call; NULL once it is closed. */
NEAP_API neap_t *neap_call_host(const neap_call *call);

/* --- Lua functions that C calls --------------------------------------------------------------- */

/* What became of a call; lent until the callback returns. */
typedef struct neap_result {
    enum neap_err err;   /* NEAP_OK, NEAP_ENOTFOUND (no such function), NEAP_ECANCELED (the host
                            closed), or the code of the error it raised: NEAP_ESCRIPT … */
    const char *message; /* of a failure, else NULL */
    const neap_value *values; /* what it returned */
    size_t count;
} neap_result;
typedef void (*neap_result_fn)(neap_t *n, const neap_result *result, void *user);

/* Calls the function `path` ("price", "policy.pick": a global, or what a loaded file returned, and
 * fields of it) in a task of its own, which may wait. `fn` (may be NULL) is called exactly once,
 * from the loop, never from inside this call. Arguments are copied. It runs in the first worker, in
 * the code that does the work there now: after a reload the new one. A stop waits for its end.
 * NEAP_ENOMEM, NEAP_EINVAL, NEAP_ECLOSED: then `fn` is not called. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_call_function(neap_t *n, const char *path,
                                                          const neap_value *args, size_t nargs,
                                                          neap_result_fn fn, void *user);
/* The same for a function that does not wait, such as a policy: `fn` is called before this returns,
 * with what it returns as well. One that waits is cancelled: NEAP_EAGAIN. NEAP_EBUSY from inside a
 * function that a script called. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_call_now(neap_t *n, const char *path,
                                                     const neap_value *args, size_t nargs,
                                                     neap_result_fn fn, void *user);

/* --- messages --------------------------------------------------------------------------------- */

typedef struct neap_message {
    const char *subject;
    const char *reply; /* where an answer is wanted; NULL where none is */
    const char *data;
    size_t len;
} neap_message;
typedef struct neap_subscription neap_subscription;

/* Sends to every subscriber of the host's bus, in every worker, whose pattern takes `subject`, and
 * to one member of each queue group. `reply` may be NULL. NEAP_EINVAL for a bad subject,
 * NEAP_ELIMIT, NEAP_ENOMEM.
 */
NEAP_API NEAP_MUST_CHECK enum neap_err
neap_publish(neap_t *n, const char *subject, const char *reply, const void *data, size_t len);
/* `fn` is called from the loop, on the host's thread, with each message that `pattern` takes
 * ("orders.*", "orders.>"), whichever worker it comes from; the message is lent. `queue` NULL: no
 * group. The subscription ends with neap_unsubscribe or the host, whichever is first. NEAP_EINVAL,
 * NEAP_ELIMIT, NEAP_ENOMEM. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_subscribe(neap_t *n, const char *pattern,
                                                      const char *queue,
                                                      void (*fn)(const neap_message *m, void *user),
                                                      void *user, neap_subscription **out);
/* No call comes after this. NULL is allowed; may be called from inside `fn`. */
NEAP_API void neap_unsubscribe(neap_subscription *s);

/* --- services --------------------------------------------------------------------------------- */

/* An instance that was picked for one request; holds until it is released. */
typedef struct neap_picked {
    const char *address; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" */
    const char *id;
    void *handle;
    void *upstream;
    int64_t begun;
    bool trial; /* the instance had been ejected; this request decides whether it comes back */
} neap_picked;

/* Picks an instance of a service from the host's registry, which all workers share as they do its
 * statistics, by a built-in policy: "round_robin", "weighted_round_robin", "random",
 * "weighted_random", "least_request", "p2c", "peak_ewma", "ring_hash", "maglev", "first",
 * "client_side_weighted_round_robin"; NULL: "p2c". `key` (may be NULL) is what ring_hash and maglev
 * go by. Instances that are ejected, unhealthy or draining are passed over unless too few are left
 * (a panic threshold of one half); metadata "priority" makes levels with failover. A request is
 * counted as begun. NEAP_ENOENDPOINT, NEAP_ENOTFOUND for an unknown policy, NEAP_EINVAL,
 * NEAP_ELIMIT, NEAP_ENOMEM. */
NEAP_API NEAP_MUST_CHECK enum neap_err neap_pick(neap_t *n, const char *service, const char *policy,
                                                 const char *key, neap_picked *out);
/* The request ended, well or not: its time since the pick goes into the instance's statistics. Must
 * be called once for each pick, before the host closes. */
NEAP_API void neap_pick_release(neap_t *n, neap_picked *picked, bool ok);

#ifdef __cplusplus
}
#endif
#endif
