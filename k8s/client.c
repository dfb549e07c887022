/* Requests to the API server over a pool of warm connections (see client.h).
 *
 * A request waits in one of two queues until the gate is open and a connection is free; the pump takes them
 * from there, the urgent ones first, and of the others only so many at once that connections are left for
 * urgent ones to come. Connections are opened when the queue needs them, the most recently used one is used
 * first, and those idle for K8S_IDLE_SECONDS are closed by one timer that is armed only while any is idle. With
 * them goes, back to the system, the memory that a burst of requests took.
 *
 * None is kept warm for longer. kube-apiserver closes a connection that has carried a request after 90 idle
 * seconds, and one that never has after 32, so only requests or a handshake every half minute could keep one;
 * an idle process makes neither. The first request after a pause pays the handshake (a few milliseconds), the
 * others of a burst pay it side by side.
 *
 * Invariants: a request is in a queue, or in exactly one slot, until its reply has been given; a reply is
 * given once and from the loop. While the server is down the pump sends one request per turn of the gate.
 */
#include "k8s/client_priv.h"

#include <event2/buffer.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "k8s/clock_priv.h"
#include "k8s/scan_priv.h"

struct request {
    TAILQ_ENTRY(request) entry;
    enum k8s_verb verb;
    size_t queue; /* URGENT or PATIENT */
    char *path;
    struct str body; /* behind the path */
    k8s_on_reply *on_reply;
    void *arg;
    uint64_t token;
};
TAILQ_HEAD(requests, request);

struct slot {
    struct k8s_client *c;
    struct k8s_connection *connection;
    struct request *request; /* under way */
    unsigned turn;           /* of the gate, which it uses */
    int64_t used_ms;
};

enum { URGENT, PATIENT, QUEUES };

struct k8s_client {
    struct k8s_connector connector;
    struct reporter reporter;
    struct k8s_gate *gate;
    struct k8s_waiter waiter;
    struct event *pump;
    struct event *sweep;
    struct requests queues[QUEUES];
    size_t n_queued, n_under_way;
    size_t n_patient; /* of those under way */
    struct slot slots[K8S_MAX_IN_FLIGHT];
    unsigned probes;
    struct k8s_seens seens;
    struct k8s_numbers numbers;
};

static void on_pump(evutil_socket_t fd, short what, void *arg);
static void on_sweep(evutil_socket_t fd, short what, void *arg);
static void on_turn(void *arg);

static struct k8s_pod pod_around_us(void)
{
    return (struct k8s_pod){
        .host = getenv("KUBERNETES_SERVICE_HOST"),
        .port = getenv("KUBERNETES_SERVICE_PORT"),
        .files = K8S_SERVICE_ACCOUNT,
    };
}

static struct k8s_creds *find_creds(const struct k8s_config *config, const struct reporter *reporter,
                                    char err[static K8S_ERROR])
{
    const struct k8s_pod pod = pod_around_us();
    return k8s_creds_new(config, &pod, reporter, err);
}

#define DNS_PORT 53

void k8s_confine(const struct k8s_config *config, struct sandbox *sandbox)
{
    static const char *const certificates[] = {"SSL_CERT_FILE", "SSL_CERT_DIR"}; /* OpenSSL's own */
    const struct k8s_pod pod = pod_around_us();
    struct k8s_url url;

    if (config->disabled)
        return;
    /* What is wrong here, k8s_client_new says. */
    if (config->api ? !k8s_url_parse(str_of(config->api), &url)
                    : !pod.host || !pod.port || !k8s_url_make(pod.host, pod.port, &url))
        return;
    (void)OPENSSL_init_ssl(0, NULL); /* now: its configuration file is out of reach later */
    if (!config->api)
        sandbox_read(sandbox, pod.files);
    for (size_t i = 0; i < 2; i++)
        if (getenv(certificates[i]))
            sandbox_read(sandbox, getenv(certificates[i]));
    if (!url.literal)
        sandbox_connect(sandbox, DNS_PORT);
    sandbox_connect(sandbox, url.port);
}

