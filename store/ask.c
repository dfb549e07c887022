/* Gathers the records that bear on a question (see ask.h) and lets verdict_new() judge.
 *
 * What is gathered, in one short read transaction, by key:
 * - all records that share a form with the revision asked for;
 * - of each object that reported it, or is named in `objects`, in each cluster: its newest success or failure, and of
 *   one that has none, as a source, its newest record;
 * - where that is a success for another revision: all records that share a form with that one, because they
 *   show which revision was seen first, on the object or on its source.
 * More does no harm: verdict_new() decides what counts. Less would: so every key that was looked up is returned,
 * found or not, and a later record can change the answer only if it carries one of them.
 *
 * Failure mode: out of memory, or a store that cannot be read, is remembered (sticky) and ends in NULL, never in an answer
 * from half of the records. A record that is damaged is reported, and left out: it will not be whole later.
 */
#include "store/ask.h"

#include <stdlib.h>

#include "store/store_priv.h"
#include "store/verdict_priv.h"

#define HINT_RECORDS 1000 /* the newest that are looked at for hints */

struct gather {
    struct store *s;
    const struct question *q;
    struct revision asked;
    struct ask_keys *keys;
    uint32_t *slots;       /* which of the keys are there: open addressing, 1 + position in keys; 0: empty */
    size_t n_slots;        /* a power of two, at least twice the keys */
    struct seqs found;     /* everything, repeated and in no order */
    struct record *newest; /* of the object being walked: what is looked for; of several,
                              should they share a key by chance */
    size_t n_newest;
    size_t cap_newest;
    size_t n_candidates; /* records that share a form with the revision asked for */
    bool failed;
};

void ask_keys_free(struct ask_keys *keys)
{
    free(keys->at);
    *keys = (struct ask_keys){0};
}

/* Where the key is, or would be. Keys are SipHash values: their lower bits are as good as any. */
static uint32_t *slot_of(const struct gather *g, uint64_t key)
{
    size_t i = key & (g->n_slots - 1);

    while (g->slots[i] && g->keys->at[g->slots[i] - 1] != key)
        i = (i + 1) & (g->n_slots - 1);
    return &g->slots[i];
}

/* Makes room for one more key in both. */
static bool keys_reserve(struct gather *g)
{
    struct ask_keys *keys = g->keys;

    if (keys->n == keys->cap) {
        size_t cap = keys->cap ? keys->cap * 2 : 8;
        uint64_t *at = realloc(keys->at, cap * sizeof *at);
        if (!at)
            return false;
        keys->at = at;
        keys->cap = cap;
    }
    if ((keys->n + 1) * 2 <= g->n_slots)
        return true;
    size_t n = g->n_slots ? g->n_slots * 2 : 32;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    free(g->slots);
    g->slots = slots;
    g->n_slots = n;
    for (size_t i = 0; i < keys->n; i++)
        *slot_of(g, keys->at[i]) = (uint32_t)(i + 1);
    return true;
}

/* Notes that the key is looked up. False when it has been already, or when out of memory. */
static bool key_take(struct gather *g, uint64_t key)
{
    if (!keys_reserve(g)) {
        g->failed = true;
        return false;
    }
    uint32_t *slot = slot_of(g, key);
    if (*slot)
        return false;
    g->keys->at[g->keys->n++] = key;
    *slot = (uint32_t)g->keys->n;
    return true;
}

static void look_up(struct gather *g, uint64_t key, struct seqs *out)
{
    if (key_take(g, key) && !index_get(g->s->index, key, out))
        g->failed = true;
}

static bool read_record(struct gather *g, uint64_t seq, struct record_stored *ret)
{
    struct store_missed missed;
    bool there = store_read(g->s, seq, ret, &missed);

    g->failed = g->failed || missed.unread;
    return there;
}

