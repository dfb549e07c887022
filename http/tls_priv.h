/* TLS on the listeners.
 *
 * struct tls is certificate, key and client CA: read from their files, read again when they change. struct tls_gate is
 * what new connections of one guard set pass: it looks at the first byte, and lets a bounded number of handshakes begin
 * in each turn of the loop. struct tls_conn is one connection. A connection whose SSL object cannot be made does not
 * come to be; nothing here ever hands out a bufferevent that speaks plain text.
 */
#ifndef FES_HTTP_TLS_PRIV_H
#define FES_HTTP_TLS_PRIV_H

#include "http/server.h"

#include <openssl/types.h>

struct bufferevent;
struct event;
struct event_base;
struct tls;
struct tls_conn;
struct tls_gate;

#define TLS_MAX_FILE   (1u << 20)
#define TLS_LOOK_MS    1000  /* files are looked at no more often, and only when a connection comes */
#define TLS_REPORT_MS  60000 /* between two reports that the same files cannot be used */
#define TLS_HANDSHAKES 8     /* begun in one turn of the loop: each takes about half a millisecond of it */

/* Why a handshake fails, as the label of the metric and in the log. */
#define TLS_FAILURES(X)                         \
    X(CLIENT_CERTIFICATE, "client_certificate") \
    X(REFUSED_BY_CLIENT, "refused_by_client")   \
    X(PROTOCOL, "protocol")
enum tls_failure {
#define X(id, label) TLS_FAILED_##id,
    TLS_FAILURES(X)
#undef X
        N_TLS_FAILURES
};

/* Whether the flags ask for TLS. */
bool tls_wanted(const struct tls_config *config);
/* Reads the files. NULL with one line in err that names flag and file: when one of the pair is missing or cannot be
 * read, holds no PEM, or they do not belong together. A certificate that is out of date is reported and taken: clients
 * decide, and a clock may be wrong. config's strings and reporter outlive the result. */
struct tls *tls_new(const struct tls_config *config, const struct reporter *reporter,
                    char err[static HTTP_ERROR]);
/* Connections keep what they use. Accepts NULL. */
void tls_free(struct tls *t);
/* For connections from now on: reads the files again when TLS_LOOK_MS have passed on a clock that only goes forward.
 * The old pair stays in use while the new one cannot be, which is reported; so is a change. */
void tls_refresh(struct tls *t, int64_t mono_ms);
/* The same at once, and without a bound on the reports (SIGHUP). */
void tls_reload(struct tls *t, int64_t mono_ms);
/* A server's end with the pair in use. NULL when out of memory. The caller frees it with SSL_free. */
SSL *tls_ssl(struct tls *t);
/* Has an end that has not begun use the pair that is in use now. False when out of memory: then it must not begin. */
bool tls_renew(struct tls *t, SSL *ssl);
/* A handshake with that host failed: counted, and reported once a second at most for each cause, with the number since. */
void tls_report_failed(struct tls *t, enum tls_failure cause, const char *why, const char *client,
                       int64_t mono_ms);
/* The timer that calls tls_tell_rest, borrowed; and what tally_tell_rest is for refused requests. */
void tls_set_rest(struct tls *t, struct event *rest);
void tls_tell_rest(struct tls *t, int64_t mono_ms);
/* How many have failed for this cause. */
uint64_t tls_failed(const struct tls *t, enum tls_failure cause);

/* NULL when out of memory. base and tls outlive it. */
struct tls_gate *tls_gate_new(struct event_base *base, struct tls *tls);
/* After all connections. Accepts NULL. */
void tls_gate_free(struct tls_gate *gate);

struct tls_hooks {
    /* The client does not speak TLS, and was told so with this sentence. Must not end the connection. */
    void (*on_plain)(void *arg, const char *why);
    /* The client is gone, or was told: end the connection. Fires at most once, from the loop, and may call
     * tls_conn_free. */
    void (*on_end)(void *arg);
    void *arg;
};
/* A connection that is still to be accepted. NULL when out of memory. */
struct tls_conn *tls_conn_new(struct tls_gate *gate, const struct tls_hooks *hooks);
/* To be read and written like any other; closes its socket when it is freed, which is the caller's task, after
 * tls_conn_free. */
struct bufferevent *tls_conn_bufferevent(struct tls_conn *c);
/* The bufferevent has its socket, and has not read from it. client: the other end's host, for the log; outlives c. False
 * when out of memory: end the connection. */
bool tls_conn_start(struct tls_conn *c, const char *client);
/* evhttp has just been given an answer to write, or is about to get its end: has it told that the answer is written when
 * it is. Holds until evhttp sets its callbacks again, which it does with each answer. */
void tls_conn_mind_writes(struct tls_conn *c);
/* Tells the client that nothing follows (close_notify), once. */
void tls_conn_finish(struct tls_conn *c);
/* Call it when the connection ends: finishes, and reports a handshake that failed. Accepts NULL. */
void tls_conn_free(struct tls_conn *c);

#endif
