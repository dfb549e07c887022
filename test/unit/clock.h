/* Clocks in milliseconds, for tests that wait. */
#ifndef FES_TEST_CLOCK_H
#define FES_TEST_CLOCK_H

#include <stdint.h>
#include <time.h>

static int64_t clock_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((unused)) static int64_t clock_ms(void)
{
    return clock_of(CLOCK_MONOTONIC);
}

/* Processor time of this process. */
__attribute__((unused)) static int64_t ran_ms(void)
{
    return clock_of(CLOCK_PROCESS_CPUTIME_ID);
}

#endif
