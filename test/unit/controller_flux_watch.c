/* The second witness on the real store: what of a status is stored, and what is known already. */
#include "controller/flux_watch.h"

#include "golden.h"
#include "store/event_json.h"
#include "store_fixture.h"

static struct fixture *fixture;
static struct flux_watch *flux;
static struct reporter reporter;
static int lists_again, reports, told_suspended, told_any;
static int64_t wake;
static struct moment now;

static void on_list_again(void *arg)
{
    (void)arg;
    lists_again++;
}

static void on_wake_at(void *arg, int64_t mono_ms)
{
    (void)arg;
    wake = mono_ms;
}

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    reports += report->level >= REPORT_WARN;
}

static void on_suspended(void *arg, struct str kind, struct str namespace, struct str name)
{
    (void)arg;
    told_any++;
    if (!str_eq(name, STR("apps")))
        return;
    /* Whoever is told asks: the answer must be the new one. */
    if (flux_watch_is_suspended(flux, kind, namespace, name))
        CHECK(told_suspended % 2 == 0);
    else
        CHECK(told_suspended % 2 == 1);
    told_suspended += str_eq(kind, STR("Kustomization")) && str_eq(namespace, STR("flux-system")) &&
                      str_eq(name, STR("apps"));
}

static void watch_begin(void)
{
    static const struct flux_watch_io io = {NULL, on_list_again, on_wake_at, on_suspended};
    reporter = (struct reporter){on_report, NULL};
    flux = flux_watch_new(fixture->store, &io, &reporter);
    CHECK(flux != NULL);
}

static void begin(void)
{
    fixture = fixture_new();
    now = (struct moment){.wall_ms = NOW_MS, .mono_ms = 1000};
    lists_again = reports = told_suspended = told_any = 0;
    wake = 0;
    watch_begin();
}

static void end(void)
{
    fixture_close(fixture);
    flux_watch_free(flux);
    fixture_free(fixture);
}

static void restart(void)
{
    fixture_close(fixture);
    flux_watch_free(flux);
    fixture_open(fixture);
    watch_begin();
}

/* A line of a script. */
struct line {
    enum { STOP, STATUS, WEBHOOK, RESTART } what;
    const char *reason;   /* ReconciliationSucceeded, or a failure */
    const char *revision; /* "1": 40 times that digit, on main */
    int at_s;             /* after NOW_MS - 1 h */
    const char *uid;      /* NULL: "u" */
    uint64_t stored;      /* records there are afterwards */
};

static int version;

static void revision_of(const char *digit, char out[static 64])
{
    (void)snprintf(out, 64, "main@sha1:");
    memset(out + 10, digit[0], 40);
    out[50] = '\0';
}

static bool succeeds(const struct line *l)
{
    return strcmp(l->reason, "ReconciliationSucceeded") == 0;
}

static void show_status(const struct line *l, bool suspended, bool deleted)
{
    char json[2048], revision[64], time[TIME_TEXT];

    revision_of(l->revision, revision);
    (void)snprintf(
        json, sizeof json,
        "{\"apiVersion\":\"kustomize.toolkit.fluxcd.io/v1\",\"kind\":\"Kustomization\",\"metadata\":{"
        "\"name\":\"apps\",\"namespace\":\"flux-system\",\"uid\":\"%s\",\"resourceVersion\":\"%d\"},"
        "\"spec\":{\"suspend\":%s},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\","
        "\"reason\":\"%s\",\"message\":\"%s%s\",\"lastTransitionTime\":\"%s\"}],"
        "\"lastAppliedRevision\":\"%s\",\"lastAttemptedRevision\":\"%s\"}}",
        l->uid ? l->uid : "u", ++version, suspended ? "true" : "false", succeeds(l) ? "True" : "False",
        l->reason, succeeds(l) ? "Applied revision: " : "it failed ", succeeds(l) ? revision : "",
        time_format(NOW_MS - 3600000 + l->at_s * 1000, time), revision, revision);
    flux_watch_on_object(flux, 0, deleted, str_of(json), now);
}

