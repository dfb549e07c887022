/* The watches: list, then watch, for each kind and namespace, as k8s/watch.h promises it.
 *
 * The order of one object's versions is kept whatever happens; those of different objects may change places, and
 * after a cut what had been delivered ahead of its turn comes again. A list is what was there when it was asked for,
 * however long it takes to hand it out.
 */
#include <string.h>

#include "sim.h"

static bool is_of(const struct sim *s, const struct watch *w, unsigned state)
{
    const struct asked *a = &s->lives[s->states[state].life].asked;

    return a->kind == w->kind && (w->namespace < 0 || (int)a->namespace == w->namespace);
}

static void again(struct sim *s, struct watch *w, int64_t in_ms)
{
    w->planned = true;
    w->number++;
    plan(s, in_ms, STEP_WATCH, (uint32_t)(w - s->watches) | w->number << 8);
}

static void show(struct sim *s, struct watch *w, unsigned which, bool listed)
{
    const struct state *state = &s->states[which];
    struct life *l = &s->lives[state->life];
    const char *json = state->json;
    json_t *stripped = NULL;
    char *text = NULL;

    bool end = state->outcome == OUTCOME_TRUE || state->outcome == OUTCOME_FALSE;
    if (s->plant == PLANT_DOUBLE_FINISH && end && !listed && !s->planted) {
        /* As if it had never been written to. */
        stripped = json_deep_copy(l->object);
        json_object_del(stripped, "status");
        controller_on_object(s->controller, w->kind, (unsigned)(w - s->watches), true, str_of(json),
                             moment_of(s));
        json = text = json_dumps(stripped, JSON_COMPACT);
        sim_trace(s, "(planted) the end of w%u (uid-%u) is hidden from the controller", l->slot, state->life);
        s->planted = true;
    }
    if (state->version > l->known)
        l->known = state->version;
    l->out_of_sight = false;
    sim_trace(s, "%s shows w%u (uid-%u) version %llu%s%s %s", listed ? "the list" : "the watch", l->slot,
              state->life, (unsigned long long)state->version, state->deleted ? " deleted" : "",
              state->cancelled ? " cancelled" : "", state->reason);
    controller_on_object(s->controller, w->kind, (unsigned)(w - s->watches), state->deleted, str_of(json),
                         moment_of(s));
    json_decref(stripped);
    free(text);
}

/* ---- listing ---- */

static void list_begin(struct sim *s, struct watch *w)
{
    w->n_list = w->at = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        if (s->slots[i] >= 0 && is_of(s, w, s->lives[s->slots[i]].current))
            w->list[w->n_list++] = s->lives[s->slots[i]].current;
    w->position = w->listed = s->n_states;
    memset(w->ahead, 0, sizeof w->ahead);
    w->state = WATCH_LISTING;
    sim_trace(s, "a list of %u objects begins", w->n_list);
    controller_on_list(s->controller, w->kind, (unsigned)(w - s->watches));
    again(s, w, 1 + sim_pick(s, 10));
}

static void list_go_on(struct sim *s, struct watch *w)
{
    for (unsigned n = 1 + sim_pick(s, 3); n > 0 && w->at < w->n_list; n--)
        show(s, w, w->list[w->at++], true);
    if (w->at < w->n_list) {
        again(s, w, sim_pick(s, 20));
        return;
    }
    sim_trace(s, "the list is complete");
    controller_on_synced(s->controller, w->kind, (unsigned)(w - s->watches), moment_of(s));
    w->state = WATCH_RESUME;
    again(s, w, 1 + sim_pick(s, 10));
}

/* ---- watching ---- */

/* Whether an earlier version of the same object is still to come. */
static bool has_to_wait(const struct sim *s, const struct watch *w, unsigned state)
{
    const struct life *l = &s->lives[s->states[state].life];

    for (unsigned i = w->position; i < state; i++)
        if (!w->ahead[i] && is_of(s, w, i) && s->lives[s->states[i].life].slot == l->slot)
            return true;
    return false;
}

