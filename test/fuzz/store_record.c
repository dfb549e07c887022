/* Records as a damaged disk could give them back: whatever the bytes, nothing is read beyond them, and what
 * is accepted is encoded again to the same bytes. The first input byte says whether the checksums are made to
 * fit, so that the fuzzer gets past them. */
#include <stdlib.h>

#include "store/record_priv.h"

#define SEQ 1

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_inside(struct str part, struct str whole)
{
    require(part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len));
}

static uint64_t length_at(const char *value, size_t offset)
{
    const unsigned char *at = (const unsigned char *)value + offset;
    return at[0] | at[1] << 8 | at[2] << 16 | (uint64_t)at[3] << 24;
}

/* record_seal is for values whose lengths add up. */
static bool can_be_sealed(struct str value)
{
    uint64_t len = RECORD_HEAD;

    if (value.len < RECORD_HEAD)
        return false;
    for (size_t offset = 72; offset < RECORD_HEAD; offset += 4)
        len += length_at(value.at, offset);
    return len == value.len;
}

static void check(struct str value, const struct record_stored *got)
{
    const struct record *r = &got->record;
    size_t len;

#define INSIDE(name) require_inside(r->name, value);
    RECORD_STRINGS(INSIDE)
#undef INSIDE
    require_inside(r->body_first, value);
    require_inside(r->body_last, value);
    require(r->count >= 1 && r->seq == SEQ);
    (void)record_bodies_intact(r);
    if (value.len > RECORD_MAX_BYTES ||
        (r->body_last.at != r->body_first.at && str_eq(r->body_first, r->body_last)))
        return; /* the encoder writes equal bodies once */
    char *again = record_encode(got, &len);
    if (!again)
        return;
    record_seal(again, len, SEQ);
    require(len == value.len);
    if (record_bodies_intact(r))
        require(memcmp(again, value.at, len) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_stored got;

    if (size == 0)
        return 0;
    char *copy = malloc(size);
    require(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct str value = {copy, size - 1};
    if ((data[0] & 1) && can_be_sealed(value))
        record_seal(copy, value.len, SEQ);
    if (record_decode(SEQ, value, &got) == NULL)
        check(value, &got);
    free(copy);
    return 0;
}
