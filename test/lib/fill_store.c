/* fill_store DIR RECORDS [BODY_BYTES [OBJECTS]]: a store with many records, quickly: nothing is synced.
 *
 * About what Flux sends: OBJECTS objects (50), each of which says of each revision that it goes on and that it succeeded.
 * Record n has the revision of commit n / (2 * OBJECTS); the newest was received now, and one a second before.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/store_priv.h"

#define BODY_MAX 65536

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "fill_store: %s: %s\n", what, why);
    exit(1);
}

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    (void)fprintf(stderr, "fill_store: %s\n", report->sentence);
}

static void append(struct store *s, uint64_t n, size_t body_len, uint64_t objects, int64_t now_ms)
{
    static char body[BODY_MAX + 256];
    char name[32];
    char revision[64];
    uint64_t commit = n / (2 * objects);
    bool success = n / objects % 2;

    (void)snprintf(name, sizeof name, "app-%llu", (unsigned long long)(n % objects));
    (void)snprintf(revision, sizeof revision, "main@sha1:%08llx%032llx",
                   (unsigned long long)(uint32_t)(commit * 0x165667B1), (unsigned long long)commit);
    const char *reason = success ? "ReconciliationSucceeded" : "Progressing";
    int len = snprintf(
        body, 256,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"%s\"},"
        "\"reason\":\"%s\",\"metadata\":{\"revision\":\"%s\"},\"message\":\"%llu ",
        name, reason, revision, (unsigned long long)n);
    size_t at = (size_t)len;
    for (; at + 2 < body_len; at++)
        body[at] = 'x';
    memcpy(body + at, "\"}", 2);
    struct flux_event e = {.kind = STR("Kustomization"),
                           .namespace = STR("flux-system"),
                           .name = str_of(name),
                           .severity = STR("info"),
                           .reason = str_of(reason),
                           .revision = str_of(revision),
                           .message = STR("Reconciliation finished in 91.2ms, next run in 1m0s"),
                           .timestamp_ms = now_ms - 1000,
                           .has_timestamp = true,
                           .plain = true};
    if (store_append(s, &e, (struct str){body, at + 2}, VIA_WEBHOOK, now_ms, NULL, NULL, 0) != STORE_OK)
        die("append", "refused");
}

static void turn(struct store *s)
{
    struct pollfd fd = {.fd = store_fd(s), .events = POLLIN};

    store_flush(s);
    (void)poll(&fd, 1, -1);
    store_dispatch(s);
    if (store_dead(s))
        die("commit", store_errmsg(s));
}

int main(int argc, char **argv)
{
    char err[STORE_ERROR];
    struct reporter reporter = {.on_report = on_report};
    struct store_config config = {.dir = argc > 1 ? argv[1] : "", .allow_network_fs = true};
    uint64_t records = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    size_t body_len = argc > 3 ? strtoul(argv[3], NULL, 10) : 300;
    uint64_t objects = argc > 4 ? strtoull(argv[4], NULL, 10) : 50;

    if (records == 0 || body_len > BODY_MAX || objects == 0)
        die("usage", "fill_store DIR RECORDS [BODY_BYTES [OBJECTS]]");
    struct store *s = store_open(&config, &reporter, err);
    if (!s)
        die("open", err);
    (void)mdb_env_set_flags(s->env, MDB_NOSYNC, 1);
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    for (uint64_t n = 0; n < records; n++) {
        append(s, n, body_len, objects, now_ms - (int64_t)(records - n) * 1000);
        if (n % STORE_BATCH_EVENTS == STORE_BATCH_EVENTS - 1)
            turn(s);
    }
    store_close(s);
    return 0;
}
