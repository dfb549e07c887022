/* In memory: which records carry which key. A multi-map from 64-bit keys to ascending sequence numbers.
 *
 * Built by one pass over the stored heads when the store opens, and added to when a commit has returned: LMDB
 * holds no second index, because scattered keys cost several times more than the records themselves.
 */
#ifndef FES_STORE_INDEX_PRIV_H
#define FES_STORE_INDEX_PRIV_H

#include "store/str.h"

struct index;

/* With room for about that many keys, so that filling it moves nothing. NULL when out of memory. */
struct index *index_new(uint64_t keys);
void index_free(struct index *ix);

/* In any order, though above all that the key already has is cheapest; adding one again does nothing. False when
 * out of memory: nothing was added. */
bool index_add(struct index *ix, uint64_t key, uint64_t seq);
/* Has the processor fetch what index_add or index_set of the key will touch first. */
void index_prefetch(const struct index *ix, uint64_t key);
/* Makes seq the only number of a key that never had more than one. False when out of memory. */
bool index_set(struct index *ix, uint64_t key, uint64_t seq);
/* Removes a number; a key without any is forgotten. What the key does not have is no error. */
void index_remove(struct index *ix, uint64_t key, uint64_t seq);

/* Sequence numbers, ascending. Reused from one lookup to the next; free with seqs_free. */
struct seqs {
    uint64_t *at;
    size_t n;
    size_t cap;
};
/* Appends those of the key. False when out of memory. */
bool index_get(const struct index *ix, uint64_t key, struct seqs *out);
/* The lowest and the highest of the key. False when it has none. */
bool index_ends(const struct index *ix, uint64_t key, uint64_t *ret_first, uint64_t *ret_last);
bool seqs_add(struct seqs *seqs, uint64_t seq);
/* Sorts and leaves each number once. */
void seqs_sort(struct seqs *seqs);
void seqs_free(struct seqs *seqs);

/* Bytes allocated. */
size_t index_bytes(const struct index *ix);

#endif
