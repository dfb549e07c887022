/* For the tests of http/: a server on a loopback port within the test's own loop, and clients on raw sockets.
 *
 * A client sends any bytes in any pieces and reads all that comes back. Every wait runs the loop until a
 * condition holds or a deadline passes. Where RIG_TLS is defined, server and clients speak TLS, and a client sees to it
 * that the server says goodbye (close_notify) before it closes.
 */
#ifndef FES_TEST_HTTP_TEST_H
#define FES_TEST_HTTP_TEST_H

#include "harness.h"

#include "clock.h"
#include "http/server_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef RIG_TLS
#include "pki.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define WAIT_MS 10000

struct rig {
    struct event_base *base;
    struct http_server *server;
    struct reporter reporter;
    int reports;
    char last_report[128];
    char last_error[HTTP_ERROR]; /* its field of that name, if it has one */
    char last_client[64];        /* the same */
    uint16_t port;
    void (*on_turn)(void *arg); /* after each turn of the loop; may be NULL */
    void *on_turn_arg;
#ifdef RIG_TLS
    char folder[32]; /* of the certificates */
    struct tls_config files;
    char paths[3][64];
    SSL_CTX *client;
#endif
};

static void rig_report(void *arg, const struct report *report)
{
    struct rig *rig = arg;
    rig->reports++;
    snprintf(rig->last_report, sizeof rig->last_report, "%s", report->sentence);
    rig->last_error[0] = rig->last_client[0] = '\0';
    for (const struct report_field *f = report->fields; f->name; f++) {
        if (strcmp(f->name, "error") == 0)
            snprintf(rig->last_error, sizeof rig->last_error, "%.*s", STR_ARG(f->text));
        if (strcmp(f->name, "client") == 0)
            snprintf(rig->last_client, sizeof rig->last_client, "%.*s", STR_ARG(f->text));
    }
}

#ifdef RIG_TLS
static struct authority rig_ca; /* one for the program: keys take their time */
static bool rig_asks_clients;   /* for certificates */

static void rig_tls(struct rig *rig, struct http_config *config)
{
    static const char *const names[] = {"cert", "key", "ca"};

    snprintf(rig->folder, sizeof rig->folder, "/tmp/http-tls-XXXXXX");
    if (!mkdtemp(rig->folder))
        HARNESS_FAIL("mkdtemp: %s", strerror(errno));
    if (!rig_ca.key)
        rig_ca = authority_new("CA");
    for (int i = 0; i < 3; i++)
        snprintf(rig->paths[i], sizeof rig->paths[i], "%s/%s", rig->folder, names[i]);
    identity_write(&rig_ca, "server", "IP:127.0.0.1", 86400, rig->paths[0], rig->paths[1]);
    authority_write(&rig_ca, rig->paths[2]);
    rig->files = (struct tls_config){rig->paths[0], rig->paths[1], rig_asks_clients ? rig->paths[2] : NULL};
    config->tls = rig->files;
    rig->client = SSL_CTX_new(TLS_client_method());
    SSL_CTX_load_verify_locations(rig->client, rig->paths[2], NULL);
    SSL_CTX_set_verify(rig->client, SSL_VERIFY_PEER, NULL);
}
#endif

