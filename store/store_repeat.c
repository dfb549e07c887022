/* What is a repeat (the contract on events): a body byte-equal to the newest record of its object, or to the
 * first or last body of any stored record with a usable timestamp. The second is a delivery that was retried;
 * the first also holds for senders without a clock, who may say fail, succeed, fail with the same bodies and
 * mean three statements.
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

/* Whether a record of the batch from `from` on is about the same object. */
static bool batch_has_object(const struct store *s, size_t from, const struct record *r)
{
    for (size_t i = from; i < s->n_fresh; i++)
        if (record_same_object(&s->fresh[i]->stored.record, r))
            return true;
    return false;
}

static size_t slot_of(uint64_t digest)
{
    return digest % BATCH_SLOTS;
}

void store_forget_batch(struct store *s)
{
    if (s->n_fresh)
        memset(s->by_digest, 0, sizeof s->by_digest);
    s->n_fresh = 0;
}

void store_note_fresh(struct store *s)
{
    size_t slot = slot_of(s->fresh[s->n_fresh - 1]->stored.body_first_digest);

    while (s->by_digest[slot])
        slot = (slot + 1) % BATCH_SLOTS;
    s->by_digest[slot] = (uint16_t)s->n_fresh;
}

static bool repeats_in_batch(struct store *s, struct pending *p)
{
    const struct record *said = &p->stored.record;

    for (size_t slot = slot_of(p->stored.body_first_digest); s->by_digest[slot];
         slot = (slot + 1) % BATCH_SLOTS) {
        size_t i = s->by_digest[slot] - 1u;
        const struct record *earlier = &s->fresh[i]->stored.record;
        if (s->fresh[i]->stored.body_first_digest != p->stored.body_first_digest ||
            !str_eq(earlier->body_first, said->body_first))
            continue;
        bool newest = record_same_object(earlier, said) && !batch_has_object(s, i + 1, earlier);
        if (newest || !earlier->first.by_arrival) {
            p->seq = s->fresh[i]->seq;
            return true;
        }
    }
    return false;
}

/* Whether nothing stored is newer than seq about the object. The key leaves the cluster out, so the newest
 * under it may be about another cluster's object of that name; only then the ones before it are looked at. */
static bool is_newest_stored(struct store *s, const struct record *r, uint64_t seq)
{
    uint64_t key = key_of_object(s->seed, r->kind, r->namespace, r->name);
    struct seqs about = {0};
    struct record_stored other;
    uint64_t first;
    uint64_t last;

    if (!index_ends(s->index, key, &first, &last) || last <= seq)
        return true;
    if (store_read(s, last, &other) && record_same_object(&other.record, r))
        return false;
    bool newest = index_get(s->index, key, &about);
    for (size_t i = about.n; newest && i-- > 0 && about.at[i] > seq;)
        if (store_read(s, about.at[i], &other) && record_same_object(&other.record, r))
            newest = false;
    seqs_free(&about);
    return newest;
}

/* Whether the record at seq is one that p repeats. */
static bool repeats_record(struct store *s, const struct pending *p, uint64_t seq)
{
    const struct record *said = &p->stored.record;
    struct record_stored stored;

    if (!store_read(s, seq, &stored))
        return false;
    const struct record *r = &stored.record;
    bool is_last = str_eq(r->body_last, said->body_first);
    bool is_first = str_eq(r->body_first, said->body_first);
    if ((is_last && !r->last.by_arrival) || (is_first && !r->first.by_arrival))
        return true;
    return is_last && record_same_object(r, said) && !batch_has_object(s, 0, r) &&
           is_newest_stored(s, r, seq);
}

/* Only the newest equal body can be the newest of its object, and a body whose timestamp is no use has none
 * that is: so two looks suffice however often the same thing was said. The oldest is the first delivery of a
 * retried one. */
static bool repeats_stored(struct store *s, struct pending *p)
{
    uint64_t first;
    uint64_t last;

    if (!index_ends(s->index, key_of_body(p->stored.body_first_digest), &first, &last) ||
        !store_read_begin(s))
        return false;
    bool found = true;
    if (repeats_record(s, p, last))
        p->seq = last;
    else if (last != first && repeats_record(s, p, first))
        p->seq = first;
    else
        found = false;
    store_read_end(s);
    return found;
}

void store_find_repeat(struct store *s, struct pending *p)
{
    if (store_status_is_known(s, &p->stored.record, &p->seq)) {
        p->repeat = true;
        p->repeats_stored = p->seq <= s->last_seq;
    } else if (repeats_in_batch(s, p)) {
        p->repeat = true;
    } else if (repeats_stored(s, p)) {
        p->repeat = true;
        p->repeats_stored = true;
    }
}
