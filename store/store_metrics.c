/* What the store measures (see metric.h).
 *
 * Counters are kept where the thing happens, on the loop; how long a commit took is measured by the writer and comes
 * back with the batch. Gauges are read when somebody asks.
 */
#include "store/store_priv.h"

/* A sync takes 50 us on a fast NVMe drive, milliseconds on network storage, and seconds on a disk in trouble. */
static const uint64_t commit_us_bounds[] = {100,   250,    500,    1000,   2500,    5000,    10000, 25000,
                                            50000, 100000, 250000, 500000, 1000000, 5000000, 0};
static const uint64_t commit_events_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 0};

static const char *const vias[] = {[VIA_WEBHOOK] = "webhook", [VIA_STATUS] = "status", NULL};
/* From the first status on that refuses. */
static const char *const refusals[] = {[STORE_BUSY - STORE_BUSY] = "queue_full",
                                       [STORE_FULL - STORE_BUSY] = "disk_full",
                                       [STORE_DEAD - STORE_BUSY] = "store_failed",
                                       [STORE_NO_MEMORY - STORE_BUSY] = "memory",
                                       NULL};
static const char *const deletions[] = {
    [DELETED_AGE] = "age", [DELETED_SIZE] = "size", [DELETED_CAUSES] = NULL};

#define AT(field) offsetof(struct store_numbers, field)
static const struct metric metrics[] = {
    {.name = "flux_event_store_events_received_total",
     .offset = AT(received),
     .help = "Events accepted to be stored, by the way they came.",
     .labels = {{"via", vias, 0}}},
    {.name = "flux_event_store_events_stored_total",
     .offset = AT(stored),
     .help = "Events that became a record of their own."},
    {.name = "flux_event_store_events_coalesced_total",
     .offset = AT(coalesced),
     .help = "Events that said again what their object's newest record says, and were counted in it."},
    {.name = "flux_event_store_events_repeated_total",
     .offset = AT(repeated),
     .help = "Events that were delivered twice, or a status that was known already: without effect."},
    {.name = "flux_event_store_events_refused_total",
     .offset = AT(refused[STORE_BUSY]),
     .help = "Events that could not be stored, by cause.",
     .labels = {{"cause", refusals, 0}}},
    {.name = "flux_event_store_commit_seconds",
     .type = METRIC_HISTOGRAM,
     .unit = METRIC_MICROSECONDS,
     .offset = AT(commit_us),
     .help = "How long a commit took, its sync included.",
     .bounds = commit_us_bounds},
    {.name = "flux_event_store_commit_events",
     .type = METRIC_HISTOGRAM,
     .offset = AT(commit_events),
     .help = "Events in one commit.",
     .bounds = commit_events_bounds},
    {.name = "flux_event_store_commits_failed_total",
     .offset = AT(commits_failed),
     .help = "Commits that failed: disk full, or worse."},
    {.name = "flux_event_store_store_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(bytes),
     .help = "Size of the data file, without what is reserved ahead."},
    {.name = "flux_event_store_store_max_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(max_bytes),
     .help = "Bound of that size: --max-size, or the volume where that is smaller; at most 64 GiB."},
    {.name = "flux_event_store_store_records",
     .type = METRIC_GAUGE,
     .offset = AT(records),
     .help = "Records stored now."},
    {.name = "flux_event_store_store_index_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(index_bytes),
     .help = "Memory of what is kept of each record: the index, and ages."},
    {.name = "flux_event_store_store_queued_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(queued_bytes),
     .help = "Bytes of events that wait to be committed."},
    {.name = "flux_event_store_store_ready",
     .type = METRIC_GAUGE,
     .offset = AT(ready),
     .help = "1 when events can be stored, 0 when the disk is full or has failed, and while the store is "
             "opened."},
    {.name = "flux_event_store_store_deleted_records_total",
     .offset = AT(deleted),
     .help = "Records that retention deleted, by what they exceeded.",
     .labels = {{"cause", deletions, 0}}},
    {.name = NULL},
};

void store_count_commit(struct store *s, uint64_t us, size_t n)
{
    histogram_add(&s->numbers.commit_us, commit_us_bounds, us);
    if (n > 0) /* else it only deleted */
        histogram_add(&s->numbers.commit_events, commit_events_bounds, n);
}

static const void *collect(void *store)
{
    struct store *s = store;
    struct store_numbers *n = &s->numbers;
    struct store_stats stats;

    store_get_stats(s, &stats);
    n->stored = stats.stored;
    n->coalesced = stats.coalesced;
    n->repeated = stats.repeats;
    n->bytes = stats.bytes;
    n->records = stats.records;
    n->index_bytes = index_bytes(s->index) + ages_bytes(s->ages);
    n->queued_bytes = stats.queued_bytes;
    n->ready = !s->load && !s->full && !s->dead;
    return n;
}

struct metric_source store_metrics(struct store *s)
{
    return (struct metric_source){metrics, collect, s};
}
