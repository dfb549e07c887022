/* Senders that never give an event up: it is sent again, over new connections and to new servers, until it is
 * acknowledged (see crash.h). One thread, poll, one request at a time on each connection.
 */
#include "crash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_MAX  (EVENT_BODY_MAX + 512)
#define RETRY_US 5000 /* after an error, so that a server that is ending is not asked in a tight loop */

bool client_init(struct client *c, size_t senders, struct ledger *ledger)
{
    *c = (struct client){.senders = senders, .ledger = ledger, .most = UINT64_MAX};
    c->sender = calloc(senders, sizeof *c->sender);
    for (size_t i = 0; c->sender && i < senders; i++) {
        c->sender[i].fd = -1;
        c->sender[i].out = malloc(OUT_MAX);
        if (!c->sender[i].out)
            return false;
    }
    return c->sender != NULL;
}

void client_free(struct client *c)
{
    for (size_t i = 0; c->sender && i < c->senders; i++) {
        if (c->sender[i].fd >= 0)
            (void)close(c->sender[i].fd);
        free(c->sender[i].out);
    }
    free(c->sender);
    c->sender = NULL;
}

static void hang_up(struct sender *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
    s->in_len = s->out_len = s->out_at = 0;
    s->not_before_us = now_us() + RETRY_US;
}

static void call(struct client *c, struct sender *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)c->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        hang_up(s);
}

static uint64_t next_event(struct client *c)
{
    if (!c->verify)
        return c->ledger->last < c->most ? ++c->ledger->last : 0;
    while (c->verify_from <= c->ledger->last) {
        uint64_t n = c->verify_from++;
        if (ledger_id(c->ledger, n) != 0)
            return n;
    }
    return 0;
}

static void compose(struct client *c, struct sender *s)
{
    char body[EVENT_BODY_MAX];

    if (c->verify) {
        s->out_len = (size_t)snprintf(
            s->out, OUT_MAX,
            "GET /events/%llu HTTP/1.1\r\nHost: x\r\nAccept: application/octet-stream\r\n\r\n",
            (unsigned long long)ledger_id(c->ledger, s->n));
    } else {
        size_t len = event_body(s->n, body);
        s->out_len = (size_t)snprintf(s->out, OUT_MAX,
                                      "POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                      "Content-Length: %zu\r\n\r\n",
                                      len);
        memcpy(s->out + s->out_len, body, len);
        s->out_len += len;
    }
    s->out_at = 0;
}

__attribute__((format(printf, 3, 4))) static void wrong(struct client *c, uint64_t n, const char *format, ...)
{
    __builtin_va_list args;
    int len;

    if (c->wrong[0])
        return;
    len = snprintf(c->wrong, sizeof c->wrong, "event %llu: ", (unsigned long long)n);
    __builtin_va_start(args, format);
    (void)vsnprintf(c->wrong + len, sizeof c->wrong - (size_t)len, format, args);
    __builtin_va_end(args);
}

static void on_answer(struct client *c, struct sender *s, int status, const char *body, size_t len)
{
    static const char id_is[] = "{\"id\":\"";
    char want[EVENT_BODY_MAX];

    if (status != 200) {
        c->refused++;
        s->not_before_us = now_us() + RETRY_US;
        if (status != 503 && status != 408)
            wrong(c, s->n, "answered %d", status);
        return;
    }
    if (c->verify) {
        if (len != event_body(s->n, want) || memcmp(want, body, len) != 0)
            wrong(c, s->n, "another body is given back under id %llu",
                  (unsigned long long)ledger_id(c->ledger, s->n));
        c->verified++;
    } else if (len > sizeof id_is && memcmp(body, id_is, sizeof id_is - 1) == 0) {
        ledger_ack(c->ledger, s->n, strtoull(body + sizeof id_is - 1, NULL, 10));
    } else {
        wrong(c, s->n, "200 without an id");
    }
    s->n = 0;
}

/* Takes one whole answer off the input. */
static bool take_answer(struct client *c, struct sender *s)
{
    static const char length_is[] = "\r\nContent-Length: ";
    char *end = memmem(s->in, s->in_len, "\r\n\r\n", 4);
    char *length = end ? memmem(s->in, (size_t)(end - s->in) + 2, length_is, sizeof length_is - 1) : NULL;

    if (!length)
        return false;
    size_t head = (size_t)(end - s->in) + 4;
    size_t len = strtoull(length + sizeof length_is - 1, NULL, 10);
    if (s->in_len < head + len)
        return false;
    bool closing = memmem(s->in, head, "Connection: close", 17) != NULL;
    on_answer(c, s, (int)strtol(s->in + 9, NULL, 10), s->in + head, len);
    s->in_len = s->out_len = s->out_at = 0;
    if (closing)
        hang_up(s);
    return true;
}

static void receive(struct client *c, struct sender *s)
{
    while (s->fd >= 0) {
        ssize_t n = recv(s->fd, s->in + s->in_len, sizeof s->in - s->in_len, 0);
        if (n > 0) {
            s->in_len += (size_t)n;
            (void)take_answer(c, s);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            if (n == 0 || errno != EAGAIN)
                hang_up(s);
            return;
        }
    }
}

static void transmit(struct sender *s)
{
    ssize_t n = send(s->fd, s->out + s->out_at, s->out_len - s->out_at, MSG_NOSIGNAL);

    if (n > 0)
        s->out_at += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        hang_up(s);
}

/* Gives the sender something to send. False when there is nothing. */
static bool prepare(struct client *c, struct sender *s, int64_t now)
{
    if (s->n == 0)
        s->n = next_event(c);
    if (s->n == 0)
        return false;
    if (now < s->not_before_us || !c->port)
        return true;
    if (s->fd < 0)
        call(c, s);
    if (s->fd >= 0 && s->out_len == 0)
        compose(c, s);
    return true;
}

bool client_step(struct client *c, int timeout_ms)
{
    struct pollfd fds[SENDERS_MAX];
    int64_t now = now_us();
    bool more = false;

    for (size_t i = 0; i < c->senders; i++) {
        struct sender *s = &c->sender[i];
        more |= prepare(c, s, now);
        if (s->fd < 0 || s->out_len == 0)
            timeout_ms = timeout_ms > 5 ? 5 : timeout_ms;
        fds[i] = (struct pollfd){.fd = s->fd, .events = POLLIN};
        if (s->out_at < s->out_len)
            fds[i].events |= POLLOUT;
    }
    if (!more)
        return false;
    if (poll(fds, c->senders, timeout_ms) <= 0)
        return true;
    for (size_t i = 0; i < c->senders; i++) {
        struct sender *s = &c->sender[i];
        if (s->fd >= 0 && fds[i].revents & POLLOUT)
            transmit(s);
        if (s->fd >= 0 && fds[i].revents & (POLLIN | POLLHUP | POLLERR))
            receive(c, s);
    }
    return true;
}

void client_drain(struct client *c)
{
    for (size_t i = 0; i < c->senders; i++) {
        struct sender *s = &c->sender[i];
        if (s->fd >= 0)
            receive(c, s);
        if (s->fd >= 0)
            hang_up(s);
        s->not_before_us = 0;
    }
    c->port = 0;
}
