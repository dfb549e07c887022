/* Connections that wait while a server takes events: streams and waits (see crash.h). What they get is read and not
 * judged; they are there so that what serves them meets the faults too. */
#include "crash.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const requests[BYSTANDERS] = {
    "GET /events?after=0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
    "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
    "GET /wait?revision=main@sha1:0000000000000000000000000000000000000000&timeout=60s HTTP/1.1\r\nHost: "
    "x\r\n\r\n",
    "GET /wait?revision=b&timeout=50ms HTTP/1.1\r\nHost: x\r\n\r\n",
};

void bystanders_come(struct bystanders *b, int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    for (size_t i = 0; i < BYSTANDERS; i++) {
        b->fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (b->fd[i] < 0 || connect(b->fd[i], (struct sockaddr *)&address, sizeof address) < 0)
            continue; /* with this very fault nobody may be let in */
        (void)send(b->fd[i], requests[i], strlen(requests[i]), MSG_NOSIGNAL);
    }
}

size_t bystanders_read(struct bystanders *b)
{
    char sink[16384];
    size_t bytes = 0;

    for (size_t i = 0; i < BYSTANDERS; i++) {
        ssize_t n = b->fd[i] < 0 ? 0 : recv(b->fd[i], sink, sizeof sink, MSG_DONTWAIT);
        bytes += n > 0 ? (size_t)n : 0;
    }
    return bytes;
}

void bystanders_go(struct bystanders *b)
{
    for (size_t i = 0; i < BYSTANDERS; i++)
        if (b->fd[i] >= 0)
            (void)close(b->fd[i]);
}
