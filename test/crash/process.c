/* Servers that are started, killed and started again, and their directories (see crash.h). */
#include "crash.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A free port. It is chosen here, because a server without memory may not be able to say which it has. */
static int port_pick(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool picked = fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
                  getsockname(fd, (struct sockaddr *)&address, &len) == 0;

    if (fd >= 0)
        (void)close(fd);
    return picked ? ntohs(address.sin_port) : 0;
}

static void become_server(const char *binary, const char *dir, const char *max_size, const char *const *env,
                          int out, int port)
{
    char listen[32];

    (void)snprintf(listen, sizeof listen, "127.0.0.1:%d", port);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is interrupted leaves nothing behind */
    (void)dup2(out, STDERR_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    for (; env && *env; env++)
        (void)putenv((char *)(uintptr_t)*env);
    (void)execl(binary, binary, "--listen", listen, "--data-dir", dir, "--no-kube",
                max_size ? "--max-size" : (char *)NULL, max_size, (char *)NULL);
    _exit(127);
}

bool server_start(struct server *s, const char *binary, const char *dir, const char *max_size,
                  const char *const *env)
{
    int pipes[2];

    *s = (struct server){.pid = -1, .out = -1, .port = port_pick()};
    if (s->port == 0 || pipe2(pipes, O_CLOEXEC) < 0)
        return false;
    (void)fcntl(pipes[1], F_SETPIPE_SZ, 1 << 20); /* so that it never waits for a reader of its log */
    (void)fcntl(pipes[0], F_SETFL, O_NONBLOCK);
    s->out = pipes[0];
    s->pid = fork();
    if (s->pid == 0)
        become_server(binary, dir, max_size, env, pipes[1], s->port);
    (void)close(pipes[1]);
    return s->pid > 0;
}

bool server_read(struct server *s)
{
    char spill[4096];

    for (;;) {
        bool room = s->log_len < sizeof s->log - 1;
        ssize_t n = room ? read(s->out, s->log + s->log_len, sizeof s->log - 1 - s->log_len)
                         : read(s->out, spill, sizeof spill);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0;
        s->log_len += room ? (size_t)n : 0;
    }
}

static int remaining_ms(int64_t deadline_us)
{
    int64_t left = deadline_us - now_us();
    return left > 0 ? (int)(left / 1000) + 1 : 0;
}

static bool ask_ready(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char answer[256] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ready = false;

    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ready = send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1 &&
                poll(&wait, 1, 1000) == 1 && recv(fd, answer, sizeof answer - 1, 0) > 12 &&
                memcmp(answer + 8, " 200", 4) == 0;
    }
    if (fd >= 0)
        (void)close(fd);
    return ready;
}

bool server_ready(struct server *s, int64_t deadline_us)
{
    for (;;) {
        struct pollfd wait = {.fd = s->out, .events = POLLIN};
        if (ask_ready(s->port))
            return true;
        if (now_us() >= deadline_us)
            return false;
        if (poll(&wait, 1, 1) == 1 && !server_read(s))
            return false;
    }
}

bool server_wait(struct server *s, int64_t deadline_us, int *ret_status)
{
    bool ended = false;

    /* Its log ends when it does. */
    while (!ended && now_us() < deadline_us) {
        struct pollfd wait = {.fd = s->out, .events = POLLIN};
        (void)poll(&wait, 1, remaining_ms(deadline_us));
        ended = !server_read(s);
    }
    if (!ended)
        (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, ret_status, 0);
    (void)server_read(s);
    (void)close(s->out);
    s->pid = -1;
    s->out = -1;
    return ended;
}

void server_kill(struct server *s)
{
    int status;

    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    (void)server_wait(s, now_us() + 10000000, &status);
}

bool scratch_make(char path[static 256], bool memory)
{
    const char *wanted = getenv("FES_CRASH_DIR");
    const char *tmp = getenv("TMPDIR");
    const char *at = wanted                                    ? wanted
                     : memory && access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                     : tmp                                     ? tmp
                                                               : "/tmp";

    (void)snprintf(path, 256, "%.200s/fes-crash-XXXXXX", at);
    return mkdtemp(path) != NULL;
}

void scratch_clear(const char *path)
{
    char name[1024];
    DIR *dir = opendir(path);

    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) < 0 && errno == EISDIR) {
            scratch_clear(name);
            (void)rmdir(name);
        }
    }
    if (dir)
        (void)closedir(dir);
}

void scratch_remove(const char *path)
{
    scratch_clear(path);
    (void)rmdir(path);
}
