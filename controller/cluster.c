/* The Kubernetes side as one thing: what cluster.h says.
 *
 * The one place that knows both k8s/ and the controller. Each callback of a watch, and each wish of the controller, is
 * one call to the other side:
 *
 *   k8s/watch -> on_run_object  -> controller_on_object        controller -> io_patch -> k8s_request
 *   k8s/watch -> on_flux_object -> flux_watch_on_object        k8s_request -> on_k8s_reply -> controller_on_reply
 *
 * A watch is one collection in one namespace, or in all of them; its scope is its number here.
 */
#include "controller/cluster.h"

#include "controller/controller.h"
#include "controller/flux_watch.h"
#include "k8s/client.h"
#include "k8s/watch.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_WATCHES ((RUN_KINDS + FLUX_RESOURCES) * FLAG_LIST_MAX)
#define PATH_MOST   512

struct watch {
    struct cluster *cluster;
    struct k8s_watch *watch;
    const char *plural;
    bool is_flux;
    enum run_kind kind; /* unless is_flux */
    unsigned scope;
    const char *namespace; /* NULL: all */
    bool told;             /* that it is in step */
};

struct cluster {
    struct cluster_config config;
    struct cluster_io io;
    struct reporter reporter;
    struct waiters *waiters;
    struct k8s_client *k8s;
    struct controller *controller;
    struct flux_watch *flux; /* NULL: --no-flux-watch */
    struct watch watches[MAX_WATCHES];
    size_t n_watches;
    int64_t runs_at_ms; /* when each of the two wants its tick; the earlier one is what the caller hears of */
    int64_t flux_at_ms;
    char why[256]; /* what /readyz says of the watches */
};
/* ---- the watches on Runs, and the controller's I/O ---- */

static void on_watch_list(void *arg)
{
    struct watch *w = arg;
    controller_on_list(w->cluster->controller, w->kind, w->scope);
}

static void on_watch_object(void *arg, enum k8s_change change, struct str json)
{
    struct watch *w = arg;
    controller_on_object(w->cluster->controller, w->kind, w->scope, change == K8S_DELETED, json,
                         w->cluster->io.now());
}

static void on_watch_synced(void *arg)
{
    struct watch *w = arg;

    if (!w->told)
        REPORT(&w->cluster->reporter, REPORT_INFO, "watching",
               FIELD_TEXT("resource", run_kind_name(w->kind)->plural),
               FIELD_TEXT("namespace", w->namespace ? w->namespace : "all"));
    w->told = true;
    controller_on_synced(w->cluster->controller, w->kind, w->scope, w->cluster->io.now());
}

static void on_watch_absent(void *arg)
{
    struct watch *w = arg;

    w->told = false;
    controller_on_absent(w->cluster->controller, w->kind, w->scope);
}

static void on_k8s_reply(void *arg, uint64_t token, const struct k8s_reply *reply)
{
    struct cluster *c = arg;
    controller_on_reply(c->controller, token, reply->status, reply->retry_after_ms, reply->body, c->io.now());
}

static bool io_patch(void *arg, uint64_t token, const char *path, struct str body, bool urgent)
{
    struct cluster *c = arg;
    return k8s_request(c->k8s, K8S_PATCH, path, body, urgent, on_k8s_reply, c, token);
}

static bool io_get(void *arg, uint64_t token, const char *path)
{
    struct cluster *c = arg;
    return k8s_request(c->k8s, K8S_GET, path, STR_NONE, true, on_k8s_reply, c, token);
}

static void io_create_event(void *arg, const char *path, struct str body)
{
    struct cluster *c = arg;
    k8s_request(c->k8s, K8S_CREATE, path, body, false, NULL, NULL, 0);
}

static void wake(const struct cluster *c)
{
    c->io.wake_at(c->io.arg, c->runs_at_ms < c->flux_at_ms ? c->runs_at_ms : c->flux_at_ms);
}

static void io_wake_at(void *arg, int64_t mono_ms)
{
    struct cluster *c = arg;

    c->runs_at_ms = mono_ms;
    wake(c);
}

static void list_again(struct cluster *c, bool flux)
{
    for (size_t i = 0; i < c->n_watches; i++)
        if (c->watches[i].is_flux == flux)
            k8s_watch_list_again(c->watches[i].watch);
}

static void io_list_again(void *arg)
{
    list_again(arg, false);
}

/* ---- the watches on Flux objects ---- */

static void on_flux_list(void *arg)
{
    struct watch *w = arg;
    flux_watch_on_list(w->cluster->flux, w->scope);
}

