/* What streams cost: stream_bench fill DIR, then stream_bench PORT PID against a server on that directory.
 *
 * How long after a POST, and after its answer, the last of CLIENTS streams has the event; how fast one stream is sent what is
 * stored; the latency of a POST while that goes on, compared with before and after; what streams and a client that sends
 * beside its stream do to the server's resident memory. Clients and server share the machine.
 */
#include "store/event_json.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "row.h"

#define CLIENTS  1000
#define RECORDS  100000
#define FAN_OUTS 300
#define POSTS    3000
#define ROUNDS   3

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *us, size_t n, double p)
{
    qsort(us, n, sizeof *us, compare);
    return us[(size_t)(p * (double)(n - 1))];
}

/* An event as kustomize-controller posts it, of about a kilobyte. */
static int event_text(char *out, size_t cap, unsigned i)
{
    return snprintf(
        out, cap,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"app-%u\","
        "\"uid\":"
        "\"c7e7a2c3-0b8b-4f6e-9d8e-2f7b6f0a%04x\",\"apiVersion\":\"kustomize.toolkit.fluxcd.io/v1\","
        "\"resourceVersion\":\"%u\"},\"severity\":\"info\",\"timestamp\":\"2026-08-01T10:00:00Z\","
        "\"message\":"
        "\"Reconciliation finished in %u.123456789s, next run in 10m0s. Deployment/apps/frontend configured, "
        "Deployment/apps/backend configured, Service/apps/frontend unchanged, Service/apps/backend "
        "unchanged, "
        "ConfigMap/apps/frontend-config-7h2k9m4t created, Ingress/apps/frontend unchanged, "
        "HorizontalPodAutoscaler/apps/frontend unchanged, NetworkPolicy/apps/default-deny "
        "unchanged\",\"reason\":"
        "\"ReconciliationSucceeded\",\"metadata\":{\"commit_status\":\"update\",\"revision\":"
        "\"main@sha1:%08x%032x\"},\"reportingController\":\"kustomize-controller\",\"reportingInstance\":"
        "\"kustomize-controller-7d9c5b8f6-x2x4k\"}",
        i % 500, i & 0xffff, i, i % 60, i * 2654435761u, i);
}

/* ---- fill ---- */

static void fill(const char *dir)
{
    struct store_config config = {.dir = dir, .allow_network_fs = true};
    struct reporter nobody = {0};
    char err[STORE_ERROR];
    char body[2048];
    struct store *s = store_open(&config, &nobody, err);

    if (!s)
        die(err);
    for (unsigned i = 0; i < RECORDS; i++) {
        int n = event_text(body, sizeof body, i);
        struct flux_event *e = event_from_json((struct str){body, (size_t)n}, err);
        if (!e || store_append(s, e, (struct str){body, (size_t)n}, VIA_WEBHOOK, INT64_C(1785578400000) + i,
                               NULL, NULL, 0) != STORE_OK)
            die(err);
        event_json_free(e);
        while (i % 1000 == 999 && store_pending(s)) {
            struct pollfd fd = {.fd = store_fd(s), .events = POLLIN};
            store_flush(s);
            poll(&fd, 1, 1000);
            store_dispatch(s);
        }
    }
    store_close(s);
}

/* ---- clients ---- */

static int connect_to(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_all(int fd, const char *text)
{
    size_t len = strlen(text);
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        die("send");
}

/* One answer, which is small and comes at once. */
static void receive(int fd, const char *want)
{
    char in[8192];
    ssize_t n = recv(fd, in, sizeof in - 1, 0);
    if (n <= 0)
        die("recv");
    in[n] = '\0';
    if (strncmp(in, want, strlen(want)) != 0) {
        fprintf(stderr, "want %s, got %s\n", want, in);
        exit(1);
    }
}

static void post(int fd, unsigned i)
{
    char body[2048];
    char request[2560];
    int n = event_text(body, sizeof body, i);
    snprintf(request, sizeof request, "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n,
             body);
    send_all(fd, request);
}

static int open_stream(uint16_t port, const char *query)
{
    char request[256];
    int fd = connect_to(port);
    snprintf(request, sizeof request,
             "GET /events%s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n", query);
    send_all(fd, request);
    return fd;
}

/* Events in these bytes, whose ends may lie across two calls. */
static size_t count_events(const char *in, size_t n, unsigned *matched)
{
    static const char end[] = "\n\n\r\n";
    size_t events = 0;

    for (size_t i = 0; i < n; i++) {
        *matched = in[i] == end[*matched] ? *matched + 1 : in[i] == '\n' ? 1 : 0;
        if (*matched == 4) {
            events++;
            *matched = 0;
        }
    }
    return events;
}

static double resident_bytes(int pid)
{
    char path[64];
    char line[128];
    double kb = 0;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "RssAnon: %lf", &kb);
    if (f)
        fclose(f);
    return kb * 1024;
}

