/* Answers that are given at once: a status, headers, one body.
 *
 * Whoever answers does so by the id of the request. The connection may be gone by then: evhttp detaches a request
 * whose client left and leaves it to us to free, which the answer does. Answers that are sent in pieces are in long.c.
 *
 * Invariant: an id is answered once. It is unknown afterwards, so a second answer finds nothing.
 */
#include "http/reply_priv.h"
#include "http/server_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdarg.h>
#include <stdio.h>

/* Without a turn of the loop to hear that the socket has room, and the system calls that ask for it. False when something is
 * left, which goes out as evhttp has it; else the request is freed, and the connection may be. */
static bool write_now(struct bufferevent *bev)
{
    struct evbuffer *out = bufferevent_get_output(bev);

    if (bufferevent_openssl_get_ssl(bev))
        return false;
    (void)evbuffer_unfreeze(out, 1);
    (void)evbuffer_write(out, bufferevent_getfd(bev));
    (void)evbuffer_freeze(out, 1);
    if (evbuffer_get_length(out) > 0)
        return false;
    bufferevent_trigger(bev, EV_WRITE, 0);
    return true;
}

/* Hands the answer to evhttp, which frees the request when it is written out. */
static void send_reply(struct http_server *s, struct evhttp_request *req, const struct http_reply *reply,
                       const struct http_header *extra)
{
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    struct evbuffer *out = evhttp_request_get_output_buffer(req);
    int status = reply->status;
    char number[24];

    if (!evcon) {
        evhttp_request_free(req);
        return;
    }
    size_t len = reply->text ? evbuffer_get_length(reply->text) : reply->body.len;
    if (evhttp_request_get_command(req) != EVHTTP_REQ_HEAD && len > 0 &&
        (reply->text ? evbuffer_add_buffer(out, reply->text) : evbuffer_add(out, reply->body.at, len)) != 0) {
        status = 503;
        len = 0;
    }
    (void)snprintf(number, sizeof number, "%zu", len);
    evhttp_add_header(headers, "Content-Type", reply->type ? reply->type : "application/json");
    evhttp_add_header(headers, "Content-Length", number);
    evhttp_add_header(headers, "Date", http_server_date(s));
    if (extra)
        evhttp_add_header(headers, extra->name, extra->value);
    if (reply->link)
        evhttp_add_header(headers, "Link", reply->link);
    if (reply->retry_after_s > 0) {
        (void)snprintf(number, sizeof number, "%d", reply->retry_after_s);
        evhttp_add_header(headers, "Retry-After", number);
    }
    if (http_server_is_stopped(s) || http_asks_to_close(req))
        evhttp_add_header(headers, "Connection", "close");
    struct guard *g = http_server_guard(s, evcon);
    if (g)
        guard_reply_begun(g, evbuffer_get_length(out));
    tally_answered(http_server_tally(s), status);
    evhttp_send_reply(req, status, reply_reason(status), NULL);
    if (g)
        guard_reply_handed(g);
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
    if (!http_server_in_request(s) && write_now(bev))
        return;
    /* evhttp reads on while it writes, and would end the connection of a client that has closed its own side before the
     * answer is out. It turns reading on again when it is. */
    (void)bufferevent_disable(bev, EV_READ);
}

void http_send_error(struct http_server *s, struct evhttp_request *req, int status, struct str message,
                     const struct http_header *extra)
{
    char json[REPLY_ERROR_BODY];
    struct http_reply reply = {
        .status = status,
        .body = reply_error_body(json, message),
        .retry_after_s = status == 503 ? HTTP_RETRY_AFTER : 0,
    };

    send_reply(s, req, &reply, extra);
}

struct tally_from http_from(struct evhttp_request *req, struct str path)
{
    return (struct tally_from){tally_client(evhttp_request_get_connection(req)), path};
}

void http_refuse(struct http_server *s, struct evhttp_request *req, enum http_cause cause, int status,
                 struct str why, const struct http_header *extra)
{
    struct str target = str_of(evhttp_request_get_uri(req));

    tally_refused(http_server_tally(s), cause, status, http_from(req, str_split(&target, '?')), why,
                  http_mono_ms());
    http_send_error(s, req, status, why, extra);
}

void http_reply_method(struct http_server *s, uint64_t id, const char *allow)
{
    struct evhttp_request *req = pending_take(http_server_requests(s), id);

    if (req)
        http_refuse(s, req, CAUSE_METHOD, 405, STR("this method is not served on this path"),
                    &(struct http_header){"Allow", allow});
}

void http_reply(struct http_server *s, uint64_t id, const struct http_reply *reply)
{
    struct evhttp_request *req = pending_take(http_server_requests(s), id);

    if (req)
        send_reply(s, req, reply, NULL);
}

void http_reply_error(struct http_server *s, uint64_t id, int status, const char *format, ...)
{
    struct evhttp_request *req = pending_take(http_server_requests(s), id);
    char message[1024];
    va_list args;

    if (!req)
        return;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    http_refuse(s, req, cause_of_status(status), status, n < 0 ? STR("internal error") : str_of(message),
                NULL);
}

void http_reply_cause(struct http_server *s, uint64_t id, enum http_cause cause, const char *why)
{
    struct evhttp_request *req = pending_take(http_server_requests(s), id);

    if (req)
        http_refuse(s, req, cause, cause_status(cause), str_of(why), NULL);
}

void http_reply_refused(struct http_server *s, uint64_t id, const char *why)
{
    http_reply_cause(s, id, is_no_memory(why) ? CAUSE_OVERLOAD : CAUSE_BAD_REQUEST, why);
}
