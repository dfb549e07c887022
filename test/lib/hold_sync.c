/* LD_PRELOAD: holds fdatasync() back while the file named by FES_HOLD exists.
 *
 * For the proof that nothing is acknowledged before its commit returned. While a call is held, the file FES_HOLD.held
 * exists, so that a test waits for the moment instead of sleeping.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *hold = getenv("FES_HOLD");
    char held[4096];

    if (hold && access(hold, F_OK) == 0) {
        (void)snprintf(held, sizeof held, "%s.held", hold);
        int mark = open(held, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (mark >= 0)
            close(mark);
        while (access(hold, F_OK) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        unlink(held);
    }
    return real(fd);
}
