/* sweep PLAIN INSTRUMENTED FAIL_NTH POINTS [CALL]: the n-th call fails, for n = 1, 2, 3, ...
 *
 * For each kind of call and error the server is run once without a fault, to count the calls, and then once for each n
 * until the fault no longer comes; where there are more than POINTS calls, for that many n: all up to half of POINTS, and
 * the rest spread over what is left. Each time it takes events, gives them back, and is stopped, while streams and waits
 * are open. The client sends again what was not acknowledged.
 *
 * Rows with RETAIN begin with a store that has reached its --max-size, so that the events are coalesced and records are
 * deleted; what is gone in the end must have been allowed to go (judge.c).
 *
 * Whatever fails: what was acknowledged is stored; nobody waits longer than 5 s; the process does not end by a signal
 * or with an address error. It may end itself where the row says so, with a message, and then a new one goes on.
 *
 * The instrumented binary finds memory errors also where an allocation fails: the hook stands before its allocator.
 */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS        24
#define SENDERS       4
#define FULL_EVENTS   3200 /* with which --max-size is reached */
#define FULL_STEP     75
#define FULL_STEPS    40
#define RETAIN_EVENTS 150 /* after them */
#define STATEMENTS    5
#define LIMIT_US      20000000 /* what takes longer hangs; that an end comes within 5 s is shown elsewhere */
#define SILENT        3
#define FIRED         "fail_nth: fired"

enum may_end { NEVER, AT_START, ANY_TIME };

/* Flags of a row. */
#define ON     1u /* every later call fails too */
#define FOUR   2u /* four in a row fail */
#define PLAIN  4u /* with the binary that is not instrumented */
#define RETAIN 8u /* see above */

static const struct row {
    const char *call;
    const char *error_name;
    int error;
    unsigned how;
    enum may_end may_end;
    unsigned share; /* POINTS are divided by that: such a fault is a rare or a long one */
} rows[] = {
    {"pwrite", "EIO", EIO, 0, ANY_TIME, 1},
    {"data", "ENOSPC", ENOSPC, 0, AT_START, 1},
    {"data", "EDQUOT", EDQUOT, 0, AT_START, 1},
    {"pwrite", "EINTR", EINTR, 0, ANY_TIME, 1},
    {"pwrite", "short", 0, 0, ANY_TIME, 1},
    {"meta", "EIO", EIO, 0, ANY_TIME, 1},
    {"meta", "ENOSPC", ENOSPC, 0, ANY_TIME, 1},
    {"meta", "short", 0, 0, ANY_TIME, 1},
    {"fdatasync", "EIO", EIO, 0, ANY_TIME, 1},
    {"fdatasync", "EIO, on", EIO, ON, ANY_TIME, 1},
    {"fdatasync", "ENOSPC", ENOSPC, 0, AT_START, 1},
    {"fsync", "EIO", EIO, 0, AT_START, 1},
    {"rename", "EIO", EIO, 0, AT_START, 1},
    {"fallocate", "ENOSPC", ENOSPC, 0, NEVER, 1},
    {"fallocate", "EIO", EIO, 0, ANY_TIME, 1},
    {"mmap", "ENOMEM", ENOMEM, 0, AT_START, 1},
    {"accept4", "EMFILE", EMFILE, 0, NEVER, 1},
    {"accept4", "ECONNABORTED", ECONNABORTED, 0, NEVER, 1},
    {"accept4", "EINTR", EINTR, 0, NEVER, 1},
    {"readv", "ECONNRESET", ECONNRESET, 0, NEVER, 1},
    {"readv", "EINTR", EINTR, 0, NEVER, 1},
    {"writev", "EPIPE", EPIPE, 0, NEVER, 1},
    {"writev", "EINTR", EINTR, 0, NEVER, 1},
    {"writev", "short", 0, 0, NEVER, 1},
    {"malloc", "ENOMEM", ENOMEM, 0, ANY_TIME, 1},
    {"malloc", "ENOMEM", ENOMEM, PLAIN, ANY_TIME, 1},
    {"malloc", "ENOMEM, on", ENOMEM, ON, ANY_TIME, 8},
    {"pwrite", "EIO", EIO, RETAIN, ANY_TIME, 8},
    {"data", "ENOSPC", ENOSPC, RETAIN, AT_START, 4},
    {"data", "ENOSPC, 4", ENOSPC, RETAIN | FOUR, AT_START, 8},
    {"meta", "EIO", EIO, RETAIN, ANY_TIME, 8},
    {"fdatasync", "EIO", EIO, RETAIN, ANY_TIME, 8},
    {"fdatasync", "ENOSPC, 4", ENOSPC, RETAIN | FOUR, AT_START, 8},
    {"malloc", "ENOMEM", ENOMEM, RETAIN, ANY_TIME, 4},
};