/* As main.c makes it: what one turn changes about a descriptor is gathered until the next wait. */
__attribute__((unused)) static struct event_base *rig_base(void)
{
    struct event_config *config = event_config_new();

    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

__attribute__((unused)) static void rig_start(struct rig *rig, const struct guard_limits *limits)
{
    char err[HTTP_ERROR];
    struct http_config config = {.listen = {.values = {"127.0.0.1:0"}, .n = 1}};
    struct guard_limits standard;

    signal(SIGPIPE, SIG_IGN);
    http_default_limits(&standard);
    memset(rig, 0, sizeof *rig);
    rig->reporter = (struct reporter){rig_report, rig};
    rig->base = rig_base();
#ifdef RIG_TLS
    rig_tls(rig, &config);
#endif
    rig->server =
        http_server_new_limits(rig->base, &config, &rig->reporter, limits ? limits : &standard, err);
    if (!rig->server)
        HARNESS_FAIL("%s", err);
    rig->reports = 0;
    const char *colon = strrchr(http_server_address(rig->server, 0), ':');
    rig->port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

__attribute__((unused)) static void rig_stop(struct rig *rig)
{
    http_server_free(rig->server);
    event_base_free(rig->base);
    rig->server = NULL;
    rig->base = NULL;
#ifdef RIG_TLS
    SSL_CTX_free(rig->client);
    for (int i = 0; i < 3; i++)
        unlink(rig->paths[i]);
    rmdir(rig->folder);
#endif
}

/* One turn, as the process has them: after each, what is queued goes to the store's writer. Without EVLOOP_ONCE libevent
 * goes on as long as an event is active, so nobody would see how far a turn gets. */
__attribute__((unused)) static void rig_loop(struct rig *rig, int flags)
{
    event_base_loop(rig->base, flags | EVLOOP_ONCE);
    if (rig->on_turn)
        rig->on_turn(rig->on_turn_arg);
}

/* Requests refused for this cause, as /metrics shows them. */
__attribute__((unused)) static uint64_t rig_refused(const struct rig *rig, enum http_cause cause)
{
    return http_server_tally(rig->server)->numbers.rejected[cause];
}

/* Times that accepting was paused. */
__attribute__((unused)) static uint64_t rig_paused(const struct rig *rig, enum http_pause cause)
{
    return http_server_tally(rig->server)->numbers.paused[cause];
}

/* One turn of the loop, waiting at most ms. */
__attribute__((unused)) static void rig_turn(struct rig *rig, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_base_loopexit(rig->base, &tv);
    rig_loop(rig, 0);
}

/* Turns until the condition holds or WAIT_MS have passed. */
#define RIG_UNTIL(rig, condition)                         \
    do {                                                  \
        int64_t rig_deadline = clock_ms() + WAIT_MS;      \
        while (!(condition) && clock_ms() < rig_deadline) \
            rig_loop((rig), EVLOOP_NONBLOCK);             \
        CHECK(condition);                                 \
    } while (0)

struct client {
    struct rig *rig;
    int fd;
    bool closed; /* the server ended the connection */
    bool reset;
    char *in;
    size_t len;
#ifdef RIG_TLS
    SSL *ssl;
    bool truncated;   /* closed without a goodbye */
    struct str later; /* to be sent when hands are shaken */
#endif
};

/* As recv and send. */
#ifdef RIG_TLS
static ssize_t client_result(struct client *c, int n)
{
    int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (error == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        c->truncated = true;
    else if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_SSL) {
        errno = error == SSL_ERROR_SSL ? EPROTO : errno;
        return -1;
    }
    return n > 0 ? n : 0;
}

static void client_send_now(struct client *c)
{
    ERR_clear_error();
    if (c->later.len > 0 && SSL_write(c->ssl, c->later.at, (int)c->later.len) > 0)
        c->later.len = 0;
    ERR_clear_error();
}

static ssize_t client_recv(struct client *c, void *buffer, size_t size)
{
    client_send_now(c);
    return client_result(c, SSL_read(c->ssl, buffer, (int)size));
}

/* A server that does not accept shakes no hands: what is to be sent waits, as it would in the kernel without TLS. Both
 * ends are this process: what counts is how long it has run, not how long it has waited for a processor. */
static bool client_sends_later(struct client *c, struct str bytes, int64_t since_ms)
{
    if (SSL_is_init_finished(c->ssl) || ran_ms() - since_ms < 50)
        return false;
    free((char *)c->later.at);
    c->later = (struct str){memcpy(malloc(bytes.len), bytes.at, bytes.len), bytes.len};
    return true;
}

__attribute__((unused)) static ssize_t client_try_send(struct client *c, const void *bytes, size_t len)
{
    client_send_now(c);
    if (c->later.len > 0) {
        errno = EAGAIN;
        return -1;
    }
    return client_result(c, SSL_write(c->ssl, bytes, (int)len));
}
#else
#define client_sends_later(c, bytes, since_ms) ((void)(since_ms), false)
static ssize_t client_recv(struct client *c, void *buffer, size_t size)
{
    return recv(c->fd, buffer, size, MSG_DONTWAIT);
}

__attribute__((unused)) static ssize_t client_try_send(struct client *c, const void *bytes, size_t len)
{
    return send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}
#endif

__attribute__((unused)) static void client_open(struct client *c, struct rig *rig)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rig->port)};

    memset(c, 0, sizeof *c);
    c->rig = rig;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        HARNESS_FAIL("connect: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef RIG_TLS
    c->ssl = SSL_new(rig->client);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    evutil_make_socket_nonblocking(c->fd);
    SSL_set_connect_state(c->ssl); /* the first read or write shakes hands */
#endif
}

