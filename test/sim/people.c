/* What happens to the process and around it: Flux reports, people create, cancel and delete Runs, somebody touches
 * them, networks and API servers break and heal, the process is killed, clocks jump.
 *
 * A seed first chooses what it plays with, so that most stories have only a few kinds of trouble in them and are
 * short enough to be understood.
 */
#include <stdio.h>
#include <string.h>

#include "sim.h"
#include "store/question.h"

/* Those with a time of their own in the event, and those that are ranked by arrival. */
static const bool has_clock[REPORTERS] = {true, true, false, false, true};

const char *const reporter_names[REPORTERS][3] = {{"Kustomization", "apps", "web"},
                                                  {"HelmRelease", "apps", "db"},
                                                  {"Kustomization", "infra", "net"},
                                                  {"", "", ""},
                                                  {"GitRepository", "flux", "source"}};

#define SHA(digit) digit "f00ba4" digit digit digit "0123456789abcdef0123456789abcd"
const char *const revision_texts[REVISIONS][3] = {
    {"main@sha1:" SHA("a"), SHA("a"), "af00ba4aa"},
    {"main@sha1:" SHA("b"), SHA("b"), "bf00ba4"},
    {"main@sha1:" SHA("c"), SHA("c"), "cf00ba4cc"},
    {"a", "a", "a"},
};

bool reporter_is_source(unsigned reporter)
{
    return reporter == REPORTERS - 1;
}

/* ---- Flux ---- */

static void say(struct sim *s, unsigned reporter, enum event_class class, int revision, bool late)
{
    static const char *const words[] = {"other", "progress", "success", "failure"};

    if (s->n_said == SAID_MOST)
        return;
    struct said *e = &s->said[s->n_said];
    *e = (struct said){.reporter = reporter,
                       .class = class,
                       .revision = revision,
                       .number = s->n_said,
                       .has_timestamp = has_clock[reporter],
                       .timestamp_ms = wall_now(s) / 1000 * 1000};
    if (late)
        e->timestamp_ms -= (int64_t)(1 + sim_pick(s, 60)) * SECOND;
    if (!e->has_timestamp)
        e->number = class == CLASS_FAILURE;
    (void)snprintf(e->body, sizeof e->body, "%s of %s on %s/%s/%s, at %lld, number %u", words[class],
                   revision < 0 ? "nothing" : revision_texts[revision][0], reporter_names[reporter][0],
                   reporter_names[reporter][1], reporter_names[reporter][2],
                   e->has_timestamp ? (long long)(e->timestamp_ms / 1000) : 0LL, e->number);
    plan(s, 1 + sim_pick(s, 30), STEP_DELIVER, s->n_said++);
}

static void flux_speaks(struct sim *s)
{
    unsigned reporter = sim_pick(s, REPORTERS);
    unsigned luck = sim_pick(s, 100);
    enum event_class class = luck < 35   ? CLASS_SUCCESS
                             : luck < 70 ? CLASS_FAILURE
                             : luck < 90 ? CLASS_PROGRESS
                                         : CLASS_OTHER;
    int revision = sim_chance(s, 95) ? (int)sim_pick(s, REVISIONS) : -1;

    if (reporter_is_source(reporter))
        class = CLASS_PROGRESS;
    say(s, reporter, class, revision, sim_strikes(s, FAULT_LATE_EVENT, 20));
}

/* A delivery that was retried: of the newest event, whose answer may have got lost, or of an old one. */
static void flux_repeats(struct sim *s)
{
    unsigned from = s->n_said > 0 ? sim_pick(s, s->n_said) : 0;

    if (s->n_said == 0 || s->n_said == SAID_MOST || !s->may[FAULT_REPEAT])
        return;
    if (!s->said[from].has_timestamp || !s->said[from].appended)
        from = s->n_said - 1;
    sim_note(s, FAULT_REPEAT);
    s->said[s->n_said] = s->said[from];
    s->said[s->n_said].appended = s->said[s->n_said].acknowledged = false;
    plan(s, 1 + sim_pick(s, 2000), STEP_DELIVER, s->n_said++);
}

/* ---- Runs ---- */

static int64_t a_timeout(struct sim *s)
{
    static const int64_t times[] = {0, 5, 20, 60, 120, 240};
    return times[sim_pick(s, 6)] * SECOND;
}

