/* The Runs for people: what GET /runs shows (see controller.h).
 *
 * The explanation of a Run that waits is not kept: it is asked for when somebody looks, which takes some ten
 * microseconds a Run; hence the pieces. One that has ended is kept as the text that will be shown, for a while.
 *
 * The position of a list: the next slot, and in bit 32 whether a Run stands before it, which then needs a comma.
 * Failure mode: without memory a Run that ended is not shown, and a piece is NULL, which ends the list.
 */
#include "controller/controller_priv.h"
#include "controller/say_priv.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define LIST_PIECE_RUNS  32
#define LIST_PIECE_SLOTS 4096 /* looked at, used or not */
#define LIST_COMMA       (UINT64_C(1) << 32)

/* ---- JSON ---- */

static void add_str(json_t *to, const char *name, struct str value)
{
    (void)json_object_set_new(to, name, json_stringn(value.at ? value.at : "", value.len));
}

static void add_time(json_t *to, const char *name, int64_t ms)
{
    char time[TIME_TEXT];

    add_str(to, name, str_of(time_format(ms, time)));
}

static void add_duration(json_t *to, const char *name, int64_t ms)
{
    char text[DURATION_TEXT];

    add_str(to, name, str_of(duration_format(ms, text)));
}

static const char *superseded_word(enum question_superseded on)
{
    switch (on) {
    case SUPERSEDED_FAIL: return "fail";
    case SUPERSEDED_WAIT: return "wait";
    case SUPERSEDED_SUCCEED: return "succeed";
    }
    return "";
}

static void add_objects(json_t *to, const struct question *q)
{
    json_t *objects = json_array();

    for (size_t i = 0; i < q->n_objects; i++) {
        const struct question_object *o = &q->objects[i];
        (void)json_array_append_new(objects, json_sprintf("%.*s/%.*s/%.*s", STR_ARG(o->kind),
                                                          STR_ARG(o->namespace), STR_ARG(o->name)));
    }
    (void)json_object_set_new(to, "objects", objects);
}

/* As the parameters are written; `expect` or `objects`, whichever counts. */
static json_t *question_json(const struct question *q)
{
    json_t *json = json_object();

    add_str(json, "revision", q->revision);
    if (q->n_objects)
        add_objects(json, q);
    else
        (void)json_object_set_new(json, "expect", json_integer(q->expect));
    add_duration(json, "failAfter", q->fail_after_ms);
    add_str(json, "onSuperseded", str_of(superseded_word(q->on_superseded)));
    if (q->since_ms != INT64_MIN)
        add_time(json, "since", q->since_ms);
    if (q->has_cluster)
        add_str(json, "cluster", q->cluster);
    return json;
}

/* What is shown of every Run. */
static json_t *run_json(const struct tracked *t, const struct run *r, int64_t now_ms)
{
    json_t *json = json_object();

    add_str(json, "kind", str_of(run_kind_name(r->kind)->kind));
    add_str(json, "namespace", r->namespace);
    add_str(json, "name", r->name);
    add_str(json, "uid", r->uid);
    add_str(json, "revision", r->revision);
    if (t->waiter)
        (void)json_object_set_new(json, "question", question_json(waiter_question(t->waiter)));
    if (r->created_ms != RUN_NO_TIME)
        add_time(json, "createdAt", r->created_ms);
    if (r->start_ms != RUN_NO_TIME)
        add_time(json, "startedAt", r->start_ms);
    if (r->created_ms != RUN_NO_TIME)
        add_duration(json, "age", now_ms > r->created_ms ? (now_ms - r->created_ms) / 1000 * 1000 : 0);
    if (r->timeout_ms)
        add_duration(json, "timeout", r->timeout_ms);
    (void)json_object_set_new(json, "attempt", json_integer((json_int_t)r->retries_done + 1));
    return json;
}

static void add_explanation(json_t *to, const struct tracked *t, int64_t now_ms)
{
    struct verdict *v = t->waiter ? waiter_ask(t->waiter, now_ms) : NULL;

    if (v) {
        add_str(to, "verdict", str_of(verdict_state_text(v->state)));
        add_str(to, "message", v->explanation);
    } else if (t->run.cancelled) {
        add_str(to, "message", STR("A cancel was asked for, and is being written."));
    } else {
        add_str(to, "message", run_rare(&t->run)->fault_message);
    }
    verdict_free(v);
}

/* Takes over json. */
static char *text_of(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    return text;
}

/* ---- the Runs that ended ---- */

void list_finished(struct tracked *t, const struct run *written)
{
    struct controller *c = t->c;
    json_t *json = run_json(t, written, c->now.wall_ms);

    add_time(json, "finishedAt", c->now.wall_ms);
    add_str(json, "verdict", str_of(say_verdict(t->doing)));
    add_str(json, "reason", written->reason);
    add_str(json, "message", written->message);
    char *text = text_of(json);
    if (!text)
        return;
    char **place = &c->finished[c->n_finished++ % CONTROLLER_FINISHED];
    free(*place);
    *place = text;
}

void list_free(struct controller *c)
{
    for (size_t i = 0; i < CONTROLLER_FINISHED; i++)
        free(c->finished[i]);
}

/* ---- pieces ---- */

static bool put_waiting(FILE *out, const struct tracked *t, int64_t now_ms, bool comma)
{
    json_t *json = run_json(t, &t->run, now_ms);

    add_explanation(json, t, now_ms);
    char *text = text_of(json);
    bool ok = text && fprintf(out, "%s\n%s", comma ? "," : "", text) > 0;
    free(text);
    return ok;
}

/* Returns whether all were shown. */
static bool put_some(struct controller *c, FILE *out, uint64_t *position, int64_t now_ms, bool *ret_failed)
{
    uint32_t slot = (uint32_t)*position;
    bool comma = (*position & LIST_COMMA) != 0;
    size_t n = 0;

    for (size_t seen = 0; slot < c->n_slots && n < LIST_PIECE_RUNS && seen < LIST_PIECE_SLOTS;
         slot++, seen++) {
        const struct tracked *t = c->slots[slot];
        if (!t || t->ended)
            continue;
        *ret_failed |= !put_waiting(out, t, now_ms, comma);
        comma = true;
        n++;
    }
    *position = slot | (comma ? LIST_COMMA : 0);
    return slot >= c->n_slots;
}

static void put_finished(const struct controller *c, FILE *out)
{
    const char *comma = "";

    for (uint64_t i = 0; i < CONTROLLER_FINISHED; i++) {
        const char *text = c->finished[(c->n_finished + i) % CONTROLLER_FINISHED];
        if (!text)
            continue;
        (void)fprintf(out, "%s\n%s", comma, text);
        comma = ",";
    }
}

char *controller_list(struct controller *c, uint64_t *position, struct moment now, bool *ret_last)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    bool failed = false;

    if (!out)
        return NULL;
    if (*position == 0)
        (void)fputs("{\"waiting\":[", out);
    *ret_last = put_some(c, out, position, now.wall_ms, &failed);
    if (*ret_last) {
        (void)fputs("],\n\"finished\":[", out);
        put_finished(c, out);
        (void)fputs("]}\n", out);
    }
    failed |= ferror(out) != 0;
    failed |= fclose(out) != 0;
    if (!failed)
        return text;
    free(text);
    return NULL;
}
