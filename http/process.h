/* What the process costs, under the names that all programs use for it
 * (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics), and which version it is.
 */
#ifndef FES_HTTP_PROCESS_H
#define FES_HTTP_PROCESS_H

#include "store/metric.h"

struct process;

/* Opens what it reads of /proc, once: later the process may have locked itself out. NULL when out of memory. What /proc
 * does not give stays 0. */
struct process *process_new(void);
/* Accepts NULL. */
void process_free(struct process *p);

struct metric_source process_metrics(struct process *p);

#endif
