/* Connections that mean harm, for slowloris.sh.
 *
 *   hostile slow HOST:PORT N SECONDS       N connections, each sending one byte of a head that never ends every second,
 *                                          and coming back when the server closes them
 *   hostile storm HOST:PORT RATE SECONDS   RATE connections a second, closed at once, by FIN and by reset in turns, half
 *                                          of them after a part of a head
 *
 * Prints "ready" when it is in full swing, and at the end one line: connections made, and those that failed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 20000
#define STEP_MS         10
#define STEPS           (1000 / STEP_MS) /* in a second */

static struct sockaddr_in server;
static int fds[MAX_CONNECTIONS];
static uint64_t made, failed;

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* From one of two hundred addresses, so that ports do not run out. */
static int dial(void)
{
    static uint32_t host;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        failed++;
        return -1;
    }
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + host++ % 200);
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        (connect(fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS)) {
        failed++;
        close(fd);
        return -1;
    }
    made++;
    return fd;
}

static bool is_closed(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* The next byte of connection i, or the connection itself. */
static void creep(int i)
{
    static const char head[] = "POST /events HTTP/1.1\r\nHost: x\r\nA: ";
    static uint8_t at[MAX_CONNECTIONS];

    if (fds[i] >= 0 && (is_closed(fds[i]) || (send(fds[i], at[i] < sizeof head - 1 ? &head[at[i]] : "x", 1,
                                                   MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
                                              errno != EAGAIN && errno != ENOTCONN))) {
        close(fds[i]);
        fds[i] = -1;
    }
    if (fds[i] >= 0) {
        at[i] += at[i] < sizeof head - 1;
        return;
    }
    at[i] = 0;
    fds[i] = dial();
}

static void dash(uint64_t i)
{
    const struct linger at_once = {.l_onoff = 1};
    int fd = dial();

    if (fd < 0)
        return;
    if (i & 1)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (i & 2)
        (void)send(fd, "POST /ev", 8, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/* Does the `step`-th part of a second's work. */
static void work(bool is_storm, int n, int step)
{
    int from = (int)((int64_t)n * step / STEPS), to = (int)((int64_t)n * (step + 1) / STEPS);

    for (int i = from; i < to; i++) {
        if (is_storm)
            dash((uint64_t)i);
        else
            creep(i);
    }
}

int main(int argc, char **argv)
{
    char *colon = argc == 5 ? strrchr(argv[2], ':') : NULL;

    if (!colon)
        return 2;
    *colon = '\0';
    bool is_storm = strcmp(argv[1], "storm") == 0;
    int n = (int)strtol(argv[3], NULL, 10), seconds = (int)strtol(argv[4], NULL, 10);
    server = (struct sockaddr_in){.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    if (inet_pton(AF_INET, argv[2], &server.sin_addr) != 1 || n > MAX_CONNECTIONS)
        return 2;
    memset(fds, -1, sizeof fds);
    int64_t start = now_ms();
    for (int step = 0; now_ms() - start < seconds * INT64_C(1000); step++) {
        if (step == (is_storm ? 1 : STEPS)) {
            printf("ready\n");
            fflush(stdout);
        }
        work(is_storm, n, step % STEPS);
        int64_t wait_ms = start + (step + 1) * (int64_t)STEP_MS - now_ms();
        if (wait_ms > 0)
            usleep((useconds_t)wait_ms * 1000);
    }
    printf("%llu made, %llu failed, %.0f a second\n", (unsigned long long)made, (unsigned long long)failed,
           (double)made * 1000 / (double)(now_ms() - start));
    return 0;
}
