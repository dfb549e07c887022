/* Listening sockets: "HOST:PORT" with a numeric host -> a socket that is bound and listens.
 *
 * ":8080" takes both families with one socket, or IPv4 alone where the kernel has no IPv6. "[::]:8080" takes
 * IPv6 only, so that it can stand beside "0.0.0.0:8080". Names are not resolved: an address to listen on is
 * one of this machine, and a resolver would make the start depend on the network.
 */
#include "http/server_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct target {
    union address address;
    socklen_t len;
    bool both; /* no host: both families */
};

static bool parse_port(struct str text, in_port_t *ret)
{
    uint64_t port;

    if (!str_to_u64(text, &port) || port > 65535)
        return false;
    *ret = htons((in_port_t)port);
    return true;
}

static bool parse(struct str text, struct target *t)
{
    char host[INET6_ADDRSTRLEN];
    ptrdiff_t colon = str_find_last(text, ':');
    in_port_t port;

    if (colon < 0 || !parse_port(str_from(text, (size_t)colon + 1), &port))
        return false;
    text = str_upto(text, (size_t)colon);
    *t = (struct target){.both = text.len == 0};
    bool bracketed = str_starts(text, STR("[")) && str_ends(text, STR("]"));
    if (bracketed)
        text = (struct str){text.at + 1, text.len - 2};
    if (text.len >= sizeof host)
        return false;
    memcpy(host, text.len ? text.at : "", text.len);
    host[text.len] = '\0';
    if (t->both || bracketed) {
        t->address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
        t->len = sizeof t->address.v6;
        return t->both || inet_pton(AF_INET6, host, &t->address.v6.sin6_addr) == 1;
    }
    t->address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
    t->len = sizeof t->address.v4;
    return inet_pton(AF_INET, host, &t->address.v4.sin_addr) == 1;
}

static int open_socket(struct target *t)
{
    int fd = socket(t->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 && errno == EAFNOSUPPORT && t->both) {
        in_port_t port = t->address.v6.sin6_port;
        t->address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
        t->len = sizeof t->address.v4;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    return fd;
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static bool read_address(const char *flag, const char *address, struct target *t, struct text *err)
{
    text_addf(err, "%s ", flag);
    text_add_clean(err, str_of(address));
    if (parse(str_of(address), t))
        return true;
    text_add(err, STR(": write it as :8080, 0.0.0.0:8080 or [::]:8080, with a numeric address"));
    return false;
}

/* Accepted sockets inherit them. Linux waits for two hours before it asks an idle peer whether it is there; a client that
 * waits for its answer is idle for up to one, and one whose node died would keep its place. */
static bool set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},   {IPPROTO_TCP, TCP_NODELAY, 1},    {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60}, {IPPROTO_TCP, TCP_KEEPINTVL, 15}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (set_option(fd, options[i].level, options[i].name, options[i].value) < 0)
            return false;
    return true;
}

bool listen_check(const char *flag, const char *address, char err[static HTTP_ERROR])
{
    struct target t;
    struct text text;

    text_init(&text, err, HTTP_ERROR);
    return read_address(flag, address, &t, &text);
}

int listen_on(const char *flag, const char *address, char err[static HTTP_ERROR])
{
    struct target t;
    struct text text;
    int fd = -1;

    text_init(&text, err, HTTP_ERROR);
    if (!read_address(flag, address, &t, &text))
        return -1;
    fd = open_socket(&t);
    if (fd < 0)
        goto fail;
    if (!set_options(fd))
        goto fail;
    if (t.address.any.sa_family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !t.both) < 0)
        goto fail;
    if (bind(fd, &t.address.any, t.len) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        goto fail;
    return fd;
fail:
    text_addf(&text, ": %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void listen_name(int fd, char name[static LISTEN_NAME])
{
    union address a = {0};
    socklen_t len = sizeof a;
    char host[INET6_ADDRSTRLEN] = "?";
    struct text text;

    text_init(&text, name, LISTEN_NAME);
    if (getsockname(fd, &a.any, &len) < 0)
        return;
    if (a.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof host);
        text_addf(&text, "[%s]:%u", host, (unsigned)ntohs(a.v6.sin6_port));
    } else {
        (void)inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof host);
        text_addf(&text, "%s:%u", host, (unsigned)ntohs(a.v4.sin_port));
    }
}
