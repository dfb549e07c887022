/* A month of Flux's repetitions: 100 objects that report every minute for 30 days, 4.3 million events. The file must stay
 * below 8 MiB and not grow by more than 5 % after the first day, and every transition of an object must be there, with its
 * reason, count and times, also after the store was opened anew.
 *
 *   month [DAYS [rows]]       rows: also as test/bench/run.sh wants its figures
 */
#include "crash.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "store/store_priv.h"
#include "test/bench/row.h"

#define START_MS INT64_C(1785578400000)
#define OBJECTS  100
#define DAYS     30
#define DAY      (24 * 60)
#define MINUTE   INT64_C(60000)

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    (void)fprintf(stderr, "%s\n", report->sentence);
}

/* One object fails for a minute at noon of every second day: two transitions. */
static bool fails(int object, int minute)
{
    return minute % (2 * DAY) == DAY / 2 && object == minute / DAY;
}

static void say(struct store *s, int object, int minute)
{
    static char body[4096];
    char name[32];
    int64_t now_ms = START_MS + minute * MINUTE;
    bool bad = fails(object, minute);

    (void)snprintf(name, sizeof name, "app-%d", object);
    int n = snprintf(
        body, sizeof body,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"%s\"},"
        "\"timestamp\":%lld,\"reason\":\"%s\",\"metadata\":{\"filler\":\"%0600d\"}}",
        name, (long long)now_ms, bad ? "HealthCheckFailed" : "ReconciliationSucceeded", minute);
    struct flux_event e = {.kind = STR("Kustomization"),
                           .namespace = STR("flux-system"),
                           .name = str_of(name),
                           .uid = STR("7d0cdc51-ddcf-4743-b223-83ca5c699632"),
                           .severity = bad ? STR("error") : STR("info"),
                           .reason = bad ? STR("HealthCheckFailed") : STR("ReconciliationSucceeded"),
                           .revision = STR("main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"),
                           .message = STR("Reconciliation finished in 91.2ms, next run in 1m0s"),
                           .timestamp_ms = now_ms,
                           .has_timestamp = true};
    if (store_append(s, &e, (struct str){body, (size_t)n}, VIA_WEBHOOK, now_ms + 500, NULL, NULL, 0) !=
        STORE_OK)
        exit(1);
}

static long long file_bytes(const char *dir)
{
    char path[4096];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/data.mdb", dir);
    return stat(path, &st) < 0 ? -1 : (long long)st.st_size;
}

/* Of a record what a transition is. */
struct spell {
    const char *reason;
    uint32_t count;
    int first, last; /* minutes */
};

struct walk {
    int minutes;
    int seen[OBJECTS]; /* records of each */
    uint64_t records;
    char wrong[256];
};

/* The k-th spell of an object; false when there is none. */
static bool spell_of(int object, int k, int minutes, struct spell *ret)
{
    int noon = object * DAY + DAY / 2;
    bool failed = object % 2 == 0 && noon < minutes;
    const struct spell spells[] = {
        {"ReconciliationSucceeded", (uint32_t)(failed ? noon : minutes), 0, (failed ? noon : minutes) - 1},
        {"HealthCheckFailed", 1, noon, noon},
        {"ReconciliationSucceeded", (uint32_t)(minutes - noon - 1), noon + 1, minutes - 1},
    };

    *ret = spells[k < 3 ? k : 0];
    return k < (failed ? 3 : 1);
}

static bool on_record(void *arg, const struct record *r)
{
    struct walk *w = arg;
    char name[32];
    struct spell want;

    (void)snprintf(name, sizeof name, "%.*s", (int)r->name.len, r->name.at);
    int object = (int)strtol(name + 4, NULL, 10);
    w->records++;
    if (object < 0 || object >= OBJECTS || !spell_of(object, w->seen[object]++, w->minutes, &want)) {
        (void)snprintf(w->wrong, sizeof w->wrong, "record %" PRIu64 " of %s is one too many", r->seq, name);
        return false;
    }
    if (str_eq(r->reason, str_of(want.reason)) && r->count == want.count &&
        r->first.effective_ms == START_MS + want.first * MINUTE &&
        r->last.effective_ms == START_MS + want.last * MINUTE)
        return true;
    (void)snprintf(w->wrong, sizeof w->wrong,
                   "record %" PRIu64
                   " of %s is %.*s, %u times, minutes %lld to %lld, and not %s, %u times, minutes %d to %d",
                   r->seq, name, (int)r->reason.len, r->reason.at, r->count,
                   (long long)(r->first.effective_ms - START_MS) / MINUTE,
                   (long long)(r->last.effective_ms - START_MS) / MINUTE, want.reason, want.count, want.first,
                   want.last);
    return false;
}

