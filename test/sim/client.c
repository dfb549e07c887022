/* The client between the controller and the API server: a queue, 16 requests under way, latencies, and everything
 * that can happen to a request and to its answer.
 *
 * Each request that was taken is answered exactly once, if its process lives that long. A request may reach the API
 * server although its client has given up, or its process has died.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define GIVE_UP_MS 70000 /* the longest that the client waits */

static struct request *free_place(struct sim *s)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        if (s->requests[i].state == REQUEST_FREE)
            return &s->requests[i];
    return NULL;
}

static void free_request(struct request *r)
{
    free(r->body);
    free(r->answer);
    *r = (struct request){0};
}

/* Whom a request is about: by the version that it builds on, since names are used again. */
static int whose(const struct sim *s, const struct request *r, const json_t *body)
{
    const char *version =
        json_string_value(json_object_get(json_object_get(body, "metadata"), "resourceVersion"));
    unsigned long long number = version ? strtoull(version, NULL, 10) : 0;

    if (r->kind == A_GET)
        return api_find(s, r->path);
    unsigned long long at = number - s->states[0].version;
    return at < s->n_states ? (int)s->states[at].life : -1;
}

static bool hand_in(struct sim *s, enum request_kind kind, uint64_t token, const char *path, struct str body,
                    bool urgent)
{
    struct request *r = free_place(s);
    json_t *json = body.len ? json_loadb(body.at, body.len, 0, NULL) : NULL;

    if (!r || sim_strikes(s, FAULT_QUEUE, 2)) {
        int life = api_find(s, path);
        if (life >= 0)
            s->lives[life].paused_ms = s->now_ms + 31 * SECOND;
        json_decref(json);
        return false;
    }
    *r = (struct request){.state = REQUEST_QUEUED,
                          .kind = kind,
                          .process = s->process,
                          .order = s->order++,
                          .token = token,
                          .urgent = urgent,
                          .body = strndup(body.len ? body.at : "", body.len),
                          .retry_after_ms = -1};
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    r->life = whose(s, r, json);
    s->counts->requests++;
    check_handed_in(s, r, json);
    if (r->life >= 0) {
        s->lives[r->life].asking++;
        s->lives[r->life].under_way += kind == A_PATCH;
    }
    json_decref(json);
    return true;
}

bool client_patch(void *arg, uint64_t token, const char *path, struct str body, bool urgent)
{
    return hand_in(arg, A_PATCH, token, path, body, urgent);
}

bool client_get(void *arg, uint64_t token, const char *path)
{
    return hand_in(arg, A_GET, token, path, STR_NONE, true);
}

/* ---- sending ---- */

static int64_t latency(struct sim *s)
{
    return sim_strikes(s, FAULT_SLOW, 20) ? sim_pick(s, 5000) : 1 + sim_pick(s, 20);
}

static struct request *next_queued(struct sim *s, unsigned *ret_sent)
{
    struct request *next = NULL;

    *ret_sent = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct request *r = &s->requests[i];
        if (r->process == s->process && (r->state == REQUEST_SENT || r->state == REQUEST_GIVEN_UP))
            (*ret_sent)++;
        if (r->state != REQUEST_QUEUED || r->process != s->process)
            continue;
        if (!next || (r->urgent && !next->urgent) || (r->urgent == next->urgent && r->order < next->order))
            next = r;
    }
    return next;
}

void client_go_on(struct sim *s)
{
    unsigned sent;
    struct request *r;

    if (!s->up || s->now_ms < s->hold_ms)
        return;
    while ((r = next_queued(s, &sent)) != NULL && sent < IN_FLIGHT) {
        uint32_t at = (uint32_t)(r - s->requests);
        r->state = REQUEST_SENT;
        if (sim_strikes(s, FAULT_LOST_REQUEST, 5)) {
            plan(s, 1 + sim_pick(s, GIVE_UP_MS), STEP_ANSWER, at);
        } else if (r->kind == A_PATCH && sim_strikes(s, FAULT_LATE_WRITE, 5)) {
            int64_t given_up = 1 + sim_pick(s, 20000);
            r->state = REQUEST_GIVEN_UP;
            plan(s, given_up, STEP_ANSWER, at);
            plan(s, given_up + 1 + sim_pick(s, 20000), STEP_ARRIVE, at);
        } else {
            plan(s, latency(s), STEP_ARRIVE, at);
        }
    }
}

/* ---- arriving ---- */

/* What keeps the API server from doing it; 0: nothing. */
static int obstacle(struct sim *s, struct request *r)
{
    if (sim_strikes(s, FAULT_BUSY, 5)) {
        r->retry_after_ms = sim_chance(s, 70) ? (int64_t)(1 + sim_pick(s, 8)) * SECOND : -1;
        return 429;
    }
    if (s->broken && sim_chance(s, 80))
        return sim_chance(s, 50) ? 500 : 503;
    if (s->refusing && r->kind == A_PATCH)
        return sim_chance(s, 50) ? 422 : 400;
    if (s->forbidding)
        return sim_chance(s, 50) ? 401 : 403;
    return 0;
}

