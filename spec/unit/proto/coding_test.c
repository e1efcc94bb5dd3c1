/* Content codings: there and back in pieces of every size, flushes, damage, bombs, and no memory.
 */
#include "proto/coding.h"

#include <string.h>

#include "np_test.h"

static const enum np_coding all[] = {NP_CODING_GZIP, NP_CODING_DEFLATE, NP_CODING_BR,
                                     NP_CODING_ZSTD};
enum { KINDS = 4 };

/* Text that repeats itself, with noise between. */
static void fill(char *p, size_t n)
{
    static const char words[] = "the tide is even, the tide is small; ";
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = i % 97 < 80 ? words[i % (sizeof words - 1)] : (char)(x >> 24);
    }
}

static enum neap_err encode(enum np_coding c, int level, struct np_bytes data, size_t piece,
                            enum np_coding_op op, struct np_buf *out)
{
    struct np_encoder_options o = {.level = level};
    struct np_encoder *e;
    enum neap_err err = np_encoder_new(c, &o, &e);
    if (err) return err;
    for (size_t at = 0; !err && at < data.n; at += piece) {
        size_t n = data.n - at < piece ? data.n - at : piece;
        err = np_encoder_write(e, data.p + at, n, op, out);
    }
    if (!err) err = np_encoder_write(e, NULL, 0, NP_CODING_FINISH, out);
    np_encoder_free(e);
    return err;
}

static struct np_bytes bytes(const struct np_buf *b)
{
    return (struct np_bytes){np_buf_data(b), np_buf_len(b)};
}

/* All of `data`, given in pieces and taken in steps of `room`. */
static enum neap_err decode_with(struct np_decoder *d, struct np_bytes data, size_t piece,
                                 size_t room, struct np_buf *out)
{
    for (size_t at = 0; at < data.n; at += piece) {
        struct np_bytes in = {data.p + at, data.n - at < piece ? data.n - at : piece};
        size_t before;
        do {
            before = np_buf_len(out);
            enum neap_err err = np_decoder_step(d, &in, room, out);
            if (err) return err;
            assert_true(np_buf_len(out) - before <= room);
            assert_true(np_buf_len(out) - before == room || in.n == 0);
        } while (np_buf_len(out) - before == room);
    }
    return np_decoder_finish(d);
}

static enum neap_err decode(const enum np_coding *c, size_t n, const struct np_decoder_options *o,
                            struct np_bytes data, struct np_buf *out)
{
    struct np_decoder *d;
    enum neap_err err = np_decoder_new(c, n, o, &d);
    if (err) return err;
    err = decode_with(d, data, data.n ? data.n : 1, NP_CODING_PIECE, out);
    np_decoder_free(d);
    return err;
}

static void assert_same(const struct np_buf *got, struct np_bytes want)
{
    assert_int_equal(np_buf_len(got), want.n);
    assert_memory_equal(np_buf_data(got), want.p, want.n);
}

static void goes_there_and_back_in_pieces_of_every_size(void **state)
{
    static char text[5000];
    static const size_t pieces[] = {1, 2, 3, 7, 64, 1000, 4999, 5000};
    struct np_bytes data = {text, sizeof text};
    fill(text, sizeof text);
    int64_t live = np_alloc_live();
    for (int k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            struct np_buf wire = {0}, back = {0};
            assert_ok(
                encode(all[k], NP_CODING_LEVEL_DEFAULT, data, pieces[i], NP_CODING_GO_ON, &wire));
            assert_true(np_buf_len(&wire) < sizeof text);
            for (size_t j = 0; j < sizeof pieces / sizeof *pieces; j++) {
                struct np_decoder *d;
                np_buf_clear(&back);
                assert_ok(np_decoder_new(&all[k], 1, NULL, &d));
                assert_ok(decode_with(d, bytes(&wire), pieces[j], pieces[i], &back));
                assert_same(&back, data);
                np_decoder_free(d);
            }
            np_buf_fini(&wire);
            np_buf_fini(&back);
        }
    }
    assert_no_leak(live);
}

