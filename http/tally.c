/* Answers and refusals, counted (see tally_priv.h).
 *
 * The cause in a log line is the label of the metric, so that one leads to the other. The sentence beside it is the one
 * that the client got, but for a denied request, whose client is told nothing.
 */
#include "http/tally_priv.h"

#include "http/reply_priv.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static const struct {
    const char *label;
    int status;
} causes[N_CAUSES] = {
#define X(id, label, status) {label, status},
    HTTP_CAUSES(X)
#undef X
};

static const char *const cause_labels[] = {
#define X(id, label, status) label,
    HTTP_CAUSES(X)
#undef X
        NULL,
};

static const int codes[] = {
#define X(status, reason) status,
    REPLY_STATUSES(X)
#undef X
};
#define N_CODES (sizeof codes / sizeof codes[0])
_Static_assert(N_CODES < TALLY_CODES, "room for all codes and for others");

static const char *const code_labels[] = {
#define X(status, reason) #status,
    REPLY_STATUSES(X)
#undef X
        "other",
    NULL,
};

static const char *const tls_labels[] = {
#define X(id, label) label,
    TLS_FAILURES(X)
#undef X
        NULL,
};

static const char *const pause_labels[] = {
    [PAUSE_CONNECTIONS] = "connections", [PAUSE_ERROR] = "error", [N_PAUSES] = NULL};

#define AT(field) offsetof(struct http_numbers, field)
const struct metric tally_metrics[] = {
    {.name = "flux_event_store_http_requests_total",
     .offset = AT(requests),
     .help = "Requests answered, by status.",
     .labels = {{"code", code_labels, 0}}},
    {.name = "flux_event_store_http_rejected_total",
     .offset = AT(rejected),
     .help = "Requests refused, by cause.",
     .labels = {{"cause", cause_labels, 0}}},
    {.name = "flux_event_store_tls_handshakes_failed_total",
     .offset = AT(tls_failed),
     .help = "TLS handshakes that failed, by cause.",
     .labels = {{"cause", tls_labels, 0}}},
    {.name = "flux_event_store_http_accept_paused_total",
     .offset = AT(paused),
     .help = "Times that accepting connections was paused: at the connection limit, or after an error.",
     .labels = {{"cause", pause_labels, 0}}},
    {.name = "flux_event_store_http_connections_shed_total",
     .offset = AT(shed),
     .help = "Connections without a whole request that were closed to make room, idle ones not counted."},
    {.name = "flux_event_store_http_connections",
     .type = METRIC_GAUGE,
     .offset = AT(connections),
     .help = "Open HTTP connections, idle ones included."},
    {.name = "flux_event_store_http_pending_requests",
     .type = METRIC_GAUGE,
     .offset = AT(pending),
     .help = "Requests whose answer is not yet written out."},
    {.name = "flux_event_store_http_body_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(body_bytes),
     .help = "Bytes of bodies being received, or waiting to be stored."},
    {.name = "flux_event_store_http_answer_bytes",
     .type = METRIC_GAUGE,
     .offset = AT(answer_bytes),
     .help = "Bytes of answers that their clients have not read yet."},
    {.name = "flux_event_store_log_lines_dropped_total",
     .offset = AT(lines_dropped),
     .help = "Log lines about refused requests that were left out: one a second for each cause is written."},
    {.name = NULL},
};

int cause_status(enum http_cause cause)
{
    return causes[cause].status;
}

enum http_cause cause_of_head(int status)
{
    for (int cause = CAUSE_BAD_HEAD; cause <= CAUSE_VERSION; cause++)
        if (causes[cause].status == status)
            return (enum http_cause)cause;
    return CAUSE_OTHER;
}

enum http_cause cause_of_status(int status)
{
    switch (status) {
    case 400: return CAUSE_BAD_REQUEST;
    case 404: return CAUSE_NOT_FOUND;
    case 405: return CAUSE_METHOD;
    case 410: return CAUSE_GONE;
    case 503: return CAUSE_OVERLOAD;
    default: return CAUSE_OTHER;
    }
}

enum http_cause cause_of_answer(enum auth_answer answer)
{
    switch (answer) {
    case AUTH_GRANTED:
    case AUTH_MISSING: return CAUSE_NO_CREDENTIALS;
    case AUTH_MALFORMED_SIGNATURE: return CAUSE_BAD_SIGNATURE;
    case AUTH_WRONG_SIGNATURE: return CAUSE_WRONG_SIGNATURE;
    case AUTH_WRONG_TOKEN: return CAUSE_WRONG_TOKEN;
    }
    return CAUSE_OTHER;
}