static bool check_transitions(struct store *s, int minutes, struct walk *w)
{
    struct spell more;

    *w = (struct walk){.minutes = minutes};
    (void)store_scan(s, 0, false, SIZE_MAX, on_record, w, NULL);
    for (int object = 0; object < OBJECTS && !w->wrong[0]; object++)
        if (spell_of(object, w->seen[object], minutes, &more))
            (void)snprintf(w->wrong, sizeof w->wrong, "of app-%d only %d records are there", object,
                           w->seen[object]);
    return !w->wrong[0];
}

static int result(int *n, bool good, const char *name, const char *why)
{
    if (!good)
        printf("# %s\n", why);
    printf("%sok %d - a month: %s\n", good ? "" : "not ", ++*n, name);
    return !good;
}

static struct store *open_it(const char *dir)
{
    static char err[STORE_ERROR];
    static const struct reporter reporter = {.on_report = on_report};
    struct store_config config = {
        .dir = dir, .retention_ms = INT64_C(30) * 24 * 3600 * 1000, .max_bytes = UINT64_C(1) << 30};
    struct store *s = store_open(&config, &reporter, err);

    if (!s) {
        (void)fprintf(stderr, "%s\n", err);
        exit(2);
    }
    return s;
}

static void pass_minute(struct store *s, int minute)
{
    for (int object = 0; object < OBJECTS; object++)
        say(s, object, minute);
    (void)store_tick(s, START_MS + minute * MINUTE + 1000);
    while (store_flush(s), store_pending(s)) {
        struct pollfd fd = {.fd = store_fd(s), .events = POLLIN};
        (void)poll(&fd, 1, -1);
        store_dispatch(s);
    }
}

int main(int argc, char **argv)
{
    int minutes = (argc > 1 ? (int)strtol(argv[1], NULL, 10) : DAYS) * DAY;
    char dir[256];
    struct walk w;
    long long first_day = 0;
    clock_t start = clock();
    int n = 0;

    if (minutes <= DAY || !scratch_make(dir, true))
        return 2;
    struct store *s = open_it(dir);
    for (int minute = 0; minute < minutes; minute++) {
        pass_minute(s, minute);
        if (minute == DAY)
            first_day = file_bytes(dir);
    }
    long long end = file_bytes(dir);
    double us = (double)(clock() - start) / (CLOCKS_PER_SEC / 1e6) / (double)minutes / OBJECTS;
    int failed = result(&n, end < 8 << 20, "the file is below 8 MiB", "it is larger");
    failed += result(&n, end <= first_day * 105 / 100, "it does not grow after the first day", "it grew");
    failed += result(&n, check_transitions(s, minutes, &w), "every transition is there", w.wrong);
    store_close(s);
    s = open_it(dir);
    failed += result(&n, check_transitions(s, minutes, &w), "and after the store was opened anew", w.wrong);
    printf("# %d objects, each minute for %d days: %" PRIu64
           " records; the file has %lld bytes after a day, %lld at the "
           "end; %.1f us of processor time for each event\n",
           OBJECTS, minutes / DAY, w.records, first_day, end, us);
    if (argc > 2) {
        row("a month of 100 objects, each minute: the file at the end", (double)end / (1 << 20), "MiB",
            "<=", 8, "after a day %.2f MiB", (double)first_day / (1 << 20));
        row("growth after the first day", 100. * (double)(end - first_day) / (double)first_day, "%", "<=", 5,
            "%d events", minutes * OBJECTS);
    }
    store_close(s);
    scratch_remove(dir);
    return failed ? 1 : 0;
}
