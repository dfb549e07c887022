/* LD_PRELOAD: somebody else's code in the process. It tries what FES_INTRUDE names, words separated by ';':
 *
 *   read:PATH  write:PATH  connect:PORT  bind:PORT  dumpable:
 *
 * on SIGUSR2 in the thread that takes the signal, which is the loop's, and in the writer's thread at each fdatasync(); and
 * writes one line for each to stderr: "intruder loop read:/etc/passwd 13", with the errno (of dumpable: the value). */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int opened(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static int tcp(const char *port, int connects)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(strtoul(port, NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = (connects ? connect : bind)(fd, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;

    close(fd);
    return error;
}

static int try(const char *word)
{
    const char *value = strchr(word, ':') + 1;

    switch (*word) {
    case 'r': return opened(value, O_RDONLY);
    case 'w': return opened(value, O_WRONLY | O_CREAT);
    case 'c': return tcp(value, 1);
    case 'b': return tcp(value, 0);
    default: return prctl(PR_GET_DUMPABLE);
    }
}

static void intrude(const char *who)
{
    char words[4096];
    char *rest = NULL;

    snprintf(words, sizeof words, "%s", getenv("FES_INTRUDE"));
    for (char *word = strtok_r(words, ";", &rest); word; word = strtok_r(NULL, ";", &rest))
        dprintf(2, "intruder %s %s %d\n", who, word, try(word));
}

static void on_signal(int number)
{
    (void)number;
    intrude("loop");
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    intrude("writer");
    return real(fd);
}

__attribute__((constructor)) static void begin(void)
{
    signal(SIGUSR2, on_signal);
}
