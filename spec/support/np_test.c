/* The helpers of np_test.h. */
#include "np_test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_OOM_RUNS = 100000 };

void np_test_assert_err(enum neap_err got, enum neap_err want, const char *expr, const char *file,
                        int line)
{
    if (got == want) return;
    print_error("%s: got %s, wanted %s\n", expr, neap_err_name(got), neap_err_name(want));
    _fail(file, line);
}

unsigned np_test_oom(np_test_oom_fn fn, void *arg)
{
    for (unsigned n = 1; n <= MAX_OOM_RUNS; n++) {
        int64_t live = np_alloc_live();
        np_alloc_fail_at(n);
        enum neap_err err = fn(arg);
        int struck = np_alloc_did_fail();
        np_alloc_fail_at(0);
        if (np_alloc_live() != live) {
            print_error("allocation %u failing: %lld blocks leaked (returned %s)\n", n,
                        (long long)(np_alloc_live() - live), neap_err_name(err));
            fail();
        }
        if (!struck) {
            assert_ok(err);
            return n - 1;
        }
        if (err != NEAP_OK) assert_err(err, NEAP_ENOMEM);
    }
    fail_msg("more than %d allocations", MAX_OOM_RUNS);
    return 0;
}

char *np_test_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/neap-test-XXXXXX", base && *base ? base : "/tmp") < 0) fail();
    if (!mkdtemp(dir)) fail_msg("cannot make %s", dir);
    return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void np_test_tmpdir_remove(char *dir)
{
    if (!dir) return;
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}
