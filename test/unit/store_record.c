/* The record format: what goes in comes out, and nothing else is accepted. */
#include "store/record_priv.h"

#include "harness.h"
#include "store/crc32c_priv.h"

static const struct record_stored full = {
    .record = {.class = CLASS_FAILURE,
               .via = VIA_STATUS,
               .plain = true,
               .count = 7,
               .first = {.effective_ms = -5, .received_ms = INT64_MAX, .by_arrival = false},
               .last = {.effective_ms = 1785578400123, .received_ms = 1785578400456, .by_arrival = true},
               .cluster = {"c", 1},
               .kind = {"Kustomization", 13},
               .namespace = {"flux-system", 11},
               .name = {"apps", 4},
               .uid = {"7d0cdc51", 8},
               .severity = {"error", 5},
               .reason = {"Build\0Failed", 12},
               .revision = {"main@sha1:5394", 14},
               .origin_revision = {"origin", 6},
               .commit = {"abc", 3},
               .oci_digest = {"sha256:0", 8},
               .message = {"m\xC3\xA4h", 4},
               .message_digest = 0x1122334455667788,
               .body_first = {"{\"a\":1}", 7},
               .body_last = {"{\"a\":22}", 8}},
    .body_first_digest = 0x99AABBCCDDEEFF00,
    .body_last_digest = 3,
};
static const struct record_stored least = {
    .record = {.count = 1, .body_first = {"{}", 2}, .body_last = {"{}", 2}},
};

#define SEQ 77

static char *sealed(const struct record_stored *stored, size_t *len)
{
    char *value = record_encode(stored, len);
    CHECK(value != NULL);
    record_seal(value, *len, SEQ);
    return value;
}

static void check_same(const struct record_stored *got, const struct record_stored *want)
{
    const struct record *a = &got->record;
    const struct record *b = &want->record;

    CHECK_INT(a->class, b->class);
    CHECK_INT(a->via, b->via);
    CHECK_INT(a->plain, b->plain);
    CHECK_INT(a->count, b->count);
    CHECK_INT(a->first.effective_ms, b->first.effective_ms);
    CHECK_INT(a->first.received_ms, b->first.received_ms);
    CHECK_INT(a->first.by_arrival, b->first.by_arrival);
    CHECK_INT(a->last.effective_ms, b->last.effective_ms);
    CHECK_INT(a->last.received_ms, b->last.received_ms);
    CHECK_INT(a->last.by_arrival, b->last.by_arrival);
#define CHECK_STRING(name) CHECK_STR(a->name, b->name);
    RECORD_STRINGS(CHECK_STRING)
#undef CHECK_STRING
    CHECK_INT(a->message_digest, b->message_digest);
    CHECK_STR(a->body_first, b->body_first);
    CHECK_STR(a->body_last, b->body_last);
    CHECK_INT(got->body_first_digest, want->body_first_digest);
    CHECK_INT(got->body_last_digest, want->body_last_digest);
}

static void test_round_trip(void)
{
    const struct record_stored *rows[] = {&full, &least};

    for (size_t i = 0; i < 2; i++) {
        struct record_stored got;
        size_t len;
        char *value = sealed(rows[i], &len);
        CHECK(record_decode(SEQ, (struct str){value, len}, &got) == NULL);
        check_same(&got, rows[i]);
        CHECK_INT(got.record.seq, SEQ);
        CHECK(record_bodies_intact(&got.record));
        free(value);
    }
}

static void test_one_body_is_stored_once(void)
{
    size_t len;
    struct record_stored got;
    char *value = sealed(&least, &len);

    CHECK_INT(len, RECORD_HEAD + 2);
    CHECK(record_decode(SEQ, (struct str){value, len}, &got) == NULL);
    CHECK(got.record.body_last.at == got.record.body_first.at);
    free(value);
}

/* The layout is final: these bytes are what version 1 writes. */
static void test_layout(void)
{
    size_t len;
    char *value = sealed(&full, &len);

    CHECK_INT(value[0], 1);
    CHECK_INT(value[1], CLASS_FAILURE);
    CHECK_INT(value[2], VIA_STATUS);
    CHECK_INT(value[3], 5);
    CHECK_INT(value[12], 7);
    CHECK_INT((unsigned char)value[16], 0xFB);
    CHECK_INT((unsigned char)value[48], 0x88);
    CHECK_INT((unsigned char)value[63], 0x99);
    CHECK_INT(value[72], 7);
    CHECK_INT(value[76], 8);
    CHECK_INT(value[80], 1);
    CHECK_INT(value[84], 13);
    CHECK_STR(((struct str){value + 128, 14}), STR("cKustomization"));
    CHECK_STR(((struct str){value + len - 15, 15}), STR("{\"a\":1}{\"a\":22}"));
    free(value);
}

static void test_every_truncation_is_refused(void)
{
    size_t len;
    struct record_stored got;
    char *value = sealed(&full, &len);

    for (size_t n = 0; n < len; n++) {
        harness_case("%zu of %zu bytes", n, len);
        /* On the heap, so that the sanitizer sees a read beyond the end. */
        char *part = malloc(n ? n : 1);
        CHECK(part != NULL);
        memcpy(part, value, n);
        CHECK(record_decode(SEQ, (struct str){part, n}, &got) != NULL);
        free(part);
    }
    free(value);
}

