/* Runs stories: sim [SEEDS [FIRST]], or SEED=n sim for one of them, told line by line.
 *
 * Output is TAP: the stories; that each kind of trouble and of end came up in them; and that planted defects are found,
 * without which "no failures" would mean nothing. Stories are shared out to as many processes as there are processors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

#define WORKERS_MOST 64
#define PLANT_SEEDS  500 /* by then a planted defect must have been found */

struct tally {
    uint64_t stories;
    uint64_t failures;
    uint64_t failed_seed; /* the first */
    char failure[FAILURE_TEXT];
    uint64_t longest_seed;
    uint64_t longest_steps;
    struct counts counts;
};

static const char *const fault_texts[] = {
#define X(id, text) [id] = (text),
    FAULTS(X)
#undef X
};

/* ---- one story ---- */

static void empty(const char *dir)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "store.lock"};
    char path[256];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        (void)unlink(path);
    }
}

static bool tell(uint64_t seed, enum plant plant, bool tracing, const char *dir, struct tally *report)
{
    struct sim *s = calloc(1, sizeof *s);
    uint64_t before = report->counts.steps;

    if (!s)
        abort();
    empty(dir);
    s->seed = seed;
    s->plant = plant;
    s->tracing = tracing;
    s->dir = dir;
    s->counts = &report->counts;
    bool good = world_run(s);
    uint64_t steps = report->counts.steps - before;
    report->stories++;
    if (steps > report->longest_steps) {
        report->longest_steps = steps;
        report->longest_seed = seed;
    }
    if (!good) {
        if (plant == PLANT_NONE && !tracing)
            printf("# seed %llu failed %s\n", (unsigned long long)seed, s->failure);
        if (report->failures++ == 0) {
            report->failed_seed = seed;
            memcpy(report->failure, s->failure, sizeof report->failure);
        }
    }
    free(s);
    return good;
}

static char *make_dir(void)
{
    static char dir[64];

    (void)snprintf(dir, sizeof dir, "%s/fes-sim-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        exit(1);
    }
    return dir;
}

static void remove_dir(const char *dir)
{
    empty(dir);
    (void)rmdir(dir);
}

/* ---- many ---- */

static void add(struct tally *sum, const struct tally *part)
{
    uint64_t *to = (uint64_t *)&sum->counts;
    const uint64_t *from = (const uint64_t *)&part->counts;

    for (size_t i = 0; i < sizeof sum->counts / sizeof *to; i++)
        to[i] += from[i];
    sum->stories += part->stories;
    if (part->failures > 0 && (sum->failures == 0 || part->failed_seed < sum->failed_seed)) {
        sum->failed_seed = part->failed_seed;
        memcpy(sum->failure, part->failure, sizeof sum->failure);
    }
    sum->failures += part->failures;
    if (part->longest_steps > sum->longest_steps) {
        sum->longest_steps = part->longest_steps;
        sum->longest_seed = part->longest_seed;
    }
}

static void work(int out, uint64_t first, uint64_t n, uint64_t step)
{
    struct tally report = {0};
    const char *dir = make_dir();

    for (uint64_t seed = first; seed < n; seed += step)
        (void)tell(seed, PLANT_NONE, false, dir, &report);
    remove_dir(dir);
    (void)fflush(stdout);
    ssize_t written = write(out, &report, sizeof report);
    _exit(written == (ssize_t)sizeof report ? 0 : 1);
}

static struct tally tell_all(uint64_t first, uint64_t n)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int workers = processors < 1 ? 1 : processors > WORKERS_MOST ? WORKERS_MOST : (int)processors;
    struct tally sum = {0}, part;
    int ends[WORKERS_MOST][2];

    (void)fflush(stdout);
    for (int i = 0; i < workers; i++) {
        if (pipe(ends[i]) != 0)
            abort();
        if (fork() == 0)
            work(ends[i][1], first + (uint64_t)i, first + n, (uint64_t)workers);
        (void)close(ends[i][1]);
    }
    for (int i = 0; i < workers; i++) {
        if (read(ends[i][0], &part, sizeof part) == (ssize_t)sizeof part) {
            add(&sum, &part);
        } else {
            sum.failures++;
            (void)snprintf(sum.failure, sizeof sum.failure, "a worker died");
        }
        (void)close(ends[i][0]);
    }
    while (wait(NULL) > 0)
        ;
    return sum;
}

