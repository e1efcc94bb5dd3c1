/* Hash functions and the small generator. Pure functions of their arguments, the same on every
 * machine whatever its byte order. */
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

static uint64_t rotl(uint64_t x, int r)
{
    return (x << r) | (x >> (64 - r));
}

static uint64_t read64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint32_t read32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

/* np_hash_stable is XXH64, as its specification defines it. */
#define P1 UINT64_C(0x9E3779B185EBCA87)
#define P2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define P3 UINT64_C(0x165667B19E3779F9)
#define P4 UINT64_C(0x85EBCA77C2B2AE63)
#define P5 UINT64_C(0x27D4EB2F165667C5)

static uint64_t xx_round(uint64_t acc, uint64_t lane)
{
    return rotl(acc + lane * P2, 31) * P1;
}

static uint64_t xx_merge(uint64_t h, uint64_t acc)
{
    return (h ^ xx_round(0, acc)) * P1 + P4;
}

/* Whole stripes of 32 bytes; `*p` moves past them. */
static uint64_t xx_stripes(const unsigned char **p, size_t n, uint64_t seed)
{
    uint64_t acc[4] = {seed + P1 + P2, seed + P2, seed, seed - P1};
    for (size_t i = 0; i < n / 32; i++, *p += 32) {
        for (int lane = 0; lane < 4; lane++) {
            acc[lane] = xx_round(acc[lane], read64(*p + 8 * lane));
        }
    }
    uint64_t h = rotl(acc[0], 1) + rotl(acc[1], 7) + rotl(acc[2], 12) + rotl(acc[3], 18);
    for (int lane = 0; lane < 4; lane++) {
        h = xx_merge(h, acc[lane]);
    }
    return h;
}

uint64_t np_hash_stable(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    const unsigned char *end = p + n;
    uint64_t h = n >= 32 ? xx_stripes(&p, n, seed) : seed + P5;
    h += n;
    for (; end - p >= 8; p += 8) {
        h = rotl(h ^ xx_round(0, read64(p)), 27) * P1 + P4;
    }
    if (end - p >= 4) {
        h = rotl(h ^ (read32(p) * P1), 23) * P2 + P3;
        p += 4;
    }
    for (; p < end; p++) {
        h = rotl(h ^ (*p * P5), 11) * P1;
    }
    h = (h ^ (h >> 33)) * P2;
    h = (h ^ (h >> 29)) * P3;
    return h ^ (h >> 32);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t np_hash_seeded(const void *data, size_t n, const uint64_t key[2])
{
    const unsigned char *p = data;
    uint64_t v[4] = {
        key[0] ^ UINT64_C(0x736f6d6570736575),
        key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261),
        key[1] ^ UINT64_C(0x7465646279746573),
    };
    uint64_t last = (uint64_t)n << 56;
    for (size_t i = 0; i < n / 8; i++, p += 8) {
        uint64_t word = read64(p);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < n % 8; i++) {
        last |= (uint64_t)p[i] << (8 * i);
    }
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void np_rng_init(struct np_rng *r, uint64_t seed)
{
    if (seed == 0 && getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
        /* The pool is not ready (early boot): the clock and an address have to do. */
        seed = np_hash_mix((uint64_t)np_clock_wall()) ^ (uint64_t)(uintptr_t)r;
    }
    r->state = seed;
}

uint32_t np_rng_below(struct np_rng *r, uint32_t n)
{
    if (n == 0) return 0;
    /* Lemire's multiplication; the rare low products that would bias it are drawn again. */
    uint64_t product = (np_rng_next(r) >> 32) * n;
    if ((uint32_t)product < n) {
        uint32_t reject = -n % n;
        while ((uint32_t)product < reject) {
            product = (np_rng_next(r) >> 32) * n;
        }
    }
    return (uint32_t)(product >> 32);
}

double np_rng_unit(struct np_rng *r)
{
    return (double)(np_rng_next(r) >> 11) * 0x1.0p-53;
}
