/* The Range header, against a reference that counts bytes one by one. */
#include "proto/range.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "np_test.h"

static enum np_ranges read_text(const char *text, uint64_t size, struct np_range *out, size_t *n)
{
    return np_ranges_read((struct np_bytes){text, strlen(text)}, size, out, NP_RANGES_MAX, n);
}

/* What is asked for, as "0-1 5-9", or a word. */
static void wants(const char *text, uint64_t size, const char *want)
{
    struct np_range r[NP_RANGES_MAX];
    char got[1024] = "";
    size_t n, at = 0;
    enum np_ranges is = read_text(text, size, r, &n);
    if (is == NP_RANGES_IGNORED) snprintf(got, sizeof got, "whole");
    if (is == NP_RANGES_UNSATISFIABLE) snprintf(got, sizeof got, "416");
    for (size_t i = 0; is == NP_RANGES_SOME && i < n; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%llu-%llu", i ? " " : "",
                               (unsigned long long)r[i].first, (unsigned long long)r[i].last);
    if (strcmp(got, want) != 0) fail_msg("%s of %d: %s, wanted %s", text, (int)size, got, want);
}

static void single_ranges(void **state)
{
    wants("bytes=0-0", 10, "0-0");
    wants("bytes=2-5", 10, "2-5");
    wants("bytes=5-", 10, "5-9");
    wants("bytes=-3", 10, "7-9");
    wants("bytes=-30", 10, "0-9");
    wants("bytes=9-99999999999999999999999", 10, "9-9");
    wants("BYTES=1-2", 10, "1-2");
    wants("bytes= 1-2 ", 10, "1-2");
}

static void what_is_not_there(void **state)
{
    wants("bytes=10-", 10, "416");
    wants("bytes=10-20", 10, "416");
    wants("bytes=-0", 10, "416");
    wants("bytes=0-", 0, "416");
    wants("bytes=-5", 0, "whole"); /* satisfiable, and there is no way to say it */
    wants("bytes=99999999999999999999999-", 10, "416");
    wants("bytes=20-30, 1-2", 10, "1-2");
}

static void what_does_not_parse_is_ignored(void **state)
{
    static const char *const bad[] = {
        "",           "bytes",      "bytes=",        "bytes=-",    "bytes=a-b",  "bytes=5-2",
        "bytes=1 -2", "bytes=1- 2", "bytes=1-2;",    "items=0-1",  "bytes 0-1",  "bytes=1-2 3-4",
        "bytes=--1",  "bytes=,",    "bytes=0-1,x-2", "bytes=+1-2", "bytes=0x1-2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        wants(bad[i], 10, "whole");
}

static void several_keep_their_order_and_touching_ones_are_one(void **state)
{
    wants("bytes=8-9,0-1", 10, "8-9 0-1");
    wants("bytes=0-1,2-3", 10, "0-3");
    wants("bytes=0-5,3-7,9-", 10, "0-7 9-9");
    wants("bytes=0-1,,5-6", 10, "0-1 5-6");
    wants("bytes=0-0,4-4,2-2,1-1,3-3", 10, "0-4");
    wants("bytes=6-7,0-1,7-8,1-2", 10, "6-8 0-2");
    wants("bytes=0-,0-,0-,-1", 10, "0-9");
}

static void too_many_are_ignored(void **state)
{
    char text[4096] = "bytes=0-0";
    for (int i = 1; i < NP_RANGES_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",%d-%d", i * 3, i * 3);
    struct np_range r[NP_RANGES_MAX];
    size_t n;
    assert_int_equal(read_text(text, 1000, r, &n), NP_RANGES_SOME);
    assert_int_equal(n, NP_RANGES_MAX);
    strcat(text, ",999-");
    assert_int_equal(read_text(text, 1000, r, &n), NP_RANGES_IGNORED);
}

enum { SIZE_MAX_TRIED = 40 };

/* A random header; what it asks for is marked in `asked`. */
static void random_header(struct np_rng *rng, uint64_t size, char *text, bool *asked, bool *valid)
{
    unsigned specs = 1 + np_rng_below(rng, 6);
    strcpy(text, "bytes=");
    memset(asked, 0, SIZE_MAX_TRIED);
    *valid = true;
    for (unsigned i = 0; i < specs; i++) {
        unsigned a = np_rng_below(rng, SIZE_MAX_TRIED + 5),
                 b = np_rng_below(rng, SIZE_MAX_TRIED + 5);
        char *at = text + strlen(text);
        uint64_t from = a, to = b;
        if (i) *at++ = ',';
        switch (np_rng_below(rng, 3)) {
        case 0:
            sprintf(at, "%u-%u", a, b);
            if (a > b) *valid = false;
            break;
        case 1:
            sprintf(at, "%u-", a);
            to = UINT64_MAX;
            break;
        default:
            sprintf(at, "-%u", b);
            from = b >= size ? 0 : size - b;
            to = b ? UINT64_MAX : 0;
            if (!b) continue;
        }
        for (uint64_t k = from; k < size && k <= to; k++)
            asked[k] = true;
    }
}

static void any_set_gives_each_asked_byte_once(void **state)
{
    struct np_rng rng;
    np_rng_init(&rng, 7);
    for (int round = 0; round < 50000; round++) {
        bool asked[SIZE_MAX_TRIED], got[SIZE_MAX_TRIED] = {false}, valid, any = false;
        char text[256];
        struct np_range r[NP_RANGES_MAX];
        size_t n;
        uint64_t size = 1 + np_rng_below(&rng, SIZE_MAX_TRIED);
        random_header(&rng, size, text, asked, &valid);
        enum np_ranges is = read_text(text, size, r, &n);
        for (uint64_t k = 0; k < size; k++)
            any = any || asked[k];
        enum np_ranges want = !valid ? NP_RANGES_IGNORED
                              : any  ? NP_RANGES_SOME
                                     : NP_RANGES_UNSATISFIABLE;
        if (is != want) fail_msg("%s of %d: %d, wanted %d", text, (int)size, is, want);
        if (is != NP_RANGES_SOME) continue;
        for (size_t i = 0; i < n; i++) {
            assert_true(r[i].first <= r[i].last && r[i].last < size);
            for (uint64_t k = r[i].first; k <= r[i].last; k++) {
                if (got[k]) fail_msg("%s: byte %d twice", text, (int)k);
                got[k] = true;
            }
        }
        if (memcmp(got, asked, size) != 0) fail_msg("%s of %d: other bytes", text, (int)size);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_ranges),
        cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(what_does_not_parse_is_ignored),
        cmocka_unit_test(several_keep_their_order_and_touching_ones_are_one),
        cmocka_unit_test(too_many_are_ignored),
        cmocka_unit_test(any_set_gives_each_asked_byte_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
