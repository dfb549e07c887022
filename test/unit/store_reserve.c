/* What the file of a store has beside LMDB's pages (store/commit.c). */
#include <fcntl.h>
#include <sys/stat.h>

#include "store_fixture.h"

static int open_data(const struct fixture *f)
{
    char path[600];

    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    return fd;
}

static off_t bytes_used(const struct fixture *f)
{
    MDB_envinfo info;
    MDB_stat stat;

    CHECK_INT(mdb_env_info(f->store->env, &info), 0);
    CHECK_INT(mdb_env_stat(f->store->env, &stat), 0);
    return (off_t)((info.me_last_pgno + 1) * stat.ms_psize);
}

static void say(struct fixture *f, unsigned from, unsigned to)
{
    static char message[1000];
    char revision[64];

    memset(message, 'm', sizeof message - 1);
    for (unsigned i = from; i < to; i++) {
        (void)snprintf(revision, sizeof revision, "main@sha1:%040u", i);
        const struct said said = {.kind = "Kustomization",
                                  .namespace = "flux-system",
                                  .name = "apps",
                                  .reason = "ReconciliationSucceeded",
                                  .revision = revision,
                                  .message = message};
        CHECK_INT(fixture_say(f, &said, NOW_MS + i, i), STORE_OK);
    }
    fixture_settle(f);
}

/* Bytes before the first that are not written: a file system shows what is only reserved as a hole. */
static off_t bytes_written(const struct fixture *f)
{
    int fd = open_data(f);
    off_t hole = lseek(fd, 0, SEEK_HOLE);

    (void)close(fd);
    return hole;
}

static off_t bytes_of_file(const struct fixture *f)
{
    struct stat st;
    int fd = open_data(f);

    CHECK_INT(fstat(fd, &st), 0);
    (void)close(fd);
    return st.st_size;
}

/* The very first commits have pages for which there was no time. */
static void test_the_reserve_is_written(void)
{
    struct fixture *f = fixture_new_uncoalesced();
    unsigned n = 0;

    say(f, n, n + 1);
    CHECK(bytes_of_file(f) > bytes_used(f) + (1 << 20));
    for (off_t first = bytes_used(f); bytes_used(f) < first + (1 << 20); n++)
        say(f, n, n + 1);
    CHECK(bytes_of_file(f) > bytes_used(f) + (1 << 20));
    CHECK_INT(bytes_written(f), bytes_of_file(f));
    fixture_free(f);
}

/* A copy of the file may have holes instead of zeros. They are filled as they are needed, and nothing else is. */
static void test_a_sparse_copy(void)
{
    struct fixture *f = fixture_new_uncoalesced();
    struct store_stats stats;
    unsigned n;

    say(f, 0, 1000);
    off_t used = bytes_used(f);
    fixture_close(f);
    int fd = open_data(f);
    CHECK_INT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, used, bytes_of_file(f) - used), 0);
    (void)close(fd);
    CHECK_INT(bytes_written(f), used);
    fixture_open(f);
    for (n = 1000; bytes_used(f) < used + (1 << 20); n++)
        say(f, n, n + 1);
    CHECK(bytes_written(f) > bytes_used(f) + (1 << 20));
    fixture_reopen(f);
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, n);
    fixture_free(f);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_the_reserve_is_written), TEST(test_a_sparse_copy), {0}});
}
