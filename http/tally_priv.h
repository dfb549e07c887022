/* What the server counts: answers by status, refusals by cause; and how often it says so in the log.
 *
 * A refused request is counted always, and reported at most once a second for each cause, with how many there were
 * since: a sender that is refused a thousand times a second does not fill the log. When no more come, a timer has the rest
 * told.
 */
#ifndef FES_HTTP_TALLY_PRIV_H
#define FES_HTTP_TALLY_PRIV_H

#include "http/auth.h"
#include "http/tally_line_priv.h"
#include "http/tls_priv.h"
#include "store/metric.h"
#include "store/report.h"

struct event;
struct evhttp_connection;

#define TALLY_REST_SAYS "as in the line before; these had no line of their own"

/* Why a request is refused: name, label of the metric, status. The first eleven are the guard's, before routing. */
#define HTTP_CAUSES(X)                                    \
    X(BAD_HEAD, "malformed_head", 400)                    \
    X(METHOD, "method", 405)                              \
    X(NO_LENGTH, "length_required", 411)                  \
    X(BODY_SIZE, "body_too_large", 413)                   \
    X(EXPECTATION, "expectation", 417)                    \
    X(HEAD_SIZE, "head_too_large", 431)                   \
    X(VERSION, "http_version", 505)                       \
    X(HEAD_TIME, "head_timeout", 408)                     \
    X(BODY_TIME, "body_timeout", 408)                     \
    X(BODIES, "bodies_full", 503)                         \
    X(PLAIN, "plain_http", 400) /* where TLS is spoken */ \
    X(NO_CREDENTIALS, "no_credentials", 401)              \
    X(BAD_SIGNATURE, "malformed_signature", 401)          \
    X(WRONG_SIGNATURE, "wrong_signature", 401)            \
    X(WRONG_TOKEN, "wrong_token", 401)                    \
    X(NOT_FOUND, "not_found", 404)                        \
    X(BAD_REQUEST, "bad_request", 400)                    \
    X(BAD_EVENT, "bad_event", 400)                        \
    X(GONE, "gone", 410)                                  \
    X(STARTING, "starting", 503)                          \
    X(QUEUE_FULL, "queue_full", 503)                      \
    X(DISK_FULL, "disk_full", 503)                        \
    X(STORE_FAILED, "store_failed", 503)                  \
    X(OVERLOAD, "overload", 503) /* or no memory */       \
    X(OTHER, "other", 500)
enum http_cause {
#define X(id, label, status) CAUSE_##id,
    HTTP_CAUSES(X)
#undef X
        N_CAUSES
};
int cause_status(enum http_cause cause);
/* Of a head or body that the guard refused with this status. */
enum http_cause cause_of_head(int status);
/* Of a refusal whose handler names a status only. */
enum http_cause cause_of_status(int status);

/* Of a request that is denied. */
enum http_cause cause_of_answer(enum auth_answer answer);

/* Why no connection is accepted for a while. */
enum http_pause { PAUSE_CONNECTIONS, PAUSE_ERROR, N_PAUSES };

#define TALLY_CODES 24 /* at least those of REPLY_STATUSES, and "other" */
struct http_numbers {
    uint64_t requests[TALLY_CODES];
    uint64_t rejected[N_CAUSES];
    uint64_t paused[N_PAUSES];
    uint64_t shed;
    uint64_t lines_dropped;
    uint64_t tls_failed[N_TLS_FAILURES];
    uint64_t connections;
    uint64_t pending;
    uint64_t body_bytes;
    uint64_t answer_bytes;
};

struct tally {
    const struct reporter *reporter;
    struct event *rest; /* timer that calls tally_tell_rest; NULL: none */
    struct tally_line causes[N_CAUSES];
    struct tally_line pauses[N_PAUSES];
    struct tally_line shed;
    struct tally_line damaged;
    struct http_numbers numbers;
};

/* Of struct http_numbers. */
extern const struct metric tally_metrics[];

#define TALLY_PATH 128 /* bytes of a path in a log line */

/* now_ms: on a clock that only goes forward. */

void tally_answered(struct tally *t, int status);
/* From where it came. */
struct tally_from {
    const char *client; /* as of tally_client */
    struct str
        path; /* without the query, written up to TALLY_PATH bytes; STR_NONE where no request was read */
};
/* why: one sentence, never a secret. */
void tally_refused(struct tally *t, enum http_cause cause, int status, struct tally_from from, struct str why,
                   int64_t now_ms);
/* Host of the other end as it was when the connection was accepted: a socket that was reset does not know it any more.
 * "unknown" for NULL: the connection is gone. Of the connection's memory. */
const char *tally_client(struct evhttp_connection *evcon);
/* True when it is to be reported. */
bool tally_paused(struct tally *t, enum http_pause pause, int64_t now_ms);
/* The same for a connection that ends for want of room. */
bool tally_shed(struct tally *t, int64_t now_ms);
/* A body of that record was left out of an answer. Reported at most once a second, with how many there were since. */
void tally_damaged(struct tally *t, uint64_t id, int64_t now_ms);

/* Tells how many had no line, for each kind whose last one is TALLY_REST_MS old, and arms the timer for the others. now_ms
 * is INT64_MAX at the end: for all. */
void tally_tell_rest(struct tally *t, int64_t now_ms);
/* tally_line_add and tally_line_rest with the timer: true when a line is to be written; else the timer is armed where it has
 * to be. rest may be NULL. */
bool tally_is_due(struct event *rest, struct tally_line *line, int64_t now_ms);
bool tally_is_rest_due(struct event *rest, struct tally_line *line, int64_t now_ms);

#endif
