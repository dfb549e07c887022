/* LD_PRELOAD: records what a process does to the file FES_RECORD_DATA, and when it acknowledges events, into
 * FES_RECORD_LOG (io_log.h).
 *
 * An acknowledgement is recorded before it is sent, a write before it is made, a sync when it has returned: so the log
 * never shows less data at risk, or an acknowledgement later, than there was.
 *
 * FES_RECORD_FAULT=die:N and fail:N end the N-th O_DSYNC write (LMDB's of a meta page) after the page cache has it and
 * before it is known that the disk has it: with the process, or with an error. Then it stays unsynced in the recording.
 * full:N lets the FULL_SYNCS fdatasyncs from the N-th on fail for want of room.
 *
 * FES_RECORD_DROP makes the tests of the test: "fdatasync" leaves out every fdatasync and fsync, "dsync" takes O_DSYNC
 * writes for plain ones, "all" does both. What is left out is not done either.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io_log.h"

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ANSWER_MAX 1024
#define FULL_SYNCS 6

enum target { TARGET_NONE, TARGET_DATA, TARGET_DIR, TARGET_SOCKET };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stat data_is;
static struct stat dir_is;
static int log_fd = -1;
static bool know_data;

static bool dropped(const char *what)
{
    const char *drop = getenv("FES_RECORD_DROP");
    return drop && (strcmp(drop, what) == 0 || strcmp(drop, "all") == 0);
}

/* Under the lock. The file may be made elsewhere below its directory and get its name later. */
static void learn(int of)
{
    const char *data = getenv("FES_RECORD_DATA");
    const char *log = getenv("FES_RECORD_LOG");
    char dir[4096];
    char link[64];
    char path[4096] = "";

    if (!data || !log)
        return;
    if (log_fd < 0) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
        log_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 900);
        (void)syscall(SYS_close, fd);
    }
    (void)snprintf(dir, sizeof dir, "%s", data);
    (void)dirname(dir);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", of);
    ssize_t len = readlink(link, path, sizeof path - 1);
    const char *name = len > 0 ? strrchr(path, '/') : NULL;
    if (!name || strcmp(name, "/data.mdb") != 0 || strncmp(path, dir, strlen(dir)) != 0)
        return;
    know_data = fstat(of, &data_is) == 0 && stat(dir, &dir_is) == 0;
    struct io_entry entry = {.kind = IO_CREATE, .offset = strcmp(path, data) != 0};
    if (syscall(SYS_write, log_fd, &entry, sizeof entry) != (ssize_t)sizeof entry)
        abort();
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

static enum target target_of(int fd)
{
    struct stat st;
    int error = errno;
    enum target target = TARGET_NONE;

    if (fstat(fd, &st) == 0) {
        (void)pthread_mutex_lock(&lock);
        if (!know_data && S_ISREG(st.st_mode))
            learn(fd);
        if (S_ISSOCK(st.st_mode))
            target = TARGET_SOCKET;
        else if (know_data && same(&st, &data_is))
            target = TARGET_DATA;
        else if (know_data && same(&st, &dir_is))
            target = TARGET_DIR;
        (void)pthread_mutex_unlock(&lock);
    }
    errno = error;
    return target;
}

static void put(enum io_kind kind, uint64_t offset, uint64_t len, const struct iovec *iov, int n)
{
    struct io_entry entry = {.kind = (uint32_t)kind, .offset = offset, .len = len};
    int error = errno;

    (void)pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_write, log_fd, &entry, sizeof entry);
    if (n > 0)
        done += syscall(SYS_writev, log_fd, iov, n);
    if (done != (ssize_t)(sizeof entry + (n > 0 ? len : 0)))
        abort(); /* a log with a hole proves nothing */
    (void)pthread_mutex_unlock(&lock);
    errno = error;
}