/* ---- one event to a thousand clients ---- */

static int fds[CLIENTS];
static unsigned matched[CLIENTS];

/* Reads until every client has had `each` more; returns when the last one had. */
static double read_all(int epoll, size_t each)
{
    static size_t got[CLIENTS];
    struct epoll_event events[256];
    char in[65536];
    size_t done = 0;

    memset(got, 0, sizeof got);
    while (done < CLIENTS) {
        int n = epoll_wait(epoll, events, 256, 10000);
        if (n <= 0)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            size_t c = events[i].data.u64;
            ssize_t len = recv(fds[c], in, sizeof in, MSG_DONTWAIT);
            if (len <= 0)
                die("recv");
            size_t before = got[c];
            got[c] += count_events(in, (size_t)len, &matched[c]);
            done += before < each && got[c] >= each;
        }
    }
    return now_us();
}

/* The yardstick: a loop that writes the same bytes to as many sockets, and knows of nothing else. */
static void serve_bare(int listener, int go)
{
    int clients[CLIENTS];
    char text[2304];
    char byte;

    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = accept(listener, NULL, NULL);
    int n = event_text(text, 2048, 1);
    n += snprintf(text + n, sizeof text - (size_t)n, "\n\n\r\n");
    while (read(go, &byte, 1) == 1)
        for (size_t i = 0; i < CLIENTS; i++)
            if (send(clients[i], text, (size_t)n, MSG_NOSIGNAL) != n)
                _exit(1);
    _exit(0);
}

static void bench_bare_fan_out(double *us)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int epoll = epoll_create1(0);
    int go[2];

    if (bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, CLIENTS) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0 || pipe(go) != 0)
        die("bare fan-out");
    pid_t child = fork();
    if (child == 0) {
        close(go[1]);
        serve_bare(listener, go[0]);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = i};
        fds[i] = connect_to(ntohs(at.sin_port));
        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e);
    }
    for (size_t i = 0; i < FAN_OUTS; i++) {
        double start = now_us();
        if (write(go[1], "", 1) != 1)
            die("write");
        us[i] = read_all(epoll, 1) - start;
    }
    close(go[0]);
    close(go[1]);
    waitpid(child, NULL, 0);
    for (size_t i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close(listener);
    close(epoll);
    memset(matched, 0, sizeof matched);
}

static void bench_fan_out(uint16_t port, int pid, unsigned *next)
{
    static double whole[FAN_OUTS];
    static double after[FAN_OUTS];
    static double bare[FAN_OUTS];
    bench_bare_fan_out(bare);
    int poster = connect_to(port);
    int epoll = epoll_create1(0);

    post(poster, ++*next);
    receive(poster, "HTTP/1.1 200");
    double before = resident_bytes(pid);
    for (size_t i = 0; i < CLIENTS; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = i};
        fds[i] = open_stream(port, "");
        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e);
    }
    (void)read_all(epoll, 1); /* the position, which ends like an event */
    double streams = resident_bytes(pid);
    for (size_t i = 0; i < FAN_OUTS; i++) {
        double start = now_us();
        post(poster, ++*next);
        receive(poster, "HTTP/1.1 200");
        double committed = now_us();
        double last = read_all(epoll, 1);
        after[i] = last - committed;
        whole[i] = last - start;
    }
    printf("stream: POST to the last of %d clients p50 %.1f ms, p99 %.1f ms (bar 20); after its answer p50 "
           "%.1f ms, p99 "
           "%.1f ms\n",
           CLIENTS, percentile(whole, FAN_OUTS, .5) / 1e3, percentile(whole, FAN_OUTS, .99) / 1e3,
           percentile(after, FAN_OUTS, .5) / 1e3, percentile(after, FAN_OUTS, .99) / 1e3);
    row("POST to the last write to 1,000 stream clients, p99", percentile(whole, FAN_OUTS, .99) / 1e3, "ms",
        "<=", 20, "p50 %.1f ms; the same bytes written by a bare loop: p50 %.1f, p99 %.1f ms",
        percentile(whole, FAN_OUTS, .5) / 1e3, percentile(bare, FAN_OUTS, .5) / 1e3,
        percentile(bare, FAN_OUTS, .99) / 1e3);
    printf("stream: resident memory of %d clients %.1f MiB, after %d events %.1f MiB\n", CLIENTS,
           (streams - before) / (1 << 20), FAN_OUTS, (resident_bytes(pid) - before) / (1 << 20));
    for (size_t i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close(epoll);
    close(poster);
}