__attribute__((unused)) static void client_close(struct client *c)
{
#ifdef RIG_TLS
    SSL_free(c->ssl);
    free((char *)c->later.at);
    c->ssl = NULL;
    c->later = STR_NONE;
#endif
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    free(c->in);
    c->in = NULL;
    c->len = 0;
}

/* Reads what is there. */
__attribute__((unused)) static void client_poll(struct client *c)
{
    char buffer[65536];
    ssize_t n;

    while (!c->closed && (n = client_recv(c, buffer, sizeof buffer)) != -1) {
        if (n == 0) {
            c->closed = true;
            break;
        }
        c->in = realloc(c->in, c->len + (size_t)n + 1);
        memcpy(c->in + c->len, buffer, (size_t)n);
        c->len += (size_t)n;
        c->in[c->len] = '\0';
    }
    if (!c->closed && errno != EAGAIN && errno != EINTR) {
        c->closed = true;
        c->reset = true;
    }
}

/* Sends all of it, running the loop while the socket is full. A server that has closed already is no failure.
 */
__attribute__((unused)) static void client_send(struct client *c, struct str bytes)
{
    int64_t deadline = clock_ms() + WAIT_MS, begun_ms = ran_ms();

    while (bytes.len > 0 && clock_ms() < deadline) {
        ssize_t n = client_try_send(c, bytes.at, bytes.len);
        if (n > 0)
            bytes = str_from(bytes, (size_t)n);
        else if (errno != EAGAIN || client_sends_later(c, bytes, begun_ms))
            return;
        rig_loop(c->rig, EVLOOP_NONBLOCK);
        client_poll(c);
    }
    CHECK_INT(bytes.len, 0);
}

#define client_text(c, text) client_send(c, str_of(text))

static struct str client_in(const struct client *c)
{
    return (struct str){c->in, c->len};
}

/* The first answer that has come completely: its status, and *ret_body when not NULL; 0 when there is none
 * yet. The answer to a HEAD needs `no_body`. *ret_len is its whole length. */
__attribute__((unused)) static int answer_at(struct str in, bool no_body, struct str *ret_body,
                                             size_t *ret_len)
{
    const char *end = in.len ? memmem(in.at, in.len, "\r\n\r\n", 4) : NULL;
    unsigned long long body = 0;

    if (!end)
        return 0;
    struct str head = {in.at, (size_t)(end - in.at) + 4};
    const char *length = memmem(head.at, head.len, "\r\nContent-Length: ", 18);
    if (length && !no_body)
        body = strtoull(length + 18, NULL, 10);
    if (in.len < head.len + body)
        return 0;
    if (ret_body)
        *ret_body = (struct str){in.at + head.len, (size_t)body};
    if (ret_len)
        *ret_len = head.len + (size_t)body;
    return (int)strtol(in.at + strlen("HTTP/1.1 "), NULL, 10);
}

/* Waits for the answer; returns its status. It stays in c->in. */
__attribute__((unused)) static int client_answer(struct client *c, struct str *ret_body)
{
    RIG_UNTIL(c->rig, (client_poll(c), answer_at(client_in(c), false, NULL, NULL) != 0 || c->closed));
    return answer_at(client_in(c), false, ret_body, NULL);
}

/* Drops the first answer. */
__attribute__((unused)) static void client_next(struct client *c)
{
    size_t len = 0;
    if (answer_at(client_in(c), false, NULL, &len) == 0)
        HARNESS_FAIL("no answer to drop");
    memmove(c->in, c->in + len, c->len - len);
    c->len -= len;
    c->in[c->len] = '\0';
}

__attribute__((unused)) static void client_wait_closed(struct client *c)
{
    RIG_UNTIL(c->rig, (client_poll(c), c->closed));
#ifdef RIG_TLS
    CHECK(c->reset || !c->truncated);
#endif
}

#endif
