/* Looking at a data directory before a server is started on it (see store.h).
 *
 * A check may run beside the server that is to be replaced, and as somebody who only wants to know. So it leaves alone what
 * is in use, and leaves nothing behind: neither the directory nor a store.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/lock_priv.h"
#include "store/store.h"

static bool fail(const char *dir, int error, char err[static STORE_ERROR])
{
    struct text text;

    text_init(&text, err, STORE_ERROR);
    text_addf(&text, "the data directory %s cannot be used: %s", dir, strerror(error));
    return false;
}

/* Whether files can be made in a directory that is there. */
static bool check_dir(const char *named, const char *dir, bool allow_network_fs, char err[static STORE_ERROR])
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return fail(named, errno, err);
    if (!S_ISDIR(st.st_mode))
        return fail(named, ENOTDIR, err);
    if (!allow_network_fs && !lock_check_fs(dir, err))
        return false;
    return access(dir, R_OK | W_OK | X_OK) == 0 || fail(named, errno, err);
}

/* One with a name, where the file system knows no other. */
static int make_named(const char *dir)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/.check-XXXXXX", dir) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

/* Whether a file can be made there, which rights alone do not tell: root has them in /proc, and a disk may have no room
 * for one. One without a name leaves no trace, not even in the times of the directory. */
static bool check_making(const char *named, const char *dir, char err[static STORE_ERROR])
{
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    struct text text;

    if (fd < 0)
        fd = make_named(dir);
    if (fd >= 0) {
        (void)close(fd);
        return true;
    }
    int error = errno;
    text_init(&text, err, STORE_ERROR);
    text_addf(&text, "the data directory %s cannot be used: nothing can be made in %s: %s", named, dir,
              strerror(error));
    return false;
}

/* Of a directory that a server would make. */
static bool check_parent(const struct store_config *config, char err[static STORE_ERROR])
{
    char path[PATH_MAX];
    struct stat st;

    if (snprintf(path, sizeof path, "%s", config->dir) >= (int)sizeof path)
        return fail(config->dir, ENAMETOOLONG, err);
    for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';  /* with a slash behind it a link is where it leads to */
    if (lstat(path, &st) == 0) /* a link that leads nowhere */
        return fail(config->dir, ENOENT, err);
    const char *parent = dirname(path);
    return check_dir(config->dir, parent, config->allow_network_fs, err) &&
           check_making(config->dir, parent, err);
}

static bool check_content(const struct store_config *config, const struct reporter *reporter,
                          char err[static STORE_ERROR])
{
    char path[PATH_MAX];
    char holder[HOLDER_MAX];

    if (lock_is_held(config->dir, holder)) {
        REPORT(reporter, REPORT_INFO, "the data directory is in use; what is in it was not read",
               FIELD_TEXT("dataDir", config->dir), FIELD_TEXT("by", holder));
        return true;
    }
    if (snprintf(path, sizeof path, "%s/data.mdb", config->dir) >= (int)sizeof path)
        return fail(config->dir, ENAMETOOLONG, err);
    if (access(path, F_OK) < 0)
        return errno == ENOENT ? check_making(config->dir, config->dir, err) : fail(config->dir, errno, err);
    struct store *s = store_open(config, reporter, err);
    store_close(s);
    return s != NULL;
}

bool store_check(const struct store_config *config, const struct reporter *reporter,
                 char err[static STORE_ERROR])
{
    if (access(config->dir, F_OK) < 0 && errno == ENOENT)
        return check_parent(config, err);
    return check_dir(config->dir, config->dir, config->allow_network_fs, err) &&
           check_content(config, reporter, err);
}