static void has_levels(void **state)
{
    static char text[300000];
    struct np_bytes data = {text, sizeof text};
    fill(text, sizeof text);
    for (int k = 0; k < KINDS; k++) {
        size_t sizes[20] = {0};
        int min = np_coding_min_level(all[k]), max = np_coding_max_level(all[k]);
        for (int level = min; level <= max; level++) {
            struct np_buf wire = {0}, back = {0};
            assert_ok(encode(all[k], level, data, data.n, NP_CODING_GO_ON, &wire));
            assert_ok(decode(&all[k], 1, NULL, bytes(&wire), &back));
            assert_same(&back, data);
            sizes[level] = np_buf_len(&wire);
            np_buf_fini(&wire);
            np_buf_fini(&back);
        }
        assert_true(sizes[max] < sizes[min]);
        struct np_encoder_options o = {.level = max + 1};
        struct np_encoder *e;
        assert_err(np_encoder_new(all[k], &o, &e), NEAP_EINVAL);
        o.level = -2;
        assert_err(np_encoder_new(all[k], &o, &e), NEAP_EINVAL);
    }
}

static void encodes_nothing_as_something_whole(void **state)
{
    for (int k = 0; k < KINDS; k++) {
        struct np_buf wire = {0}, back = {0};
        assert_ok(encode(all[k], NP_CODING_LEVEL_DEFAULT, (struct np_bytes){"", 0}, 1,
                         NP_CODING_GO_ON, &wire));
        assert_true(np_buf_len(&wire) > 0);
        assert_ok(decode(&all[k], 1, NULL, bytes(&wire), &back));
        assert_int_equal(np_buf_len(&back), 0);
        np_buf_fini(&wire);
        np_buf_fini(&back);
    }
}

static void takes_guesses_of_the_size_that_are_wrong(void **state)
{
    static char text[40000];
    static const uint64_t guesses[] = {1, 2, 600, 40000, 1 << 20, UINT64_MAX};
    struct np_bytes data = {text, sizeof text};
    fill(text, sizeof text);
    for (int k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
            struct np_encoder_options o = NP_ENCODER_OPTIONS_INIT;
            struct np_buf wire = {0}, back = {0};
            struct np_encoder *e;
            o.size = guesses[i];
            assert_ok(np_encoder_new(all[k], &o, &e));
            assert_ok(np_encoder_write(e, data.p, 100, NP_CODING_GO_ON, &wire));
            assert_ok(np_encoder_write(e, data.p + 100, data.n - 100, NP_CODING_FINISH, &wire));
            assert_ok(decode(&all[k], 1, NULL, bytes(&wire), &back));
            assert_same(&back, data);
            np_encoder_free(e);
            np_buf_fini(&wire);
            np_buf_fini(&back);
        }
    }
}

/* What a flush promises: all that was written comes out of what has come out. */
static void can_be_decoded_up_to_every_flush(void **state)
{
    static char text[3000];
    fill(text, sizeof text);
    for (int k = 0; k < KINDS; k++) {
        struct np_buf wire = {0}, back = {0};
        struct np_encoder *e;
        struct np_decoder *d;
        assert_ok(np_encoder_new(all[k], NULL, &e));
        assert_ok(np_decoder_new(&all[k], 1, NULL, &d));
        for (size_t at = 0; at < sizeof text; at += 100) {
            assert_false(np_encoder_dirty(e));
            assert_ok(np_encoder_write(e, text + at, 60, NP_CODING_GO_ON, &wire));
            assert_true(np_encoder_dirty(e));
            assert_ok(np_encoder_write(e, text + at + 60, 40, NP_CODING_FLUSH, &wire));
            struct np_bytes in = bytes(&wire);
            assert_ok(np_decoder_step(d, &in, NP_CODING_PIECE, &back));
            np_buf_clear(&wire);
            assert_same(&back, (struct np_bytes){text, at + 100});
        }
        assert_ok(np_encoder_write(e, NULL, 0, NP_CODING_FINISH, &wire));
        assert_err(np_encoder_write(e, "x", 1, NP_CODING_GO_ON, &wire), NEAP_ECLOSED);
        struct np_bytes in = bytes(&wire);
        assert_ok(np_decoder_step(d, &in, NP_CODING_PIECE, &back));
        assert_ok(np_decoder_finish(d));
        np_encoder_free(e);
        np_decoder_free(d);
        np_buf_fini(&wire);
        np_buf_fini(&back);
    }
}

