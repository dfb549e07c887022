/* What the store costs: a commit beside the same put in bare LMDB, appends per second in groups, a question about an
 * object that a fleet of clusters has, and what a million records take to open and to hold. Prints a table; gates nothing.
 *
 *   store_bench DIR [RECORDS]      DIR: an empty directory on the disk to be measured
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "row.h"
#include "store/ask.h"
#include "store/store_priv.h"

#define SINGLES 2000
#define NOW_MS  INT64_C(1785578400000)

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    fprintf(stderr, "%s\n", report->sentence);
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "store_bench: %s: %s\n", what, why);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_latency(const char *what, double *us, size_t n)
{
    qsort(us, n, sizeof *us, compare);
    printf("%-44s p50 %7.0f us   p99 %7.0f us\n", what, us[n / 2], us[n * 99 / 100]);
}

/* About what Flux sends: 1.2 KB, 50 objects, each revision reported twice by each of them. */
static enum store_status append(struct store *s, uint64_t i, size_t body_len)
{
    char name[32];
    char revision[64];
    static char body[4096];
    uint64_t commit = i / 100 + 1;

    (void)snprintf(name, sizeof name, "app-%llu", (unsigned long long)(i % 50));
    (void)snprintf(revision, sizeof revision, "main@sha1:%016llx%016llx%08llx",
                   (unsigned long long)(commit * 0x9E3779B97F4A7C15),
                   (unsigned long long)(commit * 0xC2B2AE3D27D4EB4F),
                   (unsigned long long)(uint32_t)(commit * 0x165667B1));
    int n = snprintf(body, sizeof body, "{\"n\":%llu,\"revision\":\"%s\",\"x\":\"", (unsigned long long)i,
                     revision);
    memset(body + n, 'x', body_len - (size_t)n);
    struct flux_event e = {.kind = STR("Kustomization"),
                           .namespace = STR("flux-system"),
                           .name = str_of(name),
                           .uid = STR("7d0cdc51-ddcf-4743-b223-83ca5c699632"),
                           .severity = STR("info"),
                           .reason = i % 100 < 50 ? STR("Progressing") : STR("ReconciliationSucceeded"),
                           .revision = str_of(revision),
                           .message = STR("Reconciliation finished in 91.2ms, next run in 1m0s"),
                           .timestamp_ms = NOW_MS - 1000,
                           .has_timestamp = true,
                           .plain = true};
    return store_append(s, &e, (struct str){body, body_len}, VIA_WEBHOOK, NOW_MS, NULL, NULL, 0);
}

/* One loop turn; returns how long the dispatch took. */
static double turn(struct store *s)
{
    struct pollfd fd = {.fd = store_fd(s), .events = POLLIN};
    store_flush(s);
    (void)poll(&fd, 1, -1);
    double before = now_us();
    store_dispatch(s);
    if (store_dead(s))
        die("store", store_errmsg(s));
    return now_us() - before;
}

static struct store *open_store(const char *dir)
{
    char err[STORE_ERROR];
    struct reporter reporter = {.on_report = on_report};
    struct store *s =
        store_open(&(struct store_config){.dir = dir, .allow_network_fs = true}, &reporter, err);
    if (!s)
        die("open", err);
    s->coalescing = false;
    return s;
}

static double raw_put(MDB_env *env, MDB_dbi dbi, uint64_t seq, size_t len)
{
    static char bytes[4096];
    unsigned char name[8];
    MDB_txn *txn;
    MDB_val key = {8, name};
    MDB_val value = {len, bytes};
    double start = now_us();

    commit_key(seq, name);
    if (mdb_txn_begin(env, NULL, 0, &txn) || mdb_put(txn, dbi, &key, &value, MDB_APPEND) ||
        mdb_txn_commit(txn))
        die("raw", "put");
    return now_us() - start;
}

/* Alternating, so that both meet the same disk. */
static void bench_single(const char *dir, struct store *s, uint64_t *i)
{
    static double raw[SINGLES];
    static double own[SINGLES];
    char path[4096];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    (void)snprintf(path, sizeof path, "%s/raw", dir);
    if (mdb_env_create(&env) || mdb_env_set_mapsize(env, STORE_MAP_BYTES) ||
        mdb_env_open(env, path, MDB_NOTLS | MDB_NOSUBDIR, 0600) || mdb_txn_begin(env, NULL, 0, &txn) ||
        mdb_dbi_open(txn, NULL, 0, &dbi) || mdb_txn_commit(txn))
        die("raw", "open");
    for (size_t n = 0; n < SINGLES; n++) {
        raw[n] = raw_put(env, dbi, n + 1, 1500);
        double start = now_us();
        (void)append(s, (*i)++, 1200);
        (void)turn(s);
        own[n] = now_us() - start;
    }
    mdb_env_close(env);
    print_latency("bare LMDB, 1 put of 1.5 KB, commit", raw, SINGLES);
    print_latency("store, 1 append of 1.2 KB until completed", own, SINGLES);
    printf("%-44s %.2f\n", "ratio of the p50", own[SINGLES / 2] / raw[SINGLES / 2]);
}

