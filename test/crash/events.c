/* Events of the crash proofs, and the ledger (see crash.h). */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\"crash-"

/* Most are a record of some hundred bytes; of 16, one is above the size from which LMDB gives a value pages of its own;
 * of 128, one has many such pages. */
static size_t padding(uint64_t n)
{
    if (n % 128 == 77)
        return 30000 + n % 9000;
    if (n % 16 == 5)
        return 2000 + n * 37 % 3000;
    return n * 7919 % 500;
}

unsigned event_statements = 1;

#define QUIET  97
#define LIVELY (EVENT_OBJECTS - QUIET)

uint64_t event_object(uint64_t n)
{
    return n < QUIET ? n : QUIET + n % LIVELY;
}

uint64_t event_statement(uint64_t n)
{
    return n < QUIET ? n : QUIET + n / LIVELY / event_statements * LIVELY + n % LIVELY;
}

size_t event_body(uint64_t n, char body[static EVENT_BODY_MAX])
{
    size_t pad = padding(n);
    int len = snprintf(
        body, EVENT_BODY_MAX,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"crash\",\"name\":\"app-%llu\"},"
        "\"severity\":\"info\",\"timestamp\":\"2021-03-01T10:00:00Z\","
        "\"reason\":\"ReconciliationSucceeded\",\"metadata\":{\"revision\":\"main@sha1:%040llx\"},"
        "\"id\":" MARK "%llu\",\"message\":\"",
        (unsigned long long)event_object(n), (unsigned long long)(event_statement(n) * 0x9e3779b97f4a7c15u),
        (unsigned long long)n);
    size_t at = (size_t)len;

    for (size_t i = 0; i < pad; i++)
        body[at++] = (char)('a' + (n + i * i) % 26);
    body[at++] = '"';
    body[at++] = '}';
    return at;
}

uint64_t event_number(const char *body, size_t len)
{
    const char *mark = memmem(body, len, MARK, sizeof MARK - 1);

    return mark ? strtoull(mark + sizeof MARK - 1, NULL, 10) : 0; /* a '"' ends the digits, inside the body */
}

void ledger_ack(struct ledger *l, uint64_t n, uint64_t id)
{
    static char body[EVENT_BODY_MAX];

    if (n >= l->cap) {
        size_t cap = (n + 1) * 2;
        uint64_t *ids = realloc(l->ids, cap * sizeof *ids);
        uint64_t *at = realloc(l->at, cap * sizeof *at);
        if (!ids || !at)
            abort();
        memset(ids + l->cap, 0, (cap - l->cap) * sizeof *ids);
        memset(at + l->cap, 0, (cap - l->cap) * sizeof *at);
        l->ids = ids;
        l->at = at;
        l->cap = cap;
    }
    if (l->ids[n] != 0 && l->ids[n] != id && !l->wrong[0])
        (void)snprintf(l->wrong, sizeof l->wrong, "event %llu was acknowledged as %llu and as %llu",
                       (unsigned long long)n, (unsigned long long)l->ids[n], (unsigned long long)id);
    if (l->ids[n] == 0) {
        l->acked++;
        l->acked_bytes += event_body(n, body);
        l->at[n] = l->acked_bytes;
    }
    l->ids[n] = id;
    if (n > l->last)
        l->last = n;
}

uint64_t ledger_id(const struct ledger *l, uint64_t n)
{
    return n < l->cap ? l->ids[n] : 0;
}

void ledger_copy(struct ledger *to, const struct ledger *from)
{
    *to = *from;
    to->ids = malloc(from->cap * sizeof *to->ids);
    to->at = malloc(from->cap * sizeof *to->at);
    if (!to->ids || !to->at)
        abort();
    memcpy(to->ids, from->ids, from->cap * sizeof *to->ids);
    memcpy(to->at, from->at, from->cap * sizeof *to->at);
}

void ledger_free(struct ledger *l)
{
    free(l->ids);
    free(l->at);
    *l = (struct ledger){0};
}