struct k8s_client *k8s_client_new(struct event_base *base, const struct k8s_config *config,
                                  const struct reporter *reporter, char err[static K8S_ERROR])
{
    struct k8s_client *c = calloc(1, sizeof *c);

    if (!c)
        goto no_memory;
    for (size_t i = 0; i < QUEUES; i++)
        TAILQ_INIT(&c->queues[i]);
    TAILQ_INIT(&c->seens);
    c->reporter = *reporter;
    c->connector.base = base;
    c->connector.creds = find_creds(config, &c->reporter, err);
    if (!c->connector.creds) {
        k8s_client_free(c);
        return NULL;
    }
    c->gate = k8s_gate_new(base, k8s_creds_url(c->connector.creds)->text, &c->reporter);
    c->waiter = (struct k8s_waiter){.on_turn = on_turn, .arg = c};
    c->pump = event_new(base, -1, 0, on_pump, c);
    c->sweep = evtimer_new(base, on_sweep, c);
    bool ready = c->gate && c->pump && c->sweep;
    for (size_t i = 0; i < K8S_MAX_IN_FLIGHT; i++) {
        c->slots[i].c = c;
        c->slots[i].connection = k8s_connection_new(&c->connector);
        ready = ready && c->slots[i].connection;
    }
    if (ready)
        return c;
no_memory:
    (void)snprintf(err, K8S_ERROR, "out of memory");
    k8s_client_free(c);
    return NULL;
}

static void free_request(struct request *r)
{
    free(r->path);
    free(r);
}

static void reply(struct request *r, const struct k8s_reply *answer)
{
    if (r->on_reply)
        r->on_reply(r->arg, r->token, answer);
    free_request(r);
}

/* What may be sent next; NULL: nothing, though some may be queued. */
static struct request *next_request(const struct k8s_client *c)
{
    struct request *r = TAILQ_FIRST(&c->queues[URGENT]);

    return r || c->n_patient >= K8S_MAX_PATIENT ? r : TAILQ_FIRST(&c->queues[PATIENT]);
}

static void unqueue(struct k8s_client *c, struct request *r)
{
    TAILQ_REMOVE(&c->queues[r->queue], r, entry);
    c->n_queued--;
}

void k8s_client_free(struct k8s_client *c)
{
    static const struct k8s_reply stopped = {.retry_after_ms = -1, .error = "the client is stopped"};
    struct request *r;

    if (!c)
        return;
    for (size_t i = 0; i < K8S_MAX_IN_FLIGHT; i++) {
        k8s_connection_free(c->slots[i].connection);
        c->slots[i].connection = NULL;
        if (c->slots[i].request)
            reply(c->slots[i].request, &stopped);
    }
    for (size_t i = 0; i < QUEUES; i++)
        while ((r = TAILQ_FIRST(&c->queues[i])) != NULL) {
            unqueue(c, r);
            reply(r, &stopped);
        }
    if (c->pump)
        event_free(c->pump);
    if (c->sweep)
        event_free(c->sweep);
    if (c->connector.dns)
        evdns_base_free(c->connector.dns, 0);
    k8s_gate_free(c->gate);
    k8s_creds_free(c->connector.creds);
    free(c);
}

void k8s_client_reload(struct k8s_client *c)
{
    k8s_creds_reload(c->connector.creds);
}

struct k8s_connector *k8s_client_connector(struct k8s_client *c)
{
    return &c->connector;
}

struct k8s_gate *k8s_client_gate(struct k8s_client *c)
{
    return c->gate;
}

const struct reporter *k8s_client_reporter(const struct k8s_client *c)
{
    return &c->reporter;
}

int64_t k8s_client_begin(struct k8s_client *c, unsigned *ret_turn)
{
    *ret_turn = k8s_gate_turn(c->gate);
    if (!k8s_gate_is_down(c->gate))
        c->probes = 0;
    else if (++c->probes % K8S_PATIENT_PROBE)
        return K8S_PROBE_CONNECT_MS;
    return K8S_CONNECT_SECONDS * 1000;
}

void k8s_client_note(struct k8s_client *c, enum k8s_count verb, unsigned turn,
                     const struct k8s_answer *answer)
{
    k8s_numbers_count(&c->numbers, verb, answer->too_long ? K8S_CODE_OTHER : answer->status);
    if (answer->status == 0 && !answer->too_long) {
        k8s_gate_unanswered(c->gate, turn, answer->error);
        return;
    }
    /* A server that starts or stops says so for whatever it is asked: it is as good as down. */
    if (answer->status == 503 && answer->retry_after_ms <= 0) {
        k8s_gate_unanswered(c->gate, turn, "HTTP status 503");
        return;
    }
    k8s_gate_answered(c->gate);
    if (answer->status == 429 && answer->retry_after_ms > 0)
        k8s_gate_hold(c->gate, answer->retry_after_ms);
}

