/* Retry budgets: what calls pay in, what retries take out, and what lapses. */
#include "np_test.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "mesh/retry_budget.h"

#define S NP_NS_PER_SEC

static unsigned withdraw_all(struct np_retry_budget *b, int64_t now)
{
    unsigned n = 0;
    while (np_retry_budget_withdraw(b, now))
        n++;
    return n;
}

static void five_calls_pay_for_a_retry(void **state)
{
    struct np_retry_budget b;
    (void)state;
    np_retry_budget_init(&b, 0.2, 0);
    for (int i = 0; i < 4; i++)
        np_retry_budget_deposit(&b, 0);
    assert_false(np_retry_budget_withdraw(&b, 0));
    np_retry_budget_deposit(&b, 0);
    assert_true(np_retry_budget_withdraw(&b, 0));
    assert_false(np_retry_budget_withdraw(&b, 0));
    assert_int_equal(atomic_load(&b.withdrawn), 1);
    assert_int_equal(atomic_load(&b.refused), 2);
}

static void a_quiet_client_has_a_reserve_every_ten_seconds(void **state)
{
    struct np_retry_budget b;
    (void)state;
    np_retry_budget_init(&b, 0.2, 3);
    assert_int_equal(withdraw_all(&b, 5 * S), 3);
    assert_int_equal(withdraw_all(&b, 14 * S), 0);
    assert_int_equal(withdraw_all(&b, 15 * S), 3);
}

static void deposits_lapse_after_ten_seconds(void **state)
{
    struct np_retry_budget b;
    (void)state;
    np_retry_budget_init(&b, 1, 0);
    for (int i = 0; i < 5; i++)
        np_retry_budget_deposit(&b, 100 * S);
    assert_true(np_retry_budget_withdraw(&b, 109 * S + S / 2));
    assert_float_equal(np_retry_budget_balance(&b, 109 * S), 4, 1e-9);
    assert_false(np_retry_budget_withdraw(&b, 110 * S));
    /* What was taken from what has lapsed is owed until it lapses itself. */
    assert_float_equal(np_retry_budget_balance(&b, 110 * S), -1, 1e-9);
    assert_float_equal(np_retry_budget_balance(&b, 119 * S), 0, 1e-9);
}

static void what_matters_less_leaves_something(void **state)
{
    struct np_retry_budget b;
    (void)state;
    np_retry_budget_init(&b, 1, 3);
    for (int i = 0; i < 4; i++)
        np_retry_budget_deposit(&b, S);
    assert_true(np_retry_budget_withdraw_over(&b, 2, S));
    assert_true(np_retry_budget_withdraw_over(&b, 2, S));
    assert_false(np_retry_budget_withdraw_over(&b, 2, S));
    assert_int_equal(withdraw_all(&b, S), 2 + 3);
    assert_false(np_retry_budget_withdraw_over(&b, 0, S)); /* it never touches the reserve */
}

static void a_refund_can_be_spent_again(void **state)
{
    struct np_retry_budget b;
    (void)state;
    np_retry_budget_init(&b, 1, 0);
    np_retry_budget_deposit(&b, S);
    assert_true(np_retry_budget_withdraw(&b, S));
    np_retry_budget_refund(&b, S);
    assert_int_equal(atomic_load(&b.withdrawn), 0);
    assert_int_equal(withdraw_all(&b, S), 1);
}

static void none_and_odd_ratios(void **state)
{
    struct np_retry_budget b;
    (void)state;
    np_retry_budget_init(&b, 0, 0);
    np_retry_budget_deposit(&b, 0);
    assert_false(np_retry_budget_withdraw(&b, 0));
    np_retry_budget_init(&b, -1, 0);
    np_retry_budget_deposit(&b, 0);
    assert_float_equal(np_retry_budget_balance(&b, 0), 0, 0);
    np_retry_budget_init(&b, 1e12, 0);
    np_retry_budget_deposit(&b, 0);
    assert_float_equal(np_retry_budget_balance(&b, 0), NP_BUDGET_RATIO_MAX, 0);
}

/* However they come, retries are never more than the share of the calls and the reserve. */
static void never_spends_more_than_was_paid_in(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct np_retry_budget b;
        struct np_rng rng;
        uint64_t calls = 0, retries = 0;
        int64_t now = 0;
        np_rng_init(&rng, seed);
        np_retry_budget_init(&b, 0.2, 3);
        for (int i = 0; i < 4000; i++) {
            now += (int64_t)np_rng_below(&rng, 40) * NP_NS_PER_MS;
            if (np_rng_below(&rng, 3) > 0) {
                np_retry_budget_deposit(&b, now);
                calls++;
            } else {
                retries += np_retry_budget_withdraw(&b, now);
            }
        }
        uint64_t spans = (uint64_t)(now / (10 * S)) + 1;
        assert_true(retries <= calls / 5 + 3 * spans);
        assert_true(retries >= calls / 5 / 2); /* and it is of use */
    }
}

#define THREADS 4
#define ROUNDS 5000

struct racer {
    struct np_retry_budget *b;
    int64_t now;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    for (int i = 0; i < ROUNDS; i++) {
        np_retry_budget_deposit(r->b, r->now);
        (void)np_retry_budget_withdraw(r->b, r->now);
        (void)np_retry_budget_withdraw(r->b, r->now);
    }
    return NULL;
}

static void threads_spend_no_token_twice(void **state)
{
    static struct np_retry_budget b;
    struct racer r = {&b, 0};
    (void)state;
    np_retry_budget_init(&b, 0.2, 3);
    for (unsigned second = 1; second <= 5; second++, r.now += S) {
        pthread_t t[THREADS];
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&t[i], NULL, race, &r), 0);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(t[i], NULL), 0);
        unsigned long long made = second * THREADS * ROUNDS;
        assert_true(atomic_load(&b.withdrawn) <= made / 5 + 3);
        assert_int_equal(atomic_load(&b.withdrawn) + atomic_load(&b.refused), 2 * made);
        assert_true(np_retry_budget_balance(&b, r.now) >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_calls_pay_for_a_retry),
        cmocka_unit_test(a_quiet_client_has_a_reserve_every_ten_seconds),
        cmocka_unit_test(deposits_lapse_after_ten_seconds),
        cmocka_unit_test(what_matters_less_leaves_something),
        cmocka_unit_test(a_refund_can_be_spent_again),
        cmocka_unit_test(none_and_odd_ratios),
        cmocka_unit_test(never_spends_more_than_was_paid_in),
        cmocka_unit_test(threads_spend_no_token_twice),
    };
    return cmocka_run_group_tests_name("mesh.retry_budget", tests, NULL, NULL);
}
