/* The one door to malloc, and the countdown with which tests make it fail. Any thread. */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#ifdef NP_ALLOC_FAULTS
#include <stdatomic.h>
#include <stdbool.h>

/* The one exception to "no mutable globals": they exist in test builds only. */
static _Thread_local uint64_t countdown;
static _Thread_local int struck;
static _Atomic int64_t live;

static bool fault(void)
{
    if (countdown == 0 || --countdown > 0) return false;
    struck = 1;
    return true;
}

static void *counted(void *p)
{
    if (p) atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return p;
}

static void uncounted(void *p)
{
    if (p) atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
}

void np_alloc_fail_at(uint64_t n)
{
    countdown = n;
    struck = 0;
}

int np_alloc_did_fail(void)
{
    return struck;
}

int64_t np_alloc_live(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed);
}
#else
#define fault() 0
#define counted(p) (p)
#define uncounted(p) ((void)0)
#endif

void *np_alloc(size_t size)
{
    if (fault()) return NULL;
    return counted(malloc(size ? size : 1));
}

void *np_alloc_aligned(size_t align, size_t size)
{
    void *p;
    if (fault() || posix_memalign(&p, align, size)) return NULL;
    return counted(p);
}

void *np_calloc(size_t count, size_t size)
{
    size_t total;
    if (fault() || __builtin_mul_overflow(count, size, &total)) return NULL;
    return counted(calloc(1, total ? total : 1));
}

void *np_realloc(void *p, size_t size)
{
    if (!p) return np_alloc(size);
    if (fault()) return NULL;
    return realloc(p, size ? size : 1);
}

void np_free(void *p)
{
    uncounted(p);
    free(p);
}

char *np_strndup(const char *s, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *copy = np_alloc(n + 1);
    if (!copy) return NULL;
    if (n > 0) memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *np_strdup(const char *s)
{
    return np_strndup(s, strlen(s));
}
