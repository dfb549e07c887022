/* Appends and the life of a batch (see store.h).
 *
 * queue -> batch (repeats and coalescing decided, sequence numbers given, deletions added, handed to the writer) -> commit returned:
 * published to the index, next batch handed over, completed, shown to subscribers, freed. At most one batch
 * is out.
 *
 * Invariants:
 * - last_seq moves only when a commit has returned without an error, so a failed batch leaves no gap and no
 *   trace.
 * - Completions and subscribers run only from store_dispatch (and store_close, through it).
 * - Each append that was accepted completes exactly once, whatever fails.
 * Failure modes: a full disk fails the batch and is tried again with the next append or probe, unless LMDB cannot go
 * on (commit.c); every other error of a commit makes the store dead, because after a failed sync the page cache may
 * show what the disk does not have.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "store/classify_priv.h"
#include "store/units.h"

void pending_list_init(struct pending_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_add(struct pending_list *list, struct pending *p)
{
    p->next = NULL;
    *list->end = p;
    list->end = &p->next;
}

static struct pending *list_take(struct pending_list *list)
{
    struct pending *p = list->first;

    if (p && !(list->first = p->next))
        list->end = &list->first;
    return p;
}

void store_report_error(const struct store *s, const char *sentence, int status)
{
    REPORT(&s->reporter, REPORT_ERROR, sentence, FIELD_TEXT("dataDir", s->dir),
           FIELD_TEXT("error", mdb_strerror(status)));
}

/* The contract's effective time; received_ms has been clamped. */
static struct record_time time_of(const struct flux_event *e, int64_t received_ms)
{
    bool usable = e->has_timestamp && e->timestamp_ms >= YEAR_2000_MS && e->timestamp_ms <= received_ms;

    return (struct record_time){
        .effective_ms = usable ? e->timestamp_ms : received_ms,
        .received_ms = received_ms,
        .by_arrival = !usable,
    };
}

struct record_stored store_statement(const struct store *s, const struct flux_event *e, struct str body,
                                     enum event_via via, int64_t received_ms)
{
    struct record_time when = time_of(e, received_ms);
    uint64_t digest = key_siphash(s->seed, body);

    return (struct record_stored){
        .record = {.class = classify(e->kind, e->controller, e->severity, e->reason, e->message),
                   .via = via,
                   .plain = e->plain,
                   .count = 1,
                   .first = when,
                   .last = when,
                   .cluster = e->cluster.len ? e->cluster : str_of(s->cluster),
                   .kind = e->kind,
                   .namespace = e->namespace,
                   .name = e->name,
                   .uid = e->uid,
                   .severity = e->severity,
                   .reason = e->reason,
                   .revision = e->revision,
                   .origin_revision = e->origin_revision,
                   .commit = e->commit,
                   .oci_digest = e->oci_digest,
                   .message = str_cut_utf8(e->message, RECORD_MESSAGE_MAX),
                   .message_digest = key_siphash(s->seed, e->message),
                   .body_first = body,
                   .body_last = body},
        .body_first_digest = digest,
        .body_last_digest = digest,
    };
}

static struct pending *pending_new(const struct record_stored *stored)
{
    struct pending *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->value = record_encode(stored, &p->len);
    if (!p->value) {
        free(p);
        return NULL;
    }
    record_view((struct str){p->value, p->len}, &p->stored);
    return p;
}

static void pending_free(struct pending *p)
{
    free(p->value);
    free(p);
}

/* Why an append of that size is refused now, or STORE_OK. A full disk is tried by one append at a time. */
static enum store_status refusal(const struct store *s, size_t bytes)
{
    if (s->dead)
        return STORE_DEAD;
    if (s->full && store_pending(s))
        return STORE_FULL;
    if (bytes > s->max_queued_bytes || s->stats.queued_bytes > s->max_queued_bytes - bytes)
        return STORE_BUSY;
    return STORE_OK;
}

