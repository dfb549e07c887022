/* The command "ping URL" (see ping.h).
 *
 * The client for the API server serves here too: it resolves names without libc, verifies certificates, and sends the
 * token only to whom it verified. It is one client for posting and one for reading, because each has a token of its own.
 *
 * Who hangs up on a request in plain text may be starting, or may speak TLS, which OpenSSL's servers do without a word. A
 * third client, without a token, tells the two apart: a handshake, however it ends, is begun only by who speaks it.
 *
 * The event says nothing about a revision ("Ping" is no reason that Flux has), so it decides no wait. Its text is always
 * the same, so that a store which is pinged every minute does not fill.
 */
#include "k8s/ping.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>

#include "k8s/client.h"
#include "k8s/clock_priv.h"
#include "k8s/url_priv.h"
#include "store/units.h"

#define PING_AGAIN_MS 500
#define PING_REASON   "Ping"
#define PING_OBJECT   "flux-event-store"

const struct flag ping_flags[] = {
    {"--server-ca-file", "FILE", FLAG_STRING, offsetof(struct ping_config, ca_file), NULL,
     "ping: the CA that signed the certificate of an https server"},
    {0},
};

struct ping {
    struct event_base *base;
    struct event *again;
    struct k8s_client *poster, *reader;
    struct k8s_client *prober; /* NULL until the server has hung up */
    const char *url;
    int64_t wall_ms;
    char *id, *err;
    bool has_token[2]; /* for posting, for reading */
    bool stored, done;
    bool unusable;
    bool over; /* what the clients still say is not heard */
};

static void silent(void *arg, const struct report *report)
{
    (void)arg, (void)report;
}

static void on_reply(void *arg, uint64_t token, const struct k8s_reply *reply);

static void finish(struct ping *p)
{
    p->over = true;
    (void)event_base_loopbreak(p->base);
}

static void ask(struct ping *p)
{
    char body[512], when[TIME_TEXT], path[sizeof "/events/" + PING_ID];
    bool sent;

    if (p->stored) {
        (void)snprintf(path, sizeof path, "/events/%s", p->id);
        sent = k8s_request(p->reader, K8S_GET, path, STR_NONE, true, on_reply, p, 0);
    } else {
        int n = snprintf(body, sizeof body,
                         "{\"involvedObject\":{\"kind\":\"Ping\",\"name\":\"" PING_OBJECT "\"},"
                         "\"severity\":\"info\",\"timestamp\":\"%s\",\"reason\":\"" PING_REASON "\","
                         "\"message\":\"somebody asked whether events are stored\"}",
                         time_format(p->wall_ms, when));
        sent = k8s_request(p->poster, K8S_CREATE, "/events", (struct str){body, (size_t)n}, true, on_reply, p,
                           0);
    }
    if (!sent) {
        (void)snprintf(p->err, PING_ERROR, "out of memory");
        finish(p);
    }
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ask(arg);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    finish(arg);
}

/* The id of what was stored. */
static bool read_id(struct ping *p, json_t *answer)
{
    const char *id = json_string_value(json_object_get(answer, "id"));

    if (!id || !id[0] || strlen(id) >= PING_ID || strspn(id, "0123456789") != strlen(id))
        return false;
    memcpy(p->id, id, strlen(id) + 1);
    return true;
}

static bool is_ours(const struct ping *p, json_t *record)
{
    const char *id = json_string_value(json_object_get(record, "id"));
    const char *reason = json_string_value(json_object_get(record, "reason"));
    const char *name = json_string_value(json_object_get(json_object_get(record, "involvedObject"), "name"));

    return id && reason && name && strcmp(id, p->id) == 0 && strcmp(reason, PING_REASON) == 0 &&
           strcmp(name, PING_OBJECT) == 0;
}

static void on_answer(struct ping *p, struct str body)
{
    json_t *answer = json_loadb(body.at, body.len, 0, NULL);

    if (p->stored ? is_ours(p, answer) : read_id(p, answer)) {
        p->done = p->stored;
        p->stored = true;
        if (p->done)
            finish(p);
        else
            ask(p);
    } else {
        (void)snprintf(p->err, PING_ERROR, "%s is not answered as flux-event-store does: %.*s",
                       p->stored ? "GET /events/ID" : "POST /events", (int)(body.len < 200 ? body.len : 200),
                       body.at);
        finish(p);
    }
    json_decref(answer);
}

/* The client speaks of its own flags; whoever reads the line gave others. */
static void translate(char err[static PING_ERROR], const char *from, const char *to)
{
    char line[PING_ERROR];
    const char *at = strstr(err, from);

    if (!at)
        return;
    (void)snprintf(line, sizeof line, "%.*s%s%s", (int)(at - err), err, to, at + strlen(from));
    memcpy(err, line, sizeof line);
}

static const char *remedy_of_fault(enum k8s_fault fault)
{
    switch (fault) {
    case K8S_FAULT_NETWORK:
    case K8S_FAULT_HUNG_UP: break;
    case K8S_FAULT_CERTIFICATE:
        return "; give the CA that signed it with --server-ca-file, and a host name that is in it";
    case K8S_FAULT_NOT_TLS: return "; the server does not speak TLS on this port: give http://";
    case K8S_FAULT_TLS: return "; the server's log says more";
    case K8S_FAULT_NOT_HTTP: return "; another server, or one that speaks TLS: then give https://";
    }
    return "";
}

