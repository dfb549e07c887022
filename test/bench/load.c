/* Closed-loop senders of events over keep-alive connections: each sends its next request when its answer is in.
 *
 *   load KIND HOST:PORT CONNECTIONS SECONDS [HMAC-KEY-FILE]
 *
 * KIND says what is sent: `events` POSTs Flux events to /events, `puts` the same events as values to etcd's JSON
 * gateway (base64 in JSON, each under a key of its own), so that all servers meet the same client. Every event is
 * another one: 100 objects in turn, each with a new revision and time, as when Flux rolls out. With a key each is
 * signed as notification-controller does it. Prints one line: requests per second, and p50, p99 and the longest
 * latency in microseconds. Ends with 1 at the first answer that is not 200.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 4096
#define MAX_REQUEST     8192
#define MAX_LATENCIES   (1u << 22)

struct connection {
    int fd;
    double sent_us;
    size_t answer_len;
    char answer[2048];
};

static struct connection connections[MAX_CONNECTIONS];
static double latencies[MAX_LATENCIES];
static size_t n_latencies;
static bool puts_to_etcd;
static const char *host;
static EVP_MAC_CTX *signer; /* NULL: nothing is signed */
static uint64_t sequence;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* What kustomize-controller sends after an apply, with the message that lists what it has configured. */
static size_t event_body(char *body, size_t max)
{
    uint64_t i = sequence++;
    time_t at = time(NULL);
    struct tm utc;
    char when[32];

    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &utc));
    return (size_t)snprintf(
        body, max,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"app-%03u\","
        "\"uid\":\"7d0cdc51-ddcf-4743-b223-%012u\",\"apiVersion\":\"kustomize.toolkit.fluxcd.io/v1\","
        "\"resourceVersion\":\"%llu\"},\"severity\":\"info\",\"timestamp\":\"%s\",\"message\":\"Deployment/"
        "shop/cart "
        "configured\\nDeployment/shop/checkout configured\\nConfigMap/shop/settings "
        "configured\\nService/shop/cart "
        "configured\\nReconciliation finished in 2.%09ds, next run in "
        "10m0s\",\"reason\":\"ReconciliationSucceeded\","
        "\"metadata\":{\"commit_status\":\"update\",\"revision\":\"main@sha1:%016llx%016llx%08x\"},"
        "\"reportingController\":\"kustomize-controller\",\"reportingInstance\":\"kustomize-controller-"
        "7c7b47f5f-8bhrp\"}",
        (unsigned)(i % 100), (unsigned)(i % 100), (unsigned long long)(1042311 + i), when,
        (int)(i % 1000000000), (unsigned long long)((i + 1) * 0x9E3779B97F4A7C15),
        (unsigned long long)((uint64_t)getpid() << 32 | i), (unsigned)i);
}

/* The senders share the machine with the server: a key that is set once and a table cost them little. */
static void sign(const char *body, size_t len, char *hex)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char mac[EVP_MAX_MD_SIZE];
    size_t mac_len = 0;

    if (EVP_MAC_init(signer, NULL, 0, NULL) != 1 ||
        EVP_MAC_update(signer, (const unsigned char *)body, len) != 1 ||
        EVP_MAC_final(signer, mac, &mac_len, sizeof mac) != 1)
        die("HMAC-SHA256");
    for (size_t i = 0; i < mac_len; i++) {
        hex[2 * i] = digits[mac[i] >> 4];
        hex[2 * i + 1] = digits[mac[i] & 15];
    }
    hex[2 * mac_len] = '\0';
}

static size_t event_request(char *request)
{
    char body[MAX_REQUEST / 2];
    char signature[2 * EVP_MAX_MD_SIZE + 1] = "";
    size_t len = event_body(body, sizeof body);

    if (signer)
        sign(body, len, signature);
    return (size_t)snprintf(request, MAX_REQUEST,
                            "POST /events HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\n"
                            "Content-Type: application/json\r\nContent-Length: %zu\r\n%s%s%s\r\n%.*s",
                            host, len, signer ? "X-Signature: sha256=" : "", signature, signer ? "\r\n" : "",
                            (int)len, body);
}

