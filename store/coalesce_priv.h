/* Which statements are kept as one record, and what that record then says. Pure. */
#ifndef FES_STORE_COALESCE_PRIV_H
#define FES_STORE_COALESCE_PRIV_H

#include "store/record_priv.h"

/* Whether a new statement only says again what the record says, so that it may be coalesced onto it. The record must be
 * the newest of the object's successes and failures, or of all else that it says. */
bool coalesce_fits(const struct record *r, const struct record *said);

/* The record with the statement in it. Slices point to where those of the arguments do. */
struct record_stored coalesce_merge(const struct record_stored *into, const struct record_stored *said);

#endif
