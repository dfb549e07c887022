/* API server addresses (see url_priv.h).
 *
 * An IP address and a name go different ways: only a name is resolved and sent as SNI, and the certificate is
 * checked for an IP SAN or a DNS SAN. So the two are told apart here, once, and an address that is neither is
 * refused.
 */
#include "k8s/url_priv.h"

#include <arpa/inet.h>
#include <stdio.h>

static bool is_literal(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '.' || c == '_'))
            return false;
    }
    return s.len > 0 && s.at[0] != '.' && s.at[0] != '-';
}

static bool finish(struct str host, bool bracketed, struct str port, struct k8s_url *ret)
{
    struct k8s_url url = {.tls = ret->tls};
    uint64_t number = url.tls ? 443 : 80;

    if (host.len == 0 || host.len >= sizeof url.host || str_find(host, '\0') >= 0)
        return false;
    memcpy(url.host, host.at, host.len);
    url.literal = is_literal(url.host);
    if (bracketed ? !url.literal || str_find(host, ':') < 0 : !is_name(host))
        return false;
    if (port.at && (!str_to_u64(port, &number) || number == 0 || number > UINT16_MAX))
        return false;
    url.port = (uint16_t)number;

    struct text t;
    text_init(&t, url.authority, sizeof url.authority);
    text_addf(&t, bracketed ? "[%s]" : "%s", url.host);
    if (number != (url.tls ? 443 : 80))
        text_addf(&t, ":%u", (unsigned)number);
    (void)snprintf(url.text, sizeof url.text, "%s://%s", url.tls ? "https" : "http", url.authority);
    *ret = url;
    return true;
}

bool k8s_url_parse(struct str s, struct k8s_url *ret)
{
    struct k8s_url url = {.tls = str_starts(s, STR("https://"))};
    struct str host, port = STR_NONE;
    bool bracketed;

    if (!url.tls && !str_starts(s, STR("http://")))
        return false;
    s = str_from(s, url.tls ? 8 : 7);
    if (str_ends(s, STR("/")))
        s.len--;
    bracketed = str_starts(s, STR("["));
    if (bracketed) {
        ptrdiff_t close = str_find(s, ']');
        if (close < 0)
            return false;
        host = (struct str){s.at + 1, (size_t)close - 1};
        s = (struct str){s.at + close + 1, s.len - (size_t)close - 1};
        if (s.len && s.at[0] != ':')
            return false;
        if (s.len)
            port = (struct str){s.at + 1, s.len - 1};
    } else {
        host = str_split(&s, ':');
        port = s;
    }
    if (!finish(host, bracketed, port, &url))
        return false;
    *ret = url;
    return true;
}

bool k8s_url_make(const char *host, const char *port, struct k8s_url *ret)
{
    struct k8s_url url = {.tls = true};

    if (!finish(str_of(host), strchr(host, ':') != NULL, str_of(port), &url))
        return false;
    *ret = url;
    return true;
}

void k8s_url_escape(struct text *t, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            memchr("-._~", c, 4))
            text_add(t, (struct str){s.at + i, 1});
        else
            text_addf(t, "%%%02X", c);
    }
}
