/* Keys of records (see key_priv.h).
 *
 * Invariant: equal things have equal keys, whatever the machine's byte order. Each sort of thing is hashed
 * with a tag of its own, so that an object called like a revision does not share its key.
 */
#include "store/key_priv.h"

#include <endian.h>
#include <errno.h>
#include <sys/random.h>

/* Arbitrary odd numbers: the same text as an object, a form and a body has different keys. */
#define OBJECT_TAG    UINT64_C(0x6f626a6563742e6b)
#define OBJECT_IN_TAG UINT64_C(0x6f626a2e636c2e6b)
#define CLUSTER_TAG   UINT64_C(0x636c75737465722e)
#define FORM_TAG      UINT64_C(0x666f726d2e6b6579)
#define BODY_TAG      UINT64_C(0x626f64792e6b6579)
#define TRACK_TAG     UINT64_C(0x747261636b2e6b65)

bool key_seed_random(struct key_seed *ret)
{
    struct key_seed seed;
    ssize_t n;

    do
        n = getrandom(&seed, sizeof seed, 0);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof seed)
        return false;
    *ret = seed;
    return true;
}

static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

/* By value, so that the state stays in registers: opening a store hashes six strings for each record. */
static inline struct sip sip_round(struct sip s)
{
    s.v0 += s.v1;
    s.v1 = rotate(s.v1, 13) ^ s.v0;
    s.v0 = rotate(s.v0, 32);
    s.v2 += s.v3;
    s.v3 = rotate(s.v3, 16) ^ s.v2;
    s.v0 += s.v3;
    s.v3 = rotate(s.v3, 21) ^ s.v0;
    s.v2 += s.v1;
    s.v1 = rotate(s.v1, 17) ^ s.v2;
    s.v2 = rotate(s.v2, 32);
    return s;
}

static inline struct sip sip_word(struct sip s, uint64_t word)
{
    s.v3 ^= word;
    s = sip_round(sip_round(s));
    s.v0 ^= word;
    return s;
}

uint64_t key_siphash(struct key_seed seed, struct str bytes)
{
    struct sip s = {seed.k0 ^ UINT64_C(0x736f6d6570736575), seed.k1 ^ UINT64_C(0x646f72616e646f6d),
                    seed.k0 ^ UINT64_C(0x6c7967656e657261), seed.k1 ^ UINT64_C(0x7465646279746573)};
    uint64_t word;
    size_t i = 0;

    for (; i + 8 <= bytes.len; i += 8) {
        memcpy(&word, bytes.at + i, 8);
        s = sip_word(s, le64toh(word));
    }
    word = (uint64_t)bytes.len << 56;
    for (size_t shift = 0; i < bytes.len; i++, shift += 8)
        word |= (uint64_t)(unsigned char)bytes.at[i] << shift;
    s = sip_word(s, word);
    s.v2 ^= 0xFF;
    s = sip_round(sip_round(sip_round(sip_round(s))));
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* Values that nobody can predict may be combined by adding them up turned differently. */
uint64_t key_of_object(struct key_seed seed, struct str kind, struct str namespace, struct str name)
{
    return OBJECT_TAG ^ (key_siphash(seed, kind) + rotate(key_siphash(seed, namespace), 21) +
                         rotate(key_siphash(seed, name), 42));
}

uint64_t key_of_form(struct key_seed seed, const struct revision_form *form)
{
    return key_siphash(seed, revision_form_text(form)) + FORM_TAG * ((uint64_t)form->kind + 1);
}

uint64_t key_of_object_in(uint64_t object, uint64_t cluster)
{
    return OBJECT_IN_TAG ^ (rotate(object, 7) + rotate(cluster, 47));
}

uint64_t key_of_cluster(uint64_t cluster)
{
    return CLUSTER_TAG ^ cluster;
}

uint64_t key_of_track_in(uint64_t object, uint64_t cluster, bool decides)
{
    return TRACK_TAG ^ (rotate(object, 13) + rotate(cluster, 34) + decides);
}

uint64_t key_of_track(struct key_seed seed, const struct record *r)
{
    return key_of_track_in(key_of_object(seed, r->kind, r->namespace, r->name), key_siphash(seed, r->cluster),
                           record_decides(r));
}

uint64_t key_of_body(uint64_t digest)
{
    return digest ^ BODY_TAG;
}

static size_t add_once(uint64_t *keys, size_t n, uint64_t key)
{
    for (size_t i = 0; i < n; i++)
        if (keys[i] == key)
            return n;
    keys[n] = key;
    return n + 1;
}

size_t keys_of_forms(struct key_seed seed, const struct record *r, uint64_t ret[static KEYS_OF_FORMS_MAX])
{
    struct revision_set set = revision_set_of(r);
    size_t n = 0;

    for (int m = 0; m < REVISION_MEMBERS; m++) {
        struct revision_form forms[REVISION_MAX_FORMS];
        size_t n_forms = revision_forms(set.member[m], (enum revision_member)m, forms);
        for (size_t i = 0; i < n_forms; i++)
            n = add_once(ret, n, key_of_form(seed, &forms[i]));
    }
    return n;
}

size_t keys_begin(uint64_t object, uint64_t body_first_digest, uint64_t body_last_digest,
                  uint64_t ret[static KEYS_OF_RECORD_MAX])
{
    ret[0] = object;
    size_t n = add_once(ret, 1, key_of_body(body_first_digest));
    return add_once(ret, n, key_of_body(body_last_digest));
}

size_t keys_of_record(struct key_seed seed, const struct record *r, uint64_t body_first_digest,
                      uint64_t body_last_digest, uint64_t ret[static KEYS_OF_RECORD_MAX])
{
    uint64_t forms[KEYS_OF_FORMS_MAX];
    size_t n_forms = keys_of_forms(seed, r, forms);
    size_t n = keys_begin(key_of_object(seed, r->kind, r->namespace, r->name), body_first_digest,
                          body_last_digest, ret);

    for (size_t i = 0; i < n_forms; i++)
        n = add_once(ret, n, forms[i]);
    return n;
}