enum store_status store_append(struct store *s, const struct flux_event *e, struct str body,
                               enum event_via via, int64_t now_ms, store_done *on_done, void *arg,
                               uint64_t token)
{
    int64_t received_ms = now_ms > s->last_received_ms ? now_ms : s->last_received_ms;
    enum store_status status = refusal(s, body.len);

    if (status == STORE_OK) {
        struct record_stored stored = store_statement(s, e, body, via, received_ms);
        struct pending *p = pending_new(&stored);
        if (p) {
            p->on_done = on_done;
            p->arg = arg;
            p->token = token;
            p->bytes = body.len;
            s->last_received_ms = received_ms;
            s->stats.received++;
            s->numbers.received[via]++;
            s->stats.queued_bytes += body.len;
            list_add(&s->queue, p);
            return STORE_OK;
        }
        status = STORE_NO_MEMORY;
    }
    s->numbers.refused[status]++;
    return status;
}

/* Gives p a place among the batch's writes. */
static void batch_write(struct store *s, struct pending *p)
{
    p->op = s->n_written;
    s->written[s->n_written++] = p;
    if (p->fate == PENDING_FRESH)
        p->seq = s->last_seq + ++s->n_fresh;
    p->stored.record.seq = p->seq;
}

/* Decides what p is, and says what it makes the batch write: p, an earlier append, or (a repeat) nothing. */
static struct pending *batch_add(struct store *s, struct pending *p)
{
    store_find_repeat(s, p);
    if (p->fate == PENDING_REPEAT)
        return NULL;
    s->n_statements++;
    store_coalesce(s, p);
    if (p->fate != PENDING_COALESCED)
        batch_write(s, p);
    return s->written[p->op];
}

/* Moves what fits one commit from the queue to the batch. */
static void batch_form(struct store *s)
{
    uint64_t bytes = 0;
    bool reading = store_read_begin(s);

    store_forget_batch(s);
    while (s->queue.first && s->n_statements < STORE_BATCH_EVENTS) {
        if (s->n_statements > 0 && bytes + s->queue.first->len > STORE_BATCH_BYTES)
            break;
        struct pending *p = list_take(&s->queue);
        list_add(&s->batch, p);
        s->n_batch++;
        struct pending *w = batch_add(s, p);
        if (!w)
            continue;
        record_seal(w->value, w->len, w->seq);
        s->ops[w->op] = (struct commit_op){.kind = w->fate == PENDING_FRESH ? COMMIT_APPEND : COMMIT_UPDATE,
                                           .seq = w->seq,
                                           .value = {w->value, w->len}};
        store_note_written(s, w);
        bytes += p->len;
    }
    if (reading)
        store_read_end(s);
}

/* Deletions alone, where nothing else can be written. */
static bool emergency_form(struct store *s)
{
    store_forget_batch(s);
    if (s->full)
        retain_pick(s);
    return s->full && s->n_going > 0;
}

void store_flush(struct store *s)
{
    if (s->in_flight || s->dead)
        return;
    s->emergency = emergency_form(s);
    bool probe = s->full && s->probe_wanted && !s->queue.first && !s->emergency;
    if (!s->emergency) {
        batch_form(s);
        retain_pick(s);
    }
    if (!s->batch.first && s->n_going == 0 && !probe)
        return;
    if (!s->emergency)
        s->probe_wanted = false;
    s->in_flight = true;
    s->writing = s->n_written > 0 || s->n_going > 0 || probe;
    struct commit_batch batch = {
        .ops = s->ops, .n = s->n_written + s->n_going, .probe = probe, .emergency = s->emergency};
    if (s->n_going > 0)
        batch.high_water = (struct str){(const char *)s->high_water, sizeof s->high_water};
    commit_give(s->committer, &batch);
}

/* Whoever ends the process says why, in one line (store_errmsg). */
static void die(struct store *s, const char *why, int status)
{
    struct text text;

    s->dead = true;
    text_init(&text, s->errmsg, sizeof s->errmsg);
    text_addf(&text, "the data directory %s: %s: %s; restart, and check the disk", s->dir, why,
              mdb_strerror(status));
}

static bool is_no_room(int status)
{
    return status == ENOSPC || status == EDQUOT || status == EFBIG || status == MDB_MAP_FULL;
}

