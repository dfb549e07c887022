/* Encoding and decoding of records (see record_priv.h).
 *
 * Invariants: record_decode accepts only what record_encode and record_seal made: the lengths add up to
 * exactly the value, enumerations and flags are known, and the head's checksum fits both content and sequence
 * number. Nothing is read beyond the value, whatever is in it. LMDB keeps no checksums of its own, so this is
 * what notices a disk that gives back something else than was written.
 */
#include "store/record_priv.h"

#include <endian.h>
#include <stdlib.h>

#include "store/crc32c_priv.h"

enum record_flag {
    FLAG_PLAIN = 1,
    FLAG_FIRST_BY_ARRIVAL = 2,
    FLAG_LAST_BY_ARRIVAL = 4,
    FLAGS_KNOWN = 7,
};

enum record_offset {
    AT_VERSION = 0,
    AT_CLASS = 1,
    AT_VIA = 2,
    AT_FLAGS = 3,
    AT_HEAD_CHECKSUM = 4,
    AT_BODY_CHECKSUM = 8,
    AT_COUNT = 12,
    AT_FIRST_EFFECTIVE = 16,
    AT_FIRST_RECEIVED = 24,
    AT_LAST_EFFECTIVE = 32,
    AT_LAST_RECEIVED = 40,
    AT_MESSAGE_DIGEST = 48,
    AT_FIRST_DIGEST = 56,
    AT_LAST_DIGEST = 64,
    AT_FIRST_LEN = 72,
    AT_LAST_LEN = 76,
    AT_STRING_LENS = 80,
};

#define COUNT_STRING(name) +1
enum { RECORD_STRING_COUNT = 0 RECORD_STRINGS(COUNT_STRING) };
_Static_assert(AT_STRING_LENS + 4 * RECORD_STRING_COUNT == RECORD_HEAD, "the head's layout");

static void put_u32(char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void put_u64(char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t get_u32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static uint64_t get_u64(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

static uint32_t checksum_start(uint64_t seq)
{
    char bytes[8];
    put_u64(bytes, seq);
    return crc32c(0, (struct str){bytes, sizeof bytes});
}

static uint32_t head_checksum(uint64_t seq, const char *value, size_t head_len)
{
    uint32_t crc = crc32c(checksum_start(seq), (struct str){value, AT_HEAD_CHECKSUM});
    return crc32c(crc, (struct str){value + AT_BODY_CHECKSUM, head_len - AT_BODY_CHECKSUM});
}

static uint32_t body_checksum(uint64_t seq, struct str first, struct str last)
{
    return crc32c(crc32c(checksum_start(seq), first), last);
}

/* The last body as it is written: nothing when it is the first. */
static struct str second_body(const struct record *r)
{
    return str_eq(r->body_first, r->body_last) ? STR_NONE : r->body_last;
}

static void put_fixed(char *at, const struct record_stored *stored)
{
    const struct record *r = &stored->record;

    at[AT_VERSION] = RECORD_VERSION;
    at[AT_CLASS] = (char)r->class;
    at[AT_VIA] = (char)r->via;
    at[AT_FLAGS] = (char)((r->plain ? FLAG_PLAIN : 0) | (r->first.by_arrival ? FLAG_FIRST_BY_ARRIVAL : 0) |
                          (r->last.by_arrival ? FLAG_LAST_BY_ARRIVAL : 0));
    put_u32(at + AT_COUNT, r->count);
    put_u64(at + AT_FIRST_EFFECTIVE, (uint64_t)r->first.effective_ms);
    put_u64(at + AT_FIRST_RECEIVED, (uint64_t)r->first.received_ms);
    put_u64(at + AT_LAST_EFFECTIVE, (uint64_t)r->last.effective_ms);
    put_u64(at + AT_LAST_RECEIVED, (uint64_t)r->last.received_ms);
    put_u64(at + AT_MESSAGE_DIGEST, r->message_digest);
    put_u64(at + AT_FIRST_DIGEST, stored->body_first_digest);
    put_u64(at + AT_LAST_DIGEST, stored->body_last_digest);
    put_u32(at + AT_FIRST_LEN, (uint32_t)r->body_first.len);
    put_u32(at + AT_LAST_LEN, (uint32_t)second_body(r).len);
}

static char *put_bytes(char *at, struct str s)
{
    if (s.len)
        memcpy(at, s.at, s.len);
    return at + s.len;
}

char *record_encode(const struct record_stored *stored, size_t *ret_len)
{
    const struct record *r = &stored->record;
    const struct str parts[] = {
#define PART(name) r->name,
        RECORD_STRINGS(PART)
#undef PART
            r->body_first,
        second_body(r),
    };
    uint64_t len = RECORD_HEAD;

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].len > RECORD_MAX_BYTES || (len += parts[i].len) > RECORD_MAX_BYTES)
            return NULL;
    char *value = malloc(len);
    if (!value)
        return NULL;
    memset(value, 0, RECORD_HEAD);
    put_fixed(value, stored);
    char *at = value + RECORD_HEAD;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (i < RECORD_STRING_COUNT)
            put_u32(value + AT_STRING_LENS + 4 * i, (uint32_t)parts[i].len);
        at = put_bytes(at, parts[i]);
    }
    *ret_len = len;
    return value;
}

