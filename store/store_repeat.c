/* What is a repeat (the contract on events): a body byte-equal to the newest record of its object, or to the
 * first or last body of any stored record with a usable timestamp. The second is a delivery that was retried;
 * the first also holds for senders without a clock, who may say fail, succeed, fail with the same bodies and
 * mean three statements. Newest is the record that was spoken of last, not the one that was made last: what an object
 * says in turn is a statement each time, though it may be coalesced onto two old records.
 *
 * Decided when a batch is formed, so that the index is up to date and the only records that it does not know
 * are those of the batch itself. Bodies are found by digest and compared byte by byte: a digest that collides
 * costs a comparison, never an event.
 */
#include "store/store_priv.h"

bool record_same_object(const struct record *a, const struct record *b)
{
    return str_eq(a->name, b->name) && str_eq(a->namespace, b->namespace) && str_eq(a->kind, b->kind) &&
           str_eq(a->cluster, b->cluster);
}

/* Of two records of one object: whether a was the last to be spoken of. One onto which something was coalesced since is
 * newer than a later one: else what is said in turn would depend on what else was ever said. */
static bool heard_later(const struct record *a, const struct record *b)
{
    return a->last.received_ms != b->last.received_ms ? a->last.received_ms > b->last.received_ms
                                                      : a->seq > b->seq;
}

/* Whether the batch writes a newer record about the same object. */
static bool batch_has_newer(const struct store *s, const struct record *r)
{
    for (size_t i = 0; i < s->n_written; i++)
        if (heard_later(&s->written[i]->stored.record, r) &&
            record_same_object(&s->written[i]->stored.record, r))
            return true;
    return false;
}

void batch_note(struct batch_table *table, uint64_t number, size_t position)
{
    size_t slot = batch_slot(number);

    while (table->at[slot] && table->at[slot] != position + 1)
        slot = batch_next(slot);
    table->at[slot] = (uint16_t)(position + 1);
}

void store_forget_batch(struct store *s)
{
    if (s->n_written) {
        memset(&s->by_digest, 0, sizeof s->by_digest);
        memset(&s->by_track, 0, sizeof s->by_track);
        memset(&s->by_seq, 0, sizeof s->by_seq);
    }
    s->n_written = 0;
    s->n_fresh = 0;
    s->n_statements = 0;
    s->n_batch = 0;
}

void store_note_written(struct store *s, const struct pending *p)
{
    batch_note(&s->by_digest, p->stored.body_first_digest, p->op);
    batch_note(&s->by_digest, p->stored.body_last_digest, p->op);
    if (p->fate == PENDING_UPDATE)
        batch_note(&s->by_seq, p->seq, p->op);
    store_note_track(s, p);
}

struct pending *store_find_update(const struct store *s, uint64_t seq)
{
    for (size_t slot = batch_slot(seq); s->by_seq.at[slot]; slot = batch_next(slot)) {
        struct pending *p = s->written[s->by_seq.at[slot] - 1u];
        if (p->seq == seq)
            return p;
    }
    return NULL;
}

/* Whether nothing stored about the object is newer than r. The newest of each of its two tracks is the last heard of it;
 * what is under a track's key may be another's by chance, and only then all that is about the object is looked at. */
static bool is_newest_stored(struct store *s, const struct record *r)
{
    uint64_t object = key_of_object(s->seed, r->kind, r->namespace, r->name);
    uint64_t cluster = key_siphash(s->seed, r->cluster);
    struct seqs about = {0};
    struct record_stored other;
    bool newest = true, strange = false;
    uint64_t first, last;

    for (int decides = 0; decides < 2; decides++) {
        if (!index_ends(s->index, key_of_track_in(object, cluster, decides), &first, &last) || last == r->seq)
            continue;
        if (!store_read(s, last, &other, NULL) || !record_same_object(&other.record, r))
            strange = true;
        else if (heard_later(&other.record, r))
            return false;
    }
    if (strange)
        newest = index_get(s->index, key_of_object_in(object, cluster), &about);
    for (size_t i = about.n; newest && i-- > 0;)
        if (store_read(s, about.at[i], &other, NULL) && record_same_object(&other.record, r) &&
            heard_later(&other.record, r))
            newest = false;
    seqs_free(&about);
    return newest;
}

/* Whether what p says was the last or the first statement of a record, as the contract asks for. */
static bool repeats_record(struct store *s, const struct pending *p, const struct record *r)
{
    struct str said = p->stored.record.body_first;
    bool is_last = str_eq(r->body_last, said);

    if ((is_last && !r->last.by_arrival) || (str_eq(r->body_first, said) && !r->first.by_arrival))
        return true;
    return is_last && record_same_object(r, &p->stored.record) && !batch_has_newer(s, r) &&
           is_newest_stored(s, r);
}

static bool repeats_in_batch(struct store *s, struct pending *p)
{
    uint64_t digest = p->stored.body_first_digest;

    for (size_t slot = batch_slot(digest); s->by_digest.at[slot]; slot = batch_next(slot)) {
        const struct pending *earlier = s->written[s->by_digest.at[slot] - 1u];
        if ((earlier->stored.body_first_digest == digest || earlier->stored.body_last_digest == digest) &&
            repeats_record(s, p, &earlier->stored.record)) {
            p->seq = earlier->seq;
            return true;
        }
    }
    return false;
}

/* Whether p repeats the record at seq as it is stored. One that the batch changes has been looked at. */
static bool repeats_seq(struct store *s, const struct pending *p, uint64_t seq)
{
    struct record_stored stored;

    return !store_find_update(s, seq) && store_read(s, seq, &stored, NULL) &&
           repeats_record(s, p, &stored.record);
}

/* Only the newest equal body can be the newest of its object, and a body whose timestamp is no use has none
 * that is: so two looks suffice however often the same thing was said. The oldest is the first delivery of a
 * retried one. */
static bool repeats_stored(struct store *s, struct pending *p)
{
    uint64_t first;
    uint64_t last;

    if (!index_ends(s->index, key_of_body(p->stored.body_first_digest), &first, &last))
        return false;
    if (repeats_seq(s, p, last))
        p->seq = last;
    else if (last != first && repeats_seq(s, p, first))
        p->seq = first;
    else
        return false;
    return true;
}

void store_find_repeat(struct store *s, struct pending *p)
{
    if (store_status_is_known(s, &p->stored.record, &p->seq)) {
        p->fate = PENDING_REPEAT;
        p->repeats_stored = p->seq <= s->last_seq;
    } else if (repeats_in_batch(s, p)) {
        p->fate = PENDING_REPEAT;
    } else if (repeats_stored(s, p)) {
        p->fate = PENDING_REPEAT;
        p->repeats_stored = true;
    }
}
