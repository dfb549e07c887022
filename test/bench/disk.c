/* The yardsticks below everything: what the disk and bare LMDB cost, with the values that the table's events make.
 *
 *   disk fdatasync DIR SECONDS            appends 1 KiB and calls fdatasync
 *   disk lmdb DIR SECONDS BATCH [PAUSE]   commits BATCH puts of 1 KiB under growing keys, with LMDB's default
 *                                         durability; sleeps PAUSE microseconds before each
 *
 * Prints one line: events per second, and p50, p99 and the longest call in microseconds.
 */
#include <fcntl.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES 1024
#define MAX_CALLS   (1u << 20)

static double took[MAX_CALLS];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void sync_once(int fd)
{
    static const char value[VALUE_BYTES];

    if (write(fd, value, sizeof value) != VALUE_BYTES || fdatasync(fd) != 0)
        die("fdatasync");
}

static void commit_once(MDB_env *env, MDB_dbi dbi, unsigned batch)
{
    static char bytes[VALUE_BYTES];
    static uint64_t sequence;
    MDB_txn *txn;

    if (mdb_txn_begin(env, NULL, 0, &txn) != 0)
        die("mdb_txn_begin");
    for (unsigned i = 0; i < batch; i++) {
        uint64_t big_endian = __builtin_bswap64(++sequence);
        MDB_val key = {sizeof big_endian, &big_endian};
        MDB_val value = {sizeof bytes, bytes};
        if (mdb_put(txn, dbi, &key, &value, MDB_APPEND) != 0)
            die("mdb_put");
    }
    if (mdb_txn_commit(txn) != 0)
        die("mdb_txn_commit");
}

static MDB_env *open_env(const char *dir, MDB_dbi *ret_dbi)
{
    MDB_env *env;
    MDB_txn *txn;

    if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, (size_t)64 << 30) != 0 ||
        mdb_env_open(env, dir, MDB_NOTLS, 0600) != 0 || mdb_txn_begin(env, NULL, 0, &txn) != 0 ||
        mdb_dbi_open(txn, NULL, 0, ret_dbi) != 0 || mdb_txn_commit(txn) != 0)
        die("LMDB");
    return env;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    unsigned batch = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 1;
    useconds_t pause = argc > 5 ? (useconds_t)strtoul(argv[5], NULL, 10) : 0;
    MDB_env *env = NULL;
    MDB_dbi dbi = 0;
    int fd = -1;
    size_t n = 0;

    if (argc < 4) {
        fprintf(stderr, "usage: disk fdatasync|lmdb DIR SECONDS [BATCH [PAUSE]]\n");
        return 2;
    }
    if (strcmp(argv[1], "lmdb") == 0)
        env = open_env(argv[2], &dbi);
    else if (chdir(argv[2]) != 0 || (fd = open("sync", O_CREAT | O_WRONLY | O_APPEND, 0600)) < 0)
        die(argv[2]);
    double start = now_us();
    double end = start + strtod(argv[3], NULL) * 1e6;
    double last = start;
    while (last < end && n < MAX_CALLS) {
        if (pause > 0) {
            (void)usleep(pause);
            last = now_us();
        }
        if (env)
            commit_once(env, dbi, batch);
        else
            sync_once(fd);
        double now = now_us();
        took[n++] = now - last;
        last = now;
    }
    qsort(took, n, sizeof *took, compare);
    printf("%.0f %.0f %.0f %.0f\n", (double)n * batch / ((last - start) / 1e6), took[n / 2],
           took[n * 99 / 100], took[n - 1]);
    if (env)
        mdb_env_close(env);
    return 0;
}
