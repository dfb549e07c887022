/* For the tests of http/: a server on a loopback port within the test's own loop, and clients on raw sockets.
 *
 * A client sends any bytes in any pieces and reads all that comes back. Every wait runs the loop until a
 * condition holds or a deadline passes.
 */
#ifndef FES_TEST_HTTP_TEST_H
#define FES_TEST_HTTP_TEST_H

#include "harness.h"

#include "http/server_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 10000

static int64_t test_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct rig {
    struct event_base *base;
    struct http_server *server;
    struct reporter reporter;
    int reports;
    char last_report[128];
    uint16_t port;
    void (*on_turn)(void *arg); /* after each turn of the loop; may be NULL */
    void *on_turn_arg;
};

static void rig_report(void *arg, const struct report *report)
{
    struct rig *rig = arg;
    rig->reports++;
    snprintf(rig->last_report, sizeof rig->last_report, "%s", report->sentence);
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
    rig->base = event_base_new();
    rig->server =
        http_server_new_limits(rig->base, &config, &rig->reporter, limits ? limits : &standard, err);
    if (!rig->server)
        HARNESS_FAIL("%s", err);
    const char *colon = strrchr(http_server_address(rig->server, 0), ':');
    rig->port = (uint16_t)strtoul(colon + 1, NULL, 10);
}

__attribute__((unused)) static void rig_stop(struct rig *rig)
{
    http_server_free(rig->server);
    event_base_free(rig->base);
    rig->server = NULL;
    rig->base = NULL;
}

__attribute__((unused)) static void rig_loop(struct rig *rig, int flags)
{
    event_base_loop(rig->base, flags);
    if (rig->on_turn)
        rig->on_turn(rig->on_turn_arg);
}

/* One turn of the loop, waiting at most ms. */
__attribute__((unused)) static void rig_turn(struct rig *rig, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_base_loopexit(rig->base, &tv);
    rig_loop(rig, EVLOOP_ONCE);
}

/* Turns until the condition holds or WAIT_MS have passed. */
#define RIG_UNTIL(rig, condition)                            \
    do {                                                     \
        int64_t rig_deadline = test_now_ms() + WAIT_MS;      \
        while (!(condition) && test_now_ms() < rig_deadline) \
            rig_loop((rig), EVLOOP_NONBLOCK);                \
        CHECK(condition);                                    \
    } while (0)

struct client {
    struct rig *rig;
    int fd;
    bool closed; /* the server ended the connection */
    bool reset;
    char *in;
    size_t len;
};

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
}

__attribute__((unused)) static void client_close(struct client *c)
{
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

    while (!c->closed && (n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT)) != -1) {
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
    int64_t deadline = test_now_ms() + WAIT_MS;

    while (bytes.len > 0 && test_now_ms() < deadline) {
        ssize_t n = send(c->fd, bytes.at, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            bytes = str_from(bytes, (size_t)n);
        else if (errno != EAGAIN)
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
}

#endif
