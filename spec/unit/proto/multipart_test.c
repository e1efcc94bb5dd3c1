/* Multipart forms: what real clients send, in pieces of every size; what may not be; limits. */
#include "proto/multipart.h"

#include <stdio.h>
#include <string.h>

#include "np_test.h"

#define B "XyZ"

/* What came, as text: "<name|filename|type>data</>" a part, "." at the end. */
struct log {
    struct np_buf out;
    enum neap_err err;
    struct neap_errinfo info;
};

static enum neap_err add(struct log *l, struct np_bytes b)
{
    return np_buf_append(&l->out, b.p ? b.p : "-", b.p ? b.n : 1);
}

static enum neap_err note(struct log *l, const struct np_multipart *m, enum np_multipart_event e,
                          struct np_bytes data)
{
    enum neap_err err = NEAP_OK;
    switch (e) {
    case NP_MULTIPART_PART:
        err = np_buf_append_str(&l->out, "<");
        if (!err) err = add(l, m->part.name);
        if (!err) err = np_buf_append_str(&l->out, "|");
        if (!err) err = add(l, m->part.filename);
        if (!err) err = np_buf_append_str(&l->out, "|");
        if (!err) err = add(l, m->part.content_type);
        if (!err) err = np_buf_append_str(&l->out, ">");
        return err;
    case NP_MULTIPART_DATA:
        return add(l, data);
    case NP_MULTIPART_PART_END:
        return np_buf_append_str(&l->out, "</>");
    case NP_MULTIPART_END:
        return np_buf_append_str(&l->out, ".");
    default:
        return err;
    }
}

static enum neap_err feed(struct np_multipart *m, struct log *l, const char *p, size_t n)
{
    enum np_multipart_event e;
    do {
        size_t used = 0;
        struct np_bytes data = {NULL, 0};
        enum neap_err err = np_multipart_next(m, p, n, &used, &e, &data, &l->info);
        if (err) return err;
        assert_true(used <= n);
        if (e == NP_MULTIPART_DATA) assert_true(data.n > 0);
        err = note(l, m, e, data);
        if (err) return err;
        p += used;
        n -= used;
    } while (e != NP_MULTIPART_MORE);
    assert_int_equal(n, 0);
    return NEAP_OK;
}

/* Gives the body in pieces: cut at `a` and `b`, or each of `size` bytes. */
static void parse(struct log *l, const char *body, size_t n, size_t a, size_t b, size_t size,
                  const struct np_multipart_limits *limits)
{
    struct np_multipart m;
    memset(l, 0, sizeof *l);
    assert_ok(np_multipart_init(&m, B, strlen(B), limits));
    if (size) {
        for (size_t at = 0; at < n && !l->err; at += size)
            l->err = feed(&m, l, body + at, n - at < size ? n - at : size);
    } else {
        l->err = feed(&m, l, body, a);
        if (!l->err) l->err = feed(&m, l, body + a, b - a);
        if (!l->err) l->err = feed(&m, l, body + b, n - b);
    }
    if (!l->err) l->err = np_multipart_finish(&m, &l->info);
    np_multipart_fini(&m);
}

static void gives(const char *body, const char *want)
{
    struct log l;
    size_t n = strlen(body);
    for (size_t cut = 0; cut <= n; cut++) {
        size_t second = cut + 3 > n ? n : cut + 3;
        parse(&l, body, n, cut, second, 0, NULL);
        if (l.err) print_error("cut at %zu: %s\n", cut, l.info.message);
        assert_ok(l.err);
        assert_ok(np_buf_append(&l.out, "", 1));
        assert_string_equal(np_buf_data(&l.out), want);
        np_buf_fini(&l.out);
    }
    for (size_t size = 1; size < 9; size++) {
        parse(&l, body, n, 0, 0, size, NULL);
        assert_ok(l.err);
        assert_ok(np_buf_append(&l.out, "", 1));
        assert_string_equal(np_buf_data(&l.out), want);
        np_buf_fini(&l.out);
    }
}

static void refuses(const char *body, size_t n, enum neap_err want, const char *words)
{
    struct log l;
    for (size_t size = 0; size < 4; size++) {
        parse(&l, body, n, 0, 0, size ? size : n, NULL);
        assert_err(l.err, want);
        if (!strstr(l.info.message, words)) print_error("got: %s\n", l.info.message);
        assert_non_null(strstr(l.info.message, words));
        np_buf_fini(&l.out);
    }
}