/* Keeps r when it is the newest of its cluster's object so far. */
static void newest_note(struct gather *g, const struct record *r)
{
    size_t i = 0;

    while (i < g->n_newest && !str_eq(g->newest[i].cluster, r->cluster))
        i++;
    if (i < g->n_newest) {
        if (record_before(&g->newest[i], r))
            g->newest[i] = *r;
        return;
    }
    if (i == g->cap_newest) {
        size_t cap = i ? i * 2 : 4;
        struct record *newest = realloc(g->newest, cap * sizeof *newest);
        g->failed = g->failed || !newest;
        if (!newest)
            return;
        g->newest = newest;
        g->cap_newest = cap;
    }
    g->newest[g->n_newest++] = *r;
}

/* Whether nothing older than r on its track, in order of arrival, can be newer than what was found: an effective time is
 * never after the arrival, arrivals do not decrease, and times are compared in whole seconds. Statements are merged only
 * into the newest record of their track, so that all of the ones before r were heard before r began. */
static bool walk_is_done(const struct gather *g, const struct record *r)
{
    return g->n_newest == 1 && r->first.received_ms < g->newest[0].last.effective_ms - 1000;
}

/* Where to begin, behind which nothing is a success or failure; all the same where the key of the object's track turns
 * out to be another's. */
static size_t walk_begin(const struct seqs *about, uint64_t last_decision)
{
    size_t low = 0;

    for (size_t high = about->n; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (about->at[middle] < last_decision)
            low = middle + 1;
        else
            high = middle;
    }
    return low < about->n && about->at[low] == last_decision ? low + 1 : about->n;
}

/* Looks for the object's newest success or failure, or where it has none for its newest record: that a source fails is
 * worth a word. `track`: the key of its successes and failures. */
static void walk_back(struct gather *g, const struct seqs *about, uint64_t track, struct str kind,
                      struct str namespace, struct str name)
{
    struct record_stored stored;
    const struct record *r = &stored.record;
    uint64_t first;
    uint64_t last;
    bool decides = index_ends(g->s->index, track, &first, &last);

    for (size_t i = decides ? walk_begin(about, last) : about->n; i-- > 0 && !g->failed;) {
        if (!read_record(g, about->at[i], &stored) || !str_eq(r->name, name) ||
            !str_eq(r->namespace, namespace) || !str_eq(r->kind, kind) || record_decides(r) != decides)
            continue;
        if (!seqs_add(&g->found, r->seq))
            g->failed = true;
        newest_note(g, r);
        if (walk_is_done(g, r))
            break;
    }
}

static void gather_forms(struct gather *g, const struct record *success)
{
    struct revision_set set = revision_set_of(success);

    for (int m = 0; m < REVISION_MEMBERS; m++) {
        struct revision_form forms[REVISION_MAX_FORMS];
        size_t n = revision_forms(set.member[m], (enum revision_member)m, forms);
        for (size_t i = 0; i < n; i++)
            look_up(g, key_of_form(g->s->seed, &forms[i]), &g->found);
    }
}

static bool concerns(const struct gather *g, const struct record *r)
{
    struct revision_set set = revision_set_of(r);
    return revision_match(&g->asked, &set).level != MATCH_NONE;
}

/* An object of one cluster: what it said last and, where that is a success for another revision, what there is about
 * that one. */
static void gather_object_in(struct gather *g, uint64_t object, uint64_t cluster, struct str kind,
                             struct str namespace, struct str name)
{
    struct seqs about = {0};

    g->n_newest = 0;
    if (!index_get(g->s->index, key_of_object_in(object, cluster), &about))
        g->failed = true;
    walk_back(g, &about, key_of_track_in(object, cluster, true), kind, namespace, name);
    for (size_t i = 0; i < g->n_newest; i++)
        if (g->newest[i].class == CLASS_SUCCESS && !concerns(g, &g->newest[i]))
            gather_forms(g, &g->newest[i]);
    seqs_free(&about);
}

static void gather_object(struct gather *g, struct str kind, struct str namespace, struct str name)
{
    uint64_t object = key_of_object(g->s->seed, kind, namespace, name);
    struct seqs clusters = {0};

    if (key_take(g, object) && !store_object_clusters(g->s, object, &clusters))
        g->failed = true;
    for (size_t i = 0; i < clusters.n && !g->failed; i++)
        gather_object_in(g, object, clusters.at[i], kind, namespace, name);
    seqs_free(&clusters);
}