static void notify(const struct line *l)
{
    char json[2048], revision[64], time[TIME_TEXT], err[EVENT_ERROR];

    revision_of(l->revision, revision);
    (void)snprintf(
        json, sizeof json,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"apps\","
        "\"uid\":\"%s\"},\"severity\":\"%s\",\"timestamp\":\"%s\",\"message\":\"notification %d\","
        "\"reason\":\"%s\",\"metadata\":{\"commit_status\":\"update\",\"revision\":\"%s\"}}",
        l->uid ? l->uid : "u", succeeds(l) ? "info" : "error",
        time_format(NOW_MS - 3600000 + l->at_s * 1000, time), ++version, l->reason, revision);
    struct flux_event *e = event_from_json(str_of(json), err);
    CHECK(e != NULL);
    CHECK_INT(store_append(fixture->store, e, str_of(json), VIA_WEBHOOK, now.wall_ms, NULL, NULL, 0),
              STORE_OK);
    event_json_free(e);
}

static uint64_t records(void)
{
    struct store_stats stats;
    store_get_stats(fixture->store, &stats);
    return stats.records;
}

#define S  "ReconciliationSucceeded"
#define BF "BuildFailed"
#define HF "HealthCheckFailed"
static const struct {
    const char *name;
    struct line lines[8];
} rows[] = {
    {"a status alone", {{STATUS, S, "1", 0, NULL, 1}}},
    {"seen again, with another resourceVersion",
     {{STATUS, S, "1", 0, NULL, 1}, {STATUS, S, "1", 0, NULL, 1}}},
    {"seen again after a restart",
     {{STATUS, S, "1", 0, NULL, 1}, {.what = RESTART}, {STATUS, S, "1", 0, NULL, 1}}},
    {"what a notification has said",
     {{WEBHOOK, S, "1", 3, NULL, 1},
      {STATUS, S, "1", 0, NULL, 1},
      {.what = RESTART},
      {STATUS, S, "1", 9, NULL, 1}}},
    {"a failure that a notification has said",
     {{WEBHOOK, BF, "1", 3, NULL, 1}, {STATUS, BF, "1", 0, NULL, 1}}},
    {"another failure", {{WEBHOOK, BF, "1", 0, NULL, 1}, {STATUS, HF, "1", 3, NULL, 2}}},
    {"a success after a failure", {{WEBHOOK, BF, "1", 0, NULL, 1}, {STATUS, S, "1", 3, NULL, 2}}},
    {"the next revision",
     {{WEBHOOK, S, "1", 0, NULL, 1}, {STATUS, S, "2", 3, NULL, 2}, {STATUS, S, "2", 3, NULL, 2}}},
    {"back to a revision that was there before",
     {{STATUS, S, "1", 0, NULL, 1}, {STATUS, S, "2", 3, NULL, 2}, {STATUS, S, "1", 6, NULL, 3}}},
    {"back again, the way there told by a notification",
     {{STATUS, S, "1", 0, NULL, 1}, {WEBHOOK, HF, "2", 3, NULL, 2}, {STATUS, S, "1", 6, NULL, 3}}},
    {"older than the newest notification, over and over",
     {{WEBHOOK, S, "2", 30, NULL, 1},
      {STATUS, BF, "2", 3, NULL, 2},
      {STATUS, BF, "2", 3, NULL, 2},
      {.what = RESTART},
      {STATUS, BF, "2", 3, NULL, 2}}},
    {"an object made anew", {{STATUS, S, "1", 0, NULL, 1}, {STATUS, S, "1", 0, "other", 2}}},
};

static void play(const struct line *l, bool commit)
{
    switch (l->what) {
    case STOP: break;
    case STATUS: show_status(l, false, false); break;
    case WEBHOOK: notify(l); break;
    case RESTART: restart(); break;
    }
    if (commit && l->what != RESTART) {
        fixture_settle(fixture);
        CHECK_INT(records(), l->stored);
    }
}

static void test_scripts(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        begin();
        for (const struct line *l = rows[i].lines; l->what != STOP; l++)
            play(l, true);
        end();
    }
}

