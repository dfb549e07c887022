/* What the status of a watched object says that is known already (the contract on the second witness: a status that
 * says what the object's newest record already says is not stored).
 *
 * A status stays: it is seen again after each change of its object, each new list and each restart, and says each time
 * what a notification mostly has said before. Two records make it old:
 * - the newest success or failure of its object, in the order of records, if it says the same. Time and message do not
 *   matter (a notification has others), nor does a member that only the record has (commit, a digest).
 * - a record that was made of the same statement of a status, if a notification with a later time, or with a clock that
 *   is ahead, stands above it: else each look at the object would store it again.
 *
 * Decided when a batch is formed, as for repeats, so that what is queued before counts. Invariant: in doubt (a history
 * longer than LOOKED_AT) it is stored, which costs a record and loses nothing.
 */
#include "store/store_priv.h"
#include "store/verdict_priv.h"

#define LOOKED_AT 256 /* records of the object; the newest decision is mostly the very last */

struct look {
    const struct record *said;
    struct record newest; /* success or failure; seq 0: none yet */
    uint64_t same;        /* seq of a record made of this very statement; 0: none */
};

/* Absent members are no statement. */
static bool adds_nothing(struct str said, struct str known)
{
    return said.len == 0 || str_eq(said, known);
}

/* Before helm-controller 0.37 the reason of an event is its severity. */
static bool same_reason(const struct record *said, const struct record *known)
{
    return said->class == CLASS_SUCCESS || str_eq(said->reason, known->reason) ||
           str_eq(known->reason, known->severity);
}

static bool says_the_same(const struct record *said, const struct record *known)
{
    return said->class == known->class && str_eq(said->revision, known->revision) &&
           adds_nothing(said->origin_revision, known->origin_revision) &&
           adds_nothing(said->oci_digest, known->oci_digest) && same_reason(said, known) &&
           (known->uid.len == 0 || str_eq(said->uid, known->uid));
}

static void look_at(struct look *look, const struct record *r)
{
    if (!record_decides(r) || !record_same_object(r, look->said))
        return;
    if (look->newest.seq == 0 || record_before(&look->newest, r))
        look->newest = *r;
    if (r->via == VIA_STATUS && r->last.effective_ms == look->said->last.effective_ms &&
        says_the_same(look->said, r))
        look->same = r->seq;
}

/* Whether no record before r, which is a success or failure of the object, can matter: neither be newer than the newest,
 * nor, unless that one says the same, be made of this statement. As in ask.c: an effective time is never after the
 * arrival, arrivals do not decrease, and what came before r was heard before r began. */
static bool look_is_done(const struct look *look, const struct record *r)
{
    int64_t began_ms = r->first.received_ms;

    return look->newest.seq > 0 && began_ms < look->newest.last.effective_ms - 1000 &&
           (says_the_same(look->said, &look->newest) || began_ms < look->said->last.effective_ms);
}

/* What is above the newest success or failure, as the index knows it, need not be read. */
static void look_at_stored(struct store *s, struct look *look)
{
    const struct record *said = look->said;
    struct seqs about = {0};
    struct record_stored stored;
    const struct record *r = &stored.record;
    uint64_t object = key_of_object(s->seed, said->kind, said->namespace, said->name);
    uint64_t cluster = key_siphash(s->seed, said->cluster);
    uint64_t first;
    uint64_t last;

    if (!index_ends(s->index, key_of_track_in(object, cluster, true), &first, &last) ||
        !index_get(s->index, key_of_object_in(object, cluster), &about))
        about.n = 0;
    for (size_t i = about.n, n = 0; i-- > 0 && n < LOOKED_AT && look->same == 0;) {
        if (about.at[i] > last)
            continue;
        n++;
        if (!store_read(s, about.at[i], &stored, NULL))
            continue;
        look_at(look, r);
        if (record_decides(r) && record_same_object(r, said) && look_is_done(look, r))
            break;
    }
    seqs_free(&about);
}

bool store_status_is_known(struct store *s, const struct record *said, uint64_t *ret_seq)
{
    struct look look = {.said = said};

    if (said->via != VIA_STATUS)
        return false;
    for (size_t i = 0; i < s->n_written; i++)
        look_at(&look, &s->written[i]->stored.record);
    look_at_stored(s, &look);
    if (look.newest.seq > 0 && says_the_same(said, &look.newest))
        look.same = look.newest.seq;
    *ret_seq = look.same;
    return look.same > 0;
}