static void watch_go_on(struct sim *s, struct watch *w)
{
    unsigned next;

    while (w->position < s->n_states && (w->ahead[w->position] || !is_of(s, w, w->position)))
        w->position++;
    next = w->position;
    if (next == s->n_states)
        return;
    if (sim_strikes(s, FAULT_REORDER, 30)) {
        unsigned other = next + 1 + sim_pick(s, 4);
        if (other < s->n_states && is_of(s, w, other) && !w->ahead[other] && !has_to_wait(s, w, other))
            next = other;
    }
    show(s, w, next, false);
    w->ahead[next] = true;
    again(s, w, sim_chance(s, 50) ? 0 : sim_pick(s, 10));
}

static void resume(struct sim *s, struct watch *w)
{
    if (w->position < s->compacted) {
        sim_note(s, FAULT_GONE);
        sim_trace(s, "410: the watch has to list again");
        w->state = WATCH_LIST;
        again(s, w, sim_pick(s, 100));
        return;
    }
    /* What came ahead of its turn comes again. */
    memset(w->ahead, 0, sizeof w->ahead);
    w->state = WATCH_OPEN;
    again(s, w, 1 + sim_pick(s, 10));
}

/* The process may forget what it knows of it. */
static void lose_sight(struct life *l)
{
    l->known = 0;
    l->out_of_sight = true;
    l->ended_by = 0;
    l->written_ms = INT64_MIN / 2;
}

void watch_step(struct sim *s, uint32_t which)
{
    struct watch *w = &s->watches[which & 0xff];

    if ((which >> 8) != (w->number & 0xffffff))
        return;
    w->planned = false;
    if (s->down) {
        if (w->state == WATCH_LISTING)
            w->state = WATCH_LIST;
        if (w->state == WATCH_OPEN)
            w->state = WATCH_RESUME;
        again(s, w, 800 + sim_pick(s, 5000));
        return;
    }
    if (w->unreadable) {
        sim_trace(s, "a collection cannot be read");
        controller_on_absent(s->controller, w->kind, (unsigned)(w - s->watches));
        for (unsigned i = 0; i < s->n_lives; i++)
            if (is_of(s, w, s->lives[i].current))
                lose_sight(&s->lives[i]);
        w->state = WATCH_LIST;
        again(s, w, 30 * SECOND);
        return;
    }
    switch (w->state) {
    case WATCH_LIST: list_begin(s, w); break;
    case WATCH_LISTING: list_go_on(s, w); break;
    case WATCH_RESUME: resume(s, w); break;
    case WATCH_OPEN: watch_go_on(s, w); break;
    }
}

void watch_cut(struct sim *s, unsigned watch, bool gone)
{
    struct watch *w = &s->watches[watch];

    if (!s->up)
        return;
    if (gone)
        sim_note(s, FAULT_GONE);
    sim_trace(s, "a watch is cut%s", gone ? ", and its version is too old" : "");
    w->state = w->state == WATCH_LISTING || w->state == WATCH_LIST || gone ? WATCH_LIST : WATCH_RESUME;
    again(s, w, 1 + sim_pick(s, 3000));
}

void watches_poke(struct sim *s)
{
    for (unsigned i = 0; s->up && i < s->n_watches; i++)
        if (s->watches[i].state == WATCH_OPEN && !s->watches[i].planned)
            again(s, &s->watches[i], 1 + sim_pick(s, 10));
}

void watches_start(struct sim *s)
{
    s->n_watches = 0;
    for (int kind = 0; kind < RUN_KINDS; kind++)
        for (int namespace = s->namespaced ? 0 : -1; namespace < (s->namespaced ? 2 : 0); namespace ++) {
            struct watch *w = &s->watches[s->n_watches++];
            *w = (struct watch){.kind = (enum run_kind)kind, .namespace = namespace, .number = w->number};
            again(s, w, sim_pick(s, 10));
        }
}
