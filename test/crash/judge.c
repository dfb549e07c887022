/* The check of a store from which records go (see crash.h): ids have gaps, and an acknowledged event may be gone. */
#include "crash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

__attribute__((format(printf, 3, 4))) static bool bad(struct judge *j, enum check_result result,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (j->result == CHECK_OK) {
        j->result = result;
        (void)vsnprintf(j->why, sizeof j->why, format, args);
    }
    va_end(args);
    return false;
}

static struct acked *acked_of(struct judge *j, uint64_t id)
{
    if (id >= j->n_acked) {
        size_t n = (id + 1) * 2;
        j->acked = realloc(j->acked, n * sizeof *j->acked);
        if (!j->acked)
            abort();
        memset(j->acked + j->n_acked, 0, (n - j->n_acked) * sizeof *j->acked);
        j->n_acked = n;
    }
    return &j->acked[id];
}

void judge_ack(struct judge *j, uint64_t n, uint64_t id, uint64_t at_bytes)
{
    struct acked *a = acked_of(j, id);

    if (a->events > 0 && event_statement(a->n) != event_statement(n))
        (void)bad(j, CHECK_WRONG, "record %llu was acknowledged for events %llu and %llu",
                  (unsigned long long)id, (unsigned long long)a->n, (unsigned long long)n);
    a->n = n;
    a->events++;
    a->at_bytes = at_bytes > a->at_bytes ? at_bytes : a->at_bytes;
    j->acked_bytes = at_bytes > j->acked_bytes ? at_bytes : j->acked_bytes;
    j->last_id = id > j->last_id ? id : j->last_id;
}

void judge_ledger(struct judge *j, const struct ledger *l)
{
    judge_free(j);
    for (uint64_t n = 1; n <= l->last; n++)
        if (ledger_id(l, n))
            judge_ack(j, n, ledger_id(l, n), l->at[n]);
}

void judge_free(struct judge *j)
{
    free(j->acked);
    free(j->kept);
    *j = (struct judge){0};
}

static uint64_t sent_as(struct str body)
{
    static char want[EVENT_BODY_MAX];
    uint64_t n = event_number(body.at, body.len);

    return n > 0 && event_body(n, want) == body.len && memcmp(want, body.at, body.len) == 0 ? n : 0;
}

static bool on_record(void *arg, const struct record *r)
{
    struct judge *j = arg;
    uint64_t first = sent_as(r->body_first);
    uint64_t last = sent_as(r->body_last);
    unsigned long long id = r->seq;

    if (!record_bodies_intact(r) || first == 0 || last == 0)
        return bad(j, CHECK_WRONG, "record %llu: its bodies are none that were sent", id);
    if (event_statement(first) != event_statement(last) || (r->count == 1) != (first == last))
        return bad(j, CHECK_WRONG, "record %llu: its first event is %llu, its last %llu, its count %u", id,
                   (unsigned long long)first, (unsigned long long)last, r->count);
    if (j->n_kept > 0 && r->seq <= j->kept[j->n_kept - 1].id)
        return bad(j, CHECK_WRONG, "record %llu comes too late", id);
    if (j->n_kept == j->cap_kept) {
        j->cap_kept = j->cap_kept * 2 + 1024;
        j->kept = realloc(j->kept, j->cap_kept * sizeof *j->kept);
        if (!j->kept)
            abort();
    }
    j->kept[j->n_kept++] = (struct kept){.id = r->seq, .n = first, .count = r->count};
    return true;
}

static const struct kept *find(const struct judge *j, uint64_t id)
{
    size_t from = 0;
    size_t to = j->n_kept;

    while (from < to) {
        size_t middle = (from + to) / 2;
        if (j->kept[middle].id == id)
            return &j->kept[middle];
        if (j->kept[middle].id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* One acknowledged record. */
static bool check_record(struct judge *j, uint64_t id)
{
    const struct acked *a = &j->acked[id];
    const struct kept *kept = find(j, id);
    uint64_t behind = j->acked_bytes - a->at_bytes;

    if (kept && event_statement(kept->n) != event_statement(a->n))
        return bad(j, CHECK_WRONG,
                   "record %llu says what event %llu says, and was acknowledged for event %llu",
                   (unsigned long long)id, (unsigned long long)kept->n, (unsigned long long)a->n);
    if (kept && a->events > kept->count)
        return bad(j, CHECK_LOST, "record %llu stands for %u events, and %u were acknowledged with its id",
                   (unsigned long long)id, kept->count, a->events);
    if (!kept && behind < RECENT_BYTES)
        return bad(j, CHECK_LOST, "event %llu, acknowledged as %llu, is gone after %llu bytes",
                   (unsigned long long)a->n, (unsigned long long)id, (unsigned long long)behind);
    j->gone += kept ? 0 : a->events;
    j->coalesced += kept ? a->events - 1 : 0;
    return true;
}

/* What the acknowledgements and the store know as the newest record of each object. */
static bool check_newest(struct judge *j)
{
    uint64_t newest[EVENT_OBJECTS] = {0};

    for (uint64_t id = 1; id <= j->last_id; id++)
        if (j->acked[id].events > 0)
            newest[event_object(j->acked[id].n)] = id; /* ids ascend */
    for (size_t i = 0; i < j->n_kept; i++)
        if (j->kept[i].id > newest[event_object(j->kept[i].n)])
            newest[event_object(j->kept[i].n)] = j->kept[i].id;
    for (size_t i = 0; i < EVENT_OBJECTS; i++)
        if (newest[i] && !find(j, newest[i]))
            return bad(j, CHECK_LOST, "record %llu, the newest of an object, is gone",
                       (unsigned long long)newest[i]);
    return true;
}

static uint64_t newest_id(const struct judge *j)
{
    uint64_t kept = j->n_kept ? j->kept[j->n_kept - 1].id : 0;
    return kept > j->last_id ? kept : j->last_id;
}

static void on_report(void *arg, const struct report *report)
{
    (void)bad(arg, CHECK_WRONG, "%s", report->sentence);
}

enum check_result judge_store(struct judge *j, const char *dir, bool append)
{
    struct reporter reporter = {on_report, j};
    char why[STORE_ERROR] = "";
    char err[CHECK_ERROR] = "";

    if (j->result != CHECK_OK) /* what was acknowledged contradicts itself */
        return j->result;
    struct store *s = store_open(&(struct store_config){.dir = dir}, &reporter, why);
    if (!s) {
        (void)bad(j, CHECK_NOT_OPEN, "it does not open: %.400s", why);
        return j->result = CHECK_NOT_OPEN;
    }
    j->n_kept = j->gone = j->coalesced = 0;
    (void)store_scan(s, 0, false, SIZE_MAX, on_record, j, NULL);
    for (uint64_t id = 1; id <= j->last_id && j->result == CHECK_OK; id++)
        if (j->acked[id].events > 0)
            (void)check_record(j, id);
    if (j->result == CHECK_OK)
        (void)check_newest(j);
    if (j->result == CHECK_OK && append && check_append(s, newest_id(j), false, err) != CHECK_OK)
        (void)bad(j, CHECK_WRONG, "%s", err);
    store_close(s);
    return j->result;
}
