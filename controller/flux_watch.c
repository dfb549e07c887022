/* Watches on Flux objects: from an object to a stored event (see flux_watch.h).
 *
 * Each object that a watch gives is read, and what its status decides is handed to the store, which drops what it
 * knows. Suspended objects are kept in a list, as there are few; each entry carries the number of the listing that
 * showed it, so that what a new list shows no more goes away.
 *
 * Failure modes: a malformed object is skipped, counted, and reported at most every REPORT_MS; a refused or failed
 * append makes all watches list again after FLUX_WATCH_RETRY_MS, as often as it takes; out of memory for a suspended
 * object costs half a sentence of an explanation.
 */
#include "controller/flux_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "controller/flux_status.h"

#define SCOPES_MOST 256
#define REPORT_MS   300000

const struct flag flux_watch_flags[] = {
    {"--no-flux-watch", NULL, FLAG_BOOL, offsetof(struct flux_watch_config, disabled), NULL,
     "do not watch the status of Kustomizations and HelmReleases"},
    {"--flux-namespace", "NAME", FLAG_LIST, offsetof(struct flux_watch_config, namespaces), NULL,
     "watch Flux objects of this namespace only; repeatable"},
    {0},
};

#define KUSTOMIZE "/apis/kustomize.toolkit.fluxcd.io/"
#define HELM      "/apis/helm.toolkit.fluxcd.io/"
const struct flux_resource flux_resources[FLUX_RESOURCES] = {
    {"kustomizations", {KUSTOMIZE "v1", KUSTOMIZE "v1beta2", KUSTOMIZE "v1beta1"}},
    {"helmreleases", {HELM "v2", HELM "v2beta2", HELM "v2beta1"}},
};

struct suspended {
    char *object; /* "Kind/namespace/name" */
    unsigned scope;
    unsigned listing; /* that showed it */
};

struct numbers {
    uint64_t objects;   /* given by the watches, each time */
    uint64_t malformed; /* skipped */
    uint64_t lost;      /* appends refused or failed */
};

struct flux_watch {
    struct store *store;
    struct flux_watch_io io;
    struct reporter reporter;
    struct suspended *suspended;
    size_t n_suspended;
    size_t cap_suspended;
    unsigned listings[SCOPES_MOST]; /* how many were begun, by scope */
    bool lost;                      /* an append, since the last list was asked for */
    int64_t again_mono_ms;          /* with lost: when to list again; 0: not set yet */
    int64_t reported_mono_ms;
    bool reported;
    struct numbers numbers;
};

static void forget(struct flux_watch *f, size_t i)
{
    free(f->suspended[i].object);
    f->suspended[i] = f->suspended[--f->n_suspended];
}

void flux_watch_free(struct flux_watch *f)
{
    if (!f)
        return;
    while (f->n_suspended)
        forget(f, 0);
    free(f->suspended);
    free(f);
}

/* --- suspended objects --- */

static bool is_named(const char *object, struct str kind, struct str namespace, struct str name)
{
    struct str rest = str_of(object);

    return str_eq(str_split(&rest, '/'), kind) && str_eq(str_split(&rest, '/'), namespace) &&
           str_eq(rest, name);
}

/* n_suspended when it is not there. */
static size_t find(const struct flux_watch *f, struct str kind, struct str namespace, struct str name)
{
    size_t i = 0;

    while (i < f->n_suspended && !is_named(f->suspended[i].object, kind, namespace, name))
        i++;
    return i;
}

bool flux_watch_is_suspended(const struct flux_watch *f, struct str kind, struct str namespace,
                             struct str name)
{
    return find(f, kind, namespace, name) < f->n_suspended;
}

static bool is_suspended(void *arg, struct str kind, struct str namespace, struct str name)
{
    return flux_watch_is_suspended(arg, kind, namespace, name);
}

struct flux_watch *flux_watch_new(struct store *store, const struct flux_watch_io *io,
                                  const struct reporter *reporter)
{
    struct flux_watch *f = calloc(1, sizeof *f);

    if (f) {
        f->store = store;
        f->io = *io;
        f->reporter = *reporter;
        store_set_suspended(store, is_suspended, f);
    }
    return f;
}

static void remember(struct flux_watch *f, const struct suspended *what)
{
    if (f->n_suspended == f->cap_suspended) {
        size_t cap = f->cap_suspended ? f->cap_suspended * 2 : 16;
        struct suspended *grown = realloc(f->suspended, cap * sizeof *grown);
        if (!grown) {
            free(what->object);
            return;
        }
        f->suspended = grown;
        f->cap_suspended = cap;
    }
    f->suspended[f->n_suspended++] = *what;
}