static void on_flux_object(void *arg, enum k8s_change change, struct str json)
{
    struct watch *w = arg;
    flux_watch_on_object(w->cluster->flux, w->scope, change == K8S_DELETED, json, w->cluster->io.now());
}

static void on_flux_synced(void *arg)
{
    struct watch *w = arg;
    flux_watch_on_synced(w->cluster->flux, w->scope);
}

static void on_flux_absent(void *arg)
{
    struct watch *w = arg;
    flux_watch_on_absent(w->cluster->flux, w->scope);
}

static void flux_wake_at(void *arg, int64_t mono_ms)
{
    struct cluster *c = arg;

    c->flux_at_ms = mono_ms;
    wake(c);
}

static void flux_list_again(void *arg)
{
    list_again(arg, true);
}

static void flux_suspended(void *arg, struct str kind, struct str namespace, struct str name)
{
    waiters_poke_object(((struct cluster *)arg)->waiters, kind, namespace, name);
}

/* ---- starting, stopping ---- */

/* One collection, in one namespace or (NULL) in all. The prefixes are versions of it, the preferred one first. */
static bool watch_start(struct cluster *c, const struct watch *what, const char *const *prefixes, size_t n,
                        const char *namespace)
{
    static const struct k8s_watch_callbacks runs = {on_watch_list, on_watch_object, on_watch_synced,
                                                    on_watch_absent, NULL};
    static const struct k8s_watch_callbacks flux = {on_flux_list, on_flux_object, on_flux_synced,
                                                    on_flux_absent, NULL};
    struct watch *w = &c->watches[c->n_watches];
    struct k8s_watch_callbacks callbacks = what->is_flux ? flux : runs;
    struct k8s_watch_options options = {.n_collections = n, .optional = what->is_flux};
    char paths[K8S_WATCH_MOST][PATH_MOST];

    for (size_t i = 0; i < n; i++) {
        struct text path;
        text_init(&path, paths[i], PATH_MOST);
        text_addf(&path, "%s%s%s/%s", prefixes[i], namespace ? "/namespaces/" : "",
                  namespace ? namespace : "", what->plural);
        options.collections[i] = paths[i];
    }
    *w = *what;
    w->cluster = c;
    w->scope = (unsigned)c->n_watches;
    w->namespace = namespace;
    callbacks.arg = w;
    w->watch = k8s_watch_new(c->k8s, &options, &callbacks);
    if (!w->watch)
        return false;
    c->n_watches++;
    return true;
}

/* In each of the namespaces, or in all of them at once when none is named. */
static bool watch_start_in(struct cluster *c, const struct watch *what, const char *const *prefixes, size_t n,
                           const struct flag_list *namespaces)
{
    if (namespaces->n == 0)
        return watch_start(c, what, prefixes, n, NULL);
    for (size_t i = 0; i < namespaces->n; i++)
        if (!watch_start(c, what, prefixes, n, namespaces->values[i]))
            return false;
    return true;
}

bool cluster_start(struct cluster *c)
{
    for (int kind = 0; kind < RUN_KINDS; kind++) {
        const struct run_kind_name *name = run_kind_name((enum run_kind)kind);
        struct watch what = {.kind = (enum run_kind)kind, .plural = name->plural};
        if (!watch_start_in(c, &what, &name->prefix, 1, &c->config.k8s->namespaces))
            return false;
    }
    for (size_t i = 0; c->flux && i < FLUX_RESOURCES; i++) {
        struct watch what = {.is_flux = true, .plural = flux_resources[i].plural};
        if (!watch_start_in(c, &what, flux_resources[i].prefixes, FLUX_VERSIONS, &c->config.flux->namespaces))
            return false;
    }
    return true;
}

static bool in_step(struct cluster *c, bool flux, const char **ret_why)
{
    bool synced = false;
    bool failing = false;

    if (!k8s_client_reachable(c->k8s, ret_why))
        return false;
    for (size_t i = 0; i < c->n_watches; i++) {
        const char *why = NULL;
        enum k8s_watch_state state = k8s_watch_state(c->watches[i].watch, &why);
        if (c->watches[i].is_flux != flux)
            continue;
        synced |= state == K8S_WATCH_SYNCED;
        if (state == K8S_WATCH_STARTING || state == K8S_WATCH_FAILING) {
            failing = true;
            (void)snprintf(c->why, sizeof c->why, "%s: %s", c->watches[i].plural,
                           why && *why ? why : "being listed");
            *ret_why = c->why;
        } else if (state == K8S_WATCH_ABSENT && !failing) {
            (void)snprintf(c->why, sizeof c->why,
                           "not served, or not to be read; looking again every 30 s; %s: %s",
                           c->watches[i].plural, why);
            *ret_why = c->why;
        }
    }
    return synced && !failing;
}