static size_t put_request(char *request)
{
    char event[MAX_REQUEST / 4];
    unsigned char value[MAX_REQUEST / 2];
    char name[32];
    unsigned char name64[64];
    char body[MAX_REQUEST * 3 / 4];
    size_t len = event_body(event, sizeof event);

    int name_len = snprintf(name, sizeof name, "events/%016llx", (unsigned long long)sequence);
    EVP_EncodeBlock(name64, (const unsigned char *)name, name_len);
    EVP_EncodeBlock(value, (const unsigned char *)event, (int)len);
    int body_len = snprintf(body, sizeof body, "{\"key\":\"%s\",\"value\":\"%s\"}", name64, value);
    return (size_t)snprintf(request, MAX_REQUEST,
                            "POST /v3/kv/put HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\n"
                            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                            host, body_len, body);
}

static void send_next(struct connection *c)
{
    char request[MAX_REQUEST];
    size_t len = puts_to_etcd ? put_request(request) : event_request(request);

    c->sent_us = now_us();
    c->answer_len = 0;
    /* One small request on a connection that owes nothing: it fits the socket's buffer. */
    if (send(c->fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
}

/* Whether the whole answer is in: its head, and as many bytes as it announces. */
static bool answered(struct connection *c)
{
    ssize_t n = recv(c->fd, c->answer + c->answer_len, sizeof c->answer - 1 - c->answer_len, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("the server closed a connection");
    if (n < 0)
        return false;
    c->answer_len += (size_t)n;
    c->answer[c->answer_len] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strcasestr(c->answer, "\r\nContent-Length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return c->answer_len >= (size_t)(end + 4 - c->answer) + body;
}

static void finish(struct connection *c)
{
    if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "load: %s\n", c->answer);
        exit(1);
    }
    if (n_latencies < MAX_LATENCIES)
        latencies[n_latencies++] = now_us() - c->sent_us;
}

static int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void read_key(const char *path)
{
    char sha256[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, sizeof sha256 - 1),
                                 OSSL_PARAM_END};
    unsigned char key[1024];
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    size_t key_len = fread(key, 1, sizeof key, file);
    fclose(file);
    signer = EVP_MAC_CTX_new(EVP_MAC_fetch(NULL, "HMAC", NULL));
    if (!signer || EVP_MAC_init(signer, key, key_len, params) != 1)
        die("HMAC-SHA256");
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[256];
    char *colon = argc >= 5 ? strchr(argv[2], ':') : NULL;

    if (!colon) {
        fprintf(stderr, "usage: load events|puts HOST:PORT CONNECTIONS SECONDS [HMAC-KEY-FILE]\n");
        return 2;
    }
    puts_to_etcd = strcmp(argv[1], "puts") == 0;
    host = argv[2];
    size_t n = strtoul(argv[3], NULL, 10);
    if (argc > 5)
        read_key(argv[5]);
    *colon = '\0';
    address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (n == 0 || n > MAX_CONNECTIONS || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1)
        die("an IPv4 address and 1 to 4096 connections, please");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < n; i++) {
        connections[i].fd = connect_to(&address);
        struct epoll_event want = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &want) != 0)
            die("epoll_ctl");
    }
    double start = now_us();
    double end = start + strtod(argv[4], NULL) * 1e6;
    for (size_t i = 0; i < n; i++)
        send_next(&connections[i]);
    size_t owed = n;
    while (owed > 0) {
        int ready = epoll_wait(epoll, events, 256, 10000);
        if (ready <= 0)
            die("no answer for ten seconds");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!answered(c))
                continue;
            finish(c);
            if (now_us() < end)
                send_next(c);
            else
                owed--;
        }
    }
    double seconds = (now_us() - start) / 1e6;
    qsort(latencies, n_latencies, sizeof *latencies, compare);
    printf("%.0f %.0f %.0f %.0f\n", (double)n_latencies / seconds, latencies[n_latencies / 2],
           latencies[n_latencies * 99 / 100], latencies[n_latencies - 1]);
    return 0;
}
