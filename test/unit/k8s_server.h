/* An HTTP server inside the test program, plain or TLS, that answers with bytes the test chooses: so it can
 * answer wrongly. One libevent base serves both ends. */
#ifndef FES_TEST_K8S_SERVER_H
#define FES_TEST_K8S_SERVER_H

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "harness.h"
#include "pki.h"
#include "store/report.h"

/* ---- the loop ---- */

/* The milliseconds in which this process neither ran nor meant to sleep: others had the processor. What is measured here
 * had not either. */
static UNUSED int64_t lost_ms;

static UNUSED int64_t net_ms(void)
{
    return clock_ms() - lost_ms;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

/* Runs the loop until the condition holds; fails the test after `ms`, what was lost not counted. */
#define WAIT_FOR(base, condition, ms)                                    \
    do {                                                                 \
        int64_t wait_until = net_ms() + (ms);                            \
        while (!(condition) && net_ms() < wait_until)                    \
            turn_loop(base);                                             \
        if (!(condition))                                                \
            HARNESS_FAIL("not within %d ms: %s", (int)(ms), #condition); \
    } while (0)

/* Runs the loop for that long: to see that nothing happens. */
#define RUN_FOR(base, ms)                                                \
    for (int64_t run_until = clock_ms() + (ms); clock_ms() < run_until;) \
    turn_loop(base)

static UNUSED void turn_loop(struct event_base *base)
{
    int64_t before = clock_ms() - ran_ms();

    event_base_once(base, -1, EV_TIMEOUT, on_tick, NULL, &(struct timeval){.tv_usec = 5000});
    event_base_loop(base, EVLOOP_ONCE);
    int64_t rested = clock_ms() - ran_ms() - before;
    if (rested > 10) /* the tick, and what clocks are late */
        lost_ms += rested - 10;
}

/* How often the loop is woken in that time. */
static UNUSED int turns_in(struct event_base *base, int ms)
{
    struct event *until = evtimer_new(base, on_tick, NULL);
    int turns = 0;

    event_add(until, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
    for (; evtimer_pending(until, NULL); turns++)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(until);
    return turns;
}

/* ---- reports ---- */

struct reports {
    char text[8192];
    struct text t;
    int n;
};

static void keep_report(void *arg, const struct report *report)
{
    struct reports *r = arg;
    r->n++;
    text_addf(&r->t, "%s", report->sentence);
    for (const struct report_field *f = report->fields; f->name; f++) {
        if (f->is_number)
            text_addf(&r->t, " %s=%lld", f->name, (long long)f->number);
        else
            text_addf(&r->t, " %s=%.*s", f->name, STR_ARG(f->text));
    }
    text_addf(&r->t, "\n");
}

static UNUSED struct reporter reports_to(struct reports *r)
{
    r->n = 0;
    text_init(&r->t, r->text, sizeof r->text);
    return (struct reporter){keep_report, r};
}

static UNUSED int count_of(const char *text, const char *part)
{
    int n = 0;
    while ((text = strstr(text, part)) != NULL) {
        n++;
        text += strlen(part);
    }
    return n;
}

/* ---- certificates ---- */

/* A server context with a certificate for san ("IP:127.0.0.1", "DNS:localhost"; NULL for none). */
static UNUSED SSL_CTX *server_tls(struct authority *by, const char *name, const char *san, long valid_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = make_cert(key, name, san, by, valid_s);
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(tls, cert);
    SSL_CTX_use_PrivateKey(tls, key);
    X509_free(cert);
    EVP_PKEY_free(key);
    return tls;
}

/* ---- files ---- */

static char folder[64];

static UNUSED const char *in_folder(const char *name)
{
    static char paths[16][128];
    static int next;
    char *path = paths[next++ % 16];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/tmp/k8s_test_XXXXXX");
        if (!mkdtemp(folder))
            abort();
    }
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static UNUSED const char *write_file(const char *name, const char *text)
{
    const char *path = in_folder(name);
    char next[160];
    /* As the kubelet does it: another file under the same name. */
    snprintf(next, sizeof next, "%s.next", path);
    FILE *f = fopen(next, "w");
    fputs(text, f);
    fclose(f);
    rename(next, path);
    return path;
}

static UNUSED void remove_folder(void)
{
    char command[128];
    if (!folder[0])
        return;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        abort();
}

/* ---- the server ---- */

#define MAX_PEERS 64

struct peer {
    struct server *server;
    struct bufferevent *bev;
    int number;   /* of the connection, from 0 */
    int requests; /* on it */
    bool closing;
};

struct server {
    struct event_base *base;
    struct evconnlistener *listener;
    SSL_CTX *tls;
    int port;
    evutil_socket_t kept; /* bound to it, and never listening: it stays ours while nobody listens */
    int connections, requests, closed;
    size_t bytes; /* of requests, decrypted */
    struct peer peers[MAX_PEERS];
    char head[16384];
    char body[65536];
    void (*on_request)(struct server *s, struct peer *p);
    int step;
};

static void peer_gone(struct peer *p)
{
    if (p->bev) {
        bufferevent_free(p->bev);
        p->server->closed++;
    }
    p->bev = NULL;
}

static UNUSED void peer_send(struct peer *p, struct str bytes)
{
    if (p->bev)
        bufferevent_write(p->bev, bytes.at, bytes.len);
}

static UNUSED void peer_say(struct peer *p, const char *text)
{
    peer_send(p, str_of(text));
}

static UNUSED void peer_answer(struct peer *p, int status, const char *headers, const char *body)
{
    char head[1024];
    snprintf(head, sizeof head,
             "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status,
             strlen(body), headers);
    peer_say(p, head);
    peer_say(p, body);
}

static UNUSED void peer_chunk(struct peer *p, struct str bytes)
{
    char size[32];
    snprintf(size, sizeof size, "%zx\r\n", bytes.len);
    peer_say(p, size);
    peer_send(p, bytes);
    peer_say(p, "\r\n");
}

static void on_drained(struct bufferevent *bev, void *arg)
{
    struct peer *p = arg;
    (void)bev;
    if (p->closing)
        peer_gone(p);
}

/* Closes when all is sent. */
static UNUSED void peer_close(struct peer *p)
{
    p->closing = true;
    if (p->bev && evbuffer_get_length(bufferevent_get_output(p->bev)) == 0)
        peer_gone(p);
}

/* Closes with a reset, dropping what was not sent. */
static UNUSED void peer_reset(struct peer *p)
{
    if (!p->bev)
        return;
    setsockopt(bufferevent_getfd(p->bev), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
               sizeof(struct linger));
    peer_gone(p);
}

static void on_bytes(struct bufferevent *bev, void *arg)
{
    struct peer *p = arg;
    struct server *s = p->server;
    struct evbuffer *in = bufferevent_get_input(bev);

    for (;;) {
        struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
        if (end.pos < 0 || (size_t)end.pos + 4 >= sizeof s->head)
            return;
        char head[sizeof s->head] = "";
        size_t length = 0;
        evbuffer_copyout(in, head, (size_t)end.pos + 4);
        char *at = strcasestr(head, "\r\ncontent-length:");
        if (at)
            length = strtoul(at + 17, NULL, 10);
        if (evbuffer_get_length(in) < (size_t)end.pos + 4 + length || length >= sizeof s->body)
            return;
        memcpy(s->head, head, sizeof head);
        evbuffer_drain(in, (size_t)end.pos + 4);
        evbuffer_remove(in, s->body, length);
        s->body[length] = '\0';
        s->requests++;
        p->requests++;
        s->on_request(s, p);
        if (!p->bev)
            return;
    }
}

static void on_peer_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        peer_gone(arg);
}

static void on_added(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *arg)
{
    struct server *s = arg;
    (void)buffer;
    s->bytes += info->n_added;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len,
                      void *arg)
{
    struct server *s = arg;
    struct peer *p = &s->peers[s->connections % MAX_PEERS];

    (void)listener, (void)address, (void)len;
    peer_gone(p);
    *p = (struct peer){.server = s, .number = s->connections++};
    if (s->tls)
        p->bev = bufferevent_openssl_socket_new(s->base, fd, SSL_new(s->tls), BUFFEREVENT_SSL_ACCEPTING,
                                                BEV_OPT_CLOSE_ON_FREE);
    else
        p->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    evbuffer_add_cb(bufferevent_get_input(p->bev), on_added, s);
    bufferevent_setcb(p->bev, on_bytes, on_drained, on_peer_event, p);
    bufferevent_enable(p->bev, EV_READ | EV_WRITE);
}

static evutil_socket_t keep_port(const struct sockaddr *address, socklen_t len)
{
    evutil_socket_t fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || evutil_make_listen_socket_reuseable(fd) < 0 || bind(fd, address, len) < 0) {
        printf("# cannot bind: %s\n", strerror(errno));
        abort();
    }
    return fd;
}

/* Listens on a port of the kernel's choice, or again on the one it had. */
static UNUSED void server_listen(struct server *s, const char *host)
{
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_storage got;
    bool v6 = inet_pton(AF_INET6, host, &six.sin6_addr) == 1;
    socklen_t len = sizeof got;

    if (!v6)
        inet_pton(AF_INET, host, &four.sin_addr);
    if (s->kept < 0)
        s->kept = v6 ? keep_port((struct sockaddr *)&six, sizeof six)
                     : keep_port((struct sockaddr *)&four, sizeof four);
    getsockname(s->kept, (struct sockaddr *)&got, &len);
    s->port = ntohs(((struct sockaddr_in *)&got)->sin_port);
    s->listener = evconnlistener_new_bind(s->base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE,
                                          64, (struct sockaddr *)&got, (int)len);
    if (!s->listener) {
        printf("# cannot listen on %s\n", host);
        abort();
    }
}

static UNUSED void server_stop(struct server *s)
{
    if (s->listener)
        evconnlistener_free(s->listener);
    s->listener = NULL;
    for (int i = 0; i < MAX_PEERS; i++)
        peer_gone(&s->peers[i]);
}

static UNUSED struct server *server_new(struct event_base *base, SSL_CTX *tls,
                                        void (*on_request)(struct server *, struct peer *))
{
    struct server *s = calloc(1, sizeof *s);
    s->base = base;
    s->kept = -1;
    s->tls = tls;
    s->on_request = on_request;
    return s;
}

static UNUSED void server_free(struct server *s)
{
    server_stop(s);
    if (s->kept >= 0)
        close(s->kept);
    SSL_CTX_free(s->tls);
    free(s);
}

/* "GET /path": the first words of the last request. */
static UNUSED struct str server_asked(const struct server *s)
{
    struct str line = str_of(s->head);
    line = str_split(&line, '\r');
    ptrdiff_t end = str_find_last(line, ' ');
    return str_upto(line, end < 0 ? 0 : (size_t)end);
}

#endif