static void bench_group(struct store *s, uint64_t *i, size_t group, size_t total)
{
    double start = now_us();
    double handing = 0;
    double dispatching = 0;

    for (size_t n = 0; n < total; n += group) {
        for (size_t k = 0; k < group; k++)
            (void)append(s, (*i)++, 1200);
        double before = now_us();
        store_flush(s);
        handing += now_us() - before;
        dispatching += turn(s);
    }
    printf("groups of %-5zu %25.0f appends/s; on the loop %.0f us to hand over, %.0f us to publish\n", group,
           (double)total / (now_us() - start) * 1e6, handing / (double)(total / group),
           dispatching / (double)(total / group));
}

static long resident_anon_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld", &kb) == 1)
            break;
    if (f)
        (void)fclose(f);
    return kb;
}

#define FLEET         50
#define FLEET_RECORDS 30000
#define ASKS          200

static void revision_of_fleet(unsigned commit, char revision[static 64])
{
    (void)snprintf(revision, 64, "main@sha1:%08x%032x", (unsigned)(commit * 0x9E3779B1u), commit);
}

/* An object of the same name in each of a fleet's clusters, which report it for 600 revisions; the last is asked for. */
static void bench_fleet(const char *dir)
{
    char path[4096];
    char cluster[32];
    char revision[64];
    char body[32];
    struct verdict_now now = {.wall_ms = NOW_MS + FLEET_RECORDS * 1000, .failures_from_ms = INT64_MIN};

    (void)snprintf(path, sizeof path, "%s/fleet", dir);
    struct store *s = open_store(path);
    for (unsigned i = 0; i < FLEET_RECORDS; i++) {
        (void)snprintf(cluster, sizeof cluster, "cluster-%u", i % FLEET);
        (void)snprintf(body, sizeof body, "{%u}", i);
        revision_of_fleet(i / FLEET, revision);
        struct flux_event e = {.kind = STR("Kustomization"),
                               .namespace = STR("flux-system"),
                               .name = STR("apps"),
                               .cluster = str_of(cluster),
                               .severity = STR("info"),
                               .reason = STR("ReconciliationSucceeded"),
                               .revision = str_of(revision)};
        (void)store_append(s, &e, str_of(body), VIA_WEBHOOK, NOW_MS + (int64_t)i * 1000, NULL, NULL, 0);
        if (i % 1000 == 999)
            (void)turn(s);
    }
    struct question q = {.revision = str_of(revision), .expect = 1, .since_ms = INT64_MIN};
    double start = now_us();
    for (int i = 0; i < ASKS; i++)
        verdict_free(ask(s, &q, now, NULL));
    printf("a question about an object of %d clusters with %d records %10.0f us\n", FLEET, FLEET_RECORDS,
           (now_us() - start) / ASKS);
    store_close(s);
}

int main(int argc, char **argv)
{
    uint64_t i = 0;
    char dir[4096];

    if (argc < 2)
        die("usage", "store_bench DIR [RECORDS]");
    uint64_t records = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    (void)snprintf(dir, sizeof dir, "%s/data", argv[1]);
    struct store *s = open_store(dir);
    bench_single(argv[1], s, &i);
    bench_group(s, &i, 64, 64 * 300);
    bench_group(s, &i, 1024, UINT64_C(1024) * 60);
    while (i < records)
        bench_group(s, &i, 1024, records - i > 200000 ? 200000 : (size_t)(records - i) + 1024);
    store_close(s);
    bench_fleet(argv[1]);

    long before = resident_anon_kb();
    double fastest = 1e12;
    for (int round = 0; round < 3; round++) {
        double start = now_us();
        s = open_store(dir);
        double us = now_us() - start;
        struct store_stats stats;
        store_get_stats(s, &stats);
        printf("open, %llu records: %.0f ms; index %.1f bytes a record, resident +%.1f MiB anonymous\n",
               (unsigned long long)stats.records, us / 1e3,
               (double)index_bytes(s->index) / (double)stats.records,
               (double)(resident_anon_kb() - before) / 1024);
        fastest = us < fastest ? us : fastest;
        store_close(s);
    }
    row("the library opens a store of so many records, warm", fastest / 1e3, "ms", "<=", 1000,
        "the best of three; %llu records", (unsigned long long)i);
    return 0;
}
