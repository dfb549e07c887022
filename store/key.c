/* Keys of records (see key_priv.h).
 *
 * Invariant: equal things have equal keys, whatever the machine's byte order. Each sort of thing is hashed
 * with a tag of its own, so that an object called like a revision does not share its key.
 */
#include "store/key_priv.h"

#include <endian.h>
#include <errno.h>
#include <sys/random.h>

enum key_tag { TAG_OBJECT = 1, TAG_FORM };
/* Digests are SipHash values already; this only tells them from digests of messages. */
#define BODY_TAG UINT64_C(0x626f64795f6b6579)

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

static void sip_round(uint64_t v[static 4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[static 4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

uint64_t key_siphash(struct key_seed seed, struct str bytes)
{
    uint64_t v[4] = {seed.k0 ^ UINT64_C(0x736f6d6570736575), seed.k1 ^ UINT64_C(0x646f72616e646f6d),
                     seed.k0 ^ UINT64_C(0x6c7967656e657261), seed.k1 ^ UINT64_C(0x7465646279746573)};
    uint64_t word;
    size_t i = 0;

    for (; i + 8 <= bytes.len; i += 8) {
        memcpy(&word, bytes.at + i, 8);
        sip_word(v, le64toh(word));
    }
    word = (uint64_t)bytes.len << 56;
    for (size_t shift = 0; i < bytes.len; i++, shift += 8)
        word |= (uint64_t)(unsigned char)bytes.at[i] << shift;
    sip_word(v, word);
    v[2] ^= 0xFF;
    for (int i_round = 0; i_round < 4; i_round++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Hashing hashes keeps the parts apart: ("ab", "c") and ("a", "bc") differ. */
static uint64_t key_join(struct key_seed seed, const uint64_t *words, size_t n)
{
    uint64_t bytes[4];

    for (size_t i = 0; i < n; i++)
        bytes[i] = htole64(words[i]);
    return key_siphash(seed, (struct str){(const char *)bytes, n * sizeof bytes[0]});
}

uint64_t key_of_object(struct key_seed seed, struct str kind, struct str namespace, struct str name)
{
    uint64_t words[] = {TAG_OBJECT, key_siphash(seed, kind), key_siphash(seed, namespace),
                        key_siphash(seed, name)};
    return key_join(seed, words, 4);
}

uint64_t key_of_form(struct key_seed seed, const struct revision_form *form)
{
    uint64_t words[] = {TAG_FORM + (uint64_t)form->kind, key_siphash(seed, revision_form_text(form))};
    return key_join(seed, words, 2);
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

size_t keys_of_record(struct key_seed seed, const struct record *r, uint64_t body_first_digest,
                      uint64_t body_last_digest, uint64_t ret[static KEYS_OF_RECORD_MAX])
{
    struct revision_set set = revision_set_of(r);
    size_t n = 0;

    ret[n++] = key_of_object(seed, r->kind, r->namespace, r->name);
    n = add_once(ret, n, key_of_body(body_first_digest));
    n = add_once(ret, n, key_of_body(body_last_digest));
    for (int m = 0; m < REVISION_MEMBERS; m++) {
        struct revision_form forms[REVISION_MAX_FORMS];
        size_t n_forms = revision_forms(set.member[m], (enum revision_member)m, forms);
        for (size_t i = 0; i < n_forms; i++)
            n = add_once(ret, n, key_of_form(seed, &forms[i]));
    }
    return n;
}