/* The same when all of it is queued for one commit. */
static void test_scripts_in_one_batch(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t stored = 0;
        harness_case("%s", rows[i].name);
        begin();
        for (const struct line *l = rows[i].lines; l->what != STOP; l++)
            if (l->what != RESTART) {
                play(l, false);
                stored = l->stored;
            }
        fixture_settle(fixture);
        CHECK_INT(records(), stored);
        end();
    }
}

static bool check_record(void *arg, const struct record *r)
{
    (void)arg;
    CHECK_INT(r->via, VIA_STATUS);
    CHECK_INT(r->class, CLASS_SUCCESS);
    CHECK_STR(r->name, STR("apps"));
    CHECK_INT(r->first.effective_ms, NOW_MS - 3600000);
    return true;
}

static void test_record(void)
{
    const struct line line = {STATUS, S, "1", 0, NULL, 1};

    begin();
    play(&line, true);
    CHECK(store_get(fixture->store, 1, check_record, NULL, NULL));
    end();
}

/* The golden notification and the golden status of the same run. */
static void test_golden(void)
{
    char err[EVENT_ERROR];
    struct str event = golden_read("test/golden/flux/01-ks-success.json");
    struct str status = golden_read("test/golden/status/kustomization/ready.json");
    struct flux_event *e;

    begin();
    e = event_from_json(event, err);
    CHECK_INT(store_append(fixture->store, e, event, VIA_WEBHOOK, now.wall_ms, NULL, NULL, 0), STORE_OK);
    flux_watch_on_object(flux, 0, false, status, now);
    fixture_settle(fixture);
    CHECK_INT(records(), 1);
    event_json_free(e);
    free((char *)event.at);
    free((char *)status.at);
    end();
}

static void test_suspended(void)
{
    const struct line line = {STATUS, S, "1", 0, NULL, 1};
    const struct str kind = STR("Kustomization"), namespace = STR("flux-system"), name = STR("apps");

    begin();
    flux_watch_on_list(flux, 0);
    show_status(&line, true, false);
    flux_watch_on_synced(flux, 0);
    CHECK(flux_watch_is_suspended(flux, kind, namespace, name));
    CHECK_INT(told_suspended, 1);
    show_status(&line, true, false);
    CHECK_INT(told_suspended, 1); /* nothing new */
    CHECK(!flux_watch_is_suspended(flux, STR("HelmRelease"), namespace, name));
    CHECK(!flux_watch_is_suspended(flux, kind, namespace, STR("app")));
    show_status(&line, false, false);
    CHECK(!flux_watch_is_suspended(flux, kind, namespace, name));
    CHECK_INT(told_suspended, 2);
    show_status(&line, true, false);
    show_status(&line, true, true);
    CHECK(!flux_watch_is_suspended(flux, kind, namespace, name));
    show_status(&line, true, false);
    flux_watch_on_list(flux, 1); /* another watch's list says nothing of it */
    flux_watch_on_synced(flux, 1);
    CHECK(flux_watch_is_suspended(flux, kind, namespace, name));
    CHECK_INT(told_suspended, 5);
    flux_watch_on_list(flux, 0);
    CHECK_INT(told_suspended, 5);
    flux_watch_on_synced(flux, 0);
    CHECK(!flux_watch_is_suspended(flux, kind, namespace, name));
    CHECK_INT(told_suspended, 6);
    show_status(&line, true, false);
    CHECK_INT(told_suspended, 7);
    flux_watch_on_absent(flux, 0);
    CHECK(!flux_watch_is_suspended(flux, kind, namespace, name));
    CHECK_INT(told_suspended, 8);
    end();
}

static void show_suspended(unsigned scope, int n)
{
    char json[256];

    (void)snprintf(
        json, sizeof json,
        "{\"apiVersion\":\"kustomize.toolkit.fluxcd.io/v1\",\"kind\":\"Kustomization\",\"metadata\":{"
        "\"name\":\"app-%d\",\"namespace\":\"fs\",\"uid\":\"u\"},\"spec\":{\"suspend\":true}}",
        n);
    flux_watch_on_object(flux, scope, false, str_of(json), now);
}