static void undoes_several_codings(void **state)
{
    static char text[100000];
    struct np_bytes data = {text, sizeof text};
    fill(text, sizeof text);
    struct np_buf wire = {0}, next = {0}, back = {0};
    assert_ok(np_buf_append(&wire, text, sizeof text));
    for (int k = 0; k < KINDS; k++) {
        np_buf_clear(&next);
        assert_ok(
            encode(all[k], NP_CODING_LEVEL_DEFAULT, bytes(&wire), 999, NP_CODING_GO_ON, &next));
        struct np_buf swap = wire;
        wire = next;
        next = swap;
    }
    static const size_t pieces[] = {1, 100, 1 << 20};
    for (int i = 0; i < 3; i++) {
        struct np_decoder *d;
        np_buf_clear(&back);
        assert_ok(np_decoder_new(all, KINDS, NULL, &d));
        assert_ok(decode_with(d, bytes(&wire), pieces[i], 777, &back));
        assert_same(&back, data);
        np_decoder_free(d);
    }
    struct np_decoder *d;
    enum np_coding five[5] = {NP_CODING_GZIP};
    assert_err(np_decoder_new(five, 5, NULL, &d), NEAP_EINVAL);
    np_buf_fini(&wire);
    np_buf_fini(&next);
    np_buf_fini(&back);
}

static void lets_through_what_has_no_coding(void **state)
{
    struct np_decoder_options o = NP_DECODER_OPTIONS_INIT;
    struct np_buf back = {0};
    enum np_coding identity = NP_CODING_IDENTITY;
    o.max_output = 5;
    assert_ok(decode(&identity, 1, &o, (struct np_bytes){"hello", 5}, &back));
    assert_same(&back, (struct np_bytes){"hello", 5});
    np_buf_clear(&back);
    assert_err(decode(NULL, 0, &o, (struct np_bytes){"hello!", 6}, &back), NEAP_ELIMIT);
    np_buf_fini(&back);
}

static void takes_no_bytes_for_an_empty_body(void **state)
{
    struct np_buf back = {0};
    for (int k = 0; k < KINDS; k++)
        assert_ok(decode(&all[k], 1, NULL, (struct np_bytes){"", 0}, &back));
    assert_int_equal(np_buf_len(&back), 0);
    np_buf_fini(&back);
}

static void refuses_what_is_cut_off_at_any_byte(void **state)
{
    static char text[400];
    struct np_bytes data = {text, sizeof text};
    fill(text, sizeof text);
    for (int k = 0; k < KINDS; k++) {
        struct np_buf wire = {0}, back = {0};
        assert_ok(encode(all[k], NP_CODING_LEVEL_DEFAULT, data, data.n, NP_CODING_GO_ON, &wire));
        for (size_t n = 1; n < np_buf_len(&wire); n++) {
            np_buf_clear(&back);
            assert_err(decode(&all[k], 1, NULL, (struct np_bytes){np_buf_data(&wire), n}, &back),
                       NEAP_EPROTO);
            assert_true(np_buf_len(&back) <= data.n);
        }
        np_buf_fini(&wire);
        np_buf_fini(&back);
    }
}