/* ---- TAP ---- */

static bool say(unsigned number, bool good, const char *text)
{
    printf("%sok %u - %s\n", good ? "" : "not ", number, text);
    return good;
}

static bool stories(uint64_t first, uint64_t n, struct tally *ret)
{
    char text[256];

    *ret = tell_all(first, n);
    (void)snprintf(text, sizeof text, "%llu seeds, %llu steps, longest %llu steps (seed %llu)",
                   (unsigned long long)ret->stories, (unsigned long long)ret->counts.steps,
                   (unsigned long long)ret->longest_steps, (unsigned long long)ret->longest_seed);
    if (ret->failures > 0)
        printf("# %llu seeds failed; the first is %llu, %s\n# SEED=%llu tells its story\n",
               (unsigned long long)ret->failures, (unsigned long long)ret->failed_seed, ret->failure,
               (unsigned long long)ret->failed_seed);
    return say(1, ret->failures == 0 && ret->stories == n, text);
}

/* Stories in which something never happens test nothing of it. */
static bool everything_happened(const struct counts *c, uint64_t n)
{
    static const char *const ends[] = {[2] = "succeeded", "failed", "superseded", "timed out", "cancelled"};
    bool all = n < 1000 || (c->retries > 0);

    printf("# %llu Runs, %llu events, %llu requests, %llu starts of the process, %llu retries\n",
           (unsigned long long)c->runs, (unsigned long long)c->events, (unsigned long long)c->requests,
           (unsigned long long)c->starts, (unsigned long long)c->retries);
    for (size_t i = 2; i < sizeof ends / sizeof *ends; i++) {
        printf("# %8llu  %s\n", (unsigned long long)c->ends[i], ends[i]);
        all = all && (n < 1000 || c->ends[i] > 0);
    }
    for (int i = 0; i < N_FAULTS; i++) {
        printf("# %8llu  %s\n", (unsigned long long)c->faults[i], fault_texts[i]);
        all = all && (n < 1000 || c->faults[i] > 0);
    }
    return say(2, all, "every kind of trouble and of end came up");
}

static bool is_found(unsigned number, enum plant plant, const char *name)
{
    struct tally report = {0}, unplanted = {0};
    const char *dir = make_dir();
    char text[256];

    for (uint64_t seed = 0; seed < PLANT_SEEDS && report.failures == 0; seed++)
        if (tell(seed, PLANT_NONE, false, dir, &unplanted))
            (void)tell(seed, plant, false, dir, &report);
    remove_dir(dir);
    if (report.failures > 0)
        printf("# %s\n", report.failure);
    (void)snprintf(text, sizeof text, "a planted %s is found (seed %llu)", name,
                   (unsigned long long)report.failed_seed);
    return say(number, report.failures > 0, text);
}

static int replay(const char *seed, const char *plant)
{
    struct tally report = {0};
    const char *dir = make_dir();
    bool good = tell(strtoull(seed, NULL, 10), plant ? (enum plant)strtoul(plant, NULL, 10) : PLANT_NONE,
                     true, dir, &report);

    remove_dir(dir);
    if (!good)
        printf("# %s\n", report.failure);
    printf("%sok 1 - seed %s\n1..1\n", good ? "" : "not ", seed);
    return good ? 0 : 1;
}

int main(int argc, char *argv[])
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    struct tally report;

    if (getenv("SEED") && getenv("SEED")[0])
        return replay(getenv("SEED"), getenv("PLANT"));
    bool good = stories(first, n, &report);
    good = everything_happened(&report.counts, n) && good;
    good = is_found(3, PLANT_LOST_MARK, "lost wake-up") && good;
    good = is_found(4, PLANT_LOST_TIMER, "lost timer") && good;
    good = is_found(5, PLANT_DOUBLE_FINISH, "double finish") && good;
    printf("1..5\n");
    return good ? 0 : 1;
}
