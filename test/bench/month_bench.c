/* A month in a minute: 100 objects that report at every minute for 30 days, 4.3 million events. Prints how large the
 * file is after the first day and at the end, and fails when it grew by more than 5 %, reached 8 MiB, or a transition is
 * missing.
 *
 *   month_bench DIR      DIR: an empty directory, best one in memory
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "row.h"
#include "store/store_priv.h"

#define START_MS INT64_C(1785578400000)
#define OBJECTS  100
#define DAYS     30
#define MINUTES  (DAYS * 24 * 60)
#define DAY      (24 * 60)

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    (void)fprintf(stderr, "%s\n", report->sentence);
}

/* One object fails for a minute at noon of every second day: two transitions. */
#define TRANSITIONS DAYS
static bool fails(int object, int minute)
{
    return minute % (2 * DAY) == DAY / 2 && object == minute / DAY;
}

static void say(struct store *s, int object, int minute)
{
    static char body[4096];
    char name[32];
    int64_t now_ms = START_MS + (int64_t)minute * 60000;
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

int main(int argc, char **argv)
{
    char err[STORE_ERROR];
    struct reporter reporter = {.on_report = on_report};
    struct store_config config = {.dir = argc > 1 ? argv[1] : NULL,
                                  .retention_ms = INT64_C(30) * 24 * 3600 * 1000,
                                  .max_bytes = UINT64_C(1) << 30};
    struct store *s = config.dir ? store_open(&config, &reporter, err) : NULL;
    struct store_stats stats;
    long long first_day = 0;
    clock_t start = clock();

    if (!s)
        return 2;
    for (int minute = 0; minute < MINUTES; minute++) {
        for (int object = 0; object < OBJECTS; object++)
            say(s, object, minute);
        (void)store_tick(s, START_MS + (int64_t)minute * 60000 + 1000);
        while (store_flush(s), store_pending(s)) {
            struct pollfd fd = {.fd = store_fd(s), .events = POLLIN};
            (void)poll(&fd, 1, -1);
            store_dispatch(s);
        }
        if (minute == DAY)
            first_day = file_bytes(config.dir);
    }
    store_get_stats(s, &stats);
    long long end = file_bytes(config.dir);
    bool good = end <= first_day * 105 / 100 && end < 8 << 20 && stats.records == OBJECTS + TRANSITIONS;
    printf("%d objects, each minute for %d days: %llu events, %llu records (%d and %d transitions), index "
           "%zu bytes\n",
           OBJECTS, DAYS, (unsigned long long)stats.received, (unsigned long long)stats.records, OBJECTS,
           TRANSITIONS, index_bytes(s->index));
    printf("file after a day %lld bytes, at the end %lld; %.1f us of processor time for each event: %s\n",
           first_day, end, (double)(clock() - start) / (CLOCKS_PER_SEC / 1e6) / (double)stats.received,
           good ? "good" : "NOT GOOD");
    row("a month of 100 objects, each minute: the file at the end", (double)end / (1 << 20), "MiB", "<=", 8,
        "after a day %.2f MiB", (double)first_day / (1 << 20));
    row("growth after the first day", 100. * (double)(end - first_day) / (double)first_day, "%", "<=", 5,
        "%llu events", (unsigned long long)stats.received);
    store_close(s);
    return good ? 0 : 1;
}