/* Of a server that answers. 403 is not among its own statuses. */
static const char *remedy_of_status(const struct ping *p, int status)
{
    static const char *const tokens[2][2] = {
        {"; give its token with --post-token-file", "; the token of --post-token-file is not the server's"},
        {"; give its token with --read-token-file", "; the token of --read-token-file is not the server's"},
    };

    if (status == 403)
        return "; a proxy, or another server: this one forbids nothing";
    return status == 401 ? tokens[p->stored][p->has_token[p->stored]] : "";
}

static struct k8s_client *connect_to(struct ping *p, const struct k8s_config *config, const char *token_flag)
{
    static const struct reporter reporter = {silent, NULL};
    char err[K8S_ERROR] = "";
    struct k8s_client *c = k8s_client_new(p->base, config, &reporter, err);
    char url_flag[PING_ERROR];

    if (!c) {
        p->unusable = true;
        (void)snprintf(url_flag, sizeof url_flag, "--kube-api %s: ", p->url);
        (void)snprintf(p->err, PING_ERROR, "%s", err);
        translate(p->err, "--kube-token-file", token_flag);
        translate(p->err, "--kube-ca-file", "--server-ca-file");
        translate(p->err, url_flag, ""); /* whoever reads the line sees the URL before it */
    }
    return c;
}

/* ---- whether it is TLS that is spoken there ---- */

static void on_probed(void *arg, uint64_t token, const struct k8s_reply *reply)
{
    static const char remedy[] = "; the server speaks TLS on this port: give https://";
    struct ping *p = arg;
    size_t said = strlen(p->err);

    (void)token;
    if (p->over)
        return;
    if (reply->status == 0 && (reply->fault == K8S_FAULT_NETWORK || reply->fault == K8S_FAULT_NOT_TLS)) {
        k8s_timer_set(p->again, PING_AGAIN_MS);
        return;
    }
    (void)snprintf(p->err + said, PING_ERROR - said, "%s", remedy);
    finish(p);
}

/* False: https:// was given. */
static bool probe(struct ping *p)
{
    struct k8s_url url;
    char port[8];

    if (!k8s_url_parse(str_of(p->url), &url) || url.tls)
        return false;
    (void)snprintf(port, sizeof port, "%u", (unsigned)url.port);
    if (!p->prober && k8s_url_make(url.host, port, &url))
        p->prober = connect_to(p, &(struct k8s_config){.api = url.text}, "");
    if (!p->prober || !k8s_request(p->prober, K8S_GET, "/healthz", STR_NONE, true, on_probed, p, 0))
        finish(p);
    return true;
}

/* ---- what is answered ---- */

/* Whether waiting may help. */
static bool may_mend(const struct k8s_reply *reply)
{
    return reply->status ? reply->status == 503
                         : reply->fault == K8S_FAULT_NETWORK || reply->fault == K8S_FAULT_HUNG_UP;
}

static void on_reply(void *arg, uint64_t token, const struct k8s_reply *reply)
{
    struct ping *p = arg;
    const char *what = p->stored ? "GET /events/ID" : "POST /events";

    (void)token;
    if (p->over)
        return;
    if (reply->status == 200) {
        on_answer(p, reply->body);
        return;
    }
    if (reply->status) {
        struct str body = str_trim(reply->body);
        (void)snprintf(p->err, PING_ERROR, "%s: %d %.*s%s", what, reply->status,
                       (int)(body.len < 200 ? body.len : 200), body.at, remedy_of_status(p, reply->status));
    } else {
        (void)snprintf(p->err, PING_ERROR, "%s: no answer: %.200s%s", what, reply->error,
                       remedy_of_fault(reply->fault));
        translate(p->err, "--kube-ca-file", "--server-ca-file");
    }
    if (!may_mend(reply))
        finish(p);
    else if (reply->status || reply->fault != K8S_FAULT_HUNG_UP || !probe(p))
        k8s_timer_set(p->again, PING_AGAIN_MS);
}

static void release(struct ping *p)
{
    p->over = true;
    k8s_client_free(p->poster);
    k8s_client_free(p->reader);
    k8s_client_free(p->prober);
    if (p->again)
        event_free(p->again);
    if (p->base)
        event_base_free(p->base);
}

enum ping_result ping_run(const char *url, const struct ping_config *config, const char *post_token_file,
                          const char *read_token_file, int64_t wall_ms, char ret_id[static PING_ID],
                          char err[static PING_ERROR])
{
    struct ping p = {.base = event_base_new(),
                     .url = url,
                     .wall_ms = wall_ms,
                     .id = ret_id,
                     .err = err,
                     .has_token = {post_token_file != NULL, read_token_file != NULL}};
    struct k8s_config target = {.api = url, .ca_file = config->ca_file, .token_file = post_token_file};
    struct event *end = NULL;

    (void)snprintf(err, PING_ERROR, "out of memory");
    if (p.base && (p.poster = connect_to(&p, &target, "--post-token-file")) != NULL) {
        target.token_file = read_token_file;
        p.reader = connect_to(&p, &target, "--read-token-file");
    }
    if (p.reader) {
        p.again = evtimer_new(p.base, on_again, &p);
        end = evtimer_new(p.base, on_end, &p);
    }
    if (p.again && end) {
        (void)snprintf(err, PING_ERROR, "no answer within %d s", PING_SECONDS);
        k8s_timer_set(end, PING_SECONDS * INT64_C(1000));
        ask(&p);
        (void)event_base_dispatch(p.base);
    }
    if (end)
        event_free(end);
    release(&p);
    return p.done ? PING_DONE : p.unusable ? PING_UNUSABLE : PING_FAILED;
}