static void gather_all(struct gather *g)
{
    const struct question *q = g->q;
    struct revision_form forms[REVISION_MAX_FORMS];
    size_t n = question_forms(q->revision, forms);
    struct seqs candidates = {0};
    struct record_stored stored;
    const struct record *r = &stored.record;

    for (size_t i = 0; i < n; i++)
        look_up(g, key_of_form(g->s->seed, &forms[i]), &candidates);
    for (size_t i = 0; i < q->n_objects; i++)
        gather_object(g, q->objects[i].kind, q->objects[i].namespace, q->objects[i].name);
    for (size_t i = 0; i < candidates.n && !g->failed; i++) {
        if (!seqs_add(&g->found, candidates.at[i]))
            g->failed = true;
        if (read_record(g, candidates.at[i], &stored) && concerns(g, r) &&
            (!q->has_cluster || str_eq(r->cluster, q->cluster)))
            gather_object(g, r->kind, r->namespace, r->name);
    }
    g->n_candidates = candidates.n;
    seqs_free(&candidates);
}

/* The records of g->found, each once. The caller frees. */
static struct record *read_all(struct gather *g, size_t *ret_n)
{
    struct record *records;
    struct record_stored stored;

    seqs_sort(&g->found);
    *ret_n = 0;
    records = malloc((g->found.n + 1) * sizeof *records);
    for (size_t i = 0; records && i < g->found.n; i++)
        if (read_record(g, g->found.at[i], &stored))
            records[(*ret_n)++] = stored.record;
    return records;
}

static bool on_hint(void *arg, const struct record *r)
{
    hints_note(arg, r);
    return true;
}

/* What was stored before the store was opened, when it is asked for the first time. */
static void hints_load(struct store *s, const struct revision *asked)
{
    uint64_t before = s->last_seq > HINT_RECORDS ? s->last_seq - HINT_RECORDS : 0;

    if (s->hints_loaded || asked->kind != REVISION_OPAQUE)
        return;
    (void)store_scan(s, before, false, HINT_RECORDS, on_hint, &s->hints, NULL);
    s->hints_loaded = true;
}

/* A text that nothing matches may be a branch, or the beginning of a hash: a record shows of what. */
static void gather_hint(struct gather *g)
{
    uint64_t seq = g->n_candidates == 0 ? hints_find(&g->s->hints, &g->asked) : 0;

    if (seq > 0 && !seqs_add(&g->found, seq))
        g->failed = true;
}

static bool only_errors(const struct store_heard *heard)
{
    return heard->failure && !heard->success;
}

struct verdict *ask(struct store *s, const struct question *q, struct verdict_now now,
                    struct ask_keys *ret_keys)
{
    struct ask_keys own = {0};
    const struct verdict_facts facts = {
        .is_suspended = s->is_suspended,
        .arg = s->is_suspended_arg,
        .cluster = str_of(s->cluster),
        .only_errors_of_kustomizations = only_errors(&s->heard[HEARD_KUSTOMIZATION]),
        .only_errors_of_helm_releases = only_errors(&s->heard[HEARD_HELM_RELEASE]),
    };
    struct gather g = {
        .s = s, .q = q, .asked = revision_parse(q->revision), .keys = ret_keys ? ret_keys : &own};
    struct verdict *verdict = NULL;
    struct record *records;
    size_t n;

    g.keys->n = 0;
    now.facts = &facts;
    hints_load(s, &g.asked);
    if (store_read_begin(s)) {
        gather_all(&g);
        gather_hint(&g);
        records = g.failed ? NULL : read_all(&g, &n);
        if (records && !g.failed)
            verdict = verdict_new(q, records, n, now);
        store_read_end(s);
        free(records);
    }
    seqs_free(&g.found);
    free(g.newest);
    free(g.slots);
    ask_keys_free(&own);
    return verdict;
}
