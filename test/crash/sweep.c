/* sweep PLAIN INSTRUMENTED FAIL_NTH POINTS [CALL]: the n-th call fails, for n = 1, 2, 3, ...
 *
 * For each kind of call and error the server is run once without a fault, to count the calls, and then once for each n
 * until the fault no longer comes; where there are more than POINTS calls, for that many n: all up to half of POINTS, and
 * the rest spread over what is left. Each time it takes events, gives them back, and is stopped. The client sends again what was not acknowledged.
 *
 * Whatever fails: what was acknowledged is stored; nobody waits longer than 5 s; the process does not end by a signal
 * or with an address error. It may end itself where the row says so, with a message, and then a new one goes on.
 */
#include "crash.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS   24
#define SENDERS  4
#define LIMIT_US 5000000
#define SILENT   3
#define FIRED    "fail_nth: fired"

enum may_end { NEVER, AT_START, ANY_TIME };

static const struct row {
    const char *call;
    const char *error_name;
    int error;
    bool on; /* every later call fails too */
    enum may_end may_end;
    unsigned share; /* POINTS are divided by that: such a fault is a rare or a long one */
} rows[] = {
    {"pwrite", "EIO", EIO, false, ANY_TIME, 1},
    {"data", "ENOSPC", ENOSPC, false, AT_START, 1},
    {"data", "EDQUOT", EDQUOT, false, AT_START, 2},
    {"pwrite", "EINTR", EINTR, false, ANY_TIME, 1},
    {"pwrite", "short", 0, false, ANY_TIME, 1},
    {"meta", "EIO", EIO, false, ANY_TIME, 1},
    {"meta", "ENOSPC", ENOSPC, false, ANY_TIME, 1},
    {"meta", "short", 0, false, ANY_TIME, 1},
    {"fdatasync", "EIO", EIO, false, ANY_TIME, 1},
    {"fdatasync", "EIO, on", EIO, true, ANY_TIME, 1},
    {"fdatasync", "ENOSPC", ENOSPC, false, AT_START, 1},
    {"fsync", "EIO", EIO, false, AT_START, 1},
    {"rename", "EIO", EIO, false, AT_START, 1},
    {"fallocate", "ENOSPC", ENOSPC, false, NEVER, 1},
    {"fallocate", "EIO", EIO, false, ANY_TIME, 1},
    {"mmap", "ENOMEM", ENOMEM, false, AT_START, 1},
    {"accept4", "EMFILE", EMFILE, false, NEVER, 1},
    {"accept4", "ECONNABORTED", ECONNABORTED, false, NEVER, 1},
    {"accept4", "EINTR", EINTR, false, NEVER, 1},
    {"readv", "ECONNRESET", ECONNRESET, false, NEVER, 1},
    {"readv", "EINTR", EINTR, false, NEVER, 1},
    {"writev", "EPIPE", EPIPE, false, NEVER, 1},
    {"writev", "EINTR", EINTR, false, NEVER, 1},
    {"writev", "short", 0, false, NEVER, 1},
    {"malloc", "ENOMEM", ENOMEM, false, ANY_TIME, 1},
    {"malloc", "ENOMEM, on", ENOMEM, true, ANY_TIME, 8},
};

struct trial {
    const char *binary;
    const char *fail_nth;
    const char *dir;
    const struct row *row;
    long nth;
    /* what came of it */
    bool fired;
    bool ended; /* by itself */
    bool started;
    long calls;
    char why[1024];
};

__attribute__((format(printf, 2, 3))) static bool bad(struct trial *t, const char *format, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, format);
    if (!t->why[0])
        (void)vsnprintf(t->why, sizeof t->why, format, args);
    __builtin_va_end(args);
    return false;
}

/* What the process itself had to say. */
static bool said_something(const struct server *s)
{
    for (const char *line = s->log; *line;) {
        size_t len = strcspn(line, "\n");
        if (len > 0 && strncmp(line, "fail_nth:", 9) != 0)
            return true;
        line += len + (line[len] == '\n');
    }
    return false;
}

static const char *last_words(const struct server *s)
{
    return s->log_len > 600 ? s->log + s->log_len - 600 : s->log;
}

static void look_at_log(struct trial *t, const struct server *s)
{
    const char *calls = strstr(s->log, " calls\n");

    t->fired |= strstr(s->log, FIRED) != NULL;
    if (calls) {
        while (calls > s->log && calls[-1] >= '0' && calls[-1] <= '9')
            calls--;
        t->calls = strtol(calls, NULL, 10);
    }
    if (strstr(s->log, "Sanitizer") || strstr(s->log, "runtime error"))
        (void)bad(t, "%.900s", strstr(s->log, "ERROR") ? strstr(s->log, "ERROR") : last_words(s));
}

/* It ended by itself. */
static void judge_end(struct trial *t, const struct server *s, int status)
{
    t->ended = true;
    if (WIFSIGNALED(status))
        (void)bad(t, "ended by signal %d: %.600s", WTERMSIG(status), last_words(s));
    else if (WEXITSTATUS(status) == 0)
        (void)bad(t, "ended with exit code 0");
    else if (!said_something(s))
        (void)bad(t, "ended without a word");
    else if (t->row->may_end == NEVER || (t->row->may_end == AT_START && t->started))
        (void)bad(t, "ended: %.600s", last_words(s));
}

/* Runs a client to its end. False when the server ended first, or time was up (and then that is bad). */
static bool serve(struct trial *t, struct server *s, struct client *c, const char *what)
{
    int64_t deadline = now_us() + LIMIT_US;

    while (client_step(c, 20)) {
        if (!server_read(s))
            return false;
        if (now_us() >= deadline)
            return bad(t, "%s hangs: %llu of %d acknowledged: %.600s", what,
                       (unsigned long long)c->ledger->acked, EVENTS, last_words(s));
    }
    return !c->wrong[0] || bad(t, "%s: %.200s", what, c->wrong);
}

