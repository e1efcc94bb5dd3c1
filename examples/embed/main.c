/* A program of its own that embeds neap: its loop, its data, its users' policy in Lua.
 *
 * It loads policy.lua (or the file named as its first argument) onto its own uv_loop_t, exports two
 * functions to it, calls a function of it, asks the HTTP service that it serves, and ends clean.
 *
 * A second argument says how many workers run the policy. Each serves the same port from a thread
 * of its own; what they ask of this program still comes on the one thread of its loop, so nothing
 * here needs a lock.
 */
#include <neap.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct program {
    uv_loop_t loop;
    neap_t *neap;
    uv_tcp_t socket; /* our own HTTP request, the plain way */
    uv_connect_t connect;
    uv_write_t write;
    int64_t port; /* where the policy serves */
    char answer[4096];
    size_t answered;
    int status;
};

/* --- what the policy may ask of us */

struct lookup {
    uv_timer_t timer; /* stands for a database that takes its time */
    neap_call *call;
    char goods[64];
};

static void free_lookup(uv_handle_t *timer)
{
    free(timer->data);
}

static void on_looked_up(uv_timer_t *timer)
{
    static const struct {
        const char *goods;
        double price;
    } table[] = {{"tea", 2.5}, {"coffee", 4}};
    struct lookup *l = timer->data;
    double price = -1;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].goods, l->goods) == 0) price = table[i].price;
    }
    if (price < 0) {
        neap_return_error(l->call, NEAP_ENOTFOUND, "no such goods");
    } else {
        neap_return(l->call, neap_number(price));
    }
    neap_call_finish(l->call); /* the task that waits goes on */
    uv_close((uv_handle_t *)timer, free_lookup);
}

/* neap.host.stock(goods) → price | nil, err */
static void stock(neap_call *call, void *user)
{
    struct program *p = user;
    const char *goods;
    struct lookup *l;
    if (neap_arg_string(call, 1, &goods, NULL) != NEAP_OK) {
        neap_call_finish(call);
        return;
    }
    l = calloc(1, sizeof *l);
    if (!l) {
        neap_return_error(call, NEAP_ENOMEM, NULL);
        neap_call_finish(call);
        return;
    }
    l->call = call;
    snprintf(l->goods, sizeof l->goods, "%s", goods);
    l->timer.data = l;
    uv_timer_init(&p->loop, &l->timer);
    uv_timer_start(&l->timer, on_looked_up, 1, 0);
}

/* --- our request to the service that the policy serves */

static void on_closed(void *user)
{
    struct program *p = user;
    p->neap = NULL;
    puts("neap is closed");
}

static void finish(struct program *p)
{
    char *body = strstr(p->answer, "\r\n\r\n");
    int end = (int)strcspn(p->answer, "\r");
    printf("%.*s: %s\n", end, p->answer, body ? body + 4 : "");
    if (strncmp(p->answer, "HTTP/1.1 200", 12) == 0) p->status = 0;
    uv_close((uv_handle_t *)&p->socket, NULL);
    neap_close_with(p->neap, on_closed, p);
}

static void give_room(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    struct program *p = h->data;
    (void)size;
    *buf = uv_buf_init(p->answer + p->answered, (unsigned)(sizeof p->answer - 1 - p->answered));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct program *p = stream->data;
    (void)buf;
    if (n > 0) {
        p->answered += (size_t)n;
        return;
    }
    if (n < 0) finish(p);
}

static void on_connected(uv_connect_t *req, int status)
{
    static char request[] = "GET /price/tea/10 HTTP/1.1\r\nHost: localhost\r\n"
                            "Connection: close\r\n\r\n";
    struct program *p = req->data;
    uv_buf_t buf = uv_buf_init(request, sizeof request - 1);
    if (status < 0) {
        finish(p);
        return;
    }
    uv_write(&p->write, req->handle, &buf, 1, NULL);
    uv_read_start(req->handle, give_room, on_read);
}

/* neap.host.listening(port): each worker says so. */
static void listening(neap_call *call, void *user)
{
    struct program *p = user;
    if (neap_arg_integer(call, 1, &p->port) != NEAP_OK) p->port = 0;
    neap_call_finish(call);
}

/* Every worker has loaded the policy. */
static void on_ready(neap_t *n, void *user)
{
    struct program *p = user;
    struct sockaddr_in to;
    (void)n;
    uv_ip4_addr("127.0.0.1", (int)p->port, &to);
    uv_tcp_init(&p->loop, &p->socket);
    p->socket.data = p->connect.data = p;
    uv_tcp_connect(&p->connect, &p->socket, (const struct sockaddr *)&to, on_connected);
}

/* --- the policy on our own hot path */

static void on_discount(neap_t *n, const neap_result *r, void *user)
{
    (void)n;
    (void)user;
    if (r->err || r->count < 1) {
        fprintf(stderr, "discount: %s\n", r->err ? r->message : "no result");
        return;
    }
    const neap_value *v = &r->values[0];
    printf("discount of a regular customer: %g\n",
           v->type == NEAP_NUMBER ? v->as.number : (double)v->as.integer);
}

static enum neap_err ask_for_discount(neap_t *n)
{
    struct neap_field order[] = {{neap_string("quantity"), neap_integer(3)},
                                 {neap_string("customer"), neap_string("regular")}};
    neap_value arg = neap_table(order, 2);
    return neap_call_now(n, "policy.discount", &arg, 1, on_discount, NULL);
}

static enum neap_err start(struct program *p, const char *policy, unsigned workers)
{
    neap_options options = NEAP_OPTIONS_INIT;
    options.log_level = "warn";
    options.workers = workers;
    options.on_ready = on_ready;
    options.user = p;
    enum neap_err err = neap_open(&options, &p->neap);
    if (!err) err = neap_attach(p->neap, &p->loop);
    if (!err) err = neap_export(p->neap, "stock", stock, p);
    if (!err) err = neap_export(p->neap, "listening", listening, p);
    if (!err) err = neap_load_file(p->neap, policy);
    if (!err) err = ask_for_discount(p->neap);
    return err;
}

int main(int argc, char **argv)
{
    static struct program p = {.status = 1};
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (uv_loop_init(&p.loop) != 0) return 1;
    unsigned workers = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    enum neap_err err = start(&p, argc > 1 ? argv[1] : "policy.lua", workers);
    if (err) {
        fprintf(stderr, "%s: %s\n", neap_err_name(err), p.neap ? neap_error(p.neap) : "");
        neap_close_with(p.neap, on_closed, &p);
    }
    uv_run(&p.loop, UV_RUN_DEFAULT); /* our loop: neap lives on it */
    if (uv_loop_close(&p.loop) != 0) return 1;
    return p.status;
}
