/* The lock of a data directory (see lock_priv.h).
 *
 * LMDB allows several processes; the store does not, because each would hand out the same sequence numbers.
 * The lock is an open-file-description lock: it ends with its holder, however that ends, works across PID
 * namespaces, and is not lost when somebody else in this process closes the file, as a POSIX record lock
 * would be. The file itself is never removed: removing it would let two processes lock two files of one name.
 */
#include "store/lock_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "store/units.h"

/* "process 1234 on host h (since 2026-08-01T10:00:00Z)", as written by the holder. */
static void holder_describe(char out[static HOLDER_MAX])
{
    char host[256] = "unknown";
    char since[TIME_TEXT];
    struct text text;

    (void)gethostname(host, sizeof host - 1);
    text_init(&text, out, HOLDER_MAX);
    text_addf(&text, "process %ld on host %s (since %s)", (long)getpid(), host,
              time_format((int64_t)time(NULL) * 1000, since));
}

static void holder_read(int fd, char out[static HOLDER_MAX])
{
    char raw[HOLDER_MAX];
    struct text text;
    ssize_t n = pread(fd, raw, sizeof raw, 0);

    text_init(&text, out, HOLDER_MAX);
    if (n > 0)
        text_add_clean(&text, str_trim((struct str){raw, (size_t)n}));
    else
        text_add(&text, STR("another process"));
}

static bool holder_write(int fd)
{
    char line[HOLDER_MAX];

    holder_describe(line);
    size_t len = strlen(line);
    line[len++] = '\n';
    return ftruncate(fd, 0) == 0 && pwrite(fd, line, len, 0) == (ssize_t)len;
}

int lock_take(const char *dir, char err[static STORE_ERROR])
{
    char path[4096];
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct text text;

    text_init(&text, err, STORE_ERROR);
    if (snprintf(path, sizeof path, "%s/%s", dir, LOCK_FILE) >= (int)sizeof path) {
        text_add(&text, STR("the name of the data directory is too long"));
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        text_addf(&text, "the data directory %s cannot be used: %s: %s", dir, LOCK_FILE, strerror(errno));
        return -1;
    }
    if (fcntl(fd, F_OFD_SETLK, &whole) < 0) {
        int error = errno;
        char holder[HOLDER_MAX];
        holder_read(fd, holder);
        if (error == EAGAIN || error == EACCES)
            text_addf(&text, "the data directory %s is in use by %s; stop it or choose another --data-dir",
                      dir, holder);
        else
            text_addf(&text, "the data directory %s cannot be locked: %s", dir, strerror(error));
        goto fail;
    }
    if (!holder_write(fd)) {
        text_addf(&text, "the data directory %s cannot be written: %s: %s", dir, LOCK_FILE, strerror(errno));
        goto fail;
    }
    return fd;
fail:
    (void)close(fd);
    return -1;
}

bool lock_is_held(const char *dir, char ret_holder[static HOLDER_MAX])
{
    char path[4096];
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (snprintf(path, sizeof path, "%s/%s", dir, LOCK_FILE) >= (int)sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    if (held)
        holder_read(fd, ret_holder);
    (void)close(fd);
    return held;
}

/* Numbers of linux/magic.h and of the kernel sources of file systems that it does not list. */
static const struct {
    unsigned type;
    const char *name;
} network_fs[] = {
    {0x6969, "NFS"},      {0x517B, "SMB"},    {0xFE534D42, "SMB"},    {0xFF534D42, "CIFS"},
    {0x65735546, "FUSE"}, {0x01021997, "9P"}, {0x00C36400, "CephFS"}, {0x0BD00BD0, "Lustre"},
};

const char *lock_network_fs(long type)
{
    for (size_t i = 0; i < sizeof network_fs / sizeof network_fs[0]; i++)
        if (network_fs[i].type == (unsigned)type)
            return network_fs[i].name;
    return NULL;
}

bool lock_check_fs(const char *dir, char err[static STORE_ERROR])
{
    struct statfs fs;
    struct text text;
    const char *name;

    text_init(&text, err, STORE_ERROR);
    if (statfs(dir, &fs) < 0) {
        text_addf(&text, "the data directory %s cannot be used: %s", dir, strerror(errno));
        return false;
    }
    name = lock_network_fs((long)fs.f_type);
    if (!name)
        return true;
    text_addf(&text,
              "the data directory %s is on %s, where neither locks nor syncs can be relied on; "
              "use a local disk or --allow-network-fs",
              dir, name);
    return false;
}