static void refuses_what_follows(void **state)
{
    static const char *const tails[] = {"\0", "\x1f", "garbage after the end", "\r\n"};
    static const size_t sizes[] = {1, 1, 21, 2};
    for (int k = 0; k < KINDS; k++) {
        for (int i = 0; i < 4; i++) {
            struct np_buf wire = {0}, back = {0};
            assert_ok(encode(all[k], NP_CODING_LEVEL_DEFAULT, (struct np_bytes){"hello", 5}, 5,
                             NP_CODING_GO_ON, &wire));
            assert_ok(np_buf_append(&wire, tails[i], sizes[i]));
            assert_err(decode(&all[k], 1, NULL, bytes(&wire), &back), NEAP_EPROTO);
            np_buf_fini(&wire);
            np_buf_fini(&back);
        }
    }
}

static void takes_several_members(void **state)
{
    for (int k = 0; k < KINDS; k++) {
        struct np_buf wire = {0}, back = {0};
        for (int i = 0; i < 3; i++)
            assert_ok(encode(all[k], NP_CODING_LEVEL_DEFAULT, (struct np_bytes){"hello", 5}, 5,
                             NP_CODING_GO_ON, &wire));
        enum neap_err err = decode(&all[k], 1, NULL, bytes(&wire), &back);
        bool has_members = all[k] == NP_CODING_GZIP || all[k] == NP_CODING_ZSTD;
        assert_err(err, has_members ? NEAP_OK : NEAP_EPROTO);
        if (has_members) assert_same(&back, (struct np_bytes){"hellohellohello", 15});
        np_buf_fini(&wire);
        np_buf_fini(&back);
    }
}

/* A deflate body may lack zlib's header and checksum. */
static void takes_bare_deflate(void **state)
{
    static const char bare[] = "\xcb\x48\xcd\xc9\xc9\x07\x00"; /* Python's zlib, wbits=-15 */
    static const char stored[] = "\x01\x05\x00\xfa\xffhello";
    enum np_coding c = NP_CODING_DEFLATE;
    for (size_t piece = 1; piece < 8; piece++) {
        struct np_bytes bodies[] = {{bare, 7}, {stored, 10}};
        for (int i = 0; i < 2; i++) {
            struct np_buf back = {0};
            struct np_decoder *d;
            assert_ok(np_decoder_new(&c, 1, NULL, &d));
            assert_ok(decode_with(d, bodies[i], piece, 100, &back));
            assert_same(&back, (struct np_bytes){"hello", 5});
            np_decoder_free(d);
            np_buf_fini(&back);
        }
    }
    struct np_buf back = {0};
    assert_err(decode(&c, 1, NULL, (struct np_bytes){"\xcb", 1}, &back), NEAP_EPROTO);
    np_buf_fini(&back);
}

/* Every single bit: no crash, no more than a bounded output, and never other data that passes for
 * whole where the format has a checksum. */
static void survives_every_bit_flipped(void **state)
{
    static char text[300];
    struct np_bytes data = {text, sizeof text};
    struct np_decoder_options o = NP_DECODER_OPTIONS_INIT;
    fill(text, sizeof text);
    o.max_output = 4096;
    for (int k = 0; k < KINDS; k++) {
        struct np_buf wire = {0}, back = {0};
        assert_ok(encode(all[k], NP_CODING_LEVEL_DEFAULT, data, data.n, NP_CODING_GO_ON, &wire));
        for (size_t bit = 0; bit < np_buf_len(&wire) * 8; bit++) {
            wire.data[wire.head + bit / 8] ^= (char)(1 << bit % 8);
            np_buf_clear(&back);
            enum neap_err err = decode(&all[k], 1, &o, bytes(&wire), &back);
            assert_true(err == NEAP_OK || err == NEAP_EPROTO || err == NEAP_ELIMIT);
            assert_true(np_buf_len(&back) <= o.max_output + 1);
            if (!err && all[k] == NP_CODING_GZIP) assert_same(&back, data);
            wire.data[wire.head + bit / 8] ^= (char)(1 << bit % 8);
        }
        np_buf_fini(&wire);
        np_buf_fini(&back);
    }
}