const char *k8s_status_message(int status, struct str body, char out[static K8S_MESSAGE_TEXT])
{
    char message[4 * K8S_MESSAGE_TEXT];
    struct k8s_member m = {.name = STR("message")};
    struct text t;

    text_init(&t, out, K8S_MESSAGE_TEXT);
    if (k8s_scan_object(body, &m, 1) && k8s_scan_text(m.value, message, sizeof message))
        text_add_clean(&t, str_of(message));
    if (t.len == 0)
        text_addf(&t, "HTTP status %d", status);
    return out;
}

/* The most recently used warm connection that is free, else a cold one, else NULL. */
static struct slot *free_slot(struct k8s_client *c)
{
    struct slot *best = NULL;

    for (size_t i = 0; i < K8S_MAX_IN_FLIGHT; i++) {
        struct slot *s = &c->slots[i];
        if (s->request)
            continue;
        bool warm = k8s_connection_is_warm(s->connection);
        bool best_warm = best && k8s_connection_is_warm(best->connection);
        if (!best || (warm && !best_warm) || (warm && s->used_ms > best->used_ms))
            best = s;
    }
    return best;
}

static void arm_sweep(struct k8s_client *c)
{
    int64_t first_ms = INT64_MAX;

    for (size_t i = 0; i < K8S_MAX_IN_FLIGHT; i++)
        if (k8s_connection_is_warm(c->slots[i].connection) && c->slots[i].used_ms < first_ms)
            first_ms = c->slots[i].used_ms;
    if (first_ms == INT64_MAX || evtimer_pending(c->sweep, NULL))
        return;
    int64_t wait_ms = first_ms + K8S_IDLE_SECONDS * 1000 - k8s_now_ms();
    k8s_timer_set(c->sweep, wait_ms > 1000 ? wait_ms : 1000);
}

/* Thousands of queued requests leave their memory between what stays, where free() cannot give it back. */
static void give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct k8s_client *c = arg;
    int64_t now_ms = k8s_now_ms();
    bool closed = false;

    (void)fd, (void)what;
    for (size_t i = 0; i < K8S_MAX_IN_FLIGHT; i++)
        if (k8s_connection_is_warm(c->slots[i].connection) &&
            now_ms - c->slots[i].used_ms >= K8S_IDLE_SECONDS * 1000) {
            k8s_connection_close(c->slots[i].connection);
            closed = true;
        }
    if (closed)
        give_back();
    arm_sweep(c);
}

static enum k8s_count count_of(enum k8s_verb verb)
{
    switch (verb) {
    case K8S_GET: return K8S_COUNT_GET;
    case K8S_PATCH: return K8S_COUNT_PATCH;
    case K8S_CREATE: break;
    }
    return K8S_COUNT_CREATE;
}

static void on_answer(void *arg, const struct k8s_answer *answer)
{
    struct slot *s = arg;
    struct k8s_client *c = s->c;
    struct request *r = s->request;
    char message[K8S_MESSAGE_TEXT];
    size_t len = evbuffer_get_length(answer->body);
    const char *bytes = len ? (const char *)evbuffer_pullup(answer->body, -1) : "";
    struct k8s_reply result = {
        .status = answer->status,
        .fault = answer->fault,
        .retry_after_ms = answer->retry_after_ms,
        .body = {bytes, bytes ? len : 0},
        .error = answer->error,
    };

    k8s_client_note(c, count_of(r->verb), s->turn, answer);
    if (result.status >= 300)
        result.error = k8s_status_message(result.status, result.body, message);
    s->request = NULL;
    s->used_ms = k8s_now_ms();
    c->n_under_way--;
    c->n_patient -= r->queue == PATIENT;
    if (c->n_queued)
        event_active(c->pump, 0, 0);
    arm_sweep(c);
    reply(r, &result);
}