static void note_suspended(struct flux_watch *f, unsigned scope, const struct flux_facts *facts,
                           bool suspended)
{
    size_t i = find(f, facts->kind, facts->namespace, facts->name);
    struct suspended what = {.scope = scope, .listing = f->listings[scope % SCOPES_MOST]};

    bool was_suspended = i < f->n_suspended;

    if (was_suspended)
        forget(f, i);
    if (suspended && asprintf(&what.object, "%.*s/%.*s/%.*s", STR_ARG(facts->kind), STR_ARG(facts->namespace),
                              STR_ARG(facts->name)) > 0)
        remember(f, &what);
    if (suspended != was_suspended)
        f->io.suspended(f->io.arg, facts->kind, facts->namespace, facts->name);
}

/* Tells, too: whoever asks then finds it gone. */
static void forget_and_tell(struct flux_watch *f, size_t i)
{
    char *object = f->suspended[i].object;
    struct str name = str_of(object);
    struct str kind = str_split(&name, '/');
    struct str namespace = str_split(&name, '/');

    f->suspended[i] = f->suspended[--f->n_suspended];
    f->io.suspended(f->io.arg, kind, namespace, name);
    free(object);
}

/* Those of the scope that no listing but an older one has shown; all of them with `all`. */
static void forget_of(struct flux_watch *f, unsigned scope, bool all)
{
    for (size_t i = f->n_suspended; i-- > 0;)
        if (f->suspended[i].scope == scope &&
            (all || f->suspended[i].listing != f->listings[scope % SCOPES_MOST]))
            forget_and_tell(f, i);
}

void flux_watch_on_list(struct flux_watch *f, unsigned scope)
{
    f->listings[scope % SCOPES_MOST]++;
}

void flux_watch_on_synced(struct flux_watch *f, unsigned scope)
{
    forget_of(f, scope, false);
}

void flux_watch_on_absent(struct flux_watch *f, unsigned scope)
{
    forget_of(f, scope, true);
}

/* --- statuses --- */

static void on_stored(void *arg, uint64_t token, enum store_status status, uint64_t seq)
{
    struct flux_watch *f = arg;

    (void)token;
    (void)seq;
    if (status == STORE_OK)
        return;
    f->numbers.lost++;
    f->lost = true;
}

static void store_status_of(struct flux_watch *f, const struct flux_status *status, struct moment now)
{
    struct str body;
    const struct flux_event *event = flux_status_event(status, &body);

    if (!event)
        return;
    enum store_status result = store_append(f->store, event, body, VIA_STATUS, now.wall_ms, on_stored, f, 0);
    if (result != STORE_OK)
        on_stored(f, 0, result, 0);
}

static void on_malformed(struct flux_watch *f, const char *why, struct moment now)
{
    f->numbers.malformed++;
    if (f->reported && now.mono_ms - f->reported_mono_ms < REPORT_MS)
        return;
    f->reported = true;
    f->reported_mono_ms = now.mono_ms;
    REPORT(&f->reporter, REPORT_WARN, "a Flux object cannot be read and is skipped", FIELD_TEXT("error", why),
           FIELD_INT("skipped", f->numbers.malformed));
}

void flux_watch_on_object(struct flux_watch *f, unsigned scope, bool deleted, struct str json,
                          struct moment now)
{
    char err[FLUX_STATUS_ERROR];
    struct flux_facts facts;
    struct flux_status *status = flux_status_read(json, err);

    f->numbers.objects++;
    if (!status) {
        on_malformed(f, err, now);
        return;
    }
    flux_status_facts(status, &facts);
    note_suspended(f, scope, &facts, !deleted && flux_status_suspended(status));
    if (!deleted)
        store_status_of(f, status, now);
    flux_status_free(status);
}

void flux_watch_tick(struct flux_watch *f, struct moment now)
{
    const char *why;

    if (!f->lost)
        return;
    bool due = f->again_mono_ms > 0 && now.mono_ms >= f->again_mono_ms;
    if (f->again_mono_ms == 0 || (due && !store_ready(f->store, &why))) {
        f->again_mono_ms = now.mono_ms + FLUX_WATCH_RETRY_MS;
        f->io.wake_at(f->io.arg, f->again_mono_ms);
    } else if (due) {
        f->lost = false;
        f->again_mono_ms = 0;
        f->io.list_again(f->io.arg);
    }
}

/* --- metrics --- */

#define AT(field) offsetof(struct numbers, field)
static const struct metric metrics[] = {
    {.name = "flux_event_store_flux_objects_total",
     .offset = AT(objects),
     .help = "Flux objects that the watches gave, each time."},
    {.name = "flux_event_store_flux_objects_malformed_total",
     .offset = AT(malformed),
     .help = "Of these, those that could not be read and were skipped."},
    {.name = "flux_event_store_flux_statuses_lost_total",
     .offset = AT(lost),
     .help = "What statuses said and could not be stored; the objects are listed again."},
    {.name = NULL},
};

static const void *collect(void *flux_watch)
{
    struct flux_watch *f = flux_watch;
    return &f->numbers;
}

struct metric_source flux_watch_metrics(struct flux_watch *f)
{
    return (struct metric_source){metrics, collect, f};
}
