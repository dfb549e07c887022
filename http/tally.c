/* Answers and refusals, counted (see tally_priv.h).
 *
 * The cause in a log line is the label of the metric, so that one leads to the other. The sentence beside it is the one
 * that the client got, but for a denied request, whose client is told nothing.
 */
#include "http/tally_priv.h"

#include "http/reply_priv.h"
#include "http/server.h"

#include <event2/event.h>
#include <event2/http.h>

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

/* Unless it is armed. */
static void hold(struct event *rest)
{
    const struct timeval in = {.tv_sec = TALLY_REPORT_MS / 1000};

    if (rest && !evtimer_pending(rest, NULL))
        (void)evtimer_add(rest, &in);
}

bool tally_is_due(struct event *rest, struct tally_line *line, int64_t now_ms)
{
    if (tally_line_add(line, now_ms))
        return true;
    hold(rest);
    return false;
}

bool tally_is_rest_due(struct event *rest, struct tally_line *line, int64_t now_ms)
{
    enum tally_rest due = tally_line_rest(line, now_ms);

    if (due == TALLY_REST_LATER)
        hold(rest);
    return due == TALLY_REST_NOW;
}

const char *tally_client(struct evhttp_connection *evcon)
{
    static const char mapped[] = "::ffff:"; /* IPv4, to a listener for both families */
    char *address;
    ev_uint16_t port;

    if (!evcon)
        return "unknown";
    evhttp_connection_get_peer(evcon, &address, &port);
    if (strchr(address, '.') && strncmp(address, mapped, strlen(mapped)) == 0)
        return address + strlen(mapped);
    return address;
}

/* client: NULL for many. */
static void say_refused(struct tally *t, enum http_cause cause, int status, const char *client,
                        struct str path, struct str why)
{
    enum report_level level = status == 401 || status >= 500 ? REPORT_WARN : REPORT_INFO;

    /* A field without a name ends the list. */
    REPORT(t->reporter, level, status == 401 ? "request denied" : "request refused",
           FIELD_INT("status", status), FIELD_TEXT("cause", causes[cause].label), FIELD_STR("error", why),
           FIELD_INT("requests", tally_line_take(&t->causes[cause])),
           FIELD_TEXT(client ? "client" : NULL, client),
           FIELD_STR(path.len ? "path" : NULL, str_cut_utf8(path, TALLY_PATH)));
}

void tally_refused(struct tally *t, enum http_cause cause, int status, struct tally_from from, struct str why,
                   int64_t now_ms)
{
    t->numbers.rejected[cause]++;
    if (tally_is_due(t->rest, &t->causes[cause], now_ms))
        say_refused(t, cause, status, from.client, from.path, why);
    else
        t->numbers.lines_dropped++;
}

bool tally_paused(struct tally *t, enum http_pause pause, int64_t now_ms)
{
    t->numbers.paused[pause]++;
    return tally_is_due(t->rest, &t->pauses[pause], now_ms);
}

bool tally_shed(struct tally *t, int64_t now_ms)
{
    t->numbers.shed++;
    return tally_is_due(t->rest, &t->shed, now_ms);
}

void tally_damaged(struct tally *t, uint64_t id, int64_t now_ms)
{
    if (!tally_is_due(t->rest, &t->damaged, now_ms))
        return;
    REPORT(t->reporter, REPORT_ERROR, "a stored body is damaged and is left out of an answer",
           FIELD_INT("id", id), FIELD_INT("bodies", tally_line_take(&t->damaged)));
}

void tally_tell_rest(struct tally *t, int64_t now_ms)
{
    for (int i = 0; i < N_CAUSES; i++)
        if (tally_is_rest_due(t->rest, &t->causes[i], now_ms))
            say_refused(t, (enum http_cause)i, causes[i].status, NULL, STR_NONE, STR(TALLY_REST_SAYS));
    if (tally_is_rest_due(t->rest, &t->damaged, now_ms))
        REPORT(t->reporter, REPORT_ERROR, "stored bodies are damaged and were left out of answers",
               FIELD_INT("bodies", tally_line_take(&t->damaged)));
}