/* One life of a server: takes the rest of the events, gives all back, is stopped. True when it came that far. */
static bool live(struct trial *t, struct client *c, const char *const *env)
{
    static struct server s;
    static struct client reader;
    int status = 0;

    t->started = false;
    if (!server_start(&s, t->binary, t->dir, NULL, env))
        return bad(t, "no server");
    t->started = server_ready(&s, now_us() + LIMIT_US);
    bool good = t->started;
    if (good) {
        c->port = s.port;
        good = serve(t, &s, c, "the load");
    }
    if (good && client_init(&reader, SENDERS, c->ledger)) {
        reader.verify = true;
        reader.verify_from = 1;
        reader.port = s.port;
        good = serve(t, &s, &reader, "reading");
        client_free(&reader);
    }
    if (good)
        (void)kill(s.pid, SIGTERM);
    bool in_time = server_wait(&s, now_us() + LIMIT_US, &status);
    client_drain(c);
    look_at_log(t, &s);
    if (!in_time)
        return bad(t, "%s: %.600s", t->started ? "does not stop" : "neither ready nor ended", last_words(&s));
    if (good && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        judge_end(t, &s, status);
    else if (!good && !t->why[0])
        judge_end(t, &s, status);
    return good;
}

static void try_one(struct trial *t)
{
    char preload[600], call[64], nth[64], error[64];
    const char *env[] = {preload,
                         call,
                         nth,
                         error,
                         "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:"
                         "allocator_may_return_null=1",
                         "MALLOC_PERTURB_=165",
                         NULL,
                         NULL};
    struct ledger ledger = {0};
    struct client c;
    struct check check = {.ledger = &ledger, .all = true, .append = true};
    char err[CHECK_ERROR];
    uint64_t records;

    (void)snprintf(preload, sizeof preload, "LD_PRELOAD=%s", t->fail_nth);
    (void)snprintf(call, sizeof call, "FES_FAIL_CALL=%s", t->row->call);
    (void)snprintf(nth, sizeof nth, "FES_FAIL_NTH=%ld", t->nth);
    (void)snprintf(error, sizeof error, "FES_FAIL_ERRNO=%d", t->row->error);
    if (t->row->on)
        env[6] = "FES_FAIL_ON=1";
    scratch_clear(t->dir);
    if (!client_init(&c, SENDERS, &ledger))
        abort();
    c.most = EVENTS;
    if (!live(t, &c, env) && !t->why[0])
        (void)live(t, &c, NULL);
    if (!t->why[0] && ledger.wrong[0])
        (void)bad(t, "%s", ledger.wrong);
    if (!t->why[0] && (ledger.acked != EVENTS || check_store(t->dir, &check, err, &records) != CHECK_OK))
        (void)bad(t, "%llu acknowledged: %s", (unsigned long long)ledger.acked, err);
    client_free(&c);
    ledger_free(&ledger);
}

struct sweep {
    const char *plain, *instrumented, *fail_nth;
    char dir[256];
    long points;
    int n, failed;
};

/* The k-th n to try of `calls`. */
static long nth_of(long k, long calls, long points)
{
    if (calls <= points || k < points / 2)
        return k + 1;
    return points / 2 + 1 + (k - points / 2) * (calls - points / 2) / (points - points / 2);
}

static void run_row(struct sweep *w, const struct row *row)
{
    bool memory = strcmp(row->call, "malloc") == 0;
    const char *binary = memory ? w->plain : w->instrumented;
    struct trial count = {.binary = binary, .fail_nth = w->fail_nth, .dir = w->dir, .row = row};
    long points = w->points / row->share > 0 ? w->points / row->share : 1;
    long tried = 0, fired = 0, ended = 0, bads = 0;
    int64_t start = now_us();

    try_one(&count);
    bool all = count.calls <= points;
    long silent = 0; /* trials since one fired: with that many calls the fault comes too late */
    for (long k = 0; !count.why[0] && k < 2 * points && (all ? silent < SILENT : k < points); k++) {
        struct trial t = count;
        t.nth = nth_of(k, count.calls, points);
        t.fired = t.ended = false;
        try_one(&t);
        tried++;
        fired += t.fired;
        silent = t.fired ? 0 : silent + 1;
        ended += t.ended;
        bads += t.why[0] != '\0';
        if (t.why[0] && bads <= 3)
            printf("# %s %s, n = %ld: %s\n", row->call, row->error_name, t.nth, t.why);
    }
    bool good = !count.why[0] && bads == 0 && fired > 0 && (all || fired * 10 >= tried * 8);
    if (count.why[0])
        printf("# without a fault: %s\n", count.why);
    printf("%sok %d - faults: %-9s %-12s: %ld tried, %ld calls, %ld fired, %ld ended by itself, %ld bad, "
           "%lld ms\n",
           good ? "" : "not ", ++w->n, row->call, row->error_name, tried, count.calls, fired, ended, bads,
           (long long)(now_us() - start) / 1000);
    w->failed += !good;
}

int main(int argc, char **argv)
{
    struct sweep w = {0};

    if (argc < 5 || !scratch_make(w.dir, true))
        return 2;
    w.plain = argv[1];
    w.instrumented = argv[2];
    w.fail_nth = realpath(argv[3], NULL);
    w.points = strtol(argv[4], NULL, 10);
    if (!w.fail_nth || w.points < 2)
        return 2;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (argc < 6 || strcmp(argv[5], rows[i].call) == 0)
            run_row(&w, &rows[i]);
    scratch_remove(w.dir);
    return w.failed ? 1 : 0;
}
