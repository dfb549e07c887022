/* Filters of GET /events. */
#include "store/filter.h"

#include "harness.h"
#include "store/units.h"

#define NOW_MS INT64_C(1785578400000) /* 2026-08-01T10:00:00Z */
#define SHA    "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"

/* "name=value&name=value" */
static struct filter *filter_of(const char *query, char err[static FILTER_ERROR])
{
    struct filter_param params[16];
    struct str rest = str_of(query);
    size_t n = 0;

    while (rest.len) {
        struct str pair = str_split(&rest, '&');
        struct str name = str_split(&pair, '=');
        params[n++] = (struct filter_param){name, pair};
    }
    return filter_new(params, n, NOW_MS, err);
}

static const struct record record = {
    .seq = 9,
    .class = CLASS_SUCCESS,
    .count = 2,
    .first = {.effective_ms = NOW_MS - 7200000, .received_ms = NOW_MS - 7200000},
    .last = {.effective_ms = NOW_MS - 60000, .received_ms = NOW_MS},
    .cluster = {"prod", 4},
    .kind = {"Kustomization", 13},
    .namespace = {"flux-system", 11},
    .name = {"apps", 4},
    .severity = {"info", 4},
    .reason = {"ReconciliationSucceeded", 23},
    .revision = {"latest@sha256:aaaa", 18},
    .origin_revision = {"main@sha1:" SHA, 50},
};

static void test_passes(void)
{
    static const struct {
        const char *query;
        bool want;
    } rows[] = {
        {"", true},
        {"kind=Kustomization", true},
        {"kind=kustomization", false},
        {"kind=", false},
        {"namespace=flux-system&name=apps", true},
        {"namespace=flux-system&name=app", false},
        {"cluster=prod", true},
        {"cluster=", false},
        {"reason=ReconciliationSucceeded&severity=info", true},
        {"severity=error", false},
        {"revision=" SHA, true},
        {"revision=5394cb7", true},
        {"revision=5394cb", false},
        {"revision=main/" SHA, true},
        {"revision=dev/" SHA, false},
        {"revision=latest@sha256:aaaa", true},
        {"revision=main", false},
        {"revision=" SHA "&kind=HelmRelease", false},
        /* by the last statement, when it was said, not when it arrived */
        {"since=2026-08-01T09:59:00Z", true},
        {"since=2026-08-01T09:59:01Z", false},
        {"until=2026-08-01T09:59:00Z", false},
        {"until=2026-08-01T09:59:01Z", true},
        {"since=2m", true},
        {"since=30s", false},
        {"until=30s", true},
        {"until=2m", false},
        {"after=1000&limit=1&order=desc", true},
    };
    char err[FILTER_ERROR];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].query);
        struct filter *f = filter_of(rows[i].query, err);
        if (!f)
            HARNESS_FAIL("filter_new: %s", err);
        CHECK_INT(filter_passes(f, &record), rows[i].want);
        filter_free(f);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *query, *want;
    } rows[] = {
        {"knd=x", "unknown parameter \"knd\": known are kind, namespace, name, cluster, reason, severity, "
                  "revision, since, "
                  "until, after, limit, order"},
        {"Kind=x", "unknown parameter \"Kind\""},
        {"=x", "unknown parameter \"\""},
        {"a\nb=x", "unknown parameter \"a b\""},
        {"kind=x&kind=x", "repeated parameter \"kind\""},
        {"revision=", "parameter revision: \"\" is not a revision"},
        {"revision= ", "parameter revision: \" \" is not a revision"},
        {"since=yesterday",
         "parameter since: \"yesterday\" is not a time like 2026-08-01T10:00:00Z or a duration like 1h"},
        {"until=", "parameter until: \"\" is not a time like"},
        {"until=-1h", "parameter until: \"-1h\" is not a time like"},
        {"after=-1", "parameter after: \"-1\" is not an id, a whole number"},
        {"after=18446744073709551616", "parameter after: \"18446744073709551616\" is not an id"},
        {"limit=0", "parameter limit: \"0\" is not a whole number from 1 to 1000"},
        {"limit=1001", "parameter limit: \"1001\" is not"},
        {"limit=1e2", "parameter limit: \"1e2\" is not"},
        {"order=up", "parameter order: \"up\" is not asc or desc"},
        {"kind=Kustomization&order=", "parameter order: \"\" is not asc or desc"},
    };
    char err[FILTER_ERROR];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].query);
        CHECK(filter_of(rows[i].query, err) == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].want));
        CHECK(strchr(err, '\n') == NULL);
    }
}

static void test_scan_parameters(void)
{
    char err[FILTER_ERROR];
    uint64_t after = 7;
    struct filter *f = filter_of("", err);

    CHECK(f && !filter_after(f, &after));
    CHECK_INT(after, 7);
    CHECK_INT(filter_limit(f), 100);
    CHECK(!filter_descending(f));
    filter_free(f);
    f = filter_of("after=0&limit=1000&order=desc", err);
    CHECK(f && filter_after(f, &after));
    CHECK_INT(after, 0);
    CHECK_INT(filter_limit(f), 1000);
    CHECK(filter_descending(f));
    filter_free(f);
}

/* The request's memory may go away. */
static void test_owns_its_text(void)
{
    char err[FILTER_ERROR];
    char *query = malloc(64);
    CHECK(query != NULL);
    (void)snprintf(query, 64, "revision=%s", SHA);
    struct filter *f = filter_of(query, err);
    memset(query, 'x', 64);
    free(query);
    CHECK(f && filter_passes(f, &record));
    filter_free(f);
}

int main(void)
{
    return harness_run((struct test[]){
        TEST(test_passes), TEST(test_refused), TEST(test_scan_parameters), TEST(test_owns_its_text), {0}});
}
