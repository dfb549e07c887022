/* retain9 BINARY ROUNDS [SEED]: kill -9 at random instants while records are coalesced and, for want of room, deleted.
 *
 * As kill9.c, with a --max-size that a second of load fills, and with events of which five in a row say the same. After
 * each kill the directory is read with the product's code, and what is gone must have been allowed to go (judge.c).
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENTS  5
#define HANG_US     10000000
#define LOAD_MIN_US 5000
#define LOAD_MAX_US 400000

struct proof {
    const char *binary;
    char dir[256];
    struct ledger ledger;
    struct client client;
    struct judge judge;
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

static bool check_all(struct proof *p)
{
    judge_ledger(&p->judge, &p->ledger);
    return judge_store(&p->judge, p->dir, false) == CHECK_OK || bad(p, "%s", p->judge.why);
}

static bool run_round(struct proof *p)
{
    struct server server;

    if (!server_start(&server, p->binary, p->dir, JUDGE_MAX_SIZE, NULL) ||
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
    uint64_t above = p->judge.kept[p->judge.n_kept - 1].id + 1;

    while (n > 1 && ledger_id(&p->ledger, n) == 0)
        n--;
    return finds(p, n, above, "is gone after") &&
           finds(p, n, p->judge.kept[0].id, "was acknowledged for event") &&
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
    failed += result(&n, p.judge.gone > 1000 && p.judge.coalesced > 100, "records were deleted and coalesced",
                     "too few");
    uint64_t gone = p.judge.gone;
    failed += result(&n, done < rounds || finds_losses(&p), "a test of the test: losses are found", p.wrong);
    printf("# kill -9 with retention: %d rounds, seed %u, %llu acknowledged, in the end %zu records kept and "
           "%llu events gone "
           "with theirs\n",
           done, seed, (unsigned long long)p.ledger.acked, p.judge.n_kept, (unsigned long long)gone);
    scratch_remove(p.dir);
    return failed ? 1 : 0;
}
