/* retain9 BINARY ROUNDS [SEED]: kill -9 at random instants while records are coalesced and, for want of room, deleted.
 *
 * As kill9.c, with a --max-size that a second of load fills, and with events of which five in a row say the same. So ids have
 * gaps here and an acknowledged event may be gone. After each kill the directory is read with the product's code, and
 * what is gone must have been allowed to go (the contract: the longest-unchanged first, the newest success or failure of
 * an object last):
 * - of each object, the newest record that was ever acknowledged, or is stored, is there;
 * - so is each record whose last acknowledgement has less than RECENT_BYTES of others behind it, which is a part of what
 *   --max-size leaves for records;
 * - a record that is there says what the events acknowledged with its id said, and counts at least as many.
 */
#include "crash.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

#define MAX_SIZE     "4MiB"
#define RECENT_BYTES (UINT64_C(700) << 10)
#define STATEMENTS   5
#define HANG_US      10000000
#define LOAD_MIN_US  5000
#define LOAD_MAX_US  400000
#define MOST_RECORDS 65536

struct kept {
    uint64_t id;
    uint64_t n; /* of its first body */
    uint32_t count;
    uint32_t acked; /* events with this id */
};

struct proof {
    const char *binary;
    char dir[256];
    struct ledger ledger;
    struct client client;
    struct kept kept[MOST_RECORDS];
    size_t n_kept;
    uint64_t gone;      /* acknowledged events whose record is */
    uint64_t coalesced; /* acknowledged events that share a record, as it was seen after a kill */
    char wrong[512];
};

__attribute__((format(printf, 2, 3))) static bool bad(struct proof *p, const char *format, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, format);
    if (!p->wrong[0])
        (void)vsnprintf(p->wrong, sizeof p->wrong, format, args);
    __builtin_va_end(args);
    return false;
}

static uint64_t sent_as(struct str body)
{
    static char want[EVENT_BODY_MAX];
    uint64_t n = event_number(body.at, body.len);

    return n > 0 && event_body(n, want) == body.len && memcmp(want, body.at, body.len) == 0 ? n : 0;
}

static bool on_record(void *arg, const struct record *r)
{
    struct proof *p = arg;
    uint64_t first = sent_as(r->body_first);
    uint64_t last = sent_as(r->body_last);
    unsigned long long id = r->seq;

    if (p->n_kept == MOST_RECORDS)
        return bad(p, "there are more records than --max-size allows");
    if (!record_bodies_intact(r) || first == 0 || last == 0)
        return bad(p, "record %llu: its bodies are none that were sent", id);
    if (event_statement(first) != event_statement(last) || (r->count == 1) != (first == last))
        return bad(p, "record %llu: its first event is %llu, its last %llu, its count %u", id,
                   (unsigned long long)first, (unsigned long long)last, r->count);
    if (p->n_kept > 0 && r->seq <= p->kept[p->n_kept - 1].id)
        return bad(p, "record %llu comes too late", id);
    p->kept[p->n_kept++] = (struct kept){.id = r->seq, .n = first, .count = r->count};
    return true;
}

static struct kept *find(struct proof *p, uint64_t id)
{
    size_t from = 0;
    size_t to = p->n_kept;

