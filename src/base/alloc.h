/* Allocation: the one door to malloc for base, proto, mesh, net, http and bus.
 *
 * Out of memory is an error like any other: every function here may return NULL and every caller
 * checks. In builds with NP_ALLOC_FAULTS (the tests') a thread-local countdown makes the n-th
 * allocation of the calling thread fail, so that a test can fail each one in turn; it also counts
 * live blocks, so that a test can assert that nothing leaked.
 */
#ifndef NP_BASE_ALLOC_H
#define NP_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* As malloc, calloc, realloc, free; a size of 0 yields a unique non-NULL pointer. `calloc` checks
 * the product for overflow. A failing `realloc` leaves the old block as it was. */
void *np_alloc(size_t size);
void *np_calloc(size_t count, size_t size);
void *np_realloc(void *p, size_t size);
void np_free(void *p);
/* At a multiple of `align`, a power of two and at least a pointer's size. */
void *np_alloc_aligned(size_t align, size_t size);

/* A NUL-terminated copy of `n` bytes. NULL when out of memory. */
char *np_strndup(const char *s, size_t n);
char *np_strdup(const char *s);

#ifdef NP_ALLOC_FAULTS
/* The n-th allocation from now on this thread fails (1 is the next one), then all succeed again;
 * 0 switches it off. */
void np_alloc_fail_at(uint64_t n);
/* Whether the countdown has struck since np_alloc_fail_at was called. */
int np_alloc_did_fail(void);
/* Blocks alive that this thread's process allocated through here (atomic). */
int64_t np_alloc_live(void);
#endif

#endif
