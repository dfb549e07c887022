/* kill9 BINARY ROUNDS [SEED]: kill -9 at random instants under 64 senders.
 *
 * Each round starts the server on the same directory, takes the time until /readyz is 200, asks for every event that
 * was acknowledged in the round before, byte by byte, and loads it until the kill at a random instant. An event whose
 * answer did not come is sent again in the next round, as Flux would, so an event that was stored and not answered must
 * get the id it has. After the last kill the store is read as it was left, with the product's code.
 *
 * kill -9 leaves the page cache: it says nothing about syncs. powerloss.c does.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>

#define READY_LIMIT_US 1000000
#define LOAD_MIN_US    5000
#define LOAD_MAX_US    400000
#define HANG_US        10000000

struct proof {
    const char *binary;
    char dir[256];
    struct ledger ledger;
    struct client client;
    int64_t *ready_us;
    int n_ready;
    char wrong[512];
};

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Asks the server for all that it acknowledged from event `from` on. */
static bool verify(struct proof *p, uint64_t from, int port)
{
    static struct client reader;
    int64_t deadline = now_us() + HANG_US;

    if (!client_init(&reader, SENDERS_MAX, &p->ledger))
        return false;
    reader.verify = true;
    reader.verify_from = from;
    reader.port = port;
    while (client_step(&reader, 100) && now_us() < deadline && !reader.wrong[0])
        ;
    bool good = !reader.wrong[0] && now_us() < deadline && reader.refused == 0;
    if (!good)
        (void)snprintf(p->wrong, sizeof p->wrong, "%s",
                       reader.wrong[0] ? reader.wrong : "the answers did not come");
    client_free(&reader);
    return good;
}

static bool run_round(struct proof *p, uint64_t *from)
{
    struct server server;
    int64_t start = now_us();

    if (!server_start(&server, p->binary, p->dir, NULL, NULL) || !server_ready(&server, start + HANG_US)) {
        (void)snprintf(p->wrong, sizeof p->wrong, "not ready after %d s: %.400s", HANG_US / 1000000,
                       server.log);
        server_kill(&server);
        return false;
    }
    p->ready_us[p->n_ready++] = now_us() - start;
    bool good = verify(p, *from, server.port);
    *from = p->ledger.last + 1;
    for (size_t i = 0; i < p->client.senders; i++) /* what is in flight is acknowledged late */
        if (p->client.sender[i].n && p->client.sender[i].n < *from)
            *from = p->client.sender[i].n;
    p->client.port = server.port;
    int64_t until = now_us() + LOAD_MIN_US + random() % (LOAD_MAX_US - LOAD_MIN_US);
    while (good && now_us() < until)
        (void)client_step(&p->client, until - now_us() > 2000 ? 1 : 0);
    server_kill(&server);
    client_drain(&p->client);
    if (good && (p->client.wrong[0] || p->ledger.wrong[0]))
        (void)snprintf(p->wrong, sizeof p->wrong, "%s",
                       p->client.wrong[0] ? p->client.wrong : p->ledger.wrong);
    return good && !p->wrong[0];
}

static int result(int *n, bool good, const char *name, const char *why)
{
    if (!good)
        printf("# %s\n", why);
    printf("%sok %d - kill -9: %s\n", good ? "" : "not ", ++*n, name);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct proof p;
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 30;
    unsigned seed = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : (unsigned)now_us();
    struct check check = {.ledger = &p.ledger, .all = true, .append = true};
    char err[CHECK_ERROR] = "";
    uint64_t records = 0;
    uint64_t from = 1;
    int n = 0;
    int done = 0;
    int failed = 0;

    if (argc < 2 || rounds < 1 || !scratch_make(p.dir, false) ||
        !client_init(&p.client, SENDERS_MAX, &p.ledger) ||
        !(p.ready_us = calloc((size_t)rounds, sizeof *p.ready_us)))
        return 2;
    p.binary = argv[1];
    srandom(seed);
    while (done < rounds && run_round(&p, &from))
        done++;
    failed +=
        result(&n, done == rounds, "every event acknowledged in a round is given back after it", p.wrong);
    bool whole = check_store(p.dir, &check, err, &records) == CHECK_OK;
    failed +=
        result(&n, whole, "acknowledged events present under their ids, ids gap-free, no event twice", err);
    failed +=
        result(&n, p.ledger.acked > (uint64_t)rounds, "there was a load", "too few events were acknowledged");
    qsort(p.ready_us, (size_t)p.n_ready, sizeof *p.ready_us, by_value);
    int64_t most = p.n_ready ? p.ready_us[p.n_ready - 1] : INT64_MAX;
    failed += result(&n, most <= READY_LIMIT_US, "ready again within 1 s", "see the times below");
    printf("# kill -9: %d rounds, seed %u, %llu acknowledged, %llu stored; ready again p50 %lld ms, max %lld "
           "ms\n",
           done, seed, (unsigned long long)p.ledger.acked, (unsigned long long)records,
           (long long)p.ready_us[p.n_ready / 2] / 1000, (long long)most / 1000);
    scratch_remove(p.dir);
    return failed ? 1 : 0;
}