/* What the end of a commit means for its appends; sets the store's state. */
static enum store_status commit_judge(struct store *s, const struct commit_result *result)
{
    int status = result->status;

    if (status == 0 && s->emergency) {
        s->probe_wanted = true; /* there may be room again */
        return STORE_OK;
    }
    if (status == 0) {
        if (s->full)
            REPORT(&s->reporter, REPORT_INFO, "the disk has room again", FIELD_TEXT("dataDir", s->dir));
        s->full = false;
        return STORE_OK;
    }
    if (result->broken) {
        die(s, "the meta page could not be written", status);
        return STORE_DEAD;
    }
    if (is_no_room(status)) {
        if (!s->full)
            store_report_error(s, "the disk is full: events are refused", status);
        s->full = true;
        return STORE_FULL;
    }
    if (status == ENOMEM) /* before anything was written: LMDB allocates nothing while it writes pages out */
        return STORE_NO_MEMORY;
    die(s, "a commit failed", status);
    return STORE_DEAD;
}

/* A status is not coalesced, since one that says the same is dropped: so a record that stands for several statements was
 * notified at least once. */
static void note_heard(struct store *s, const struct record *r)
{
    static const char *const kinds[] = {
        [HEARD_KUSTOMIZATION] = "Kustomization", [HEARD_HELM_RELEASE] = "HelmRelease"};

    for (int kind = 0; (r->via == VIA_WEBHOOK || r->count > 1) && kind < HEARD_KINDS; kind++)
        if (str_eq(r->kind, str_of(kinds[kind]))) {
            s->heard[kind].success |= r->class == CLASS_SUCCESS;
            s->heard[kind].failure |= r->class == CLASS_FAILURE;
        }
}

bool store_note_record(struct store *s, const struct record *r, uint64_t object, uint64_t cluster)
{
    uint64_t track = key_of_track_in(object, cluster, record_decides(r));

    if (!store_object_add(s, object, cluster, r->seq) || !retain_note(s, r, track) ||
        !index_set(s->index, track, r->seq))
        return false;
    if (r->seq > s->last_seq)
        s->last_seq = r->seq;
    s->stats.records++;
    if (s->hints_loaded)
        hints_note(&s->hints, r);
    note_heard(s, r);
    return true;
}

static bool publish_fresh(struct store *s, struct pending *p)
{
    for (size_t i = 1; i < p->n_keys; i++) /* the first is that of the object */
        if (!index_add(s->index, p->keys[i], p->seq))
            return false;
    s->stats.stored++;
    return store_note_record(s, &p->stored.record, p->keys[0],
                             key_siphash(s->seed, p->stored.record.cluster));
}

/* Of a record's keys only those of its bodies can have changed. */
static bool publish_update(struct store *s, struct pending *p)
{
    uint64_t first = p->stored.body_first_digest;
    uint64_t last = p->stored.body_last_digest;
    const uint64_t was[] = {p->was_first_digest, p->was_last_digest};

    for (size_t i = 0; i < 2; i++)
        if (was[i] != first && was[i] != last)
            index_remove(s->index, key_of_body(was[i]), p->seq);
    s->stats.coalesced++;
    note_heard(s, &p->stored.record);
    ages_touch(s->ages, p->seq, p->stored.record.last.received_ms);
    return index_add(s->index, key_of_body(first), p->seq) && index_add(s->index, key_of_body(last), p->seq);
}

static bool publish(struct store *s, struct pending *p)
{
    switch (p->fate) {
    case PENDING_COALESCED: s->stats.coalesced++; return true;
    case PENDING_REPEAT: return true;
    case PENDING_FRESH:
    case PENDING_UPDATE: break;
    }
    p->n_keys = keys_of_record(s->seed, &p->stored.record, p->stored.body_first_digest,
                               p->stored.body_last_digest, p->keys);
    return p->fate == PENDING_FRESH ? publish_fresh(s, p) : publish_update(s, p);
}

void store_set_suspended(struct store *s, store_is_suspended *is_suspended, void *arg)
{
    s->is_suspended = is_suspended;
    s->is_suspended_arg = arg;
}

