/* What this server makes of bytes: the real stack (guard, evhttp, router) in this process, one connection a case.
 *
 * In, on stdin, for each case: its length, where it is cut in two (0: not at all), and its bytes. Out, on stdout: the
 * requests as they reached the server behind evhttp, what http/head.c alone makes of the bytes, and what the client
 * saw. Numbers are 32 bits in the machine's order, texts have their length in front; compare.py reads it.
 *
 * The server looks at each request of evhttp in one place, where it sets its completion callback; the linker puts
 * on_request() there (--wrap), so nothing that evhttp found is missed, whatever the router says to it.
 */
#include "http_test.h"

#include "http/head_priv.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <sys/queue.h>

#define MAX_CASE (1u << 20)

static struct evbuffer *requests; /* of the current case, as they are written out */
static uint32_t n_requests;

static void put_number(struct evbuffer *out, uint32_t n)
{
    evbuffer_add(out, &n, sizeof n);
}

static void put_text(struct evbuffer *out, const void *at, size_t len)
{
    put_number(out, (uint32_t)len);
    evbuffer_add(out, at, len);
}

static const char *command_name(enum evhttp_cmd_type command)
{
    switch (command) {
    case EVHTTP_REQ_GET: return "GET";
    case EVHTTP_REQ_POST: return "POST";
    case EVHTTP_REQ_HEAD: return "HEAD";
    case EVHTTP_REQ_PUT: return "PUT";
    case EVHTTP_REQ_DELETE: return "DELETE";
    case EVHTTP_REQ_OPTIONS: return "OPTIONS";
    case EVHTTP_REQ_PATCH: return "PATCH";
    default: return "?";
    }
}

static void on_request(struct evhttp_request *req)
{
    const char *method = command_name(evhttp_request_get_command(req));
    const char *uri = evhttp_request_get_uri(req);
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    const struct evkeyval *field;
    uint32_t n = 0;

    n_requests++;
    put_text(requests, method, strlen(method));
    put_text(requests, uri, strlen(uri));
    put_text(requests, evbuffer_pullup(body, -1), evbuffer_get_length(body));
    TAILQ_FOREACH(field, evhttp_request_get_input_headers(req), next)
    {
        n++;
    }
    put_number(requests, n);
    TAILQ_FOREACH(field, evhttp_request_get_input_headers(req), next)
    {
        put_text(requests, field->key, strlen(field->key));
        put_text(requests, field->value, strlen(field->value));
    }
}

typedef void on_complete(struct evhttp_request *req, void *arg);
void __real_evhttp_request_set_on_complete_cb(struct evhttp_request *req, on_complete *cb, void *arg);
void __wrap_evhttp_request_set_on_complete_cb(struct evhttp_request *req, on_complete *cb, void *arg);

void __wrap_evhttp_request_set_on_complete_cb(struct evhttp_request *req, on_complete *cb, void *arg)
{
    on_request(req);
    __real_evhttp_request_set_on_complete_cb(req, cb, arg);
}

static void on_events(void *arg, struct http_request *r)
{
    struct http_reply reply = {.status = 200, .body = STR("{}\n")};
    http_reply(((struct rig *)arg)->server, http_request_id(r), &reply);
}

/* How many requests the guard admits, and what it says to the bytes behind the last of them. */
struct reading {
    uint32_t admitted;
    int verdict;
    int status;
};

static struct reading read_alone(struct str bytes)
{
    struct reading reading = {0};
    struct head head;

    for (;; reading.admitted++) {
        head_init(&head);
        size_t n = head_feed(&head, bytes);
        if (head.verdict != HEAD_DONE || bytes.len - n < head.body_bytes)
            break;
        bytes = str_from(bytes, n + (size_t)head.body_bytes);
    }
    reading.verdict = head.verdict;
    reading.status = head.verdict == HEAD_REFUSED ? head.status : 0;
    return reading;
}

