/* How late the loop is: the time from when a timer is due to when its callback runs.
 *
 * While the loop has work, one such timer is set at most every LAG_SAMPLE_MS; an idle loop is woken by none. So what
 * keeps a callback waiting is seen whatever it is: a long callback, a page that has to come from the disk, or a CPU
 * limit that has the process stopped. A single long turn that begins in an idle loop is not.
 */
#ifndef FES_HTTP_LAG_H
#define FES_HTTP_LAG_H

#include "store/metric.h"

#define LAG_SAMPLE_MS 50

struct event_base;
struct lag;

/* NULL when out of memory or descriptors. */
struct lag *lag_new(struct event_base *base);
/* Call at the end of each turn. */
void lag_turn(struct lag *l);
/* Accepts NULL. */
void lag_free(struct lag *l);

struct metric_source lag_metrics(struct lag *l);

#endif