#define FIELD(name, value) \
    "--" B "\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define HEAD(disposition) \
    "--" B "\r\nContent-Disposition: " disposition "\r\n\r\nv\r\n--" B "--\r\n"

static void reads_what_browsers_and_tools_send(void **state)
{
    gives(FIELD("a", "1") FIELD("b", "") "--" B "--\r\n", "<a|-|->1</><b|-|-></>.");
    gives("--" B "\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a b.txt\"\r\n"
          "Content-Type: text/plain\r\n\r\nline\r\n\r\nmore\r\n--" B "--\r\n",
          "<f|a b.txt|text/plain>line\r\n\r\nmore</>.");
    gives("\r\n" FIELD("a", "1") "--" B "--", "<a|-|->1</>.");
    gives("--" B "--\r\n", ".");
    gives("--" B " \t\r\nCONTENT-disposition:form-data;name=x\r\n\r\n1\r\n--" B "-- \r\n",
          "<x|-|->1</>.");
    gives(HEAD("form-data; name=\"f\"; filename=\"\""), "<f||->v</>.");
}

static void leaves_what_only_looks_like_a_boundary(void **state)
{
    gives(FIELD("a", "\r\n--Xy\r\n-\r\r\n\r\n--\r\n--XyY--XyZ") "--" B "--\r\n",
          "<a|-|->\r\n--Xy\r\n-\r\r\n\r\n--\r\n--XyY--XyZ</>.");
    gives(FIELD("a", "\n--XyZ\n\r") "--" B "--\r\n", "<a|-|->\n--XyZ\n\r</>.");
    gives(FIELD("a", "\r") "--" B "--\r\n", "<a|-|->\r</>.");
}

static void decodes_names(void **state)
{
    static const char *table[][2] = {
        {"form-data; name=\"a%22b%0D%0Ac%25\"", "<a\"b\r\nc%25|-|->v</>."},
        {"form-data; name=\"a\\\"b\\\\c\\d\"", "<a\"b\\c\\d|-|->v</>."},
        {"form-data; name=\"\xc3\xa9\"", "<\xc3\xa9|-|->v</>."},
        {"form-data; name=f; filename=\"C:\\Users\\me\\pic.png\"", "<f|pic.png|->v</>."},
        {"form-data; name=f; filename=\"../../etc/passwd\"", "<f|passwd|->v</>."},
        {"form-data; name=f; filename=\"a/..\"", "<f||->v</>."},
        {"form-data; name=f; filename=\".\"", "<f||->v</>."},
        {"form-data; name=f; filename=\"x\\..\"", "<f||->v</>."},
        {"form-data; name=f; filename=\"a%0D%0Ab\tc\"", "<f|a__b_c|->v</>."},
        {"form-data; name=f; filename*=UTF-8''na%C3%AFve%20f.txt", "<f|na\xc3\xafve f.txt|->v</>."},
        {"form-data; name=f; filename*=iso-8859-1'en'%e9t%E9.txt",
         "<f|\xc3\xa9t\xc3\xa9.txt|->v</>."},
        {"form-data; name=f; filename*=utf-8''..%2F..%5Cx; filename=y", "<f|x|->v</>."},
        {"form-data; name=f; size=3; other=\"x;y\"", "<f|-|->v</>."},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char body[512];
        snprintf(body, sizeof body, HEAD("%s"), table[i][0]);
        gives(body, table[i][1]);
    }
}

static void keeps_the_name_as_it_was_sent(void **state)
{
    const char *body = HEAD("form-data; name=f; filename=\"a/b\\c.txt\"");
    struct np_multipart m;
    size_t used;
    enum np_multipart_event e;
    struct np_bytes data;
    assert_ok(np_multipart_init(&m, B, 3, NULL));
    assert_ok(np_multipart_next(&m, body, strlen(body), &used, &e, &data, NULL));
    assert_int_equal(e, NP_MULTIPART_PART);
    assert_memory_equal(m.part.raw_filename.p, "a/b\\c.txt", 9);
    assert_int_equal(m.part.nheaders, 1);
    assert_memory_equal(m.part.headers[0].name.p, "content-disposition", 19);
    np_multipart_fini(&m);
}

