/* LD_PRELOAD: the n-th call of a kind fails.
 *
 * FES_FAIL_CALL names the kind (enum kind), FES_FAIL_NTH says which call counts from, FES_FAIL_ERRNO what it fails with
 * (0: a write that is cut short), FES_FAIL_ON=1 lets every later call fail too, FES_FAIL_FOR=m m in a row. With
 * FES_FAIL_WHILE instead of FES_FAIL_NTH every call fails while the file of that name exists. A call that fails is not
 * made. When it happens for the first time "fail_nth: fired" is written to stderr; at the end of the process, how many
 * calls there were.
 *
 * A write of a regular file is a `pwrite`, however it is made; `meta` is one that is synced by itself, which is how LMDB
 * writes its meta page, and `data` one that is not. `readv`, `writev`, `read` and `write` are those of sockets: evhttp makes
 * the first two, OpenSSL the others. `malloc` is any allocation, `own` one that the program makes for itself: a thousand
 * among all those of the libraries.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name)  ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define EARLY_BYTES 65536
#define NOT_MAPPED  ((void *)-1)
/* clang-format off */
#define KINDS(X) \
    X(malloc) X(own) X(pwrite) X(data) X(meta) X(fdatasync) X(fsync) X(fallocate) X(rename) X(mmap) X(accept4) X(readv) X(writev) \
    X(read) X(write) X(socket) X(connect)
/* clang-format on */
#define KIND_ENUM(k) KIND_##k,
#define KIND_TEXT(k) #k,

enum kind { KINDS(KIND_ENUM) KIND_NONE };

static struct {
    enum kind kind;
    long nth;
    int error;
    bool on;
    long times;
    const char *while_file;
    atomic_bool fired;
    atomic_long calls;
} plan = {.kind = KIND_NONE};

typedef void *get_fn(size_t);
typedef void *resize_fn(void *, size_t);
typedef void free_fn(void *);
typedef void *crypto_get_fn(size_t, const char *, int);
typedef void *crypto_resize_fn(void *, size_t, const char *, int);
typedef void crypto_free_fn(void *, const char *, int);
static struct {
    get_fn *malloc;
    void *(*calloc)(size_t, size_t);
    resize_fn *realloc;
    free_fn *free;
} real;

static void say(const char *text)
{
    (void)!syscall(SYS_write, STDERR_FILENO, text, strlen(text));
}

__attribute__((constructor)) static void plan_read(void)
{
    static const char *const names[] = {KINDS(KIND_TEXT)};
    const char *call = getenv("FES_FAIL_CALL");
    const char *nth = getenv("FES_FAIL_NTH");
    const char *error = getenv("FES_FAIL_ERRNO");

    plan.nth = nth ? strtol(nth, NULL, 10) : 0;
    plan.error = error ? (int)strtol(error, NULL, 10) : EIO;
    plan.on = getenv("FES_FAIL_ON") != NULL;
    plan.times = getenv("FES_FAIL_FOR") ? strtol(getenv("FES_FAIL_FOR"), NULL, 10) : 1;
    plan.while_file = getenv("FES_FAIL_WHILE");
    for (int kind = 0; call && kind < KIND_NONE; kind++)
        if (strcmp(call, names[kind]) == 0)
            plan.kind = (enum kind)kind;
}

__attribute__((destructor)) static void plan_report(void)
{
    char text[64];

    (void)snprintf(text, sizeof text, "fail_nth: %ld calls\n", atomic_load(&plan.calls));
    say(text);
}

static bool fails(enum kind kind)
{
    if (kind != plan.kind)
        return false;
    long n = atomic_fetch_add(&plan.calls, 1) + 1;
    bool now = plan.while_file ? access(plan.while_file, F_OK) == 0
                               : plan.nth > 0 && n >= plan.nth && (n < plan.nth + plan.times || plan.on);
    if (!now)
        return false;
    if (!atomic_exchange(&plan.fired, true))
        say("fail_nth: fired\n");
    errno = plan.error;
    return true;
}

/* ---- memory: the dynamic linker may need some to find the real functions ---- */

static _Alignas(16) char early[EARLY_BYTES];
static size_t early_used;

static void *early_get(size_t len)
{
    size_t at = early_used;

    early_used += (len + 15) / 16 * 16;
    return early_used <= sizeof early ? early + at : NULL;
}

static bool is_early(const void *at)
{
    return (const char *)at >= early && (const char *)at < early + sizeof early;
}

static bool memory_ready(void)
{
    static bool asking;

    if (real.free)
        return true;
    if (asking)
        return false;
    asking = true;
    real.malloc = NEXT(malloc);
    real.calloc = NEXT(calloc);
    real.realloc = NEXT(realloc);
    real.free = NEXT(free);
    return true;
}

/* The caller is the program itself and no library. */
static bool is_own(const void *caller)
{
    const ElfW(Phdr) *head = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    uintptr_t base = 0, at = (uintptr_t)caller;

    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        if (head[i].p_type == PT_PHDR)
            base = (uintptr_t)head - head[i].p_vaddr;
        else if (head[i].p_type == PT_LOAD && at - base - head[i].p_vaddr < head[i].p_memsz)
            return true;
    }
    return false;
}

