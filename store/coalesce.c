/* Coalescing: Flux says at every interval, for ever, that an object is still reconciled; that is one record.
 *
 * The rule (the contract on the store): a success or failure is coalesced onto the object's newest success-or-failure
 * record when cluster, object, uid, revision, originRevision, commit, oci-digest, reason, severity and class are all
 * equal; any other event only when its message is equal too, onto the newest of the object's other records. Newest is by
 * sequence. The record keeps count, and time and body of its first and its last statement by the order of records, in
 * which a late delivery may be the first one, or neither. A statement that fits gets no sequence number of its own.
 *
 * Decided when a batch is formed, as repeats are: an object's newest record is then either in the index (one number for
 * each of the two tracks of an object) or written by the batch itself.
 *
 * Invariants: every change of what an object says stays a record of its own; verdicts are the same as without
 * coalescing, because what they are made of is kept: the earliest first and the latest last statement of a run, and when
 * the record was last heard of. A record is changed only while it is the newest of its track, so that along a track last
 * receptions never decrease (ask.c stops early because of that).
 * Failure modes: where a record cannot be read, is damaged, or memory is short, the statement becomes a record of its
 * own; nothing is lost by that but room.
 */
#include "store/coalesce_priv.h"

#include <stdlib.h>

#include "store/store_priv.h"
#include "store/verdict_priv.h"

bool coalesce_fits(const struct record *r, const struct record *said)
{
    return r->class == said->class && r->count < UINT32_MAX && record_same_object(r, said) &&
           str_eq(r->uid, said->uid) && str_eq(r->revision, said->revision) &&
           str_eq(r->origin_revision, said->origin_revision) && str_eq(r->commit, said->commit) &&
           str_eq(r->oci_digest, said->oci_digest) && str_eq(r->reason, said->reason) &&
           str_eq(r->severity, said->severity) &&
           (record_decides(r) ||
            (r->message_digest == said->message_digest && str_eq(r->message, said->message)));
}

struct record_stored coalesce_merge(const struct record_stored *into, const struct record_stored *said)
{
    struct record_stored merged = *into;
    struct record *r = &merged.record;
    struct record newest = said->record;

    newest.seq = UINT64_MAX;
    r->count++;
    if (!record_before(&newest, &into->record)) {
        r->last = said->record.last;
        if (into->record.last.effective_ms >
            r->last.effective_ms) /* within one second, where arrival decides */
            r->last.effective_ms = into->record.last.effective_ms;
        r->message = said->record.message;
        r->message_digest = said->record.message_digest;
        r->body_last = said->record.body_last;
        merged.body_last_digest = said->body_last_digest;
    }
    if (said->record.first.effective_ms < r->first.effective_ms) {
        r->first = said->record.first;
        r->plain = said->record.plain; /* it is the first body that answers give back */
        r->body_first = said->record.body_first;
        merged.body_first_digest = said->body_first_digest;
    }
    /* Whatever was said when: since when, and when last, it was heard. */
    r->first.received_ms = into->record.first.received_ms;
    r->last.received_ms = said->record.last.received_ms;
    return merged;
}

static bool same_track(const struct record *a, const struct record *b)
{
    return record_decides(a) == record_decides(b) && record_same_object(a, b);
}

/* Where the table has the track's newest record of the batch, or has room for it. */
static size_t track_slot(const struct store *s, const struct record *r)
{
    size_t slot = batch_slot(key_of_track(s->seed, r));

    while (s->by_track.at[slot] && !same_track(&s->written[s->by_track.at[slot] - 1u]->stored.record, r))
        slot = batch_next(slot);
    return slot;
}

void store_note_track(struct store *s, const struct pending *p)
{
    s->by_track.at[track_slot(s, &p->stored.record)] = (uint16_t)(p->op + 1);
}

/* Replaces what p will write. False when out of memory: nothing was changed. */
static bool rewrite(struct pending *p, const struct record_stored *record, uint64_t seq)
{
    size_t len;
    char *value = record_encode(record, &len);

    if (!value)
        return false;
    free(p->value);
    p->value = value;
    p->len = len;
    record_view((struct str){value, len}, &p->stored);
    p->stored.record.seq = seq;
    return true;
}

static void coalesce_in_batch(struct pending *earlier, struct pending *p)
{
    struct record_stored merged = coalesce_merge(&earlier->stored, &p->stored);

    if (coalesce_fits(&earlier->stored.record, &p->stored.record) &&
        rewrite(earlier, &merged, earlier->seq)) {
        p->fate = PENDING_COALESCED;
        p->seq = earlier->seq;
        p->op = earlier->op;
    }
}

static void coalesce_stored(struct store *s, struct pending *p)
{
    struct record_stored stored;
    uint64_t first;
    uint64_t seq;

    if (!index_ends(s->index, key_of_track(s->seed, &p->stored.record), &first, &seq) ||
        !store_read(s, seq, &stored, NULL) || !coalesce_fits(&stored.record, &p->stored.record) ||
        !record_bodies_intact(&stored.record))
        return;
    struct record_stored merged = coalesce_merge(&stored, &p->stored);
    if (!rewrite(p, &merged, seq))
        return;
    p->fate = PENDING_UPDATE;
    p->seq = seq;
    p->was_first_digest = stored.body_first_digest;
    p->was_last_digest = stored.body_last_digest;
}

void store_coalesce(struct store *s, struct pending *p)
{
    size_t slot = track_slot(s, &p->stored.record);

    if (!s->coalescing)
        return;
    if (s->by_track.at[slot])
        coalesce_in_batch(s->written[s->by_track.at[slot] - 1u], p);
    else
        coalesce_stored(s, p);
}
