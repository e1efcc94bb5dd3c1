/* The request as scripts see it: userdata "neap.http.request", a handle on an exchange.
 *
 * The handle may outlive the exchange (a script may keep it): `x` is NULL from the moment the
 * exchange has been answered or the client left. A script that answers by hand finds its head in
 * `kept` then; without one reading what was not read before raises.
 * The task that handles the request keeps the handle alive while the exchange refers to it.
 */
#ifndef NP_SCRIPT_BIND_HTTP_REQUEST_H
#define NP_SCRIPT_BIND_HTTP_REQUEST_H

#include "http/asker.h"
#include "http/server.h"
#include "script/bind_http.h"
#include "script/state.h"

struct np_http_reqbody;
struct np_http_plan;
struct np_http_coder;

/* The head, its slices pointing behind it. */
struct np_http_kept {
    struct np_http_head head; /* with the trailers that came */
    bool body_complete;
    char remote[NP_ADDR_TEXT_MAX];
    struct np_http_asker asker;
    char id[130];
};

struct np_http_req {
    struct np_http_exchange *x;
    struct np_http_kept *kept;    /* for when `x` is gone; user value 3 holds it */
    struct np_task *task;         /* that handles it */
    struct np_http_reqbody *body; /* made when the script wants it; user value 2 holds it */
    struct np_wait drain;         /* a streamed answer waits here */
    /* How its answer is compressed (bind_http_compress.h); user value 4 holds the one that is set.
     */
    const struct np_http_plan *plan; /* before it is begun; NULL: not at all */
    struct np_http_coder **coder;    /* of a streamed one that is; NULL: of none */
    bool answered;                   /* an answer was begun or given */
    bool added;                      /* headers for whatever the answer will be */
    bool registered;                 /* `kept` is held by the registry */
    bool decoded;                    /* scripts read its body decoded (bind_http_decompress.h) */
    enum neap_err why;               /* there is no exchange any more; NEAP_ECLOSED: answered */
};

enum { NP_HTTP_REQ_CODING = 4 };

/* bind_http_server.c: what a request's task runs, below the handler. */
int np_http_run_request(lua_State *L);

/* Creates the handle for `x` and pushes it; sets x->user. */
struct np_http_req *np_http_req_push(lua_State *L, struct np_http_exchange *x, struct np_task *t);
/* Cuts the handle off its exchange, wakes whoever waits on it with `why`. Does not raise. */
void np_http_req_detach(struct np_http_req *r, enum neap_err why);
/* The same when the exchange is over, or somebody else's: it is not touched. */
void np_http_req_over(struct np_http_req *r, enum neap_err why);

/* Copies the head, which holds from then on; of the request at `idx`. Before its exchange goes. */
void np_http_req_keep(lua_State *L, int idx, struct np_http_req *r);
/* The same for who is called by the loop; until np_http_req_forget, when the task has ended. */
void np_http_req_keep_from_loop(struct np_http_req *r);
void np_http_req_forget(struct np_http_req *r);
/* The request at `idx`; raises for another value. */
struct np_http_req *np_http_req_check(lua_State *L, int idx);
/* … the one at 1, which may be gone; misuse if its answer was begun and it is not. */
struct np_http_req *np_http_req_check_unanswered(lua_State *L);
/* bind_http_upgrade.c: adds its methods to the table on top. */
void np_http_upgrade_methods(lua_State *L);

/* What to do where the exchange is needed and gone: nil, err when the client has left; misuse where
 * the script should have known. */
int np_http_req_gone(lua_State *L, struct np_http_req *r);

/* The exchange's events, for the server's handler. */
void np_http_req_on_body(struct np_http_exchange *x, const char *data, size_t n);
void np_http_req_on_body_end(struct np_http_exchange *x, enum neap_err err);
void np_http_req_on_drain(struct np_http_exchange *x);

/* An answer's status and headers, checked and read from the stack, whose values hold the bytes. */
struct np_http_req_head {
    int status;
    size_t n;
    struct np_http_header headers[NP_LUA_MAX_HEADERS + 3]; /* of which three are neap's own */
};
/* The status is any integer of the script's; `headers` the index of a table or nil; the request is
 * at 1. Raises misuse. */
void np_http_req_read_head(lua_State *L, const struct np_http_req *r, lua_Integer status,
                           int headers, struct np_http_req_head *out);
/* Answers with a whole body (p NULL: none), and with `content_type` unless the head names one. No
 * Lua code runs between the call and the body's being copied. Pushes and returns 1 (true) or 2
 * (nil, err: the request is as unanswered as before); raises misuse for what may not go on the
 * wire. */
int np_http_req_respond(lua_State *L, struct np_http_req *r, struct np_http_req_head *head,
                        struct np_bytes body, const char *content_type);

#endif
