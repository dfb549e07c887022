/* The socket of a connection (see socket_priv.h).
 *
 * A peer that vanished is noticed within 11 s: by unacknowledged data, or by keepalive probes when idle.
 */
#include "k8s/socket_priv.h"

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "k8s/clock_priv.h"

#define USER_TIMEOUT_MS 10000
#define KEEP_IDLE_S     5
#define KEEP_INTERVAL_S 2
#define KEEP_COUNT      3

struct bufferevent *k8s_socket_new(struct event_base *base, struct k8s_creds *creds, SSL **ret_ssl)
{
    struct bufferevent *bev;

    *ret_ssl = NULL;
    if (!k8s_creds_url(creds)->tls)
        return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = k8s_creds_ssl(creds, k8s_now_ms());
    if (!ssl)
        return NULL;
    bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE);
    if (bev)
        *ret_ssl = ssl;
    else
        SSL_free(ssl);
    return bev;
}

void k8s_socket_set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

/* A connection that ends in the middle of a handshake, and an error within the server, may be gone the next time. */
enum k8s_fault k8s_socket_fault(unsigned long error)
{
    switch (ERR_GET_REASON(error)) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
    case SSL_R_TLSV1_ALERT_INTERNAL_ERROR: return K8S_FAULT_NETWORK;
    case SSL_R_WRONG_VERSION_NUMBER: /* the first bytes of anything else, taken for a record */
    case SSL_R_PACKET_LENGTH_TOO_LONG: return K8S_FAULT_NOT_TLS;
    default: return K8S_FAULT_TLS;
    }
}
