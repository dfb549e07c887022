/* Reading a small file whole: secrets and certificates. */
#ifndef FES_HTTP_FILE_PRIV_H
#define FES_HTTP_FILE_PRIV_H

#include <stddef.h>
#include <sys/types.h>

/* The file's bytes, at most size of them (so that one more than allowed can be told from allowed); -1 with errno. Does
 * not wait where the name is a pipe's. */
ssize_t file_read(const char *file, char *buffer, size_t size);

#endif