/* ---- what is stored ---- */

static size_t *replayed; /* shared with the child */

static double replay(uint16_t port, size_t n)
{
    static char in[1 << 20];
    double start = now_us();
    int fd = open_stream(port, "?after=0");
    unsigned state = 0;

    for (size_t got = 0; got < n;) {
        ssize_t len = recv(fd, in, sizeof in, 0);
        if (len <= 0)
            die("recv");
        size_t events = count_events(in, (size_t)len, &state);
        got += events;
        *replayed += events;
    }
    close(fd);
    return (double)n / (now_us() - start) * 1e6;
}

static void measure_posts(uint16_t port, unsigned *next, double *ret_p50, double *ret_p99)
{
    static double us[POSTS];
    int poster = connect_to(port);

    for (size_t i = 0; i < POSTS; i++) {
        double start = now_us();
        post(poster, ++*next);
        receive(poster, "HTTP/1.1 200");
        us[i] = now_us() - start;
    }
    *ret_p50 = percentile(us, POSTS, .5);
    *ret_p99 = percentile(us, POSTS, .99);
    close(poster);
}

/* Without, with and without again, so that what else the machine does shows. */
static void bench_posts(uint16_t port, unsigned *next)
{
    double p50[3], p99[3], rate = 0;

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 3; i++) {
            pid_t child = i == 1 ? fork() : -1;
            if (child == 0)
                for (;;)
                    (void)replay(port, RECORDS);
            size_t before = *replayed;
            double start = now_us();
            measure_posts(port, next, &p50[i], &p99[i]);
            if (i == 1)
                rate = (double)(*replayed - before) / (now_us() - start) * 1e6;
            if (child > 0) {
                kill(child, SIGKILL);
                waitpid(child, NULL, 0);
            }
        }
        printf("stream: POST p50 %.0f us, during replays %.0f us, after %.0f us; p99 %.0f us, %.0f us, %.0f "
               "us (bar "
               "within 20 %%), replaying %.0f events/s\n",
               p50[0], p50[1], p50[2], p99[0], p99[1], p99[2], rate);
    }
}

/* ---- a client that sends beside its stream ---- */

static void bench_flood(uint16_t port, int pid)
{
    static char noise[1 << 16];
    size_t sent = 0;
    int fd = open_stream(port, "");
    char in[4096];

    memset(noise, 'x', sizeof noise);
    if (recv(fd, in, sizeof in, 0) <= 0)
        die("recv");
    double before = resident_bytes(pid);
    for (double end = now_us() + 2e6; now_us() < end;) {
        ssize_t n = send(fd, noise, sizeof noise, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
    printf("stream: a client that sends for 2 s gets rid of %.0f KiB; resident memory grows by %.0f KiB (bar "
           "256)\n",
           (double)sent / 1024, (resident_bytes(pid) - before) / 1024);
    row("memory for a stream client that floods input", (resident_bytes(pid) - before) / 1024, "KiB",
        "<=", 256, "it got rid of %.0f KiB", (double)sent / 1024);
    close(fd);
}

int main(int argc, char **argv)
{
    unsigned next = RECORDS;
    struct rlimit limit;

    if (argc != 3)
        return 1;
    if (strcmp(argv[1], "fill") == 0) {
        fill(argv[2]);
        return 0;
    }
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    int pid = (int)strtol(argv[2], NULL, 10);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    replayed = mmap(NULL, sizeof *replayed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (replayed == MAP_FAILED)
        die("mmap");
    bench_flood(port, pid);
    bench_fan_out(port, pid, &next);
    double rates[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        rates[i] = replay(port, RECORDS);
        printf("stream: what is stored is sent at %.0f events/s (bar 100000)\n", rates[i]);
    }
    row("replay of stored events to one stream", percentile(rates, ROUNDS, .5), "/s", ">=", 100000,
        "%d records", RECORDS);
    bench_posts(port, &next);
    return 0;
}
