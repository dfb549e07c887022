/* What the controller measures (see store/metric.h).
 *
 * From event to Run: a Run that this process had in hand when the event came that decides it, up to the acknowledged
 * PATCH that ends it. A Run that finds its event stored already, one that is decided by a clock (timeout, failAfter) and
 * one that is cancelled are left out: there is no event whose way could be measured. The store keeps times of arrival in
 * whole milliseconds, so a single value is exact to one, and their mean is exact.
 */
#include "controller/controller_priv.h"
#include "controller/say_priv.h"

static const uint64_t event_to_run_us_bounds[] = {500,     1000,    2500,    5000,     10000,
                                                  25000,   50000,   100000,  250000,   500000,
                                                  1000000, 2500000, 5000000, 10000000, 0};

/* The results of say_verdict(). */
static const char *const verdicts[RUN_VERDICTS + 1] = {"succeeded", "failed",   "superseded", "timedout",
                                                       "cancelled", "rejected", NULL};

#define AT(field) offsetof(struct controller_numbers, field)
static const struct metric metrics[] = {
    {.name = "flux_event_store_runs_waiting",
     .type = METRIC_GAUGE,
     .offset = AT(waiting),
     .help = "Runs and CustomRuns that are being waited for."},
    {.name = "flux_event_store_runs_parked",
     .type = METRIC_GAUGE,
     .offset = AT(parked),
     .help =
         "Of these, those whose status the API server refuses for good (400, 422); tried twice a minute."},
    {.name = "flux_event_store_runs_held",
     .type = METRIC_GAUGE,
     .offset = AT(held),
     .help = "Of these, those that wait for the API server to take writes again."},
    {.name = "flux_event_store_runs_finished_total",
     .offset = AT(finished),
     .help = "Runs and CustomRuns that ended, by verdict.",
     .labels = {{"verdict", verdicts, 0}}},
    {.name = "flux_event_store_event_to_run_seconds",
     .type = METRIC_HISTOGRAM,
     .unit = METRIC_MICROSECONDS,
     .offset = AT(event_to_run_us),
     .help = "From the arrival of the deciding event to the acknowledged end of the Run, where it waited "
             "already.",
     .bounds = event_to_run_us_bounds},
    {.name = "flux_event_store_runs_conflicts_total",
     .offset = AT(conflicts),
     .help =
         "Writes of a Run that the API server answered by 409: it had changed, is read and decided again."},
    {.name = "flux_event_store_runs_malformed_total",
     .offset = AT(malformed),
     .help = "Objects of the watches without uid, name or resourceVersion, which were skipped."},
    {.name = NULL},
};

static bool is_by_event(const struct tracked *t, enum action_kind kind)
{
    return kind == ACTION_SUCCEED || kind == ACTION_SUPERSEDE || kind == ACTION_AMBIGUOUS ||
           (kind == ACTION_FAIL && t->run.fail_after_ms == 0);
}

/* The first event that decided it counts: a repeat of it may come while the API server is down. */
void measure_decision(struct tracked *t, const struct action *a, const struct verdict *v)
{
    if (!is_by_event(t, a->kind) || !v || !v->decider || v->decider->received_ms < t->seen_wall_ms)
        t->decided_wall_ms = 0;
    else if (t->decided_wall_ms == 0)
        t->decided_wall_ms = v->decider->received_ms;
}

void measure_finished(struct tracked *t)
{
    const char *verdict = say_verdict(t->doing);

    for (size_t i = 0; i < RUN_VERDICTS; i++)
        t->c->numbers.finished[i] += strcmp(verdicts[i], verdict) == 0;
}

/* A wall clock that was set back gives no duration. */
void measure_acknowledged(struct tracked *t)
{
    int64_t ms = t->c->now.wall_ms - t->decided_wall_ms;

    if (t->decided_wall_ms != 0 && ms >= 0)
        histogram_add(&t->c->numbers.event_to_run_us, event_to_run_us_bounds, (uint64_t)ms * 1000);
    t->decided_wall_ms = 0;
}

static const void *collect(void *controller)
{
    struct controller *c = controller;

    c->numbers.waiting = c->stats.waiting;
    c->numbers.held = c->n_held;
    c->numbers.conflicts = c->stats.conflicts;
    c->numbers.malformed = c->stats.malformed;
    return &c->numbers;
}

struct metric_source controller_metrics(struct controller *c)
{
    return (struct metric_source){metrics, collect, c};
}