static void create(struct sim *s, unsigned slot)
{
    struct asked a = {.kind = (enum run_kind)(slot % 2),
                      .namespace = sim_pick(s, 2),
                      .foreign = sim_chance(s, 10),
                      .first_version = sim_chance(s, 10),
                      .revision = sim_pick(s, REVISIONS),
                      .form = sim_pick(s, 3),
                      .timeout_ms = a_timeout(s),
                      .on_superseded = sim_chance(s, 40) ? (int)sim_pick(s, 3) : SUPERSEDED_FAIL,
                      .expect = 1};

    if (sim_chance(s, 40))
        a.retries = 1 + sim_pick(s, 3);
    else if (sim_chance(s, 30) && !s->may[FAULT_LATE_EVENT])
        a.fail_after_ms = (int64_t)(1 + sim_pick(s, 60)) * SECOND;
    if (sim_chance(s, 20))
        a.expect = 2;
    else if (sim_chance(s, 25))
        a.objects = 1 + sim_pick(s, 7);
    api_create(s, slot, &a);
}

static void cancel(struct sim *s, unsigned life)
{
    sim_trace(s, "w%u (uid-%u) is cancelled by its owner", s->lives[life].slot, life);
    api_change(s, life, json_pack("{s:{s:s}}", "spec", "status", "RunCancelled"), true);
}

/* With somebody's finalizer it stays for a while. */
static void delete_it(struct sim *s, unsigned life)
{
    sim_trace(s, "w%u (uid-%u) is deleted by its owner", s->lives[life].slot, life);
    if (!sim_chance(s, 30)) {
        api_remove(s, life);
        return;
    }
    api_change(s, life,
               json_pack("{s:{s:s,s:[s]}}", "metadata", "deletionTimestamp", "2026-01-01T00:00:00Z",
                         "finalizers", "example.dev/other"),
               false);
    plan(s, sim_pick(s, 20000), STEP_HEAL, 1000 + life);
}

static void touch(struct sim *s, unsigned life)
{
    char value[16];

    if (!sim_strikes(s, FAULT_TOUCH, 100))
        return;
    (void)snprintf(value, sizeof value, "%u", sim_pick(s, 100000));
    sim_trace(s, "somebody changes w%u (uid-%u)", s->lives[life].slot, life);
    api_change(s, life, json_pack("{s:{s:{s:s}}}", "metadata", "labels", "touched", value),
               sim_chance(s, 20));
    if (sim_chance(s, 60))
        plan(s, sim_pick(s, 50), STEP_LIFE, 2000 + life);
}

static void a_run(struct sim *s)
{
    unsigned slot = sim_pick(s, SLOTS);
    int life = s->slots[slot];
    unsigned luck = sim_pick(s, 100);

    if (life < 0)
        create(s, slot);
    else if (luck < 25)
        cancel(s, (unsigned)life);
    else if (luck < 50)
        delete_it(s, (unsigned)life);
    else if (luck < 60) {
        api_remove(s, (unsigned)life);
        create(s, slot);
    } else
        touch(s, (unsigned)life);
}

/* ---- trouble ---- */

enum trouble {
    TROUBLE_DOWN,
    TROUBLE_BROKEN,
    TROUBLE_REFUSING,
    TROUBLE_FORBIDDING,
    TROUBLE_UNREADABLE,
};

static void begin_trouble(struct sim *s, enum trouble trouble)
{
    static const char *const texts[] = {"the API server goes down", "webhooks break",
                                        "the API server refuses every write", "permissions are lost",
                                        "collections cannot be read"};

    sim_trace(s, "%s", texts[trouble]);
    s->down = s->down || trouble == TROUBLE_DOWN;
    s->broken = s->broken || trouble == TROUBLE_BROKEN;
    s->refusing = s->refusing || trouble == TROUBLE_REFUSING;
    s->forbidding = s->forbidding || trouble == TROUBLE_FORBIDDING;
    for (unsigned i = 0; i < s->n_watches; i++) {
        if (trouble == TROUBLE_UNREADABLE)
            s->watches[i].unreadable = true;
        if (trouble == TROUBLE_DOWN || trouble == TROUBLE_UNREADABLE)
            watch_cut(s, i, trouble == TROUBLE_UNREADABLE);
    }
    plan(s, 1 + sim_pick(s, sim_chance(s, 20) ? 120000 : 20000), STEP_HEAL, trouble);
}

void people_heal(struct sim *s, uint32_t which)
{
    if (which == UINT32_MAX)
        return; /* a pause is over: the client goes on */
    if (which >= 1000) {
        if (!s->lives[which - 1000].gone)
            api_remove(s, which - 1000);
        return;
    }
    sim_trace(s, "what was broken works again");
    s->down = s->down && which != TROUBLE_DOWN;
    s->broken = s->broken && which != TROUBLE_BROKEN;
    s->refusing = s->refusing && which != TROUBLE_REFUSING;
    s->forbidding = s->forbidding && which != TROUBLE_FORBIDDING;
    for (unsigned i = 0; which == TROUBLE_UNREADABLE && i < s->n_watches; i++)
        s->watches[i].unreadable = false;
}