/* The statuses of the answers, without 100. */
static uint32_t statuses(struct str in, uint32_t ret[static 64])
{
    uint32_t n = 0;

    for (const char *at = in.at; in.len > 12 && n < 64; at++) {
        at = memmem(at, in.len - (size_t)(at - in.at), "HTTP/1.1 ", 9);
        if (!at || at + 12 > in.at + in.len)
            break;
        uint32_t status = (uint32_t)strtoul(at + 9, NULL, 10);
        if (status >= 200 && at[12] == ' ')
            ret[n++] = status;
    }
    return n;
}

/* A reset, so that a million of these leave no port waiting. */
static void hang_up(struct client *c)
{
    struct linger at_once = {.l_onoff = 1};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    client_close(c);
}

static void play(struct rig *rig, struct str bytes, uint32_t cut, struct evbuffer *out)
{
    struct reading reading = read_alone(bytes);
    uint32_t expected = reading.admitted + (reading.status != 0);
    uint32_t seen[64], n = 0;
    struct client c;

    n_requests = 0;
    client_open(&c, rig);
    client_send(&c, str_upto(bytes, cut ? cut : bytes.len));
    if (cut && !c.closed) {
        for (int i = 0; i < 3; i++)
            event_base_loop(rig->base, EVLOOP_NONBLOCK);
        client_send(&c, str_from(bytes, cut));
    }
    for (int64_t end = clock_ms() + WAIT_MS; !c.closed && clock_ms() < end;) {
        event_base_loop(rig->base, EVLOOP_NONBLOCK);
        client_poll(&c);
        n = statuses(client_in(&c), seen);
        if (n >= expected && n_requests >= reading.admitted && (reading.status == 0 || c.closed))
            break;
    }
    for (int i = 0; i < 3; i++)
        event_base_loop(rig->base, EVLOOP_NONBLOCK);
    client_poll(&c);
    n = statuses(client_in(&c), seen);
    put_number(out, n_requests);
    evbuffer_add_buffer(out, requests);
    put_number(out, reading.admitted);
    put_number(out, (uint32_t)reading.status);
    put_number(out, n);
    evbuffer_add(out, seen, n * sizeof seen[0]);
    put_number(out, c.closed);
    put_number(out, str_has(client_in(&c), STR("\r\nConnection: close\r\n")));
    hang_up(&c);
    RIG_UNTIL(rig, http_server_connections(rig->server) == 0);
}

static bool read_case(struct str *ret, uint32_t *ret_cut)
{
    static char bytes[MAX_CASE];
    uint32_t head[2];

    if (fread(head, sizeof head, 1, stdin) != 1)
        return false;
    if (head[0] > MAX_CASE || fread(bytes, 1, head[0], stdin) != head[0])
        HARNESS_FAIL("a case of %u bytes is cut short or too long", head[0]);
    *ret = (struct str){bytes, head[0]};
    *ret_cut = head[1] < head[0] ? head[1] : 0;
    return true;
}

static void play_all(void)
{
    struct evbuffer *out = evbuffer_new();
    struct str bytes;
    struct rig rig;
    uint32_t cut;

    requests = evbuffer_new();
    rig_start(&rig, NULL);
    CHECK(http_route(rig.server, HTTP_GET, "/events", on_events, &rig));
    CHECK(http_route(rig.server, HTTP_POST, "/events", on_events, &rig));
    while (read_case(&bytes, &cut)) {
        play(&rig, bytes, cut, out);
        size_t len = evbuffer_get_length(out);
        CHECK(fwrite(evbuffer_pullup(out, -1), 1, len, stdout) == len && fflush(stdout) == 0);
        evbuffer_drain(out, len);
    }
    rig_stop(&rig);
    evbuffer_free(requests);
    evbuffer_free(out);
}

int main(void)
{
    if (setjmp(harness_failed) != 0)
        return 1;
    play_all();
    return 0;
}
