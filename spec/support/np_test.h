/* What every C unit test includes: cmocka with the headers it wants before it, and a few helpers.
 *
 * A test file is a program: functions `static void name(void **state)`, a table of them, and
 * `int main(void) { return cmocka_run_group_tests_name("layer.thing", tests, NULL, NULL); }`.
 */
#ifndef NP_TEST_H
#define NP_TEST_H

/* cmocka.h needs these four, in this order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"

/* Asserts that `expr` gives NEAP_OK, or the named error; a failure names the error that came. */
#define assert_ok(expr) np_test_assert_err((expr), NEAP_OK, #expr, __FILE__, __LINE__)
#define assert_err(expr, code) np_test_assert_err((expr), (code), #expr, __FILE__, __LINE__)
void np_test_assert_err(enum neap_err got, enum neap_err want, const char *expr, const char *file,
                        int line);

/* Runs `fn(arg)` with the first allocation failing, then with the second, and so on until it asks
 * for no allocation that fails. Each time np_alloc_live() must be back where it was; a run that was
 * struck may return NEAP_ENOMEM or (having coped) NEAP_OK, the last one must return NEAP_OK. `fn`
 * frees all it made before it returns, on every path. Only this thread's allocations fail.
 * Returns how many runs were struck, for tests that want to know that any was. */
typedef enum neap_err (*np_test_oom_fn)(void *arg);
unsigned np_test_oom(np_test_oom_fn fn, void *arg);

/* Asserts at the end that as many blocks are alive as at the beginning:
 *   int64_t live = np_alloc_live();  …  assert_no_leak(live); */
#define assert_no_leak(before) assert_int_equal(np_alloc_live(), (before))

/* A fresh directory under $TMPDIR (or /tmp); remove takes what stands in it too and frees the
 * name. The test fails when it cannot be made. */
char *np_test_tmpdir(void);
void np_test_tmpdir_remove(char *dir);

#endif
