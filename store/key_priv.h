/* Keys: what records are found under, as 64-bit numbers that a sender cannot predict.
 *
 * SipHash-2-4 (Aumasson, Bernstein 2012) under a secret of the store, so that nobody who may post events can
 * make keys collide on purpose. Two different things may still share a key by chance: whoever looks something
 * up compares what he found.
 */
#ifndef FES_STORE_KEY_PRIV_H
#define FES_STORE_KEY_PRIV_H

#include "store/revision_priv.h"

/* Made once for each store and kept in it: digests of bodies and messages are stored and must mean the same
 * after a restart. */
struct key_seed {
    uint64_t k0;
    uint64_t k1;
};
/* From the kernel's generator. False, with errno, when there is none. */
bool key_seed_random(struct key_seed *ret);

uint64_t key_siphash(struct key_seed seed, struct str bytes);

/* The object without its cluster: a question names objects of any cluster. */
uint64_t key_of_object(struct key_seed seed, struct str kind, struct str namespace, struct str name);
/* The object of one cluster, and the cluster: a cluster is given as key_siphash of its name. */
uint64_t key_of_object_in(uint64_t object, uint64_t cluster);
uint64_t key_of_cluster(uint64_t cluster);
uint64_t key_of_form(struct key_seed seed, const struct revision_form *form);
/* What an object of one cluster says, in one of two ways: successes and failures, or all else. */
uint64_t key_of_track(struct key_seed seed, const struct record *r);
/* The same from key_of_object and key_siphash of the cluster, for who has them. */
uint64_t key_of_track_in(uint64_t object, uint64_t cluster, bool decides);
/* A digest is key_siphash of the body. */
uint64_t key_of_body(uint64_t digest);

/* Those of the forms of every member, each once; returns their number. */
#define KEYS_OF_FORMS_MAX (REVISION_MEMBERS * REVISION_MAX_FORMS)
size_t keys_of_forms(struct key_seed seed, const struct record *r, uint64_t ret[static KEYS_OF_FORMS_MAX]);
/* All keys of a record, each once: that of its object first, then those of its bodies (first and last), then those of
 * its forms. Returns their number. */
#define KEYS_OF_RECORD_MAX (3 + KEYS_OF_FORMS_MAX)
size_t keys_of_record(struct key_seed seed, const struct record *r, uint64_t body_first_digest,
                      uint64_t body_last_digest, uint64_t ret[static KEYS_OF_RECORD_MAX]);
/* The first of them, without those of the forms: for who has key_of_object already. */
size_t keys_begin(uint64_t object, uint64_t body_first_digest, uint64_t body_last_digest,
                  uint64_t ret[static KEYS_OF_RECORD_MAX]);

#endif
