/* What waiting costs: wait_bench PORT PID, against a running server; wait_bench bytes DIR, in this process.
 *
 * Against the server: how long after the answer to a POST, which is sent when the commit has returned, the answer to a
 * GET /wait comes; the processor time and the latency of an event with one client waiting and with WAITERS, each for a
 * revision of its own; the resident memory of the server. In this process: the heap of a client that waits, compared
 * with one whose request is merely held.
 */
#include "http_test.h"

#include "http/wait.h"

#include <malloc.h>
#include <sys/resource.h>

#include "row.h"

#define WAITERS  10000
#define ANSWERS  1000
#define EVENTS   3000
#define HELD     4000
#define WARM_UPS 300

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

/* ---- against the server ---- */

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

static void begin_wait(int fd, unsigned revision)
{
    char request[256];
    snprintf(request, sizeof request,
             "GET /wait?timeout=1h&revision=main@sha1:%08x%032x HTTP/1.1\r\nHost: x\r\n\r\n",
             revision * 2654435761u, revision);
    send_all(fd, request);
}

static void post(int fd, unsigned revision)
{
    static unsigned sent;
    char body[512];
    char request[1024];
    int n = snprintf(
        body, sizeof body,
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"app-%u\"},"
        "\"severity\":\"info\",\"reason\":\"ReconciliationSucceeded\",\"message\":\"%u\","
        "\"metadata\":{\"revision\":\"main@sha1:%08x%032x\"}}",
        revision % 500, sent++, revision * 2654435761u, revision);
    snprintf(request, sizeof request, "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", n,
             body);
    send_all(fd, request);
}

/* On-CPU nanoseconds of all threads. */
static double cpu_us(int pid)
{
    char path[64];
    unsigned long long ns, sum = 0;

    for (int task = pid; task < pid + 8; task++) {
        snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, task);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%llu", &ns) == 1)
            sum += ns;
        if (f)
            fclose(f);
    }
    return (double)sum / 1e3;
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

static void bench_answers(uint16_t port)
{
    static double after[ANSWERS];
    static double whole[ANSWERS];
    int poster = connect_to(port);
    int waiter = connect_to(port);

    for (unsigned i = 0; i < ANSWERS; i++) {
        begin_wait(waiter, 1000000 + i);
        send_all(poster, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        receive(poster, "HTTP/1.1 200");
        double start = now_us();
        post(poster, 1000000 + i);
        receive(poster, "HTTP/1.1 200");
        double committed = now_us();
        receive(waiter, "HTTP/1.1 200");
        after[i] = now_us() - committed;
        whole[i] = now_us() - start;
    }
    printf("/wait answered after the event's commit: p50 %.0f us, p99 %.0f us; after the POST: p50 %.0f us, "
           "p99 %.0f us\n",
           percentile(after, ANSWERS, .5), percentile(after, ANSWERS, .99), percentile(whole, ANSWERS, .5),
           percentile(whole, ANSWERS, .99));
    row("/wait answered after the event's commit, p50", percentile(after, ANSWERS, .5), "us", "<=", 5000,
        "the POST %.0f us", percentile(whole, ANSWERS, .5) - percentile(after, ANSWERS, .5));
    close(poster);
    close(waiter);
}

static double bench_events(int poster, int pid, const char *name, unsigned first)
{
    static double us[EVENTS];

    for (unsigned i = 0; i < WARM_UPS; i++) {
        post(poster, first + i);
        receive(poster, "HTTP/1.1 200");
    }
    double before = cpu_us(pid);
    for (unsigned i = 0; i < EVENTS; i++) {
        double start = now_us();
        post(poster, first + WARM_UPS + i);
        receive(poster, "HTTP/1.1 200");
        us[i] = now_us() - start;
    }
    double cost = (cpu_us(pid) - before) / EVENTS;
    printf("%-28s %6.1f us of processor time an event; POST p50 %.0f us\n", name, cost,
           percentile(us, EVENTS, .5));
    return cost;
}

static void bench_server(uint16_t port, int pid)
{
    static int fds[WAITERS];
    struct rlimit limit;
    int poster = connect_to(port);

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    bench_answers(port);
    fds[0] = connect_to(port);
    begin_wait(fds[0], 0);
    double one = bench_events(poster, pid, "one client waits:", 2000000);
    double before = resident_bytes(pid);
    for (unsigned i = 1; i < WAITERS; i++)
        fds[i] = connect_to(port);
    send_all(poster, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    receive(poster, "HTTP/1.1 200");
    double connected = resident_bytes(pid);
    for (unsigned i = 1; i < WAITERS; i++)
        begin_wait(fds[i], i);
    double many = bench_events(poster, pid, "10000 clients wait:", 3000000);
    printf("resident: %.0f bytes a connection, %.0f more once it waits\n", (connected - before) / WAITERS,
           (resident_bytes(pid) - connected) / WAITERS);
    printf("an event costs %.2f times as much\n", many / one);
    double start = now_us();
    for (unsigned i = 0; i < WAITERS; i += 100) {
        post(poster, i);
        receive(poster, "HTTP/1.1 200");
        receive(fds[i], "HTTP/1.1 200");
    }
    printf("with all of them, an event that answers one: %.0f us until it is answered\n",
           (now_us() - start) / (WAITERS / 100));
}

/* ---- in this process ---- */

static struct moment moment_now(void)
{
    return (struct moment){clock_ms(), clock_ms()};
}

static void on_hold(void *arg, struct http_request *r)
{
    (void)r;
    ++*(size_t *)arg;
}

static size_t heap_of(struct rig *rig, struct waiters *waiters, const char *path, const size_t *count)
{
    size_t before = mallinfo2().uordblks;
    size_t want = *count + HELD;
    char request[256];

    for (unsigned i = 0; i < HELD; i++) {
        int fd = connect_to(rig->port);
        snprintf(request, sizeof request,
                 "GET /%s?timeout=1h&revision=main@sha1:%08x%032x HTTP/1.1\r\nHost: x\r\n\r\n", path,
                 i * 2654435761u, i);
        send_all(fd, request);
        rig_loop(rig, EVLOOP_NONBLOCK);
    }
    while (*count + (waiters ? waiters_count(waiters) : 0) < want)
        rig_loop(rig, EVLOOP_NONBLOCK);
    while (waiters && waiters_run(waiters, clock_ms(), 256))
        ;
    return (mallinfo2().uordblks - before) / HELD;
}

static void bench_bytes(const char *dir)
{
    struct rig rig;
    char err[STORE_ERROR];
    size_t held = 0;
    size_t none = 0;

    rig_start(&rig, NULL);
    struct store *s = store_open(&(struct store_config){.dir = dir}, &rig.reporter, err);
    if (!s)
        die(err);
    struct waiters *waiters = waiters_new(s);
    struct wait *wait = wait_new(rig.server, rig.base, moment_now);
    wait_set_store(wait, s, waiters);
    http_route(rig.server, HTTP_GET, "/hold", on_hold, &held);
    size_t plain = heap_of(&rig, NULL, "hold", &held);
    size_t waiting = heap_of(&rig, waiters, "wait", &none);
    printf("heap: %zu bytes a connection with its request, %zu more for a client that waits\n", plain,
           waiting - plain);
    wait_free(wait);
    waiters_free(waiters);
    store_close(s);
    rig_stop(&rig);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "bytes") == 0)
        bench_bytes(argv[2]);
    else if (argc == 3)
        bench_server((uint16_t)strtoul(argv[1], NULL, 10), (int)strtol(argv[2], NULL, 10));
    else
        return 1;
    return 0;
}
