/* --check looks at a data directory, says what a server would say of it, and leaves nothing behind. */
#include "store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/* As a file system that knows only files with a name. Linked with --wrap=open. */
static bool named_only;
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, mode_t mode);

int __wrap_open(const char *path, int flags, mode_t mode)
{
    if (named_only && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return __real_open(path, flags, mode);
}

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

static void look_where_nothing_is(void)
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
        {"/nowhere", "cannot be used: No such file or directory"},
        {"/nowhere//", "cannot be used: No such file or directory"},
    };
    char base[] = "/tmp/fes-check-XXXXXX", path[64], err[STORE_ERROR];

    CHECK(mkdtemp(base) != NULL);
    (void)snprintf(path, sizeof path, "%s/file", base);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    (void)close(fd);
    char link[64];
    (void)snprintf(link, sizeof link, "%s/nowhere", base);
    CHECK_INT(symlink("/no/such/place", link), 0);
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
    (void)unlink(link);
    CHECK_INT(rmdir(base), 0);
}

static void test_where_nothing_is(void)
{
    look_where_nothing_is();
    named_only = true;
    look_where_nothing_is();
    named_only = false;
}

/* Root may write there as far as rights go. */
static void test_where_nothing_can_be_made(void)
{
    static const char *const names[] = {"/proc", "/proc/", "/proc/fes", "/proc/self/fd", "/proc/self/fd/fes"};
    char err[STORE_ERROR];

    for (size_t i = 0; i < 2 * (sizeof names / sizeof names[0]); i++) {
        const char *name = names[i / 2];
        harness_case("%s, %d", name, (int)(i % 2));
        named_only = i % 2 > 0;
        CHECK(!check(name, err));
        CHECK_HAS(str_of(err), str_of(name));
        CHECK_HAS(str_of(err), STR(" cannot be used: "));
    }
    named_only = false;
}

/* Somebody who looks is not seen, not even by who looks at times. */
static void test_no_trace(void)
{
    char dir[] = "/tmp/fes-check-XXXXXX", err[STORE_ERROR];
    struct stat before, after;

    CHECK(mkdtemp(dir) != NULL);
    CHECK_INT(stat(dir, &before), 0);
    CHECK(check(dir, err));
    CHECK_INT(stat(dir, &after), 0);
    CHECK(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    (void)rmdir(dir);
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
    return harness_run((struct test[]){TEST(test_where_nothing_is),
                                       TEST(test_where_nothing_can_be_made),
                                       TEST(test_no_trace),
                                       TEST(test_names_that_are_too_long),
                                       TEST(test_a_store),
                                       {0}});
}
