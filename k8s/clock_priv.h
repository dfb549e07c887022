/* Time and chance for k8s/: everything below takes them as arguments from here. */
#ifndef FES_K8S_CLOCK_PRIV_H
#define FES_K8S_CLOCK_PRIV_H

#include <event2/event.h>
#include <stdint.h>
#include <sys/random.h>
#include <time.h>

/* Milliseconds on a clock that only goes forward and counts suspended time. */
static inline int64_t k8s_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline int64_t k8s_now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* For jitter only. */
static inline uint32_t k8s_random(void)
{
    uint32_t n = 0;
    return getrandom(&n, sizeof n, GRND_NONBLOCK) == (ssize_t)sizeof n ? n : UINT32_MAX / 2;
}

static inline void k8s_timer_set(struct event *timer, int64_t ms)
{
    (void)event_add(timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

#endif