static void garble(struct sim *s, struct request *r)
{
    if (r->status == 200 && r->answer && sim_strikes(s, FAULT_GARBLED, 4)) {
        r->answer[sim_pick(s, (unsigned)strlen(r->answer))] = '\0';
        r->answer_version = 0;
    }
}

void client_arrive(struct sim *s, uint32_t which)
{
    struct request *r = &s->requests[which];
    bool given_up = r->state == REQUEST_GIVEN_UP;

    if (r->state == REQUEST_FREE)
        return;
    r->arrived = true;
    if (s->down) {
        r->status = 0;
    } else if ((r->status = obstacle(s, r)) == 0) {
        r->status = r->kind == A_PATCH ? api_patch(s, r) : api_get(s, r);
        if (r->status == 200 && r->kind == A_PATCH && !given_up && sim_strikes(s, FAULT_LOST_ANSWER, 8)) {
            r->status = sim_chance(s, 50) ? 0 : 504;
            sim_trace(s, "and the answer is lost");
        }
    }
    if (given_up) {
        free_request(r);
        return;
    }
    garble(s, r);
    plan(s, latency(s) + (r->status == 0 ? sim_pick(s, 10000) : 0), STEP_ANSWER, which);
}

/* ---- answering ---- */

static bool is_object(const char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    bool whole = json != NULL;

    json_decref(json);
    return whole;
}

/* Whether the controller must take notice: it does not listen to what is said about a Run that it has forgotten. */
static bool is_known(const struct sim *s, const struct request *r)
{
    const struct state *state = r->life >= 0 ? api_state(s, (unsigned)r->life) : NULL;

    return state && !state->deleted && !state->deleting && !s->lives[r->life].out_of_sight;
}

static bool is_cared_for(const struct sim *s, const struct request *r)
{
    return is_known(s, r) && api_state(s, (unsigned)r->life)->outcome != OUTCOME_TRUE &&
           api_state(s, (unsigned)r->life)->outcome != OUTCOME_FALSE;
}

/* Whoever waited for its turn to try owes what it owes from now on. */
static void outage_is_over(struct sim *s)
{
    for (unsigned i = 0; s->outage && i < s->n_lives; i++)
        if (s->lives[i].overdue_ms != NO_TIME)
            s->lives[i].overdue_ms = s->now_ms;
    s->outage = false;
}

static void tell(struct sim *s, const struct request *r)
{
    static const char status[] = "{\"kind\":\"Status\",\"message\":\"it says no\"}";
    bool good = r->status == 200 && r->answer && is_object(r->answer);

    if (r->life >= 0) {
        struct life *l = &s->lives[r->life];
        l->asking--;
        if (r->status == 404)
            l->written_ms = INT64_MIN / 2; /* forgotten, until late news of the watch */
        l->under_way -= r->kind == A_PATCH;
        if (!good)
            l->paused_ms = s->now_ms + 31 * SECOND + (r->retry_after_ms > 0 ? r->retry_after_ms : 0);
        if (good && r->answer_version > l->known && !l->out_of_sight &&
            s->states[r->answer_version - s->states[0].version].life == (unsigned)r->life)
            l->known = r->answer_version;
    }
    if ((r->status == 0 || r->status >= 500 || r->status == 429) && r->retry_after_ms <= 0)
        s->outage = true;
    else if (r->kind == A_PATCH && (r->status == 200 || r->status == 422) && is_known(s, r))
        outage_is_over(s);
    if (r->status == 429 && r->retry_after_ms > 0) {
        int64_t until = s->now_ms + r->retry_after_ms;
        s->hold_ms = until > s->hold_ms ? until : s->hold_ms;
        if (is_cared_for(s, r) && until > s->asked_hold_ms)
            s->asked_hold_ms = until;
        plan(s, r->retry_after_ms, STEP_HEAL, UINT32_MAX);
    }
    struct str body = r->status == 200 ? str_of(r->answer) : r->status == 0 ? STR_NONE : str_of(status);
    controller_on_reply(s->controller, r->token, r->status, r->retry_after_ms, body, moment_of(s));
}

void client_answer(struct sim *s, uint32_t which)
{
    struct request *r = &s->requests[which];
    struct request told = *r;

    if (r->state == REQUEST_FREE)
        return;
    /* The place is given back first: the controller may hand in the next request at once. */
    bool still_comes = r->state == REQUEST_GIVEN_UP;
    if (still_comes) {
        told.body = told.answer = NULL;
        r->process = 0;
    } else {
        *r = (struct request){0};
    }
    if (told.process == s->process && s->up) {
        sim_trace(s, "answer %d to %s %s", told.status, told.kind == A_PATCH ? "PATCH" : "GET", told.path);
        tell(s, &told);
    }
    free_request(&told);
}

void client_forget(struct sim *s, bool all)
{
    for (unsigned i = 0; i < REQUESTS; i++)
        if (all || s->requests[i].state == REQUEST_QUEUED)
            free_request(&s->requests[i]);
}