static void test_every_flipped_bit_is_seen(void)
{
    size_t len;
    struct record_stored got;
    char *value = sealed(&full, &len);
    size_t head = len - full.record.body_first.len - full.record.body_last.len;

    for (size_t bit = 0; bit < len * 8; bit++) {
        harness_case("bit %zu of byte %zu", bit % 8, bit / 8);
        value[bit / 8] ^= (char)(1 << bit % 8);
        const char *wrong = record_decode(SEQ, (struct str){value, len}, &got);
        if (bit / 8 < head)
            CHECK(wrong != NULL);
        else
            CHECK(wrong == NULL && !record_bodies_intact(&got.record));
        value[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(value);
}

static void test_another_sequence_number_is_seen(void)
{
    size_t len;
    struct record_stored got;
    char *value = sealed(&full, &len);

    CHECK(record_decode(SEQ + 1, (struct str){value, len}, &got) != NULL);
    free(value);
}

static void test_lengths_that_would_wrap(void)
{
    size_t len;
    struct record_stored got;
    char *value = sealed(&full, &len);

    for (size_t at = 72; at < 128; at += 4) {
        char before[4];
        harness_case("length at %zu", at);
        memcpy(before, value + at, 4);
        memset(value + at, 0xFF, 4);
        CHECK(record_decode(SEQ, (struct str){value, len}, &got) != NULL);
        memcpy(value + at, before, 4);
    }
    memset(value + 72, 0xFF, 56);
    CHECK(record_decode(SEQ, (struct str){value, len}, &got) != NULL);
    free(value);
}

/* What another version may have written, under checksums that fit: classes, witnesses and flags that are not known here,
 * and a record of nothing. */
static void test_fields_that_make_no_sense(void)
{
    static const struct {
        size_t at; /* of the format: class, via, flags, count */
        char byte;
        bool good;
    } rows[] = {{1, 0, true},
                {1, CLASS_FAILURE, true},
                {1, CLASS_FAILURE + 1, false},
                {1, -1, false},
                {2, 0, true},
                {2, VIA_STATUS, true},
                {2, VIA_STATUS + 1, false},
                {2, -1, false},
                {3, 7, true},
                {3, 8, false},
                {3, -128, false},
                {12, 1, true},
                {12, 0, false}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct record_stored got;
        size_t len;
        char *value = sealed(&least, &len);
        harness_case("byte %zu is %d", rows[i].at, rows[i].byte);
        value[rows[i].at] = rows[i].byte;
        record_seal(value, len, SEQ);
        const char *wrong = record_decode(SEQ, (struct str){value, len}, &got);
        free(value);
        CHECK_TEXT(wrong ? wrong : "", rows[i].good ? "" : "its fields make no sense");
    }
}

static void test_too_large(void)
{
    struct record_stored big = least;
    size_t len;

    big.record.reason.at = "x";
    big.record.reason.len = RECORD_MAX_BYTES;
    CHECK(record_encode(&big, &len) == NULL);
}

/* RFC 3720, appendix B.4, and the check value of the catalogue of CRCs. */
static void test_crc32c(void)
{
    char zeros[32] = {0};
    char ones[32];
    char up[32];
    char down[32];
    memset(ones, 0xFF, sizeof ones);
    for (int i = 0; i < 32; i++) {
        up[i] = (char)i;
        down[i] = (char)(31 - i);
    }
    const struct {
        const char *name;
        struct str bytes;
        uint32_t want;
    } rows[] = {
        {"nothing", {"", 0}, 0},
        {"123456789", {"123456789", 9}, 0xE3069283},
        {"zeros", {zeros, 32}, 0x8A9136AA},
        {"ones", {ones, 32}, 0x62A8AB43},
        {"ascending", {up, 32}, 0x46DD794E},
        {"descending", {down, 32}, 0x113FDB5C},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        CHECK_INT(crc32c(0, rows[i].bytes), rows[i].want);
        CHECK_INT(crc32c_portable(0, rows[i].bytes), rows[i].want);
        for (size_t cut = 0; cut <= rows[i].bytes.len; cut++) {
            struct str a = str_upto(rows[i].bytes, cut);
            struct str b = str_from(rows[i].bytes, cut);
            CHECK_INT(crc32c(crc32c(0, a), b), rows[i].want);
            CHECK_INT(crc32c_portable(crc32c(0, a), b), rows[i].want);
        }
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_round_trip),
                                       TEST(test_one_body_is_stored_once),
                                       TEST(test_layout),
                                       TEST(test_every_truncation_is_refused),
                                       TEST(test_every_flipped_bit_is_seen),
                                       TEST(test_another_sequence_number_is_seen),
                                       TEST(test_lengths_that_would_wrap),
                                       TEST(test_fields_that_make_no_sense),
                                       TEST(test_too_large),
                                       TEST(test_crc32c),
                                       {0}});
}
