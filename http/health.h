/* /healthz, /health, /readyz. */
#ifndef FES_HTTP_HEALTH_H
#define FES_HTTP_HEALTH_H

#include "http/server.h"

struct health;

/* One part of /readyz. Returns whether the part is ready and sets *ret_why (valid until the next call) when
 * not. */
typedef bool health_part(void *arg, const char **ret_why);

/* Registers the routes. NULL when out of memory. */
struct health *health_new(struct http_server *server);
/* `decides`: whether the part decides the status of /readyz (the store does; the API server never takes the
 * event endpoint out of the Service and is only shown). name: static text. False when out of memory. */
bool health_add(struct health *h, const char *name, bool decides, health_part *part, void *arg);
void health_free(struct health *h);

#endif