/* A record that is on disk and not in the index would never be found: only a restart helps. */
static void publish_all(struct store *s, struct pending *first)
{
    for (struct pending *p = first; p; p = p->next)
        if (!publish(s, p)) {
            die(s, "the index cannot grow", ENOMEM);
            return;
        }
}

static void complete(struct store *s, struct pending *p, enum store_status status)
{
    if (status == STORE_OK)
        s->stats.repeats += p->fate == PENDING_REPEAT;
    else
        s->numbers.refused[status]++;
    s->stats.queued_bytes -= p->bytes;
    if (p->on_done)
        p->on_done(p->arg, p->token, status, p->seq);
}

static void tell(struct store *s, const struct pending *p)
{
    struct record_keys keys = {p->keys, p->n_keys};

    for (size_t i = 0; i < s->n_subscribers; i++)
        s->subscribers[i].on_record(s->subscribers[i].arg, &p->stored.record, keys, p->fate == PENDING_FRESH);
}

/* Takes the list over: it no longer hangs on the store, so that callbacks may append. */
static void complete_all(struct store *s, struct pending *first, enum store_status status)
{
    for (struct pending *p = first; p; p = p->next)
        complete(s, p, p->repeats_stored && status != STORE_DEAD ? STORE_OK : status);
    for (struct pending *p = first; p && status == STORE_OK; p = p->next)
        if (p->fate == PENDING_FRESH || p->fate == PENDING_UPDATE)
            tell(s, p);
    while (first) {
        struct pending *next = first->next;
        pending_free(first);
        first = next;
    }
}

static struct pending *list_steal(struct pending_list *list)
{
    struct pending *first = list->first;

    pending_list_init(list);
    return first;
}

void store_dispatch(struct store *s)
{
    struct commit_result result;

    if (!commit_take(s->committer, &result))
        return;
    struct pending *batch = list_steal(&s->batch);
    enum store_status status = s->writing ? commit_judge(s, &result) : STORE_OK;
    s->in_flight = false;
    s->numbers.commits_failed += s->writing && result.status != 0;
    if (status == STORE_OK && s->writing) {
        store_count_commit(s, result.us, s->n_batch);
        publish_all(s, batch);
        retain_publish(s);
        retain_measure(s);
    } else if (s->n_going > 0) {
        retain_failed(s);
    }
    store_flush(s);
    complete_all(s, batch, status);
    if (s->dead)
        complete_all(s, list_steal(&s->queue), STORE_DEAD);
}

void store_drain(struct store *s)
{
    while (store_pending(s)) {
        store_flush(s);
        commit_wait(s->committer);
        store_dispatch(s);
    }
}

int store_fd(const struct store *s)
{
    return commit_fd(s->committer);
}

bool store_pending(const struct store *s)
{
    return s->queue.first || s->in_flight;
}

bool store_dead(const struct store *s)
{
    return s->dead;
}

bool store_ready(const struct store *s, const char **ret_why)
{
    if (s->load) {
        *ret_why = s->load_why;
        return false;
    }
    if (s->dead) {
        *ret_why = "a commit failed; the process is about to end";
        return false;
    }
    if (s->full) {
        *s->want_probe = true;
        *ret_why = "the disk is full";
        return false;
    }
    return true;
}

const char *store_errmsg(const struct store *s)
{
    return s->errmsg;
}

void store_subscribe(struct store *s, store_on_record *on_record, void *arg)
{
    if (s->n_subscribers < STORE_SUBSCRIBERS)
        s->subscribers[s->n_subscribers++] = (struct subscriber){on_record, arg};
}

void store_unsubscribe(struct store *s, void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n_subscribers; i++)
        if (s->subscribers[i].arg != arg)
            s->subscribers[kept++] = s->subscribers[i];
    s->n_subscribers = kept;
}

void store_get_stats(const struct store *s, struct store_stats *ret)
{
    MDB_envinfo info;
    MDB_stat stat;

    *ret = s->stats;
    if (mdb_env_info(s->env, &info) == 0 && mdb_env_stat(s->env, &stat) == 0)
        ret->bytes = (info.me_last_pgno + 1) * stat.ms_psize;
    ret->last_seq = s->last_seq;
}