static bool memory_fails(const void *caller)
{
    return plan.kind == KIND_own ? is_own(caller) && fails(KIND_own) : fails(KIND_malloc);
}

void *malloc(size_t len)
{
    if (!memory_ready())
        return early_get(len);
    return memory_fails(__builtin_return_address(0)) ? NULL : real.malloc(len);
}

void *calloc(size_t n, size_t len)
{
    if (!memory_ready())
        return early_get(n * len);
    return memory_fails(__builtin_return_address(0)) ? NULL : real.calloc(n, len);
}

void *realloc(void *at, size_t len)
{
    if (!memory_ready())
        return early_get(len);
    return memory_fails(__builtin_return_address(0)) ? NULL : real.realloc(at, len);
}

void *reallocarray(void *at, size_t n, size_t len)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : NEXT(reallocarray)(at, n, len);
}

char *strdup(const char *text)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : NEXT(strdup)(text);
}

int asprintf(char **at, const char *format, ...)
{
    __builtin_va_list args;
    int len = -1;

    __builtin_va_start(args, format);
    if (!memory_fails(__builtin_return_address(0)))
        len = vasprintf(at, format, args);
    __builtin_va_end(args);
    return len;
}

void free(void *at)
{
    if (at && !is_early(at) && memory_ready())
        real.free(at);
}

/* What libraries allocate by way of the program is theirs: for KIND_own they do so without it. */
void event_set_mem_functions(get_fn *get, resize_fn *resize, free_fn *give_back)
{
    if (plan.kind != KIND_own)
        NEXT(event_set_mem_functions)(get, resize, give_back);
}

void json_set_alloc_funcs(get_fn *get, free_fn *give_back)
{
    if (plan.kind != KIND_own)
        NEXT(json_set_alloc_funcs)(get, give_back);
}

int CRYPTO_set_mem_functions(crypto_get_fn *get, crypto_resize_fn *resize, crypto_free_fn *give_back)
{
    return plan.kind == KIND_own || NEXT(CRYPTO_set_mem_functions)(get, resize, give_back);
}

/* ---- files ---- */

static bool is_type(int fd, mode_t type)
{
    struct stat st;
    int error = errno;
    bool is = fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type;

    errno = error;
    return is;
}

/* A write of a regular file. */
static bool write_fails(int fd)
{
    switch (plan.kind) {
    case KIND_pwrite: return fails(KIND_pwrite);
    case KIND_data: return (fcntl(fd, F_GETFL) & O_DSYNC) == 0 && fails(KIND_data);
    case KIND_meta: return (fcntl(fd, F_GETFL) & O_DSYNC) != 0 && fails(KIND_meta);
    default: return false;
    }
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    if (write_fails(fd))
        return plan.error ? -1 : NEXT(pwrite)(fd, bytes, len / 2, offset);
    return NEXT(pwrite)(fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite(fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    bool failing = is_type(fd, S_IFREG)
                       ? write_fails(fd)
                       : plan.kind == KIND_writev && is_type(fd, S_IFSOCK) && fails(KIND_writev);

    if (failing) {
        if (plan.error)
            return -1;
        struct iovec half = {iov[0].iov_base, iov[0].iov_len / 2};
        return NEXT(writev)(fd, &half, 1);
    }
    return NEXT(writev)(fd, iov, n);
}

int fdatasync(int fd)
{
    return fails(KIND_fdatasync) ? -1 : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
    return fails(KIND_fsync) ? -1 : NEXT(fsync)(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fails(KIND_fallocate) ? -1 : NEXT(fallocate)(fd, mode, offset, len);
}

int rename(const char *from, const char *to)
{
    return fails(KIND_rename) ? -1 : NEXT(rename)(from, to);
}

/* Those of files: thread stacks and heaps are maps too. */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    return fd >= 0 && fails(KIND_mmap) ? NOT_MAPPED : NEXT(mmap)(at, len, protection, flags, fd, offset);
}

/* ---- sockets ---- */

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    return fails(KIND_accept4) ? -1 : NEXT(accept4)(fd, address, len, flags);
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
    return fails(KIND_readv) ? -1 : NEXT(readv)(fd, iov, n);
}

static bool transfer_fails(enum kind kind, int fd)
{
    return plan.kind == kind && is_type(fd, S_IFSOCK) && fails(kind);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    return transfer_fails(KIND_read, fd) ? -1 : NEXT(read)(fd, bytes, len);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    if (transfer_fails(KIND_write, fd))
        return plan.error ? -1 : NEXT(write)(fd, bytes, len / 2);
    return NEXT(write)(fd, bytes, len);
}

int socket(int domain, int type, int protocol)
{
    return fails(KIND_socket) ? -1 : NEXT(socket)(domain, type, protocol);
}

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    return fails(KIND_connect) ? -1 : NEXT(connect)(fd, address, len);
}
