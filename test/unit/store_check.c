/* --check looks at a data directory, says what a server would say of it, and makes nothing. */
#include "store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

static int n_reports;
static char last_report[128];

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    n_reports++;
    (void)snprintf(last_report, sizeof last_report, "%s", report->sentence);
}

static bool check(const char *dir, char err[static STORE_ERROR])
{
    const struct reporter reporter = {on_report, NULL};
    const struct store_config config = {.dir = dir, .allow_network_fs = true};

    n_reports = 0;
    err[0] = '\0';
    return store_check(&config, &reporter, err);
}

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *dir = opendir(path);

    CHECK(dir != NULL);
    while (readdir(dir))
        n++;
    (void)closedir(dir);
    return n;
}

static void test_where_nothing_is(void)
{
    static const struct {
        const char *suffix, *err; /* NULL: a server could make it */
    } rows[] = {
        {"", NULL},
        {"/new", NULL},
        {"/new/", NULL},
        {"/no/such", "cannot be used: No such file or directory"},
        {"/file", "cannot be used: Not a directory"},
        {"/file/x", "cannot be used: Not a directory"},
    };
    char base[] = "/tmp/fes-check-XXXXXX", path[64], err[STORE_ERROR];

    CHECK(mkdtemp(base) != NULL);
    (void)snprintf(path, sizeof path, "%s/file", base);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    (void)close(fd);
    size_t before = entries(base);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char named[80];
        (void)snprintf(named, sizeof named, "%s%s", base, rows[i].suffix);
        harness_case("%s", rows[i].suffix);
        CHECK_INT(check(named, err), rows[i].err == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].err));
        CHECK_HAS(str_of(err), str_of(rows[i].err ? named : ""));
    }
    CHECK_INT(entries(base), before);
    (void)unlink(path);
    (void)rmdir(base);
}

static void test_names_that_are_too_long(void)
{
    char name[8192], err[STORE_ERROR];

    memset(name, 'd', sizeof name);
    name[sizeof name - 1] = '\0';
    CHECK(!check(name, err));
    CHECK(str_starts(str_of(err), STR("the data directory ddd")));
}

/* What is in use is left alone, and not called bad; afterwards it is read. */
static void test_a_store(void)
{
    struct fixture *f = fixture_new();
    struct said said = {
        .kind = "Kustomization", .name = "apps", .reason = "ReconciliationSucceeded", .revision = "a"};
    char path[128], err[STORE_ERROR];

    CHECK_INT(fixture_store(f, &said, NOW_MS), 1);
    harness_case("in use");
    CHECK(check(f->dir, err));
    CHECK_INT(n_reports, 1);
    CHECK_TEXT(last_report, "the data directory is in use; what is in it was not read");
    said.revision = "b";
    CHECK_INT(fixture_store(f, &said, NOW_MS), 2); /* nor is it disturbed */
    fixture_close(f);
    harness_case("free");
    CHECK(check(f->dir, err));
    CHECK(check(f->dir, err)); /* and it is let go */
    harness_case("no store");
    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    CHECK_INT(truncate(path, 100), 0);
    CHECK(!check(f->dir, err));
    CHECK_HAS(str_of(err), str_of(f->dir));
    fixture_free(f);
}

int main(void)
{
    return harness_run((struct test[]){
        TEST(test_where_nothing_is), TEST(test_names_that_are_too_long), TEST(test_a_store), {0}});
}