static void restart(struct sim *s)
{
    process_stop(s);
    plan(s, sim_chance(s, 30) ? sim_pick(s, 60000) : sim_pick(s, 500), STEP_START, 0);
}

static void jump(struct sim *s)
{
    int64_t by = (int64_t)(1 + sim_pick(s, sim_chance(s, 30) ? 90 : 3)) * SECOND;

    s->offset_ms += sim_chance(s, 50) ? by : -by;
    if (s->offset_ms < s->offset_least_ms)
        s->offset_least_ms = s->offset_ms;
    if (s->offset_ms > s->offset_most_ms)
        s->offset_most_ms = s->offset_ms;
    sim_trace(s, "the wall clock jumps, and is off by %lld s", (long long)(s->offset_ms / 1000));
}

static void cut(struct sim *s)
{
    if (s->n_watches == 0 || !sim_strikes(s, FAULT_CUT, 100))
        return;
    if (s->may[FAULT_GONE] && sim_chance(s, 40))
        s->compacted = s->n_states;
    watch_cut(s, sim_pick(s, s->n_watches), s->may[FAULT_GONE] && sim_chance(s, 30));
}

static void trouble(struct sim *s)
{
    switch (sim_pick(s, 8)) {
    case 0:
        if (sim_strikes(s, FAULT_RESTART, 100))
            restart(s);
        break;
    case 1:
        if (sim_strikes(s, FAULT_JUMP, 100))
            jump(s);
        break;
    case 2:
        if (sim_strikes(s, FAULT_DOWN, 100))
            begin_trouble(s, TROUBLE_DOWN);
        break;
    case 3:
        if (sim_strikes(s, FAULT_BROKEN, 100))
            begin_trouble(s, TROUBLE_BROKEN);
        break;
    case 4:
        if (sim_strikes(s, FAULT_REFUSED, 100))
            begin_trouble(s, TROUBLE_REFUSING);
        break;
    case 5:
        if (sim_strikes(s, FAULT_FORBIDDEN, 100))
            begin_trouble(s, TROUBLE_FORBIDDING);
        break;
    case 6:
        if (sim_strikes(s, FAULT_UNREADABLE, 50))
            begin_trouble(s, TROUBLE_UNREADABLE);
        break;
    default: cut(s); break;
    }
}

/* ---- the course of a story ---- */

void people_act(struct sim *s, uint32_t which)
{
    if (which >= 2000) {
        if (!s->lives[which - 2000].gone && !s->calm)
            touch(s, which - 2000);
        return;
    }
    if (s->calm)
        return;
    unsigned luck = sim_pick(s, 100);
    if (luck < 35)
        a_run(s);
    else if (luck < 70)
        flux_speaks(s);
    else if (luck < 78)
        flux_repeats(s);
    else
        trouble(s);
    plan(s, sim_chance(s, 40) ? sim_pick(s, 100) : sim_pick(s, 15000), STEP_LIFE, 0);
}

void people_begin(struct sim *s)
{
    unsigned percent = sim_pick(s, 4) * 25;

    for (int i = 0; i < N_FAULTS; i++)
        s->may[i] = sim_chance(s, percent);
    s->namespaced = sim_chance(s, 30);
    s->many_turns = sim_chance(s, 20);
    for (unsigned i = sim_pick(s, 4); i > 0; i--)
        flux_speaks(s);
    for (unsigned i = 1 + sim_pick(s, SLOTS); i > 0; i--)
        create(s, i - 1);
    plan(s, sim_pick(s, 2000), STEP_LIFE, 0);
}

void people_calm(struct sim *s)
{
    s->calm = true;
    sim_trace(s, "all is calm from here on");
    s->down = s->broken = s->refusing = s->forbidding = false;
    for (unsigned i = 0; i < s->n_watches; i++)
        s->watches[i].unreadable = false;
    if (!s->up)
        plan(s, 0, STEP_START, 0);
}

void people_decide_all(struct sim *s)
{
    sim_trace(s, "everything succeeds");
    for (int revision = 0; revision < REVISIONS; revision++)
        for (unsigned reporter = 0; reporter < REPORTERS; reporter++)
            if (!reporter_is_source(reporter))
                say(s, reporter, CLASS_SUCCESS, revision, false);
}
