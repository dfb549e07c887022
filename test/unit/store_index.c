/* Keys and the index against a plain model. */
#include "store/index_priv.h"

#include <stdlib.h>

#include "harness.h"
#include "store/key_priv.h"
#include "store/lock_priv.h"

/* Vectors of the SipHash reference implementation (vectors.h, SipHash-2-4, 64 bits): key 00..0f, input 00,
 * 01, ... */
static void test_siphash(void)
{
    static const struct {
        size_t len;
        uint64_t want;
    } rows[] = {
        {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
        {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5}, {63, 0x958a324ceb064572},
    };
    struct key_seed seed = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    char bytes[64];

    for (int i = 0; i < 64; i++)
        bytes[i] = (char)i;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%zu bytes", rows[i].len);
        CHECK_INT(key_siphash(seed, (struct str){bytes, rows[i].len}), rows[i].want);
    }
}

static void test_seeds_differ(void)
{
    struct key_seed a = {0};
    struct key_seed b = {0};

    CHECK(key_seed_random(&a) && key_seed_random(&b));
    CHECK(a.k0 != b.k0 && a.k1 != b.k1);
}

static void test_keys_of_record(void)
{
    struct key_seed seed = {1, 2};
    uint64_t keys[KEYS_OF_RECORD_MAX];
    uint64_t moved[KEYS_OF_RECORD_MAX];
    struct record r = {.kind = STR("ab"),
                       .namespace = STR("c"),
                       .revision = STR("main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738")};
    size_t n = keys_of_record(seed, &r, 5, 5, keys);

    CHECK_INT(n, 4); /* object, body, exact, hex */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(keys[i] != keys[j]);
    r.commit = STR("5394cb7f48332b2de7c17dd8b8384bbc84b7e738");
    CHECK_INT(keys_of_record(seed, &r, 5, 6, moved),
              6); /* a second body, another exact text; the same digits */
    struct record parts = {.kind = STR("a"), .namespace = STR("bc")};
    (void)keys_of_record(seed, &parts, 5, 5, moved);
    CHECK(moved[0] != keys[0]);
    r.cluster = STR("other");
    (void)keys_of_record(seed, &r, 5, 5, moved);
    CHECK_INT(moved[0], keys[0]);
}

#define MODEL_KEYS 300
#define MODEL_SEQS 20000

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void check_key(const struct index *ix, uint64_t key, const struct seqs *want)
{
    struct seqs got = {0};
    uint64_t first;
    uint64_t last;

    CHECK(index_get(ix, key, &got));
    CHECK_INT(got.n, want->n);
    CHECK(got.n == 0 || memcmp(got.at, want->at, got.n * sizeof got.at[0]) == 0);
    CHECK_INT(index_ends(ix, key, &first, &last), want->n > 0);
    if (want->n) {
        CHECK_INT(first, want->at[0]);
        CHECK_INT(last, want->at[want->n - 1]);
    }
    seqs_free(&got);
}

/* Random keys, few of them hot, differences from 1 to 2^40; every list as the model has it. */
static void test_against_model(void)
{
    for (uint64_t round = 1; round <= 5; round++) {
        uint64_t state = round * 0x9E3779B97F4A7C15;
        struct seqs *model = calloc(MODEL_KEYS, sizeof *model);
        uint64_t keys[MODEL_KEYS];
        struct index *ix = index_new(round * 2000);
        uint64_t seq = 0;
        CHECK(model && ix);
        for (size_t i = 0; i < MODEL_KEYS; i++) /* some in one table, some with the same place in it */
            keys[i] = i % 3 == 0 ? random_next(&state) : i % 3 == 1 ? i : (uint64_t)i << 40;
        for (size_t i = 0; i < MODEL_SEQS; i++) {
            seq += 1 + (random_next(&state) >> (24 + random_next(&state) % 40)) % (UINT64_C(1) << 40);
            size_t k = random_next(&state) % (i % 2 ? MODEL_KEYS : 3);
            if (model[k].n == 0 || model[k].at[model[k].n - 1] != seq)
                CHECK(seqs_add(&model[k], seq));
            CHECK(index_add(ix, keys[k], seq));
            if (i % 5 == 0)
                CHECK(index_add(ix, keys[k], seq)); /* twice is once */
        }
        for (size_t i = 0; i < MODEL_KEYS; i++) {
            harness_case("round %llu key %zu", (unsigned long long)round, i);
            check_key(ix, keys[i], &model[i]);
            seqs_free(&model[i]);
        }
        check_key(ix, 0xDEADBEEF, &(struct seqs){0});
        free(model);
        index_free(ix);
    }
}

static size_t model_position(const struct seqs *model, uint64_t seq)
{
    size_t i = 0;
    while (i < model->n && model->at[i] < seq)
        i++;
    return i;
}

static void model_add(struct seqs *model, uint64_t seq)
{
    size_t i = model_position(model, seq);

    if (i < model->n && model->at[i] == seq)
        return;
    CHECK(seqs_add(model, 0));
    memmove(&model->at[i + 1], &model->at[i], (model->n - 1 - i) * sizeof model->at[0]);
    model->at[i] = seq;
}

static void model_remove(struct seqs *model, uint64_t seq)
{
    size_t i = model_position(model, seq);

    if (i == model->n || model->at[i] != seq)
        return;
    model->n--;
    memmove(&model->at[i], &model->at[i + 1], (model->n - i) * sizeof model->at[0]);
}

