/* What the client of the API server measures (see metrics_priv.h).
 *
 * A resource may be watched in several namespaces. Then the worst of its watches is shown: it is in step when all are,
 * and as old as the youngest stream; restarts and lists are sums.
 */
#include "k8s/metrics_priv.h"

#include <stdio.h>

static const char *const verbs[] = {
    [K8S_COUNT_GET] = "get",     [K8S_COUNT_LIST] = "list",     [K8S_COUNT_WATCH] = "watch",
    [K8S_COUNT_PATCH] = "patch", [K8S_COUNT_CREATE] = "create", [K8S_COUNTS] = NULL,
};

/* "none": no answer. Then what an API server answers. */
static const char *const codes[] = {"none", "200", "201", "202", "400",   "401", "403", "404",
                                    "405",  "408", "409", "410", "413",   "415", "422", "429",
                                    "500",  "502", "503", "504", "other", NULL};
_Static_assert(sizeof codes / sizeof codes[0] == K8S_CODES + 1, "a number for each");

#define AT(field) offsetof(struct k8s_numbers, field)
const struct metric k8s_metrics[] = {
    {.name = "flux_event_store_kube_requests_total",
     .offset = AT(requests),
     .help = "Requests to the API server, by verb and status; none: it did not answer.",
     .labels = {{"verb", verbs, 0}, {"code", codes, 0}},
     .is_sparse = true},
    {.name = "flux_event_store_kube_connects_total",
     .offset = AT(connects),
     .help = "Connections to the API server that were opened."},
    {.name = "flux_event_store_kube_pending_requests",
     .type = METRIC_GAUGE,
     .offset = AT(pending),
     .help = "Requests to the API server that are queued or under way, watches not counted."},
    {.name = "flux_event_store_kube_reachable",
     .type = METRIC_GAUGE,
     .offset = AT(reachable),
     .help = "1 when the API server answered the last time it was asked."},
    {.name = "flux_event_store_watch_synced",
     .type = METRIC_GAUGE,
     .offset = AT(synced),
     .help = "1 when what is known of the resource is in step with the API server.",
     .labels = {{"resource", NULL, AT(resources)}}},
    {.name = "flux_event_store_watch_absent",
     .type = METRIC_GAUGE,
     .offset = AT(absent),
     .help = "1 when the API server does not serve the resource, or forbids reading it.",
     .labels = {{"resource", NULL, AT(resources)}}},
    {.name = "flux_event_store_watch_restarts_total",
     .offset = AT(restarts),
     .help = "Streams of the watch that were opened after the first; every 5 to 10 minutes is regular.",
     .labels = {{"resource", NULL, AT(resources)}}},
    {.name = "flux_event_store_watch_lists_total",
     .offset = AT(lists),
     .help =
         "Times that the whole resource was listed: at the start, after an expired version or a bad stream.",
     .labels = {{"resource", NULL, AT(resources)}}},
    {.name = "flux_event_store_watch_age_seconds",
     .type = METRIC_GAUGE,
     .unit = METRIC_MICROSECONDS,
     .offset = AT(age_us),
     .help = "Since when the stream of the watch is open; 0: it is not.",
     .labels = {{"resource", NULL, AT(resources)}}},
    {.name = NULL},
};

void k8s_numbers_count(struct k8s_numbers *n, enum k8s_count verb, int status)
{
    char code[16] = "none";
    size_t i = 0;

    if (status != 0)
        (void)snprintf(code, sizeof code, "%d", status);
    while (i < K8S_CODES - 1 && strcmp(codes[i], code) != 0)
        i++;
    n->requests[verb][i]++;
}

/* K8S_RESOURCES when there is no room for another one. */
static size_t find(struct k8s_numbers *n, const char *resource)
{
    size_t i = 0;

    while (i < K8S_RESOURCES && n->resources[i] && strcmp(n->resources[i], resource) != 0)
        i++;
    if (i < K8S_RESOURCES && !n->resources[i]) {
        n->resources[i] = resource;
        n->synced[i] = 1;
        n->age_us[i] = UINT64_MAX;
        n->absent[i] = n->restarts[i] = n->lists[i] = 0;
    }
    return i;
}

void k8s_numbers_watches(struct k8s_numbers *n, const struct k8s_seens *seens, int64_t now_ms)
{
    memset(n->resources, 0, sizeof n->resources);
    for (const struct k8s_seen *seen = TAILQ_FIRST(seens); seen; seen = TAILQ_NEXT(seen, entry)) {
        size_t i = find(n, seen->resource);
        uint64_t age_us = seen->opened_ms ? (uint64_t)(now_ms - seen->opened_ms) * 1000 : 0;
        if (i == K8S_RESOURCES)
            continue;
        n->synced[i] &= seen->state == K8S_WATCH_SYNCED;
        n->absent[i] |= seen->state == K8S_WATCH_ABSENT;
        n->restarts[i] += seen->streams > 1 ? seen->streams - 1 : 0;
        n->lists[i] += seen->lists;
        n->age_us[i] = age_us < n->age_us[i] ? age_us : n->age_us[i];
    }
}