/* Where the first body begins. The lengths must have been checked, or written by record_encode. */
static size_t head_len_of(const char *value)
{
    size_t len = RECORD_HEAD;

    for (size_t i = 0; i < RECORD_STRING_COUNT; i++)
        len += get_u32(value + AT_STRING_LENS + 4 * i);
    return len;
}

void record_seal(char *value, size_t len, uint64_t seq)
{
    size_t head = head_len_of(value);

    put_u32(value + AT_BODY_CHECKSUM, body_checksum(seq, (struct str){value + head, len - head}, STR_NONE));
    put_u32(value + AT_HEAD_CHECKSUM, head_checksum(seq, value, head));
}

/* Values that no writer of this version writes. Checked after the checksum, which a sender cannot steer. */
static bool fixed_is_sound(const char *at)
{
    return at[AT_CLASS] >= CLASS_OTHER && at[AT_CLASS] <= CLASS_FAILURE && at[AT_VIA] >= VIA_WEBHOOK &&
           at[AT_VIA] <= VIA_STATUS && !((unsigned char)at[AT_FLAGS] & ~FLAGS_KNOWN) &&
           get_u32(at + AT_COUNT);
}

static void get_fixed(const char *at, struct record_stored *ret)
{
    struct record *r = &ret->record;
    unsigned flags = (unsigned char)at[AT_FLAGS];

    r->class = (enum event_class)at[AT_CLASS];
    r->via = (enum event_via)at[AT_VIA];
    r->plain = flags & FLAG_PLAIN;
    r->count = get_u32(at + AT_COUNT);
    r->first = (struct record_time){.effective_ms = (int64_t)get_u64(at + AT_FIRST_EFFECTIVE),
                                    .received_ms = (int64_t)get_u64(at + AT_FIRST_RECEIVED),
                                    .by_arrival = flags & FLAG_FIRST_BY_ARRIVAL};
    r->last = (struct record_time){.effective_ms = (int64_t)get_u64(at + AT_LAST_EFFECTIVE),
                                   .received_ms = (int64_t)get_u64(at + AT_LAST_RECEIVED),
                                   .by_arrival = flags & FLAG_LAST_BY_ARRIVAL};
    r->message_digest = get_u64(at + AT_MESSAGE_DIGEST);
    r->body_checksum = get_u32(at + AT_BODY_CHECKSUM);
    ret->body_first_digest = get_u64(at + AT_FIRST_DIGEST);
    ret->body_last_digest = get_u64(at + AT_LAST_DIGEST);
}

void record_view(struct str value, struct record_stored *ret)
{
    struct record *r = &ret->record;
    const char *at = value.at + RECORD_HEAD;
    const char *len_at = value.at + AT_STRING_LENS;

    get_fixed(value.at, ret);
    r->seq = 0;
#define TAKE(name)                               \
    r->name = (struct str){at, get_u32(len_at)}; \
    at += r->name.len;                           \
    len_at += 4;
    RECORD_STRINGS(TAKE)
#undef TAKE
    r->body_first = (struct str){at, get_u32(value.at + AT_FIRST_LEN)};
    size_t last_len = get_u32(value.at + AT_LAST_LEN);
    r->body_last = last_len ? (struct str){at + r->body_first.len, last_len} : r->body_first;
}

const char *record_decode(uint64_t seq, struct str value, struct record_stored *ret)
{
    if (value.len < RECORD_HEAD)
        return "it is cut short";
    if (value.at[AT_VERSION] != RECORD_VERSION)
        return "its format is not known to this version of the program";

    uint64_t head = RECORD_HEAD;
    for (size_t i = 0; i < RECORD_STRING_COUNT; i++)
        head += get_u32(value.at + AT_STRING_LENS + 4 * i);
    uint64_t first_len = get_u32(value.at + AT_FIRST_LEN);
    uint64_t last_len = get_u32(value.at + AT_LAST_LEN);
    if (head + first_len + last_len != value.len)
        return "its lengths do not add up";
    if (get_u32(value.at + AT_HEAD_CHECKSUM) != head_checksum(seq, value.at, head))
        return "its checksum is wrong";
    if (!fixed_is_sound(value.at))
        return "its fields make no sense";

    record_view(value, ret);
    ret->record.seq = seq;
    return NULL;
}

bool record_bodies_intact(const struct record *r)
{
    return body_checksum(r->seq, r->body_first, second_body(r)) == r->body_checksum;
}