bool cluster_runs_ready(struct cluster *c, const char **ret_why)
{
    return in_step(c, false, ret_why);
}

bool cluster_flux_ready(struct cluster *c, const char **ret_why)
{
    return in_step(c, true, ret_why);
}

size_t cluster_metrics(struct cluster *c, struct metric_source ret[static CLUSTER_METRICS])
{
    size_t n = 0;

    ret[n++] = controller_metrics(c->controller);
    ret[n++] = k8s_client_metrics(c->k8s);
    if (c->flux)
        ret[n++] = flux_watch_metrics(c->flux);
    return n;
}

char *cluster_list(struct cluster *c, uint64_t *position, bool *ret_last)
{
    return controller_list(c->controller, position, c->io.now(), ret_last);
}

/* ---- the turn ---- */

void cluster_set_moment(struct cluster *c, struct moment now)
{
    controller_set_moment(c->controller, now);
}

void cluster_tick(struct cluster *c, struct moment now)
{
    /* A wake-up that has come is used up, as a timer's is: else it would be due for ever. */
    if (c->runs_at_ms <= now.mono_ms)
        c->runs_at_ms = INT64_MAX;
    if (c->flux_at_ms <= now.mono_ms)
        c->flux_at_ms = INT64_MAX;
    controller_tick(c->controller, now);
    if (c->flux)
        flux_watch_tick(c->flux, now);
}

size_t cluster_pending(const struct cluster *c)
{
    return controller_pending(c->controller) + k8s_client_pending(c->k8s);
}

void cluster_reload(struct cluster *c)
{
    k8s_client_reload(c->k8s);
}

/* ---- the whole ---- */

bool cluster_config_check(const struct cluster_config *config, char err[static CLUSTER_ERROR])
{
    return k8s_namespaces_check("--namespace", &config->k8s->namespaces, err) &&
           k8s_namespaces_check("--flux-namespace", &config->flux->namespaces, err) &&
           controller_config_check(config->controller, err);
}

static bool parts_new(struct cluster *c, struct event_base *base, struct store *store,
                      char err[static CLUSTER_ERROR])
{
    const struct controller_io io = {c, io_patch, io_get, io_create_event, io_wake_at, io_list_again};
    const struct flux_watch_io flux_io = {c, flux_list_again, flux_wake_at, flux_suspended};

    c->k8s = k8s_client_new(base, c->config.k8s, &c->reporter, err);
    if (!c->k8s)
        return false;
    c->controller = controller_new(c->config.controller, c->waiters, &io, &c->reporter, err);
    if (!c->controller)
        return false;
    if (c->config.flux->disabled)
        return true;
    c->flux = flux_watch_new(store, &flux_io, &c->reporter);
    if (!c->flux)
        (void)snprintf(err, CLUSTER_ERROR, "out of memory");
    return c->flux != NULL;
}

struct cluster *cluster_new(struct event_base *base, const struct cluster_config *config, struct store *store,
                            struct waiters *waiters, const struct cluster_io *io,
                            const struct reporter *reporter, char err[static CLUSTER_ERROR])
{
    _Static_assert(CLUSTER_ERROR >= K8S_ERROR && CLUSTER_ERROR >= CONTROLLER_ERROR, "their lines fit");
    struct cluster *c = calloc(1, sizeof *c);

    if (!c) {
        (void)snprintf(err, CLUSTER_ERROR, "out of memory");
        return NULL;
    }
    c->config = *config;
    c->io = *io;
    c->reporter = *reporter;
    c->waiters = waiters;
    c->runs_at_ms = INT64_MAX;
    c->flux_at_ms = INT64_MAX;
    if (!cluster_config_check(config, err) || !parts_new(c, base, store, err)) {
        cluster_stop(c);
        cluster_free(c);
        return NULL;
    }
    return c;
}

void cluster_stop(struct cluster *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_watches; i++)
        k8s_watch_free(c->watches[i].watch);
    c->n_watches = 0;
    k8s_client_free(c->k8s);
    c->k8s = NULL;
    controller_free(c->controller);
    c->controller = NULL;
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    flux_watch_free(c->flux);
    free(c);
}