/* A store that has reached its --max-size, and what it acknowledged. */
struct full {
    char dir[256];
    struct ledger ledger;
    uint64_t events;
    uint64_t gone;
};

struct trial {
    const char *binary;
    const char *fail_nth;
    const char *dir;
    const struct row *row;
    const struct full *full; /* for RETAIN */
    long nth;
    /* what came of it */
    bool fired;
    bool ended; /* by itself */
    bool started;
    long calls;
    uint64_t gone; /* see struct judge */
    size_t heard;  /* bytes, by the bystanders */
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
static bool serve(struct trial *t, struct server *s, struct client *c, struct bystanders *b, const char *what)
{
    int64_t deadline = now_us() + LIMIT_US;

    while (client_step(c, 20)) {
        t->heard += bystanders_read(b);
        if (!server_read(s))
            return false;
        if (now_us() >= deadline)
            return bad(t, "%s hangs: %llu of %llu acknowledged: %.600s", what,
                       (unsigned long long)c->ledger->acked, (unsigned long long)c->most, last_words(s));
    }
    return !c->wrong[0] || bad(t, "%s: %.200s", what, c->wrong);
}

/* Gives back what it took. */
static bool read_back(struct trial *t, struct server *s, struct ledger *ledger, struct bystanders *b)
{
    static struct client reader;

    if (!client_init(&reader, SENDERS, ledger))
        abort();
    reader.verify = true;
    reader.verify_from = 1;
    reader.port = s->port;
    bool good = serve(t, s, &reader, b, "reading");
    client_free(&reader);
    return good;
}

/* One life of a server: takes the rest of the events, gives all back, is stopped. True when it came that far. */
static bool live(struct trial *t, struct client *c, const char *const *env)
{
    static struct server s;
    struct bystanders b;
    int status = 0;

    if (!server_start(&s, t->binary, t->dir, (t->row->how & RETAIN) ? JUDGE_MAX_SIZE : NULL, env))
        return bad(t, "no server");
    t->started = server_ready(&s, now_us() + LIMIT_US);
    bool good = t->started;
    if (good) {
        c->port = s.port;
        bystanders_come(&b, s.port);
        good = serve(t, &s, c, &b, "the load") && ((t->row->how & RETAIN) || read_back(t, &s, c->ledger, &b));
        bystanders_go(&b);
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

static bool copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    static char bytes[1 << 20];
    char path[300];
    ssize_t n = -1;

    (void)snprintf(path, sizeof path, "%.250s/%s", from_dir, name);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "%.250s/%s", to_dir, name);
    int to = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    while (from >= 0 && to >= 0 && (n = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)n) != n)
            break;
    if (from >= 0)
        (void)close(from);
    if (to >= 0)
        (void)close(to);
    return n == 0;
}

static void full_make(struct full *full, const char *binary, uint64_t events)
{
    static struct server s;
    struct client c;
    struct judge j = {0};
    int status;

    event_statements = STATEMENTS;
    if (!scratch_make(full->dir, true) || !client_init(&c, SENDERS_MAX, &full->ledger) ||
        !server_start(&s, binary, full->dir, JUDGE_MAX_SIZE, NULL) || !server_ready(&s, now_us() + LIMIT_US))
        abort();
    c.port = s.port;
    c.most = full->events = events;
    while (client_step(&c, 20))
        ;
    (void)kill(s.pid, SIGTERM);
    judge_ledger(&j, &full->ledger);
    if (!server_wait(&s, now_us() + LIMIT_US, &status) || judge_store(&j, full->dir, false) != CHECK_OK ||
        !j.gone)
        abort();
    full->gone = j.gone;
    judge_free(&j);
    client_free(&c);
}

static void full_drop(struct full *full)
{
    scratch_remove(full->dir);
    ledger_free(&full->ledger);
    *full = (struct full){0};
}

/* What is stored in the end. */
static void check_trial(struct trial *t, const struct ledger *ledger, uint64_t most)
{
    struct check check = {.ledger = ledger, .all = true, .append = true};
    struct judge j = {0};
    char err[CHECK_ERROR];
    uint64_t records;

    if (ledger->wrong[0] || ledger->acked != most) {
        (void)bad(t, "%llu acknowledged: %s", (unsigned long long)ledger->acked, ledger->wrong);
    } else if (t->row->how & RETAIN) {
        judge_ledger(&j, ledger);
        if (judge_store(&j, t->dir, true) != CHECK_OK)
            (void)bad(t, "%s", j.why);
        t->gone = j.gone;
        judge_free(&j);
    } else if (check_store(t->dir, &check, err, &records) != CHECK_OK) {
        (void)bad(t, "%s", err);
    }
}

