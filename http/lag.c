/* The loop's lateness, sampled (see lag.h).
 *
 * A timerfd, because libevent's own timers are rounded to milliseconds of a coarse clock, which is more than what a
 * healthy loop is late. The turn that the timer itself caused does not set it again: so the last turn before a pause is
 * followed by one more, and that is all.
 */
#include "http/lag.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static const uint64_t lag_us_bounds[] = {100,   250,    500,    1000,   2500,    5000,    10000, 25000,
                                         50000, 100000, 250000, 500000, 1000000, 2500000, 0};

struct lag {
    struct event *event;
    int fd;
    bool is_set;
    bool has_fired;
    int64_t due_us;
    struct histogram late_us;
};

static const struct metric metrics[] = {
    {.name = "flux_event_store_loop_lag_seconds",
     .type = METRIC_HISTOGRAM,
     .unit = METRIC_MICROSECONDS,
     .offset = offsetof(struct lag, late_us),
     .help = "How late the event loop is, sampled while it has work.",
     .bounds = lag_us_bounds},
    {.name = NULL},
};

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    struct lag *l = arg;
    uint64_t times;
    int64_t late_us = now_us() - l->due_us;

    (void)what;
    (void)!read(fd, &times, sizeof times);
    l->is_set = false;
    l->has_fired = true;
    histogram_add(&l->late_us, lag_us_bounds, late_us > 0 ? (uint64_t)late_us : 0);
}

void lag_turn(struct lag *l)
{
    if (!l->is_set && !l->has_fired) {
        const struct itimerspec in = {.it_value = {.tv_nsec = LAG_SAMPLE_MS * 1000000L}};
        l->due_us = now_us() + LAG_SAMPLE_MS * INT64_C(1000);
        l->is_set = timerfd_settime(l->fd, 0, &in, NULL) == 0;
    }
    l->has_fired = false;
}

struct lag *lag_new(struct event_base *base)
{
    struct lag *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    l->event = l->fd >= 0 ? event_new(base, l->fd, EV_READ | EV_PERSIST, on_due, l) : NULL;
    if (!l->event || event_add(l->event, NULL) != 0) {
        lag_free(l);
        return NULL;
    }
    return l;
}

void lag_free(struct lag *l)
{
    if (!l)
        return;
    if (l->event)
        event_free(l->event);
    if (l->fd >= 0)
        (void)close(l->fd);
    free(l);
}

static const void *collect(void *lag)
{
    return lag;
}

struct metric_source lag_metrics(struct lag *l)
{
    return (struct metric_source){metrics, collect, l};
}
