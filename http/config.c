/* The server's flags, what --check says of them, and the limits that follow from the machine. */
#include "http/server_priv.h"
#include "http/tls_priv.h"

#include <stddef.h>
#include <sys/resource.h>

#define HTTP_GRACE_MS     100
#define HTTP_LINGER_MS    2000
#define HTTP_RESERVED_FDS 256 /* descriptors that are not for connections, but for those of --admin-listen */

const struct flag http_flags[] = {
    {LISTEN_FLAG, "ADDRESS", FLAG_LIST, offsetof(struct http_config, listen), ":8080",
     "address to serve HTTP on; repeatable; \":8080\" is IPv4 and IPv6"},
    {ADMIN_LISTEN_FLAG, "ADDRESS", FLAG_LIST, offsetof(struct http_config, admin_listen), NULL,
     "address for probes and /metrics alone, without TLS and tokens; repeatable"},
    {"--tls-cert-file", "FILE", FLAG_STRING, offsetof(struct http_config, tls.cert_file), NULL,
     "certificate and its chain, PEM: --listen speaks TLS; read again when it changes"},
    {"--tls-key-file", "FILE", FLAG_STRING, offsetof(struct http_config, tls.key_file), NULL,
     "its private key, PEM"},
    {"--tls-client-ca-file", "FILE", FLAG_STRING, offsetof(struct http_config, tls.client_ca_file), NULL,
     "clients must show a certificate of one of these, PEM"},
    {0},
};

static bool check_addresses(const char *flag, const struct flag_list *addresses, char err[static HTTP_ERROR])
{
    for (size_t i = 0; i < addresses->n; i++)
        if (!listen_check(flag, addresses->values[i], err))
            return false;
    return true;
}

bool http_config_check(const struct http_config *config, const struct reporter *reporter,
                       char err[static HTTP_ERROR])
{
    if (!check_addresses(LISTEN_FLAG, &config->listen, err) ||
        !check_addresses(ADMIN_LISTEN_FLAG, &config->admin_listen, err))
        return false;
    if (!tls_wanted(&config->tls))
        return true;
    struct tls *tls = tls_new(&config->tls, reporter, err);
    bool is_good = tls != NULL;
    tls_free(tls);
    return is_good;
}

void http_default_limits(struct guard_limits *ret)
{
    struct rlimit fds;
    size_t n = HTTP_MAX_CONNECTIONS;

    if (getrlimit(RLIMIT_NOFILE, &fds) == 0 && fds.rlim_cur < HTTP_MAX_CONNECTIONS + HTTP_RESERVED_FDS)
        n = fds.rlim_cur > (rlim_t)2 * HTTP_RESERVED_FDS ? fds.rlim_cur - HTTP_RESERVED_FDS
                                                         : fds.rlim_cur / 2;
    *ret = (struct guard_limits){
        .connections = n > 2 ? n : 2,
        .idle = n / 2 < HTTP_MAX_IDLE ? n / 2 : HTTP_MAX_IDLE,
        .heads = HTTP_MAX_HEADS,
        .bodies = HTTP_MAX_BODIES,
        .grace_ms = HTTP_GRACE_MS,
        .head_ms = HTTP_HEAD_SECONDS * INT64_C(1000),
        .body_ms = HTTP_BODY_SECONDS * INT64_C(1000),
        .linger_ms = HTTP_LINGER_MS,
    };
}