static void send_one(struct k8s_client *c, struct slot *s, struct request *r)
{
    static const struct {
        enum evhttp_cmd_type method;
        const char *content_type;
    } verbs[] = {
        [K8S_GET] = {EVHTTP_REQ_GET, NULL},
        [K8S_PATCH] = {EVHTTP_REQ_PATCH, "application/merge-patch+json"},
        [K8S_CREATE] = {EVHTTP_REQ_POST, "application/json"},
    };

    unqueue(c, r);
    s->request = r;
    c->n_under_way++;
    c->n_patient += r->queue == PATIENT;
    k8s_connection_send(s->connection, &(struct k8s_exchange){
                                           .method = verbs[r->verb].method,
                                           .path = r->path,
                                           .body = r->body,
                                           .content_type = verbs[r->verb].content_type,
                                           .connect_ms = k8s_client_begin(c, &s->turn),
                                           .deadline_ms = K8S_REQUEST_SECONDS * 1000,
                                           .most = K8S_MAX_ANSWER,
                                           .on_answer = on_answer,
                                           .arg = s,
                                       });
}

/* Only with something to send and a connection for it: a turn that goes unused would be asked for again at once, and
 * again. What ends a request pumps anyway. */
static void wait_at_gate(struct k8s_client *c)
{
    if (next_request(c) && free_slot(c))
        k8s_gate_wait(c->gate, &c->waiter);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
    struct k8s_client *c = arg;
    struct request *r;
    struct slot *s;

    (void)fd, (void)what;
    while ((r = next_request(c)) != NULL && k8s_gate_is_open(c->gate) && (s = free_slot(c)) != NULL)
        send_one(c, s, r);
    if (!k8s_gate_is_open(c->gate))
        wait_at_gate(c);
}

/* The gate is open again, or lets one request through as a probe. */
static void on_turn(void *arg)
{
    struct k8s_client *c = arg;
    struct slot *s = free_slot(c);
    struct request *r = next_request(c);

    if (k8s_gate_is_open(c->gate)) {
        event_active(c->pump, 0, 0);
        return;
    }
    if (r && s)
        send_one(c, s, r);
    else
        k8s_gate_unused(c->gate, k8s_gate_turn(c->gate));
    wait_at_gate(c);
}

static struct request *make_request(enum k8s_verb verb, const char *path, struct str body)
{
    struct request *r = calloc(1, sizeof *r);
    size_t path_len = strlen(path) + 1;
    char *copy = r ? malloc(path_len + body.len) : NULL;

    if (!copy) {
        free(r);
        return NULL;
    }
    memcpy(copy, path, path_len);
    if (body.len)
        memcpy(copy + path_len, body.at, body.len);
    r->verb = verb;
    r->path = copy;
    r->body = (struct str){copy + path_len, body.len};
    return r;
}

bool k8s_request(struct k8s_client *c, enum k8s_verb verb, const char *path, struct str body, bool urgent,
                 k8s_on_reply *on_reply, void *arg, uint64_t token)
{
    struct request *r = c->n_queued < K8S_MAX_QUEUED ? make_request(verb, path, body) : NULL;

    if (!r)
        return false;
    r->on_reply = on_reply;
    r->arg = arg;
    r->token = token;
    r->queue = urgent ? URGENT : PATIENT;
    TAILQ_INSERT_TAIL(&c->queues[r->queue], r, entry);
    c->n_queued++;
    event_active(c->pump, 0, 0);
    return true;
}

bool k8s_client_reachable(const struct k8s_client *c, const char **ret_why)
{
    return k8s_gate_reachable(c->gate, ret_why);
}

size_t k8s_client_pending(const struct k8s_client *c)
{
    return c->n_queued + c->n_under_way;
}

void k8s_client_see(struct k8s_client *c, struct k8s_seen *seen, const char *path)
{
    const char *slash = strrchr(path, '/');

    seen->resource = slash ? slash + 1 : path;
    TAILQ_INSERT_TAIL(&c->seens, seen, entry);
}

void k8s_client_unsee(struct k8s_client *c, struct k8s_seen *seen)
{
    if (seen->resource)
        TAILQ_REMOVE(&c->seens, seen, entry);
}

static const void *collect(void *client)
{
    struct k8s_client *c = client;
    const char *why;

    c->numbers.reachable = k8s_client_reachable(c, &why);
    c->numbers.pending = k8s_client_pending(c);
    c->numbers.connects = c->connector.connects;
    k8s_numbers_watches(&c->numbers, &c->seens, k8s_now_ms());
    return &c->numbers;
}

struct metric_source k8s_client_metrics(struct k8s_client *c)
{
    return (struct metric_source){k8s_metrics, collect, c};
}
