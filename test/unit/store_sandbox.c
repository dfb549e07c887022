/* What is left to a process after sandbox_enter. Each case is a child, since there is no way back. What may be read is
 * tested with the released binary (test/integration/test_sandbox.py): sanitizers need to read. */
#include "harness.h"
#include "store/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[] = "/tmp/store_sandbox.XXXXXX";
static int reports;
static enum report_level level;

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    reports++;
    level = report->level;
}
static const struct reporter reporter = {on_report, NULL};

static int abi(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
}

static const char *path(const char *name)
{
    static char out[128];

    (void)snprintf(out, sizeof out, "%s/%s", base, name);
    return out;
}

/* errno of the call, 0 when it succeeds. */
static int errno_of(int result)
{
    return result < 0 ? errno : 0;
}

static int make(const char *name)
{
    return errno_of(open(path(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static int tcp(int (*call)(int, const struct sockaddr *, socklen_t), uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return errno_of(call(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&to, sizeof to));
}

static int bind_to(int fd, const struct sockaddr *to, socklen_t len)
{
    return bind(fd, to, len);
}

static int connect_to(int fd, const struct sockaddr *to, socklen_t len)
{
    return connect(fd, to, len);
}

/* A port of loopback on which somebody listens. */
static uint16_t listener(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK_INT(bind(fd, (struct sockaddr *)&at, len), 0);
    CHECK_INT(listen(fd, 8), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static void enter(uint16_t port)
{
    struct sandbox s;

    sandbox_begin(&s);
    sandbox_write_beneath(&s, path("data"));
    sandbox_read(&s, path("absent"));
    if (port)
        sandbox_connect(&s, port);
    sandbox_enter(&s);
    sandbox_report(&s, &reporter);
}

/* The exit code of a child that does this: 0, or the number of the line that saw something else. */
static int in_child(int (*what)(uint16_t), uint16_t port)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit(what(port));
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define EXPECT(condition)           \
    do {                            \
        if (!(condition))           \
            return __LINE__ & 0xFF; \
    } while (0)

static int files(uint16_t port)
{
    enter(port);
    EXPECT(reports == 1 && level == REPORT_INFO);
    EXPECT(make("data/new") == 0);
    EXPECT(errno_of(truncate(path("data/new"), 10)) == 0);
    EXPECT(errno_of(unlink(path("data/new"))) == 0);
    EXPECT(errno_of(mkdir(path("data/folder"), 0700)) == EACCES);
    EXPECT(errno_of(symlink("x", path("data/link"))) == EACCES);
    EXPECT(make("outside") == EACCES);
    EXPECT(errno_of(open(path("there"), O_WRONLY | O_CLOEXEC)) == EACCES);
    EXPECT(errno_of(unlink(path("there"))) == EACCES);
    EXPECT(abi() < 3 || errno_of(truncate(path("there"), 0)) == EACCES);
    return 0;
}

static void test_files(void)
{
    if (abi() >= 1)
        CHECK_INT(in_child(files, 0), 0);
}

static int privileges(uint16_t port)
{
    EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 && prctl(PR_GET_DUMPABLE) == 1);
    enter(port);
    EXPECT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    EXPECT(prctl(PR_GET_DUMPABLE) == 0);
    return 0;
}

static void test_privileges(void)
{
    CHECK_INT(in_child(privileges, 0), 0);
}

static uint16_t other_port;

static int one_port(uint16_t port)
{
    enter(port);
    EXPECT(tcp(connect_to, port) == 0);
    EXPECT(tcp(connect_to, other_port) == EACCES);
    EXPECT(tcp(bind_to, 0) == EACCES);
    return 0;
}

static int no_port(uint16_t port)
{
    enter(0);
    EXPECT(tcp(connect_to, port) == EACCES);
    return 0;
}

static void test_tcp(void)
{
    if (abi() < 4)
        return;
    other_port = listener();
    CHECK_INT(in_child(one_port, listener()), 0);
    CHECK_INT(in_child(no_port, other_port), 0);
}

static void *in_thread(void *arg)
{
    *(int *)arg = make("outside");
    return NULL;
}

static int threads(uint16_t port)
{
    pthread_t thread;
    int seen = 0;

    enter(port);
    EXPECT(pthread_create(&thread, NULL, in_thread, &seen) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(seen == EACCES);
    return 0;
}

static void test_threads_made_later(void)
{
    if (abi() >= 1)
        CHECK_INT(in_child(threads, 0), 0);
}

/* A kernel without Landlock, made by a filter that answers its first call as such a kernel does. */
static bool forget_landlock(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int old_kernel(uint16_t port)
{
    EXPECT(forget_landlock());
    enter(port);
    EXPECT(reports == 1 && level == REPORT_WARN);
    EXPECT(prctl(PR_GET_DUMPABLE) == 0);
    EXPECT(make("outside") == 0);
    return 0;
}

static void test_old_kernel(void)
{
    CHECK_INT(in_child(old_kernel, 1), 0);
}

int main(void)
{
    if (!mkdtemp(base) || mkdir(path("data"), 0700) < 0 || make("there") != 0)
        return 1;
    int failed = harness_run((struct test[]){
        TEST(test_files),
        TEST(test_privileges),
        TEST(test_tcp),
        TEST(test_threads_made_later),
        TEST(test_old_kernel),
        {0},
    });
    (void)unlink(path("outside"));
    (void)unlink(path("there"));
    (void)rmdir(path("data"));
    (void)rmdir(base);
    return failed;
}
