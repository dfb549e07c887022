/* The n-th allocation is refused: of those that the archives and the test make for themselves, which come by here in
 * programs called *_memory (test/Makefile wraps them). What libraries allocate does not. */
#ifndef FES_TEST_MEMORY_H
#define FES_TEST_MEMORY_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **at, const char *format, ...) __attribute__((format(printf, 2, 3)));

static long memory_before = -1; /* that succeed before one is refused; below 0: all do */

static bool memory_is_refused(void)
{
    if (memory_before < 0 || memory_before-- > 0)
        return false;
    errno = ENOMEM;
    return true;
}

/* All succeed again. Returns whether one has been refused. */
static bool memory_again(void)
{
    bool refused = memory_before < 0;

    memory_before = -1;
    return refused;
}

void *__wrap_malloc(size_t len)
{
    return memory_is_refused() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
    return memory_is_refused() ? NULL : __real_calloc(n, len);
}

char *__wrap_strdup(const char *text)
{
    return memory_is_refused() ? NULL : __real_strdup(text);
}

int __wrap_asprintf(char **at, const char *format, ...)
{
    va_list args;
    int len = -1;

    va_start(args, format);
    if (!memory_is_refused())
        len = vasprintf(at, format, args);
    va_end(args);
    return len;
}

#endif
