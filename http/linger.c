/* Refusing, and then lingering (see linger_priv.h).
 *
 * A socket that is closed while unread bytes are in it is reset, and a reset overtakes the answer: the client that is
 * still sending its body would never see why. So the answer is written and our side is shut, and what the client sends
 * is read and dropped until it goes, or until the guard's deadline for that has passed (RFC 9112, section 9.6).
 */
#include "http/linger_priv.h"

#include "http/reply_priv.h"
#include "http/tls_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdint.h>
#include <sys/socket.h>

void linger_drain(struct bufferevent *bev)
{
    struct evbuffer *input = bufferevent_get_input(bev);

    (void)evbuffer_drain(input, evbuffer_get_length(input));
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)arg;
    linger_drain(bev);
}

/* The whole refusal is with the kernel. */
static void on_written(struct bufferevent *bev, void *arg)
{
    const struct lingering *l = arg;

    if (evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return; /* that was about an answer before it: see tls_conn.c */
    if (l->tls)
        tls_conn_finish(l->tls);
    (void)shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    const struct lingering *l = arg;

    (void)bev;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
        l->on_end(l->arg);
}

void linger_begin(struct lingering *l, int status, const char *why, bool head_only)
{
    bufferevent_setcb(l->bev, on_read, on_written, on_event, l);
    bufferevent_setwatermark(l->bev, EV_READ, 0, 0);
    bufferevent_setwatermark(l->bev, EV_WRITE, 0, 0);
    linger_drain(l->bev);
    reply_refusal(bufferevent_get_output(l->bev), status, why, head_only);
    (void)bufferevent_enable(l->bev, EV_READ | EV_WRITE);
}
