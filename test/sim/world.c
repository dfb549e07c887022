/* The order of things: a heap of steps, each with its due time; the earliest is taken, the clock set, the step done.
 *
 * A story has four parts: a few minutes in which anything may happen; calm, in which every debt must be paid; the
 * last events, after which no Run has a reason to wait; and the end, where none may be left. What must hold at any
 * time is checked before and after each step.
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/units.h"

#define SAME_MOMENT_MOST 20000 /* steps without time passing: a busy loop */
#define CALM_MS          (3 * MINUTE)
#define END_MS           (6 * MINUTE)

/* splitmix64 (Steele, Lea, Flood 2014): any seed is as good as any other. */
uint64_t sim_random(struct sim *s)
{
    uint64_t z = s->random += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

unsigned sim_pick(struct sim *s, unsigned n)
{
    return (unsigned)(sim_random(s) % n);
}

bool sim_chance(struct sim *s, unsigned percent)
{
    return sim_pick(s, 100) < percent;
}

void sim_note(struct sim *s, enum fault fault)
{
    s->counts->faults[fault]++;
}

bool sim_strikes(struct sim *s, enum fault fault, unsigned percent)
{
    if (s->calm || !s->may[fault] || !sim_chance(s, percent))
        return false;
    sim_note(s, fault);
    return true;
}

static void print_time(const struct sim *s)
{
    printf("# %4lld.%03lld  ", (long long)(s->now_ms / 1000), (long long)(s->now_ms % 1000));
}

void sim_trace(struct sim *s, const char *format, ...)
{
    va_list args;

    if (!s->tracing)
        return;
    print_time(s);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* The first failure counts: what follows is its consequence. */
void sim_fail(struct sim *s, const char *format, ...)
{
    va_list args;
    char text[FAILURE_TEXT - 32];

    if (s->failure[0])
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(s->failure, sizeof s->failure, "at %lld.%03lld: %s", (long long)(s->now_ms / 1000),
                   (long long)(s->now_ms % 1000), text);
    sim_trace(s, "FAILURE: %s", text);
}

int64_t wall_now(const struct sim *s)
{
    return T0 + s->now_ms + s->offset_ms;
}

struct moment moment_of(const struct sim *s)
{
    return (struct moment){.wall_ms = wall_now(s), .mono_ms = s->base_ms + s->now_ms};
}

/* ---- steps ---- */

static bool earlier(const struct step *a, const struct step *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

void plan(struct sim *s, int64_t in_ms, enum step_kind kind, uint32_t which)
{
    bool of_process = kind == STEP_COMMIT || kind == STEP_WAKE || kind == STEP_TURN || kind == STEP_WATCH;
    struct step step = {s->now_ms + in_ms, s->order++, kind, which, of_process ? s->process : 0};

    if (s->n_steps == s->cap_steps) {
        s->cap_steps = s->cap_steps ? 2 * s->cap_steps : 256;
        s->steps = reallocarray(s->steps, s->cap_steps, sizeof *s->steps);
        if (!s->steps)
            abort();
    }
    size_t at = s->n_steps++;
    for (; at > 0 && earlier(&step, &s->steps[(at - 1) / 2]); at = (at - 1) / 2)
        s->steps[at] = s->steps[(at - 1) / 2];
    s->steps[at] = step;
}

static struct step take(struct sim *s)
{
    struct step first = s->steps[0];
    struct step last = s->steps[--s->n_steps];
    size_t at = 0;

    for (size_t child = 1; child < s->n_steps; child = 2 * at + 1) {
        if (child + 1 < s->n_steps && earlier(&s->steps[child + 1], &s->steps[child]))
            child++;
        if (!earlier(&s->steps[child], &last))
            break;
        s->steps[at] = s->steps[child];
        at = child;
    }
    s->steps[at] = last;
    return first;
}

static void perform(struct sim *s, const struct step *step)
{
    if (step->life != 0 && (step->life != s->process || !s->up))
        return;
    switch (step->kind) {
    case STEP_LIFE: people_act(s, step->which); break;
    case STEP_HEAL: people_heal(s, step->which); break;
    case STEP_START: process_start(s); break;
    case STEP_DELIVER: process_receive(s, step->which); break;
    case STEP_COMMIT: process_commit(s); break;
    case STEP_WAKE:
        if (step->which != s->wake_number)
            return;
        s->wake_ms = INT64_MAX;
        break;
    case STEP_TURN: s->turning = false; break;
    case STEP_ARRIVE: client_arrive(s, step->which); break;
    case STEP_ANSWER: client_answer(s, step->which); break;
    case STEP_WATCH: watch_step(s, step->which); break;
    }
    if (s->up)
        process_turn(s);
    client_go_on(s);
}

static void count_minute(struct sim *s)
{
    if (s->now_ms / MINUTE != s->minute_ms / MINUTE) {
        s->minute_ms = s->now_ms;
        s->in_minute = 0;
    }
    if (++s->in_minute > 60000)
        sim_fail(s, "a busy loop: %u steps within a minute", s->in_minute);
}

/* Until nothing is due before the time, or something has failed. */
static void run_until(struct sim *s, int64_t end_ms)
{
    while (!s->failure[0] && s->n_steps > 0 && s->steps[0].due_ms <= end_ms) {
        struct step step = take(s);
        if (step.due_ms > s->now_ms) {
            s->now_ms = step.due_ms;
            s->in_moment = 0;
            check_owed(s, false);
        }
        if (++s->in_moment > SAME_MOMENT_MOST)
            sim_fail(s, "a busy loop: %d steps without time passing", SAME_MOMENT_MOST);
        s->counts->steps++;
        count_minute(s);
        perform(s, &step);
        check_owed(s, true);
    }
    if (s->now_ms < end_ms)
        s->now_ms = end_ms;
}

static void forget(struct sim *s)
{
    process_stop(s);
    client_forget(s, true);
    for (unsigned i = 0; i < s->n_lives; i++)
        json_decref(s->lives[i].object);
    for (unsigned i = 0; i < s->n_states; i++)
        free(s->states[i].json);
    free(s->steps);
}

bool world_run(struct sim *s)
{
    s->random = s->seed;
    s->compacted = 0;
    s->last_received_ms = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        s->slots[i] = -1;
    people_begin(s);
    plan(s, 0, STEP_START, 0);
    run_until(s, (int64_t)(60 + sim_pick(s, 300)) * SECOND);
    people_calm(s);
    run_until(s, s->now_ms + CALM_MS);
    check_quiet(s);
    people_decide_all(s);
    run_until(s, s->now_ms + END_MS);
    check_quiet(s);
    check_ended(s);
    forget(s);
    return s->failure[0] == '\0';
}
