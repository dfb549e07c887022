/* Landlock, no_new_privs, not dumpable (see sandbox.h).
 *
 * The kernel's interface is three system calls (Documentation/userspace-api/landlock.rst); their numbers are the same on
 * all architectures, and the header of an older system lacks the newer rights, so the constants stand here. What a kernel
 * does not know yet is left out by the version it tells.
 *
 * Invariant: a right is given up only if it is in `handled`; a rule can only give back what is handled. A path that is
 * absent now has no rule: it stays closed if it appears later.
 *
 * Sanitizers read and run whatever they like when they report (maps, symbolizers): in an instrumented build everything
 * may be read and run, and only writing is confined.
 */
#include "store/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RIGHT(bit)     (UINT64_C(1) << (bit))
#define FS_EXECUTE     RIGHT(0)
#define FS_WRITE_FILE  RIGHT(1)
#define FS_READ_FILE   RIGHT(2)
#define FS_READ_DIR    RIGHT(3)
#define FS_REMOVE_FILE RIGHT(5)
#define FS_MAKE_REG    RIGHT(8)
#define FS_OF_ABI_1    (RIGHT(13) - 1)
#define FS_REFER       RIGHT(13) /* ABI 2 */
#define FS_TRUNCATE    RIGHT(14) /* ABI 3 */
#define FS_IOCTL_DEV   RIGHT(15) /* ABI 5 */
#define FS_OF_FILES    (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

#define FS_TO_READ  (FS_READ_FILE | FS_READ_DIR)
#define FS_TO_WRITE (FS_TO_READ | FS_WRITE_FILE | FS_REMOVE_FILE | FS_MAKE_REG | FS_TRUNCATE)

#define NET_BIND    RIGHT(0) /* ABI 4 */
#define NET_CONNECT RIGHT(1)

#define SCOPE_ABSTRACT_SOCKET RIGHT(0) /* ABI 6 */
#define SCOPE_SIGNAL          RIGHT(1)

#define ABI_NET   4
#define ABI_SCOPE 6

enum { CREATE_VERSION = 1 };                  /* a flag of landlock_create_ruleset */
enum { RULE_BENEATH = 1, RULE_NET_PORT = 2 }; /* types of landlock_add_rule */

struct ruleset_attr {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};
struct beneath_attr {
    uint64_t rights;
    int32_t fd;
} __attribute__((packed));
struct port_attr {
    uint64_t rights;
    uint64_t port;
};

#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer) || \
    HAS_FEATURE(thread_sanitizer)
#define INSTRUMENTED true
#else
#define INSTRUMENTED false
#endif

/* evdns reads the first two when it looks up its first name. The others are what distributions verify servers with where
 * no file is given: OpenSSL looks a certificate up when it needs it. */
static const char *const system_paths[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
};

/* What a process may know about itself, for its metrics. Not environ, maps or mem. */
static const char *const own_paths[] = {
    "/proc/self/stat", "/proc/self/statm", "/proc/self/status", "/proc/self/limits", "/proc/self/fd",
};

static uint64_t handled_fs(int abi)
{
    return FS_OF_ABI_1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) |
           (abi >= 5 ? FS_IOCTL_DEV : 0);
}

static void failed(struct sandbox *s)
{
    if (!s->error)
        s->error = errno;
}

/* keep_open: procfs makes a new inode, which has no rule, once the last user of the old one is gone. */
static void allow(struct sandbox *s, const char *path, uint64_t rights, bool keep_open)
{
    struct stat st;
    int fd = s->ruleset < 0 ? -1 : open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rights &= FS_OF_FILES; /* the kernel refuses those of folders */
    const struct beneath_attr rule = {rights & handled_fs(s->abi), fd};
    if (syscall(SYS_landlock_add_rule, s->ruleset, RULE_BENEATH, &rule, 0) < 0)
        failed(s);
    if (!keep_open)
        (void)close(fd);
}

void sandbox_begin(struct sandbox *s)
{
    struct ruleset_attr attr = {0};

    *s = (struct sandbox){.ruleset = -1};
    s->abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    if (s->abi < 0) {
        failed(s);
        return;
    }
    attr.fs = handled_fs(s->abi);
    if (s->abi >= ABI_NET)
        attr.net = NET_BIND | NET_CONNECT;
    if (s->abi >= ABI_SCOPE)
        attr.scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
    /* A longer structure than the kernel knows is fine while the rest is zero. */
    s->ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (s->ruleset < 0)
        failed(s);
    for (size_t i = 0; i < sizeof system_paths / sizeof *system_paths; i++)
        sandbox_read(s, system_paths[i]);
    for (size_t i = 0; i < sizeof own_paths / sizeof *own_paths; i++)
        allow(s, own_paths[i], FS_TO_READ, true);
    if (INSTRUMENTED)
        allow(s, "/", FS_TO_READ | FS_EXECUTE, false);
}

void sandbox_write_beneath(struct sandbox *s, const char *dir)
{
    allow(s, dir, FS_TO_WRITE, false);
}

void sandbox_read(struct sandbox *s, const char *path)
{
    allow(s, path, FS_TO_READ, false);
}

static void read_folder_of(struct sandbox *s, const char *file)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(file, '/');

    if (!slash)
        sandbox_read(s, ".");
    else if (slash == file)
        sandbox_read(s, file);
    else if (snprintf(folder, sizeof folder, "%.*s", (int)(slash - file), file) < (int)sizeof folder)
        sandbox_read(s, folder);
}

void sandbox_read_beside(void *sandbox, const char *file)
{
    struct sandbox *s = sandbox;
    char *target = realpath(file, NULL);

    read_folder_of(s, file);
    if (target)
        read_folder_of(s, target);
    free(target);
}

void sandbox_connect(struct sandbox *s, uint16_t port)
{
    const struct port_attr rule = {NET_CONNECT, port};

    s->port = port;
    if (s->ruleset >= 0 && s->abi >= ABI_NET &&
        syscall(SYS_landlock_add_rule, s->ruleset, RULE_NET_PORT, &rule, 0) < 0)
        failed(s);
}

void sandbox_enter(struct sandbox *s)
{
    /* Landlock asks for the first, so that a set-user-id program cannot be confused by a sandbox. */
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!s->error && syscall(SYS_landlock_restrict_self, s->ruleset, 0) < 0)
        failed(s);
    if (s->ruleset >= 0)
        (void)close(s->ruleset);
    s->ruleset = -1;
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void sandbox_report(const struct sandbox *s, const struct reporter *reporter)
{
    char tcp[64];

    if (s->error) {
        REPORT(reporter, REPORT_WARN, "not confined: this kernel has no Landlock, or it is switched off",
               FIELD_TEXT("error", strerror(s->error)));
        return;
    }
    if (s->abi < ABI_NET)
        (void)snprintf(tcp, sizeof tcp, "not restricted: needs Landlock %d", ABI_NET);
    else if (s->port)
        (void)snprintf(tcp, sizeof tcp, "connects to port %u only", s->port);
    else
        (void)snprintf(tcp, sizeof tcp, "connects nowhere");
    REPORT(reporter, REPORT_INFO, "confined to the data directory and the folders of the flags' files",
           FIELD_INT("landlock", s->abi), FIELD_TEXT("tcp", tcp));
}
