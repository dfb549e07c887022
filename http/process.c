/* The process as the kernel counts it (see process.h).
 *
 * Failure mode: without /proc the numbers that come from it are 0, and everything works.
 */
#include "http/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STAT_START_TIME \
    22 /* field of /proc/PID/stat, proc(5); the name, the second one, ends with the last ')' */

struct numbers {
    uint64_t one;
    uint64_t cpu_us;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t open_fds;
    uint64_t max_fds;
    uint64_t start_us; /* Unix time */
};

struct process {
    int statm; /* -1: none */
    DIR *fds;  /* NULL: none */
    struct numbers numbers;
};

static const char *const versions[] = {FES_VERSION, NULL};

#define AT(field) offsetof(struct numbers, field)
static const struct metric metrics[] = {
    {.name = "flux_event_store_build_info",
     .type = METRIC_GAUGE,
     .offset = AT(one),
     .help = "1; the version is in the label.",
     .labels = {{"version", versions, 0}}},
    {.name = "process_cpu_seconds_total",
     .unit = METRIC_MICROSECONDS,
     .offset = AT(cpu_us),
     .help = "Processor time, of user and system."},
    {.name = "process_resident_memory_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(resident_bytes),
     .help = "Resident memory, with the pages of the data file that are mapped."},
    {.name = "process_virtual_memory_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(virtual_bytes),
     .help = "Address space; 64 GiB of it are for the data file."},
    {.name = "process_open_fds",
     .type = METRIC_GAUGE,
     .offset = AT(open_fds),
     .help = "Open file descriptors."},
    {.name = "process_max_fds",
     .type = METRIC_GAUGE,
     .offset = AT(max_fds),
     .help = "Limit of open file descriptors."},
    {.name = "process_start_time_seconds",
     .type = METRIC_GAUGE,
     .unit = METRIC_MICROSECONDS,
     .offset = AT(start_us),
     .help = "When the process started, as Unix time."},
    {.name = NULL},
};

static int64_t clock_us(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The text of a file, NUL-terminated; empty when it cannot be read. */
static const char *read_text(int fd, char *buffer, size_t size)
{
    ssize_t n = fd < 0 ? -1 : pread(fd, buffer, size - 1, 0);

    buffer[n > 0 ? n : 0] = '\0';
    return buffer;
}

/* When the process began: clock ticks after boot. Now, if /proc does not say. */
static int64_t start_us(void)
{
    char buffer[1024];
    int64_t now_us = clock_us(CLOCK_REALTIME);
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    struct str rest = str_of(read_text(fd, buffer, sizeof buffer));
    uint64_t ticks = 0;

    if (fd >= 0)
        (void)close(fd);
    ptrdiff_t name_end = str_find_last(rest, ')');
    rest = str_from(rest, name_end < 0 ? 0 : (size_t)name_end);
    for (int field = 2; field < STAT_START_TIME; field++)
        (void)str_split(&rest, ' ');
    if (!str_to_u64(str_split(&rest, ' '), &ticks))
        return now_us;
    return now_us - clock_us(CLOCK_BOOTTIME) + (int64_t)ticks * (1000000 / sysconf(_SC_CLK_TCK));
}

struct process *process_new(void)
{
    struct process *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    p->fds = opendir("/proc/self/fd");
    p->numbers.one = 1;
    p->numbers.start_us = (uint64_t)start_us();
    return p;
}

void process_free(struct process *p)
{
    if (!p)
        return;
    if (p->statm >= 0)
        (void)close(p->statm);
    if (p->fds)
        (void)closedir(p->fds);
    free(p);
}

/* Since Linux 6.2 the size of the directory is their number; before, it is 0, and they are counted. */
static uint64_t open_fds(DIR *fds)
{
    struct stat st;
    uint64_t n = 0;

    if (!fds)
        return 0;
    if (fstat(dirfd(fds), &st) == 0 && st.st_size > 0)
        return (uint64_t)st.st_size;
    rewinddir(fds);
    for (const struct dirent *entry; (entry = readdir(fds)) != NULL;)
        n += entry->d_name[0] != '.';
    return n;
}

static const void *collect(void *process)
{
    struct process *p = process;
    struct numbers *n = &p->numbers;
    char buffer[256];
    struct str rest = str_of(read_text(p->statm, buffer, sizeof buffer));
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t size = 0;
    uint64_t resident = 0;
    struct rlimit limit = {0};

    (void)str_to_u64(str_split(&rest, ' '), &size);
    (void)str_to_u64(str_split(&rest, ' '), &resident);
    n->virtual_bytes = size * page;
    n->resident_bytes = resident * page;
    n->cpu_us = (uint64_t)clock_us(CLOCK_PROCESS_CPUTIME_ID);
    n->open_fds = open_fds(p->fds);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    n->max_fds = limit.rlim_cur;
    return n;
}

struct metric_source process_metrics(struct process *p)
{
    return (struct metric_source){metrics, collect, p};
}