static void refuses_what_is_malformed(void **state)
{
    static const struct {
        const char *body, *words;
    } table[] = {
        {"", "before its first part"},
        {"x", "does not begin"},
        {"preamble\r\n" FIELD("a", "1") "--" B "--\r\n", "does not begin"},
        {"\n" FIELD("a", "1") "--" B "--\r\n", "does not begin"},
        {"--Xy", "before its first part"},
        {FIELD("a", "1"), "in the middle of part 1"},
        {FIELD("a", "1") "--" B, "in the middle"},
        {FIELD("a", "1") "--" B "-", "in the middle"},
        {FIELD("a", "1") "--" B "--\r", "in the middle"},
        {FIELD("a", "1") "--" B "--x", "behind the last"},
        {FIELD("a", "1") "--" B "--\r\nepilogue", "behind the last"},
        {FIELD("a", "1") "--" B "--\r\n\r\n", "behind the last"},
        {FIELD("a", "1") "--" B "x\r\n", "followed by other text"},
        {FIELD("a", "1") "--" B "\n", "followed by other text"},
        {FIELD("a", "1") "--" B " --\r\n", "followed by other text"},
        {FIELD("a", "1") "--" B "-x", "followed by other text"},
        {FIELD("a", "1") "--" B "\rx", "bare CR"},
        {"--" B "\r\n\r\nv\r\n--" B "--\r\n", "no Content-Disposition"},
        {"--" B "\r\nContent-Type: a/b\r\n\r\nv\r\n--" B "--\r\n", "no Content-Disposition"},
        {"--" B "\r\nContent-Disposition: form-data; name=a\n\r\nv\r\n--" B "--\r\n", "bare LF"},
        {"--" B "\r\nContent-Disposition: form-data; name=a\r\n\n", "bare LF"},
        {"--" B "\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\nv", "malformed header"},
        {"--" B "\r\nContent-Disposition : form-data; name=a\r\n\r\nv", "malformed header"},
        {"--" B "\r\n: form-data; name=a\r\n\r\nv", "malformed header"},
        {"--" B "\r\nno colon\r\n\r\nv", "malformed header"},
        {"--" B "\r\nContent-Disposition: form-data; name=\"a\rb\"\r\n\r\nv", "malformed header"},
        {"--" B "\r\nContent-Disposition: form-data; name=\"a\x7f\"\r\n\r\nv", "malformed header"},
        {"--" B "\r\nContent-Disposition: form-data; name=a\r\n"
         "content-disposition: form-data; name=b\r\n\r\nv",
         "header twice"},
        {"--" B "\r\nContent-Disposition: form-data; name=a\r\n"
         "Content-Transfer-Encoding: base64\r\n\r\nv",
         "transfer encoding"},
        {HEAD("attachment; name=a"), "not form-data"},
        {HEAD("form-data"), "no name"},
        {HEAD("form-data; filename=a"), "no name"},
        {HEAD("form-data; name=a; name=b"), "two parameters 'name'"},
        {HEAD("form-data; name=a; filename=b; FileName=c"), "two parameters"},
        {HEAD("form-data; name"), "malformed"},
        {HEAD("form-data; name=\"a"), "malformed"},
        {HEAD("form-data; name=\"a\\\""), "malformed"},
        {HEAD("form-data; name=\"a\"b"), "malformed"},
        {HEAD("form-data; name="), "malformed"},
        {HEAD("form-data; name=a;"), "malformed"},
        {HEAD("form-data name=a"), "not form-data"},
        {HEAD("form-data; name=a; filename*=utf-8''%C3"), "filename*"},
        {HEAD("form-data; name=a; filename*=utf-8''%ZZ"), "filename*"},
        {HEAD("form-data; name=a; filename*=utf-8''%00"), "filename*"},
        {HEAD("form-data; name=a; filename*=utf-8''%ED%A0%80"), "filename*"},
        {HEAD("form-data; name=a; filename*=utf-8''%C0%AF"), "filename*"},
        {HEAD("form-data; name=a; filename*=utf-16''a"), "filename*"},
        {HEAD("form-data; name=a; filename*=plain"), "filename*"},
        {HEAD("form-data; name=a; filename*=utf-8'only"), "filename*"},
        {HEAD("form-data; name=a; filename*=\"utf-8''a\""), "filename*"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        refuses(table[i].body, strlen(table[i].body), NEAP_EPROTO, table[i].words);
    static const char nul[] = "--" B "\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\n";
    refuses(nul, sizeof nul - 1, NEAP_EPROTO, "malformed header");
}

static void keeps_to_its_limits(void **state)
{
    static const char body[] = FIELD(
        "abc",
        "12345") "--" B
                 "\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\n1234567\r\n--" B
                 "--\r\n";
    static const struct {
        struct np_multipart_limits limits;
        const char *words; /* NULL: it passes */
    } table[] = {
        {{2, 56, 5, 7, sizeof body - 1}, NULL},
        {{1, 56, 5, 7, 1000}, "more than 1 parts"},
        {{2, 40, 5, 7, 1000}, "headers of part 1 are larger than 40"},
        {{2, 56, 4, 7, 1000}, "the field 'abc' is larger than 4"},
        {{2, 56, 5, 6, 1000}, "the file 'f' is larger than 6"},
        {{2, 56, 5, 7, sizeof body - 2}, "the body is larger"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        for (size_t size = 1; size < 12; size++) {
            struct log l;
            parse(&l, body, sizeof body - 1, 0, 0, size, &table[i].limits);
            assert_err(l.err, table[i].words ? NEAP_ELIMIT : NEAP_OK);
            if (table[i].words) assert_non_null(strstr(l.info.message, table[i].words));
            np_buf_fini(&l.out);
        }
    }
    char many[2048] = "--" B "\r\nContent-Disposition: form-data; name=a\r\n";
    for (int i = 0; i < NP_MULTIPART_HEADERS_MAX; i++)
        sprintf(many + strlen(many), "x%d: 1\r\n", i);
    strcat(many, "\r\nv");
    refuses(many, strlen(many), NEAP_ELIMIT, "more than 16 headers");
}

static void stays_failed(void **state)
{
    struct np_multipart m;
    size_t used = 0;
    enum np_multipart_event e;
    struct np_bytes data;
    struct neap_errinfo info;
    assert_ok(np_multipart_init(&m, B, 3, NULL));
    assert_err(np_multipart_next(&m, "no", 2, &used, &e, &data, NULL), NEAP_EPROTO);
    assert_err(np_multipart_next(&m, "--XyZ", 5, &used, &e, &data, &info), NEAP_EPROTO);
    assert_non_null(strstr(info.message, "does not begin"));
    assert_err(np_multipart_finish(&m, &info), NEAP_EPROTO);
    np_multipart_fini(&m);
}

static void finds_the_boundary(void **state)
{
    char out[NP_MULTIPART_BOUNDARY_MAX + 1];
    static const char *good[][2] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b:c\"", "a b:c"},
        {"multipart/form-data ; boundary=----WebKitFormBoundary7MA4YWxk",
         "----WebKitFormBoundary7MA4YWxk"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_ok(np_multipart_boundary(good[i][0], strlen(good[i][0]), out, NULL));
        assert_string_equal(out, good[i][1]);
    }
    static const char *bad[] = {
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a; boundary=a",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=\"a\\\"b\"",
        "multipart/form-data; boundary=\"a{b\"",
        "multipart/form-data; "
        "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_err(np_multipart_boundary(bad[i], strlen(bad[i]), out, NULL), NEAP_EPROTO);
    assert_err(np_multipart_boundary("multipart/mixed; boundary=a", 27, out, NULL), NEAP_ENOTSUP);
    assert_err(np_multipart_boundary("", 0, out, NULL), NEAP_ENOTSUP);
}

static void writes_names_that_it_can_read(void **state)
{
    struct np_buf b = {0};
    assert_ok(np_multipart_quote(&b, "a\"b\r\nc\\d", 8));
    assert_int_equal(np_buf_len(&b), 16);
    assert_memory_equal(np_buf_data(&b), "\"a%22b%0D%0Ac\\d\"", 16);
    assert_err(np_multipart_quote(&b, "a\0b", 3), NEAP_EINVAL);
    assert_int_equal(np_buf_len(&b), 16);
    np_buf_fini(&b);
}

static enum neap_err parse_once(void *arg)
{
    const char *body = arg;
    struct log l;
    parse(&l, body, strlen(body), 0, 0, 7, NULL);
    np_buf_fini(&l.out);
    return l.err;
}

static void lives_without_memory(void **state)
{
    static char body[] = FIELD(
        "abc",
        "12345") "--" B
                 "\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\n1234567\r\n--" B
                 "--\r\n";
    assert_true(np_test_oom(parse_once, body) > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_browsers_and_tools_send),
        cmocka_unit_test(leaves_what_only_looks_like_a_boundary),
        cmocka_unit_test(decodes_names),
        cmocka_unit_test(keeps_the_name_as_it_was_sent),
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(keeps_to_its_limits),
        cmocka_unit_test(stays_failed),
        cmocka_unit_test(finds_the_boundary),
        cmocka_unit_test(writes_names_that_it_can_read),
        cmocka_unit_test(lives_without_memory),
    };
    return cmocka_run_group_tests_name("proto.multipart", tests, NULL, NULL);
}