/* --- limits */

static struct np_buf zeros(enum np_coding c, size_t n)
{
    static char block[1 << 16];
    struct np_buf wire = {0};
    struct np_encoder *e;
    assert_ok(np_encoder_new(c, NULL, &e));
    for (; n > sizeof block; n -= sizeof block)
        assert_ok(np_encoder_write(e, block, sizeof block, NP_CODING_GO_ON, &wire));
    assert_ok(np_encoder_write(e, block, n, NP_CODING_FINISH, &wire));
    np_encoder_free(e);
    return wire;
}

static void stops_at_the_limit_of_output(void **state)
{
    struct np_decoder_options o = {.max_output = 100000};
    for (int k = 0; k < KINDS; k++) {
        struct np_buf exact = zeros(all[k], 100000), more = zeros(all[k], 100001), back = {0};
        assert_ok(decode(&all[k], 1, &o, bytes(&exact), &back));
        assert_int_equal(np_buf_len(&back), 100000);
        np_buf_clear(&back);
        assert_err(decode(&all[k], 1, &o, bytes(&more), &back), NEAP_ELIMIT);
        assert_true(np_buf_len(&back) <= 100001);
        np_buf_fini(&exact);
        np_buf_fini(&more);
        np_buf_fini(&back);
    }
}

static void stops_what_grows_too_much(void **state)
{
    for (int k = 0; k < KINDS; k++) {
        struct np_buf bomb = zeros(all[k], 8 << 20), small = zeros(all[k], 1 << 20), back = {0};
        assert_err(decode(&all[k], 1, NULL, bytes(&bomb), &back), NEAP_ELIMIT);
        assert_true(np_buf_len(&back) < (2 << 20));
        np_buf_clear(&back);
        assert_ok(decode(&all[k], 1, NULL, bytes(&small), &back)); /* not above the floor */
        struct np_decoder_options o = {.max_output = UINT64_MAX};
        np_buf_clear(&back);
        assert_ok(decode(&all[k], 1, &o, bytes(&bomb), &back));
        assert_int_equal(np_buf_len(&back), 8 << 20);
        np_buf_fini(&bomb);
        np_buf_fini(&small);
        np_buf_fini(&back);
    }
}

/* Large only in between: gzip members that hold nothing, compressed away. */
static void stops_what_grows_in_between(void **state)
{
    struct np_buf empty = {0}, many = {0}, wire = {0}, back = {0};
    assert_ok(encode(NP_CODING_GZIP, 6, (struct np_bytes){"", 0}, 1, NP_CODING_GO_ON, &empty));
    for (int i = 0; i < 150000; i++)
        assert_ok(np_buf_append(&many, np_buf_data(&empty), np_buf_len(&empty)));
    assert_ok(encode(NP_CODING_BR, 4, bytes(&many), np_buf_len(&many), NP_CODING_GO_ON, &wire));
    enum np_coding chain[] = {NP_CODING_GZIP, NP_CODING_BR};
    struct np_decoder_options o = {.max_output = 1 << 20};
    assert_err(decode(chain, 2, &o, bytes(&wire), &back), NEAP_ELIMIT);
    assert_err(decode(chain, 2, NULL, bytes(&wire), &back), NEAP_ELIMIT);
    assert_int_equal(np_buf_len(&back), 0);
    np_buf_fini(&empty);
    np_buf_fini(&many);
    np_buf_fini(&wire);
    np_buf_fini(&back);
}

