/* early_ack early|late DIR EVENTS: a store that acknowledges before, or after, the commit; run under record_io.so.
 *
 * A test of the test: with `early` each id is acknowledged when its batch is in the transaction and the transaction is
 * not committed, so powerloss must find what is lost. `late` is the same program as it should be.
 */
#include "crash.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/store_priv.h"

#define PER_COMMIT 5

struct harness {
    struct store *store;
    int acks[2]; /* a socket, because that is where the recorder looks for acknowledgements */
    bool early;
    bool failed;
};

static void acknowledge(struct harness *h, uint64_t id)
{
    char text[64];
    char sink[64];
    int len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n\r\n{\"id\":\"%llu\"}", (unsigned long long)id);

    if (write(h->acks[0], text, (size_t)len) != len || recv(h->acks[1], sink, sizeof sink, 0) != len)
        h->failed = true;
}

static int before_commit(void *arg)
{
    struct harness *h = arg;

    for (size_t i = 0; h->early && i < h->store->n_written; i++)
        acknowledge(h, h->store->written[i]->seq);
    return 0;
}

static void on_done(void *arg, uint64_t token, enum store_status status, uint64_t seq)
{
    struct harness *h = arg;

    if (status != STORE_OK || seq != token)
        h->failed = true;
    else if (!h->early)
        acknowledge(h, seq);
}

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    (void)fprintf(stderr, "%s\n", report->sentence);
}

static void commit_one(struct harness *h)
{
    struct pollfd fd = {.fd = store_fd(h->store), .events = POLLIN};

    store_flush(h->store);
    if (poll(&fd, 1, 10000) != 1)
        h->failed = true;
    store_dispatch(h->store);
}

int main(int argc, char **argv)
{
    struct reporter reporter = {on_report, NULL};
    struct harness h = {0};
    char body[EVENT_BODY_MAX];
    char err[STORE_ERROR];

    if (argc != 4 || socketpair(AF_UNIX, SOCK_STREAM, 0, h.acks) < 0)
        return 2;
    uint64_t events = strtoull(argv[3], NULL, 10);
    struct store_config config = {.dir = argv[2]};
    h.early = strcmp(argv[1], "early") == 0;
    h.store = store_open(&config, &reporter, err);
    if (!h.store)
        return 2;
    commit_set_hook(h.store->committer, before_commit, &h);
    for (uint64_t n = 1; n <= events && !h.failed; n++) {
        struct flux_event e = {
            .kind = STR("Kustomization"), .reason = STR("ReconciliationSucceeded"), .plain = true};
        char revision[24]; /* one of its own, so that it is not coalesced */
        (void)snprintf(revision, sizeof revision, "%llu", (unsigned long long)n);
        e.revision = str_of(revision);
        size_t len = event_body(n, body);
        if (store_append(h.store, &e, (struct str){body, len}, VIA_WEBHOOK, (int64_t)n, on_done, &h, n) !=
            STORE_OK)
            h.failed = true;
        if (n % PER_COMMIT == 0)
            commit_one(&h);
    }
    store_close(h.store);
    return h.failed ? 1 : 0;
}