static uint64_t total(const struct iovec *iov, int n)
{
    uint64_t len = 0;

    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

/* An answer goes out in one call, head and body. */
static void note_answer(const struct iovec *iov, int n)
{
    char text[ANSWER_MAX + 1];
    size_t len = 0;

    for (int i = 0; i < n && len < ANSWER_MAX; i++) {
        size_t part = iov[i].iov_len < ANSWER_MAX - len ? iov[i].iov_len : ANSWER_MAX - len;
        memcpy(text + len, iov[i].iov_base, part);
        len += part;
    }
    text[len] = '\0';
    const char *id = strncmp(text, "HTTP/1.1 200", 12) == 0 ? strstr(text, "{\"id\":\"") : NULL;
    if (id)
        put(IO_ACK, strtoull(id + 7, NULL, 10), 0, NULL, 0);
}

static bool begin_write(int fd, const struct iovec *iov, int n, off_t offset, bool *ret_dsync)
{
    *ret_dsync = (fcntl(fd, F_GETFL) & O_DSYNC) && !dropped("dsync");
    put(IO_WRITE, (uint64_t)offset, total(iov, n), iov, n);
    return true;
}

static ssize_t end_write(ssize_t done, off_t offset, bool dsync)
{
    if (done > 0 && dsync)
        put(IO_DSYNC_END, (uint64_t)offset, (uint64_t)done, NULL, 0);
    return done;
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    enum target target = target_of(fd);
    off_t offset = target == TARGET_DATA ? lseek(fd, 0, SEEK_CUR) : 0;
    bool dsync = false;

    if (target == TARGET_SOCKET)
        note_answer(iov, n);
    if (target == TARGET_DATA)
        (void)begin_write(fd, iov, n, offset, &dsync);
    return end_write(REAL(writev)(fd, iov, n), offset, dsync);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    enum target target = target_of(fd);
    off_t offset = target == TARGET_DATA ? lseek(fd, 0, SEEK_CUR) : 0;
    bool dsync = false;

    if (target == TARGET_SOCKET)
        note_answer(&iov, 1);
    if (target == TARGET_DATA)
        (void)begin_write(fd, &iov, 1, offset, &dsync);
    return end_write(REAL(write)(fd, bytes, len), offset, dsync);
}

/* Whether the fault of that name is due now, `for_calls` times. Writes and syncs of the file are of one thread. */
static bool fault(const char *name, long calls, long for_calls)
{
    const char *wanted = getenv("FES_RECORD_FAULT");
    size_t len = strlen(name);
    long nth = wanted && strncmp(wanted, name, len) == 0 ? strtol(wanted + len, NULL, 10) : 0;

    if (nth == 0 || calls < nth || calls >= nth + for_calls)
        return false;
    errno = ENOSPC;
    return true;
}

/* Whether this write of a meta page, which has been made, is the one that does not end well. */
static bool meta_fails(void)
{
    static long metas;

    metas++;
    if (fault("die:", metas, 1))
        (void)kill(getpid(), SIGKILL);
    return fault("fail:", metas, 1);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    bool dsync = false;

    if (target_of(fd) == TARGET_DATA)
        (void)begin_write(fd, &iov, 1, offset, &dsync);
    if (dsync) {
        ssize_t done = REAL(pwrite)(fd, bytes, len, offset);
        return meta_fails() ? -1 : end_write(done, offset, dsync);
    }
    return end_write(REAL(pwrite)(fd, bytes, len, offset), offset, dsync);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite(fd, bytes, len, offset);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    bool dsync = false;

    if (target_of(fd) == TARGET_DATA)
        (void)begin_write(fd, iov, n, offset, &dsync);
    return end_write(REAL(pwritev)(fd, iov, n, offset), offset, dsync);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
    return pwritev(fd, iov, n, offset);
}

static int sync_with(int (*real)(int), int fd)
{
    static long syncs;
    enum target target = target_of(fd);

    if (target == TARGET_DATA) {
        if (dropped("fdatasync"))
            return 0;
        put(IO_SYNC_BEGIN, 0, 0, NULL, 0);
        if (fault("full:", ++syncs, FULL_SYNCS))
            return -1;
    }
    int status = real(fd);
    if (status == 0 && target == TARGET_DATA)
        put(IO_SYNC_END, 0, 0, NULL, 0);
    if (status == 0 && target == TARGET_DIR)
        put(IO_DIR_SYNC, 0, 0, NULL, 0);
    return status;
}

int fdatasync(int fd)
{
    return sync_with(REAL(fdatasync), fd);
}

int fsync(int fd)
{
    return sync_with(REAL(fsync), fd);
}

int ftruncate(int fd, off_t size)
{
    if (target_of(fd) == TARGET_DATA)
        put(IO_SIZE, (uint64_t)size, 0, NULL, 0);
    return REAL(ftruncate)(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    bool data = target_of(fd) == TARGET_DATA;
    int status = REAL(fallocate)(fd, mode, offset, len);

    if (data && status == 0)
        put(mode ? IO_UNKNOWN : IO_ALLOC, (uint64_t)offset, (uint64_t)len, NULL, 0);
    return status;
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
    bool data = target_of(fd) == TARGET_DATA;
    int status = REAL(posix_fallocate)(fd, offset, len);

    if (data && status == 0)
        put(IO_ALLOC, (uint64_t)offset, (uint64_t)len, NULL, 0);
    return status;
}

int rename(const char *from, const char *to)
{
    const char *data = getenv("FES_RECORD_DATA");

    if (know_data && data && strcmp(to, data) == 0)
        put(IO_RENAME, 0, 0, NULL, 0);
    return REAL(rename)(from, to);
}

/* Stores through a writable map cannot be seen from here. */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED) && target_of(fd) == TARGET_DATA)
        put(IO_UNKNOWN, 0, 0, NULL, 0);
    return REAL(mmap)(at, len, protection, flags, fd, offset);
}