static void refuses_windows_above_the_bound(void **state)
{
    /* A frame's header alone: magic, descriptor, window descriptor (exponent from 2^10). */
    static const char zstd23[] = "\x28\xb5\x2f\xfd\x00\x68", zstd24[] = "\x28\xb5\x2f\xfd\x00\x70";
    enum np_coding zstd = NP_CODING_ZSTD, br = NP_CODING_BR;
    struct np_buf back = {0};
    assert_err(decode(&zstd, 1, NULL, (struct np_bytes){zstd23, 6}, &back), NEAP_EPROTO);
    assert_err(decode(&zstd, 1, NULL, (struct np_bytes){zstd24, 6}, &back), NEAP_ELIMIT);
    struct np_decoder_options o = NP_DECODER_OPTIONS_INIT;
    struct np_bytes wide = {"\x3f", 1}; /* 2^24, and nothing in it */
    assert_ok(decode(&br, 1, NULL, wide, &back));
    o.max_window = 23;
    assert_err(decode(&br, 1, &o, wide, &back), NEAP_ELIMIT);
    o.max_window = 28;
    assert_err(decode(&br, 1, &o, wide, &back), NEAP_EINVAL);
    np_buf_fini(&back);
}

static void says_what_is_wrong_for_good(void **state)
{
    enum np_coding gzip = NP_CODING_GZIP;
    struct np_buf back = {0};
    struct np_decoder *d;
    struct np_bytes in = {"not gzip at all", 15};
    assert_ok(np_decoder_new(&gzip, 1, NULL, &d));
    assert_string_equal(np_decoder_why(d), "");
    assert_err(np_decoder_step(d, &in, 100, &back), NEAP_EPROTO);
    assert_string_equal(np_decoder_why(d), "the compressed data is damaged");
    assert_err(np_decoder_step(d, &in, 100, &back), NEAP_EPROTO);
    assert_err(np_decoder_finish(d), NEAP_EPROTO);
    np_decoder_free(d);
    np_buf_fini(&back);
}

/* --- no memory */

static enum neap_err there_and_back(void *arg)
{
    static char text[20000];
    const enum np_coding *c = arg;
    struct np_buf wire = {0}, back = {0};
    fill(text, sizeof text);
    enum neap_err err = encode(*c, NP_CODING_LEVEL_DEFAULT, (struct np_bytes){text, sizeof text},
                               5000, NP_CODING_FLUSH, &wire);
    if (!err) err = decode(c, 1, NULL, bytes(&wire), &back);
    if (!err) assert_same(&back, (struct np_bytes){text, sizeof text});
    np_buf_fini(&wire);
    np_buf_fini(&back);
    return err;
}

static void survives_the_want_of_memory(void **state)
{
    for (int k = 0; k < KINDS; k++)
        assert_true(np_test_oom(there_and_back, (void *)&all[k]) > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_there_and_back_in_pieces_of_every_size),
        cmocka_unit_test(has_levels),
        cmocka_unit_test(encodes_nothing_as_something_whole),
        cmocka_unit_test(takes_guesses_of_the_size_that_are_wrong),
        cmocka_unit_test(can_be_decoded_up_to_every_flush),
        cmocka_unit_test(undoes_several_codings),
        cmocka_unit_test(lets_through_what_has_no_coding),
        cmocka_unit_test(takes_no_bytes_for_an_empty_body),
        cmocka_unit_test(refuses_what_is_cut_off_at_any_byte),
        cmocka_unit_test(refuses_what_follows),
        cmocka_unit_test(takes_several_members),
        cmocka_unit_test(takes_bare_deflate),
        cmocka_unit_test(survives_every_bit_flipped),
        cmocka_unit_test(stops_at_the_limit_of_output),
        cmocka_unit_test(stops_what_grows_too_much),
        cmocka_unit_test(stops_what_grows_in_between),
        cmocka_unit_test(refuses_windows_above_the_bound),
        cmocka_unit_test(says_what_is_wrong_for_good),
        cmocka_unit_test(survives_the_want_of_memory),
    };
    return cmocka_run_group_tests_name("proto.coding", tests, NULL, NULL);
}