/* Numbers come and go in any order; in the end all go, and nothing more is allocated when they come again. */
static void test_removal_against_model(void)
{
    enum { KEYS = 60, STEPS = 20000 };
    for (uint64_t round = 1; round <= 4; round++) {
        uint64_t state = round * 0x9E3779B97F4A7C15;
        struct seqs model[KEYS] = {0};
        uint64_t keys[KEYS];
        struct index *ix = index_new(0);
        size_t bytes = 0;
        for (size_t i = 0; i < KEYS; i++) /* many in one table, with the same place in it */
            keys[i] = i % 2 ? i : random_next(&state);
        for (int again = 0; again < 4; again++) {
            for (size_t i = 0; i < STEPS; i++) {
                size_t k = random_next(&state) % (i % 4 ? KEYS : 2);
                uint64_t spread = round % 2 ? 500 : UINT64_C(1) << (7 * round);
                uint64_t seq = 1 + random_next(&state) % spread;
                bool add = i < STEPS / 2 ? random_next(&state) % 4 > 0 : random_next(&state) % 4 == 0;
                if (!add && model[k].n) /* most removals hit */
                    seq = model[k].at[random_next(&state) % model[k].n];
                if (add) {
                    model_add(&model[k], seq);
                    CHECK(index_add(ix, keys[k], seq));
                } else {
                    model_remove(&model[k], seq);
                    index_remove(ix, keys[k], seq);
                }
                if (i % 64 == 0)
                    check_key(ix, keys[k], &model[k]);
            }
            for (size_t i = 0; i < KEYS; i++) {
                harness_case("round %llu key %zu", (unsigned long long)round, i);
                check_key(ix, keys[i], &model[i]);
                while (model[i].n) {
                    uint64_t seq = model[i].at[random_next(&state) % model[i].n];
                    model_remove(&model[i], seq);
                    index_remove(ix, keys[i], seq);
                    index_remove(ix, keys[i], seq);
                }
                check_key(ix, keys[i], &model[i]);
            }
            if (again)
                CHECK(index_bytes(ix) <= bytes + (1 << 16));
            else
                bytes = index_bytes(ix);
        }
        for (size_t i = 0; i < KEYS; i++)
            seqs_free(&model[i]);
        index_free(ix);
    }
}

static void test_set(void)
{
    struct index *ix = index_new(0);

    for (uint64_t i = 1; i <= 1000; i++)
        CHECK(index_set(ix, i % 10, i));
    check_key(ix, 3, &(struct seqs){.at = (uint64_t[]){993}, .n = 1});
    index_remove(ix, 3, 992);
    check_key(ix, 3, &(struct seqs){.at = (uint64_t[]){993}, .n = 1});
    index_remove(ix, 3, 993);
    check_key(ix, 3, &(struct seqs){0});
    index_free(ix);
}

static void test_many_keys(void)
{
    struct index *ix = index_new(1000);
    uint64_t state = 42;
    struct seqs got = {0};

    CHECK(ix != NULL);
    check_key(ix, 1, &(struct seqs){0});
    for (uint64_t i = 1; i <= 200000; i++)
        CHECK(index_add(ix, random_next(&state), i));
    state = 42;
    for (uint64_t i = 1; i <= 200000; i++) {
        got.n = 0;
        CHECK(index_get(ix, random_next(&state), &got));
        CHECK_INT(got.n, 1);
        CHECK_INT(got.at[0], i);
    }
    seqs_free(&got);
    printf("# %zu bytes for 200000 keys with one record each\n", index_bytes(ix));
    CHECK(index_bytes(ix) < 200000 * 36);
    index_free(ix);
}

static void test_seqs_sort(void)
{
    struct seqs seqs = {0};
    static const uint64_t in[] = {5, 1, 5, 3, UINT64_MAX, 1};
    static const uint64_t out[] = {1, 3, 5, UINT64_MAX};

    seqs_sort(&seqs);
    CHECK_INT(seqs.n, 0);
    for (size_t i = 0; i < 6; i++)
        CHECK(seqs_add(&seqs, in[i]));
    seqs_sort(&seqs);
    CHECK_INT(seqs.n, 4);
    CHECK(memcmp(seqs.at, out, sizeof out) == 0);
    seqs_free(&seqs);
}

static void test_network_file_systems(void)
{
    static const struct {
        long type;
        const char *want;
    } rows[] = {{0x6969, "NFS"},           {0x65735546, "FUSE"}, {(long)0xFF534D42, "CIFS"},
                {(int)0xFF534D42, "CIFS"}, {0x01021997, "9P"},   {0xEF53, NULL},
                {0x58465342, NULL},        {0x01021994, NULL}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%lx", rows[i].type);
        CHECK_STR(str_of(lock_network_fs(rows[i].type)), str_of(rows[i].want));
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_siphash),
                                       TEST(test_seeds_differ),
                                       TEST(test_keys_of_record),
                                       TEST(test_against_model),
                                       TEST(test_removal_against_model),
                                       TEST(test_set),
                                       TEST(test_many_keys),
                                       TEST(test_seqs_sort),
                                       TEST(test_network_file_systems),
                                       {0}});
}
