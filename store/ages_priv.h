/* When each record was last changed, in memory, so that what must go is found without reading the disk.
 *
 * Sixteen bytes for each record, by sequence number. Seconds, because nobody keeps events to the millisecond.
 */
#ifndef FES_STORE_AGES_PRIV_H
#define FES_STORE_AGES_PRIV_H

#include "store/str.h"

struct ages;

struct ages *ages_new(void); /* NULL when out of memory */
void ages_free(struct ages *a);

/* A new record; seq is above all others. False when out of memory. */
bool ages_add(struct ages *a, uint64_t seq, int64_t changed_ms, bool protect);
/* These do nothing when seq is not there. */
void ages_touch(struct ages *a, uint64_t seq, int64_t changed_ms);
void ages_protect(struct ages *a, uint64_t seq, bool protect);
void ages_remove(struct ages *a, uint64_t seq);

/* The longest-unchanged records, the longest first and equal ones by sequence: at most max (AGES_PICK_MAX), with numbers
 * in ret. Of those changed before before_ms, or (protected_last) of all, the protected ones after all others. */
#define AGES_PICK_MAX 1000
size_t ages_pick(const struct ages *a, int64_t before_ms, bool protected_last, size_t max, uint64_t *ret);

/* The highest number from 1 to `last` that is not there; 0: all are. For a stretch that was added without its lower numbers
 * those are missing too. */
uint64_t ages_gone(const struct ages *a, uint64_t last);

/* Before which time none was changed; INT64_MAX when there is none. */
int64_t ages_oldest_ms(struct ages *a);

/* Bytes allocated. */
size_t ages_bytes(const struct ages *a);

#endif
