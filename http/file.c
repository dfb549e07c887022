/* Reading a small file whole (see file_priv.h).
 *
 * Files are read again, not only looked at: the time stamps of two writes within one tick of the kernel are the same,
 * and a pod's files are swapped by a symbolic link. So they are opened by name each time, and no descriptor is kept.
 */
#include "http/file_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ssize_t file_read(const char *file, char *buffer, size_t size)
{
    size_t len = 0;
    ssize_t n = -1;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0)
        return -1;
    while (len < size && ((n = read(fd, buffer + len, size - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    int error = errno;
    (void)close(fd);
    errno = error;
    return n < 0 ? -1 : (ssize_t)len;
}
