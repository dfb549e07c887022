/* A store in a directory of its own, for tests of store/. */
#ifndef FES_TEST_STORE_FIXTURE_H
#define FES_TEST_STORE_FIXTURE_H

#include <dirent.h>
#include <poll.h>
#include <unistd.h>

#include "harness.h"
#include "store/store_priv.h"
#include "store/units.h"

#define NOW_MS      INT64_C(1785578400000) /* 2026-08-01T10:00:00Z */
#define DONE_MAX    4096
#define DEADLINE_MS 30000

struct done {
    uint64_t token;
    enum store_status status;
    uint64_t seq;
};

struct fixture {
    char dir[64];
    struct store *store;
    struct done done[DONE_MAX];
    size_t n_done;
    char last_error[256];
    int64_t retention_ms;
    uint64_t max_bytes;
    bool uncoalesced; /* each statement is a record, from the next opening on */
};

__attribute__((unused)) static void fixture_report(void *arg, const struct report *report)
{
    struct fixture *f = arg;
    if (report->level == REPORT_ERROR)
        (void)snprintf(f->last_error, sizeof f->last_error, "%s", report->sentence);
}

__attribute__((unused)) static void fixture_done(void *arg, uint64_t token, enum store_status status,
                                                 uint64_t seq)
{
    struct fixture *f = arg;
    if (f->n_done < DONE_MAX)
        f->done[f->n_done++] = (struct done){token, status, seq};
}

__attribute__((unused)) static struct store *fixture_try_open(struct fixture *f, const char *cluster,
                                                              char err[static STORE_ERROR])
{
    struct reporter reporter = {fixture_report, f};
    struct store_config config = {.dir = f->dir,
                                  .cluster = cluster,
                                  .allow_network_fs = true,
                                  .retention_ms = f->retention_ms,
                                  .max_bytes = f->max_bytes};
    return store_open(&config, &reporter, err);
}

__attribute__((unused)) static void fixture_open(struct fixture *f)
{
    char err[STORE_ERROR] = "";
    f->store = fixture_try_open(f, NULL, err);
    if (!f->store)
        HARNESS_FAIL("store_open: %s", err);
    f->store->coalescing = !f->uncoalesced;
}

/* Where the directories are made. Tests of thousands of commits take one in memory, where there is one. */
static const char *fixture_base = "/tmp";

__attribute__((unused)) static void fixture_in_memory(void)
{
    if (access("/dev/shm", W_OK) == 0)
        fixture_base = "/dev/shm";
}

__attribute__((unused)) static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    CHECK(f != NULL);
    (void)snprintf(f->dir, sizeof f->dir, "%s/fes-store-XXXXXX", fixture_base);
    CHECK(mkdtemp(f->dir) != NULL);
    fixture_open(f);
    return f;
}

__attribute__((unused)) static struct fixture *fixture_new_uncoalesced(void)
{
    struct fixture *f = fixture_new();
    f->uncoalesced = true;
    f->store->coalescing = false;
    return f;
}

__attribute__((unused)) static void fixture_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

__attribute__((unused)) static void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

__attribute__((unused)) static void fixture_free(struct fixture *f)
{
    char path[512];
    fixture_close(f);
    DIR *dir = opendir(f->dir);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, entry->d_name);
        (void)unlink(path);
    }
    if (dir)
        (void)closedir(dir);
    (void)rmdir(f->dir);
    free(f);
}

/* One loop turn: hands over, waits until the commit has returned, dispatches. */
__attribute__((unused)) static void fixture_turn(struct fixture *f)
{
    struct pollfd fd = {.fd = store_fd(f->store), .events = POLLIN};
    store_flush(f->store);
    if (store_pending(f->store) && poll(&fd, 1, DEADLINE_MS) != 1)
        HARNESS_FAIL("the commit did not return within %d ms", DEADLINE_MS);
    store_dispatch(f->store);
}

__attribute__((unused)) static void fixture_settle(struct fixture *f)
{
    while (store_pending(f->store))
        fixture_turn(f);
}

/* How many there were. */
__attribute__((unused)) static uint64_t fixture_commits(const struct fixture *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= METRIC_BUCKETS; i++)
        n += f->store->numbers.commit_us.counts[i];
    return n;
}

/* An event about Kustomization flux-system/apps with a body that says the same. */
struct said {
    const char *kind, *namespace, *name, *reason, *revision, *cluster, *message;
    int64_t timestamp_ms; /* 0: none */
    const char *body;     /* NULL: made of the rest */
};

__attribute__((unused)) static struct flux_event event_of(const struct said *said)
{
    return (struct flux_event){
        .cluster = str_of(said->cluster),
        .kind = str_of(said->kind),
        .namespace = str_of(said->namespace),
        .name = str_of(said->name),
        .reason = str_of(said->reason),
        .severity = str_ends(str_of(said->reason), STR("Failed")) ? STR("error") : STR("info"),
        .revision = str_of(said->revision),
        .message = str_of(said->message),
        .timestamp_ms = said->timestamp_ms,
        .has_timestamp = said->timestamp_ms != 0,
        .plain = true,
    };
}

__attribute__((unused)) static enum store_status fixture_say(struct fixture *f, const struct said *said,
                                                             int64_t now_ms, uint64_t token)
{
    struct flux_event e = event_of(said);
    char body[2048];
    (void)snprintf(body, sizeof body, "{%s/%s/%s %s %s %s %s %lld}", said->cluster ? said->cluster : "",
                   said->kind ? said->kind : "", said->name ? said->name : "",
                   said->namespace ? said->namespace : "", said->reason ? said->reason : "",
                   said->revision ? said->revision : "", said->message ? said->message : "",
                   (long long)said->timestamp_ms);
    return store_append(f->store, &e, str_of(said->body ? said->body : body), VIA_WEBHOOK, now_ms,
                        fixture_done, f, token);
}

/* Appends and commits; returns the sequence number. */
__attribute__((unused)) static uint64_t fixture_store(struct fixture *f, const struct said *said,
                                                      int64_t now_ms)
{
    CHECK_INT(fixture_say(f, said, now_ms, 0), STORE_OK);
    fixture_settle(f);
    CHECK(f->n_done > 0);
    CHECK_INT(f->done[f->n_done - 1].status, STORE_OK);
    return f->done[f->n_done - 1].seq;
}

#endif
