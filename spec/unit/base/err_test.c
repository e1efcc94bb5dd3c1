/* base/err: names, texts, errno, messages cut to fit. */
#include "np_test.h"

#include <errno.h>
#include <string.h>

static void every_code_has_a_name_and_a_text(void **state)
{
    for (int i = 0; i < NEAP_ERR_COUNT; i++) {
        assert_non_null(neap_err_name((enum neap_err)i));
        assert_true(strlen(neap_err_text((enum neap_err)i)) > 0);
    }
    assert_string_equal(neap_err_name(NEAP_ETIMEDOUT), "ETIMEDOUT");
    assert_string_equal(neap_err_text(NEAP_ETIMEDOUT), "timed out");
    assert_string_equal(neap_err_name(NEAP_OK), "OK");
}

static void an_unknown_code_is_survived(void **state)
{
    assert_string_equal(neap_err_name(NEAP_ERR_COUNT), "EUNKNOWN");
    assert_string_equal(neap_err_text((enum neap_err)12345), "unknown error");
    assert_string_equal(neap_err_name((enum neap_err) - 1), "EUNKNOWN");
}

static void errno_values_map_to_codes(void **state)
{
    assert_int_equal(np_err_from_errno(0), NEAP_OK);
    assert_int_equal(np_err_from_errno(ECONNREFUSED), NEAP_ECONNREFUSED);
    assert_int_equal(np_err_from_errno(EADDRINUSE), NEAP_EADDRINUSE);
    assert_int_equal(np_err_from_errno(EPERM), NEAP_EACCES);
    assert_int_equal(np_err_from_errno(ENFILE), NEAP_EMFILE);
    assert_int_equal(np_err_from_errno(EWOULDBLOCK), NEAP_EAGAIN);
    assert_int_equal(np_err_from_errno(99999), NEAP_EIO);
}

static void set_fills_code_and_message(void **state)
{
    struct neap_errinfo info = {0};
    assert_int_equal(np_err_set(&info, NEAP_EINVAL, "port %d: %s", 70000, "too large"),
                     NEAP_EINVAL);
    assert_int_equal(info.code, NEAP_EINVAL);
    assert_string_equal(info.message, "port 70000: too large");
    assert_int_equal(np_err_plain(&info, NEAP_EPIPE), NEAP_EPIPE);
    assert_string_equal(info.message, "broken pipe");
    assert_int_equal(np_err_set(NULL, NEAP_EIO, "nobody listens"), NEAP_EIO);
}

static void a_message_may_be_built_from_itself(void **state)
{
    struct neap_errinfo info;
    np_err_set(&info, NEAP_EIO, "disk");
    np_err_set(&info, NEAP_EIO, "while saving: %s", info.message);
    assert_string_equal(info.message, "while saving: disk");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    struct neap_errinfo info;
    char text[600];
    size_t fits = sizeof info.message - 1;
    /* "é" begins in the last byte that fits: it must go as a whole. */
    memset(text, 'a', sizeof text);
    memcpy(text + fits - 1, "\xc3\xa9", 2);
    text[sizeof text - 1] = '\0';
    np_err_set(&info, NEAP_EIO, "%s", text);
    assert_int_equal(strlen(info.message), fits - 1);
    /* One byte earlier it fits whole. */
    memset(text, 'a', sizeof text - 1);
    memcpy(text + fits - 2, "\xc3\xa9", 2);
    np_err_set(&info, NEAP_EIO, "%s", text);
    assert_int_equal(strlen(info.message), fits);
    /* Four bytes, three of which fit. */
    memset(text, 'a', sizeof text - 1);
    memcpy(text + fits - 3, "\xf0\x9f\x98\x80", 4);
    np_err_set(&info, NEAP_EIO, "%s", text);
    assert_int_equal(strlen(info.message), fits - 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_and_a_text),
        cmocka_unit_test(an_unknown_code_is_survived),
        cmocka_unit_test(errno_values_map_to_codes),
        cmocka_unit_test(set_fills_code_and_message),
        cmocka_unit_test(a_message_may_be_built_from_itself),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
    };
    return cmocka_run_group_tests_name("base.err", tests, NULL, NULL);
}