void tally_answered(struct tally *t, int status)
{
    size_t i = 0;

    while (i < N_CODES && codes[i] != status)
        i++;
    t->numbers.requests[i]++;
}

void tally_hold(struct event *rest)
{
    const struct timeval in = {.tv_sec = TALLY_REPORT_MS / 1000};

    if (rest && !evtimer_pending(rest, NULL))
        (void)evtimer_add(rest, &in);
}

static bool may_report(struct tally *t, struct tally_line *line, int64_t now_ms)
{
    line->since++;
    if (line->reported_ms && now_ms + 1 - line->reported_ms < TALLY_REPORT_MS) {
        tally_hold(t->rest);
        return false;
    }
    line->reported_ms = now_ms + 1;
    return true;
}

const char *tally_peer(int fd, char out[static TALLY_PEER])
{
    static const char mapped[] = "::ffff:"; /* IPv4, to a listener for both families */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof a;

    (void)snprintf(out, TALLY_PEER, "unknown");
    if (getpeername(fd, &a.any, &len) != 0)
        return out;
    if (a.any.sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &a.v4.sin_addr, out, TALLY_PEER);
    if (a.any.sa_family != AF_INET6)
        return out;
    (void)inet_ntop(AF_INET6, &a.v6.sin6_addr, out, TALLY_PEER);
    return IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr) ? out + strlen(mapped) : out;
}

/* client: NULL for many. */
static void say_refused(struct tally *t, enum http_cause cause, int status, const char *client,
                        struct str path, struct str why)
{
    enum report_level level = status == 401 || status >= 500 ? REPORT_WARN : REPORT_INFO;

    /* A field without a name ends the list. */
    REPORT(t->reporter, level, status == 401 ? "request denied" : "request refused",
           FIELD_INT("status", status), FIELD_TEXT("cause", causes[cause].label), FIELD_STR("error", why),
           FIELD_INT("requests", t->causes[cause].since), FIELD_TEXT(client ? "client" : NULL, client),
           FIELD_STR(path.len ? "path" : NULL, str_cut_utf8(path, TALLY_PATH)));
    t->causes[cause].since = 0;
}

void tally_refused(struct tally *t, enum http_cause cause, int status, struct tally_from from, struct str why,
                   int64_t now_ms)
{
    char peer[TALLY_PEER];

    t->numbers.rejected[cause]++;
    if (may_report(t, &t->causes[cause], now_ms))
        say_refused(t, cause, status, tally_peer(from.fd, peer), from.path, why);
    else
        t->numbers.lines_dropped++;
}

bool tally_paused(struct tally *t, enum http_pause pause, int64_t now_ms)
{
    t->numbers.paused[pause]++;
    return may_report(t, &t->pauses[pause], now_ms);
}

bool tally_shed(struct tally *t, int64_t now_ms)
{
    t->numbers.shed++;
    return may_report(t, &t->shed, now_ms);
}

void tally_damaged(struct tally *t, uint64_t id, int64_t now_ms)
{
    if (!may_report(t, &t->damaged, now_ms))
        return;
    REPORT(t->reporter, REPORT_ERROR, "a stored body is damaged and is left out of an answer",
           FIELD_INT("id", id), FIELD_INT("bodies", t->damaged.since));
    t->damaged.since = 0;
}

/* False as long as it is to wait. */
static bool may_tell_rest(struct tally *t, struct tally_line *line, int64_t now_ms)
{
    if (line->since == 0)
        return false;
    if (now_ms < line->reported_ms - 1 + TALLY_REST_MS) {
        tally_hold(t->rest);
        return false;
    }
    if (now_ms != INT64_MAX)
        line->reported_ms = now_ms + 1;
    return true;
}

void tally_tell_rest(struct tally *t, int64_t now_ms)
{
    for (int i = 0; i < N_CAUSES; i++)
        if (may_tell_rest(t, &t->causes[i], now_ms))
            say_refused(t, (enum http_cause)i, causes[i].status, NULL, STR_NONE, STR(TALLY_REST_SAYS));
    if (may_tell_rest(t, &t->damaged, now_ms)) {
        REPORT(t->reporter, REPORT_ERROR, "stored bodies are damaged and were left out of answers",
               FIELD_INT("bodies", t->damaged.since));
        t->damaged.since = 0;
    }
}