/* As many as there are, of two watches; a list leaves those that it showed, and those of the other watch. */
static void test_many_suspended(void)
{
    enum { MANY = 100 };

    begin();
    for (unsigned scope = 0; scope < 2; scope++) {
        flux_watch_on_list(flux, scope);
        for (int i = (int)scope; i < MANY; i += 2)
            show_suspended(scope, i);
        flux_watch_on_synced(flux, scope);
    }
    CHECK_INT(told_any, MANY);
    flux_watch_on_list(flux, 0);
    for (int i = 0; i < MANY; i += 6)
        show_suspended(0, i);
    CHECK_INT(told_any, MANY);
    flux_watch_on_synced(flux, 0);
    int left = 0;
    for (int i = 0; i < MANY; i++) {
        char name[16];
        harness_case("app-%d", i);
        (void)snprintf(name, sizeof name, "app-%d", i);
        bool want = i % 2 == 1 || i % 6 == 0;
        CHECK_INT(flux_watch_is_suspended(flux, STR("Kustomization"), STR("fs"), str_of(name)), want);
        left += want;
    }
    CHECK_INT(told_any, MANY + MANY - left);
    end();
}

static uint64_t measured(const char *name)
{
    struct metric_source source = flux_watch_metrics(flux);
    const struct metric *m = source.table;

    while (m->name && strcmp(m->name, name) != 0)
        m++;
    CHECK(m->name != NULL);
    return *(const uint64_t *)((const char *)source.collect(source.arg) + m->offset);
}

static void test_malformed_objects_are_skipped(void)
{
    const struct line line = {STATUS, S, "1", 0, NULL, 1};

    begin();
    flux_watch_on_object(flux, 0, false, STR("{"), now);
    flux_watch_on_object(flux, 0, false, STR("{\"kind\":\"Kustomization\"}"), now);
    play(&line, true);
    CHECK_INT(measured("flux_event_store_flux_objects_total"), 3);
    CHECK_INT(measured("flux_event_store_flux_objects_malformed_total"), 2);
    CHECK_INT(reports, 1);
    end();
}

/* What the store refuses is asked for again, later and once. */
static void test_lost_appends(void)
{
    const struct line line = {STATUS, S, "1", 0, NULL, 1};
    char big[65536];
    struct flux_event e = {.reason = STR("x")};

    begin();
    fixture_close(fixture);
    struct store_config config = {.dir = fixture->dir, .max_queued_bytes = sizeof big};
    char err[STORE_ERROR];
    fixture->store = store_open(&config, &reporter, err);
    CHECK(fixture->store != NULL);
    flux_watch_free(flux);
    watch_begin();
    memset(big, 'x', sizeof big);
    CHECK_INT(store_append(fixture->store, &e, (struct str){big, sizeof big}, VIA_WEBHOOK, now.wall_ms, NULL,
                           NULL, 0),
              STORE_OK);
    play(&line, false);
    flux_watch_tick(flux, now);
    CHECK_INT(wake, now.mono_ms + FLUX_WATCH_RETRY_MS);
    fixture_settle(fixture);
    CHECK_INT(records(), 1);
    now.mono_ms = wake - 1;
    flux_watch_tick(flux, now);
    CHECK_INT(lists_again, 0);
    now.mono_ms = wake;
    flux_watch_tick(flux, now);
    flux_watch_tick(flux, now);
    CHECK_INT(lists_again, 1);
    CHECK_INT(measured("flux_event_store_flux_statuses_lost_total"), 1);
    play(&line, false);
    fixture_settle(fixture);
    CHECK_INT(records(), 2);
    end();
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_scripts),
                                       TEST(test_scripts_in_one_batch),
                                       TEST(test_record),
                                       TEST(test_golden),
                                       TEST(test_suspended),
                                       TEST(test_many_suspended),
                                       TEST(test_malformed_objects_are_skipped),
                                       TEST(test_lost_appends),
                                       {0}});
}