    while (from < to) {
        size_t middle = (from + to) / 2;
        if (p->kept[middle].id == id)
            return &p->kept[middle];
        if (p->kept[middle].id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* One acknowledged event. */
static bool check_event(struct proof *p, uint64_t n, uint64_t id)
{
    struct kept *kept = find(p, id);
    uint64_t behind = p->ledger.acked_bytes - p->ledger.at[n];

    if (kept && event_statement(kept->n) != event_statement(n))
        return bad(p, "record %llu says what event %llu says, and was acknowledged for event %llu",
                   (unsigned long long)id, (unsigned long long)kept->n, (unsigned long long)n);
    if (kept && ++kept->acked > kept->count)
        return bad(p, "record %llu stands for %u events, and more were acknowledged with its id",
                   (unsigned long long)id, kept->count);
    if (!kept && behind < RECENT_BYTES)
        return bad(p, "event %llu, acknowledged as %llu, is gone after %llu bytes", (unsigned long long)n,
                   (unsigned long long)id, (unsigned long long)behind);
    p->gone += !kept;
    p->coalesced += kept && kept->acked > 1;
    return true;
}

/* What the ledger and the store know as the newest record of each object. */
static bool check_newest(struct proof *p)
{
    uint64_t newest[EVENT_OBJECTS] = {0};

    for (uint64_t n = 1; n <= p->ledger.last; n++)
        if (ledger_id(&p->ledger, n) > newest[event_object(n)])
            newest[event_object(n)] = ledger_id(&p->ledger, n);
    for (size_t i = 0; i < p->n_kept; i++)
        if (p->kept[i].id > newest[event_object(p->kept[i].n)])
            newest[event_object(p->kept[i].n)] = p->kept[i].id;
    for (size_t i = 0; i < EVENT_OBJECTS; i++)
        if (newest[i] && !find(p, newest[i]))
            return bad(p, "record %llu, the newest of an object, is gone", (unsigned long long)newest[i]);
    return true;
}

static void on_report(void *arg, const struct report *report)
{
    (void)bad(arg, "%s", report->sentence);
}

static bool check_all(struct proof *p)
{
    struct reporter reporter = {on_report, p};
    char why[STORE_ERROR];
    struct store *s = store_open(&(struct store_config){.dir = p->dir}, &reporter, why);

    if (!s)
        return bad(p, "it does not open: %s", why);
    p->n_kept = 0;
    p->gone = 0;
    (void)store_scan(s, 0, false, SIZE_MAX, on_record, p, NULL);
    store_close(s);
    for (uint64_t n = 1; n <= p->ledger.last && !p->wrong[0]; n++)
        if (ledger_id(&p->ledger, n))
            (void)check_event(p, n, ledger_id(&p->ledger, n));
    return !p->wrong[0] && check_newest(p);
}

static bool run_round(struct proof *p)
{
    struct server server;

    if (!server_start(&server, p->binary, p->dir, MAX_SIZE, NULL) ||
        !server_ready(&server, now_us() + HANG_US)) {
        (void)bad(p, "not ready after %d s: %.400s", HANG_US / 1000000, server.log);
        server_kill(&server);
        return false;
    }
    p->client.port = server.port;
    int64_t until = now_us() + LOAD_MIN_US + random() % (LOAD_MAX_US - LOAD_MIN_US);
    while (now_us() < until)
        (void)client_step(&p->client, until - now_us() > 2000 ? 1 : 0);
    server_kill(&server);
    client_drain(&p->client);
    if (p->client.wrong[0] || p->ledger.wrong[0])
        return bad(p, "%s", p->client.wrong[0] ? p->client.wrong : p->ledger.wrong);
    return check_all(p);
}

static int result(int *n, bool good, const char *name, const char *why)
{
    if (!good)
        printf("# %s\n", why);
    printf("%sok %d - kill -9 with retention: %s\n", good ? "" : "not ", ++*n, name);
    return good ? 0 : 1;
}

/* The check must be able to fail. */
static bool finds(struct proof *p, uint64_t n, uint64_t id, const char *what)
{
    uint64_t was = p->ledger.ids[n];

    p->wrong[0] = '\0';
    p->ledger.ids[n] = id;
    bool found = !check_all(p) && strstr(p->wrong, what);
    p->ledger.ids[n] = was;
    return found;
}

static bool finds_losses(struct proof *p)
{
    uint64_t n = p->ledger.last; /* acknowledged lately */
    uint64_t above = p->kept[p->n_kept - 1].id + 1;

    while (n > 1 && ledger_id(&p->ledger, n) == 0)
        n--;
    return finds(p, n, above, "is gone after") && finds(p, n, p->kept[0].id, "says what event") &&
           finds(p, 1, above, "the newest of an object");
}

int main(int argc, char **argv)
{
    static struct proof p;
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 30;
    unsigned seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : (unsigned)now_us();
    int n = 0;
    int done = 0;
    int failed = 0;

    event_statements = STATEMENTS;
    if (argc < 2 || rounds < 1 || !scratch_make(p.dir, false) ||
        !client_init(&p.client, SENDERS_MAX, &p.ledger))
        return 2;
    p.binary = argv[1];
    srandom(seed);
    while (done < rounds && run_round(&p))
        done++;
    failed += result(&n, done == rounds, "what was acknowledged is there, or was allowed to go", p.wrong);
    failed += result(&n, p.gone > 1000 && p.coalesced > 100, "records were deleted and coalesced", "too few");
    uint64_t gone = p.gone;
    failed += result(&n, done < rounds || finds_losses(&p), "a test of the test: losses are found", p.wrong);
    printf("# kill -9 with retention: %d rounds, seed %u, %llu acknowledged, in the end %zu records kept and "
           "%llu events gone "
           "with theirs\n",
           done, seed, (unsigned long long)p.ledger.acked, p.n_kept, (unsigned long long)gone);
    scratch_remove(p.dir);
    return failed ? 1 : 0;
}