static void try_one(struct trial *t)
{
    char preload[600], call[64], nth[64], error[64], times[64];
    const char *env[] = {preload,
                         call,
                         nth,
                         error,
                         times,
                         "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0:"
                         "allocator_may_return_null=1",
                         "MALLOC_PERTURB_=165",
                         t->row->how & ON ? "FES_FAIL_ON=1" : NULL,
                         NULL};
    struct ledger ledger = {0};
    struct client c;

    (void)snprintf(preload, sizeof preload, "LD_PRELOAD=%s", t->fail_nth);
    (void)snprintf(call, sizeof call, "FES_FAIL_CALL=%s", t->row->call);
    (void)snprintf(nth, sizeof nth, "FES_FAIL_NTH=%ld", t->nth);
    (void)snprintf(error, sizeof error, "FES_FAIL_ERRNO=%d", t->row->error);
    (void)snprintf(times, sizeof times, "FES_FAIL_FOR=%d", t->row->how & FOUR ? 4 : 1);
    scratch_clear(t->dir);
    if (t->row->how & RETAIN) {
        ledger_copy(&ledger, &t->full->ledger);
        if (!copy_file(t->full->dir, t->dir, "data.mdb"))
            abort();
    }
    if (!client_init(&c, SENDERS, &ledger))
        abort();
    c.most = (t->row->how & RETAIN) ? t->full->events + RETAIN_EVENTS : EVENTS;
    if (!live(t, &c, env) && !t->why[0])
        (void)live(t, &c, NULL);
    if (!t->why[0])
        check_trial(t, &ledger, c.most);
    client_free(&c);
    ledger_free(&ledger);
}

struct sweep {
    const char *plain, *instrumented, *fail_nth;
    char dir[256];
    long points;
    struct full full;
    int n, failed;
};

/* The k-th n to try of `calls`. With RETAIN the first calls are the start's, as in the rows without, and how many there
 * are in all varies more. */
static long nth_of(const struct row *row, long k, long calls, long points)
{
    if ((row->how & RETAIN) && calls > points)
        return 1 + k * (calls * 3 / 4) / points;
    if (calls <= points || k < points / 2)
        return k + 1;
    return points / 2 + 1 + (k - points / 2) * (calls - points / 2) / (points - points / 2);
}

/* The last slice of deletions may have made room for more than RETAIN_EVENTS: then a store is taken that is fuller. */
static void count_deletions(struct sweep *w, struct trial *count)
{
    for (int step = 0; step < FULL_STEPS; step++) {
        if (!w->full.gone)
            full_make(&w->full, w->plain, FULL_EVENTS + (uint64_t)step * FULL_STEP);
        try_one(count);
        if (count->why[0] || count->gone > w->full.gone)
            return;
        full_drop(&w->full);
    }
    (void)bad(count, "no record was deleted");
}

/* Without a fault all is well, and what the row is about happens. */
static void count_calls(struct sweep *w, struct trial *count)
{
    const struct row *row = count->row;

    event_statements = (row->how & RETAIN) ? STATEMENTS : 1;
    if (row->how & RETAIN)
        count_deletions(w, count);
    else
        try_one(count);
    if (!count->why[0] && count->heard < 1000)
        (void)bad(count, "the streams are silent");
}

static void run_row(struct sweep *w, const struct row *row)
{
    const char *binary = (row->how & PLAIN) ? w->plain : w->instrumented;
    struct trial count = {
        .binary = binary, .fail_nth = w->fail_nth, .dir = w->dir, .row = row, .full = &w->full};
    long points = w->points / row->share > 0 ? w->points / row->share : 1;
    long tried = 0, fired = 0, ended = 0, bads = 0;
    int64_t start = now_us();

    count_calls(w, &count);
    bool all = count.calls <= points;
    long silent = 0; /* trials since one fired: with that many calls the fault comes too late */
    for (long k = 0; !count.why[0] && k < 2 * points && (all ? silent < SILENT : k < points); k++) {
        struct trial t = count;
        t.nth = nth_of(row, k, count.calls, points);
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
    printf("%sok %d - faults%s: %-9s %-12s: %ld tried, %ld calls, %ld fired, %ld ended by itself, %ld bad, "
           "%lld ms\n",
           good ? "" : "not ", ++w->n,
           (row->how & RETAIN)  ? " with deletions"
           : (row->how & PLAIN) ? ", plain"
                                : "",
           row->call, row->error_name, tried, count.calls, fired, ended, bads,
           (long long)(now_us() - start) / 1000);
    w->failed += !good;
}

int main(int argc, char **argv)
{
    static struct sweep w;

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
    if (w.full.gone)
        full_drop(&w.full);
    scratch_remove(w.dir);
    return w.failed ? 1 : 0;
}
