/* The check of a store against the ledger (see crash.h). Links the product's store: what opens here is what would
 * open there. */
#include "crash.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

#define COMMIT_MS 10000

struct walk {
    const struct check *check;
    uint64_t seq;
    unsigned char *seen; /* one byte for each n */
    uint64_t n_seen;
    char *err;
    char body[EVENT_BODY_MAX];
};

__attribute__((format(printf, 2, 3))) static bool wrong(struct walk *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(w->err, CHECK_ERROR, format, args);
    va_end(args);
    return false;
}

static bool on_record(void *arg, const struct record *r)
{
    struct walk *w = arg;
    unsigned long long seq = r->seq;
    uint64_t n = event_number(r->body_first.at, r->body_first.len);

    if (r->seq != ++w->seq)
        return wrong(w, "after record %llu comes %llu", (unsigned long long)w->seq - 1, seq);
    if (!record_bodies_intact(r))
        return wrong(w, "record %llu: the checksum of its body is wrong", seq);
    if (n == 0 || n >= w->n_seen)
        return wrong(w, "record %llu is event %llu, which was never sent", seq, (unsigned long long)n);
    size_t len = event_body(n, w->body);
    if (len != r->body_first.len || memcmp(w->body, r->body_first.at, len) != 0)
        return wrong(w, "record %llu: its body is not the one of event %llu", seq, (unsigned long long)n);
    uint64_t id = ledger_id(w->check->ledger, n);
    /* Without `all` the ledger goes beyond the image, where an event may be that got another id afterwards. */
    if (id != 0 && id != r->seq && (w->check->all || id <= w->check->acked_up_to))
        return wrong(w, "event %llu is record %llu, and was acknowledged as %llu", (unsigned long long)n, seq,
                     (unsigned long long)id);
    if (w->seen[n]++)
        return wrong(w, "event %llu is stored twice", (unsigned long long)n);
    return true;
}

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    (void)report;
}

struct appended {
    bool done;
    enum store_status status;
    uint64_t seq;
};

static void on_done(void *arg, uint64_t token, enum store_status status, uint64_t seq)
{
    (void)token;
    *(struct appended *)arg = (struct appended){true, status, seq};
}

/* A store that reads well may still be one that cannot be written: its list of free pages is used only then. */
enum check_result check_append(struct store *s, uint64_t last, bool gap_free, char err[static CHECK_ERROR])
{
    struct appended appended = {0};
    struct flux_event e = {
        .kind = STR("Kustomization"), .reason = STR("ReconciliationSucceeded"), .plain = true};
    struct pollfd fd = {.fd = store_fd(s), .events = POLLIN};

    for (int i = 0; i < 3; i++) {
        char body[64];
        appended.done = false;
        (void)snprintf(body, sizeof body, "{\"after\":%d}", i);
        e.revision = str_of(body); /* one of its own, so that it is not coalesced */
        if (store_append(s, &e, str_of(body), VIA_WEBHOOK, 1, on_done, &appended, 0) != STORE_OK)
            break;
        store_flush(s);
        if (poll(&fd, 1, COMMIT_MS) != 1)
            break;
        store_dispatch(s);
        if (!appended.done || appended.status != STORE_OK || appended.seq <= last ||
            (gap_free && appended.seq != last + 1))
            break;
        last = appended.seq;
        if (i == 2)
            return CHECK_OK;
    }
    (void)snprintf(err, CHECK_ERROR, "it opens, but an append fails (status %d, id %llu): %.300s",
                   (int)appended.status, (unsigned long long)appended.seq, store_errmsg(s));
    return CHECK_WRONG;
}

enum check_result check_store(const char *dir, const struct check *check, char err[static CHECK_ERROR],
                              uint64_t *ret_records)
{
    struct reporter reporter = {on_report, NULL};
    struct store_config config = {.dir = dir};
    struct walk *w = calloc(1, sizeof *w);
    enum check_result result = CHECK_NOT_OPEN;
    char why[STORE_ERROR] = "";

    if (!w)
        abort();
    err[0] = '\0';
    *w = (struct walk){.check = check, .n_seen = check->ledger->last + 1 + SENDERS_MAX, .err = err};
    w->seen = calloc(w->n_seen, 1);
    struct store *s = w->seen ? store_open(&config, &reporter, why) : NULL;
    if (!s) {
        (void)snprintf(err, CHECK_ERROR, "it does not open: %.460s", why);
        goto out;
    }
    (void)store_scan(s, 0, false, SIZE_MAX, on_record, w, NULL);
    *ret_records = w->seq;
    result = err[0] ? CHECK_WRONG : CHECK_OK;
    if (result == CHECK_OK && w->seq < check->acked_up_to) {
        (void)snprintf(err, CHECK_ERROR, "%llu records, but %llu was acknowledged",
                       (unsigned long long)w->seq, (unsigned long long)check->acked_up_to);
        result = CHECK_LOST;
    }
    for (uint64_t n = 1; result == CHECK_OK && check->all && n <= check->ledger->last; n++)
        if (ledger_id(check->ledger, n) != 0 && !w->seen[n]) {
            (void)snprintf(err, CHECK_ERROR, "event %llu, acknowledged as %llu, is not stored",
                           (unsigned long long)n, (unsigned long long)ledger_id(check->ledger, n));
            result = CHECK_LOST;
        }
    if (result == CHECK_OK && check->append)
        result = check_append(s, w->seq, true, err);
    store_close(s);
out:
    free(w->seen);
    free(w);
    return result;
}
