/* Stands in for parts that are being built beside this one. */
#ifndef NP_HOST_INTERIM_H
#define NP_HOST_INTERIM_H
#include "net/loop.h"
struct np_threads;
struct np_registry;
struct np_registry_view;
void np_threads_free(struct np_threads *t);
enum neap_err np_view_loop_new(struct np_registry *r, struct np_loop *loop,
                               struct np_registry_view **out);
void np_view_loop_free(struct np_registry_view *v);
struct np_share;
void np_share_drop_worker(struct np_share *s, unsigned worker);
void np_registry_drop_worker(struct np_registry *r, unsigned worker);
#endif
