/* LD_PRELOAD: the kernel of a test has Landlock of version FES_LANDLOCK_ABI, and none where that is 0.
 *
 * A program that asks for more than its kernel knows gets E2BIG or EINVAL from the real one; here nothing tells it, so what
 * it handles is compared with what it may know.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE_VERSION = 1 };

/* Of each version, the lowest right on files that it does not know. */
static const uint64_t fs_unknown[] = {0, 1 << 13, 1 << 14, 1 << 15};
#define VERSIONS (sizeof fs_unknown / sizeof *fs_unknown)

static long create(const uint64_t *attr, long flags)
{
    size_t abi = strtoul(getenv("FES_LANDLOCK_ABI"), NULL, 10);

    if (abi == 0 || abi >= VERSIONS) {
        errno = ENOSYS;
        return -1;
    }
    if (flags == CREATE_VERSION)
        return (long)abi;
    if (attr[0] >= fs_unknown[abi] || attr[1] != 0 || attr[2] != 0) {
        errno = E2BIG;
        return -1;
    }
    return 0;
}

long syscall(long number, ...)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_landlock_create_ruleset) {
        long answer = create((const uint64_t *)a[0], a[2]);
        if (answer != 0)
            return answer;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
