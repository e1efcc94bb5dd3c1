/* Stands in for parts that are being built beside this one. */
#ifndef NP_HOST_INTERIM_H
#define NP_HOST_INTERIM_H
struct np_threads;
void np_threads_free(struct np_threads *t);
#endif
