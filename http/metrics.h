/* GET /metrics: every table of metrics in the text format of Prometheus, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * It is open, like the probes: it tells numbers, and no object, namespace or revision. docs/metrics.md explains each.
 */
#ifndef FES_HTTP_METRICS_H
#define FES_HTTP_METRICS_H

#include "http/server.h"
#include "store/metric.h"

#define METRICS_MAX_SOURCES 16

struct metrics;

/* Registers the route. server: NULL for none. NULL when out of memory. */
struct metrics *metrics_new(struct http_server *server);
/* Adds a table, which is printed after those that were added before; what it points to outlives m. False when there are
 * METRICS_MAX_SOURCES. */
bool metrics_add(struct metrics *m, struct metric_source source);
/* The whole text; the caller frees with free(). NULL when out of memory. */
char *metrics_text(const struct metrics *m);
/* Accepts NULL. */
void metrics_free(struct metrics *m);

#endif
