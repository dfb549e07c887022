/* Parameters -> question (see question.h).
 *
 * One table of parameters; each row has a function that reads its values into the question. A function that
 * finds something wrong adds a sentence and goes on, so that a person who wrote three things wrong mends them
 * at once.
 *
 * Invariant: a question is one block of memory; every slice in it points into the block's own text. It is
 * handed out only when no problem was found. Failure modes: problems, all in one sentence; out of memory,
 * said in the same place.
 */
#include "store/question.h"

#include <stdlib.h>

#include "store/units.h"

#define SHOWN_VALUE  80  /* bytes of a wrong value that a sentence repeats */
#define MAX_NAME     253 /* of a Kubernetes object: RFC 1123 subdomain */
#define MAX_CLUSTER  253
#define DURATION_HOW "is not a duration: write it with a unit, such as 5s, 10m or 1h30m"

struct block {
    struct question q;                /* first: a struct question * is the block */
    struct question_object objects[]; /* and the text behind them */
};

struct parser {
    struct block *block;
    char *end; /* of the text so far */
    struct text err;
    int64_t asked_ms;
};

static struct str keep(struct parser *p, struct str s)
{
    char *at = p->end;

    if (s.len > 0)
        memcpy(at, s.at, s.len);
    p->end += s.len;
    return (struct str){at, s.len};
}

static void begin_problem(struct parser *p, struct str param)
{
    if (p->err.len > 0)
        text_add(&p->err, STR("; "));
    text_add_clean(&p->err, str_cut_utf8(param, SHOWN_VALUE));
}

/* `param: what` */
static void problem(struct parser *p, const char *param, const char *what)
{
    begin_problem(p, str_of(param));
    text_addf(&p->err, ": %s", what);
}

/* `param: "value" what` */
static void value_problem(struct parser *p, const char *param, struct str value, const char *what)
{
    begin_problem(p, str_of(param));
    text_add(&p->err, STR(": \""));
    text_add_clean(&p->err, str_cut_utf8(value, SHOWN_VALUE));
    if (value.len > SHOWN_VALUE)
        text_add(&p->err, STR("..."));
    text_addf(&p->err, "\" %s", what);
}

static void read_revision(struct parser *p, const char *name, struct str value)
{
    value = str_trim(value);
    if (value.len == 0)
        problem(p, name, "is empty: write the revision to wait for, such as a commit's SHA");
    else if (value.len > QUESTION_MAX_REVISION)
        value_problem(p, name, value, "is longer than 1024 bytes");
    else
        p->block->q.revision = keep(p, value);
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '-' &&
            c != '.')
            return false;
    }
    return s.len > 0 && s.len <= MAX_NAME;
}

static void add_object(struct parser *p, const char *name, struct str entry)
{
    struct question *q = &p->block->q;
    struct str rest = entry;
    struct question_object o;

    o.kind = str_split(&rest, '/');
    o.namespace = str_split(&rest, '/');
    o.name = rest;
    if (!is_name(o.kind) || !is_name(o.namespace) || !is_name(o.name)) {
        value_problem(p, name, entry,
                      "is not of the form Kind/namespace/name, such as Kustomization/flux-system/apps");
        return;
    }
    for (size_t i = 0; i < q->n_objects; i++)
        if (str_eq(o.kind, q->objects[i].kind) && str_eq(o.namespace, q->objects[i].namespace) &&
            str_eq(o.name, q->objects[i].name))
            return;
    if (q->n_objects == QUESTION_MAX_OBJECTS) {
        value_problem(p, name, entry, "is one too many: at most 64 objects");
        return;
    }
    p->block->objects[q->n_objects++] =
        (struct question_object){keep(p, o.kind), keep(p, o.namespace), keep(p, o.name)};
}

static void read_objects(struct parser *p, const char *name, struct str value)
{
    size_t errors_before = p->err.len;

    /* One bad entry is enough to say how it is written. */
    do
        add_object(p, name, str_trim(str_split(&value, ',')));
    while (value.at && p->err.len == errors_before);
}

static void read_expect(struct parser *p, const char *name, struct str value)
{
    uint64_t n;

    if (!str_to_u64(str_trim(value), &n) || n < 1 || n > QUESTION_MAX_EXPECT)
        value_problem(p, name, value, "is not a number of objects: write 1 to 10000");
    else
        p->block->q.expect = (uint32_t)n;
}

static void read_fail_after(struct parser *p, const char *name, struct str value)
{
    if (!duration_parse(str_trim(value), &p->block->q.fail_after_ms))
        value_problem(p, name, value, DURATION_HOW);
}

static void read_on_superseded(struct parser *p, const char *name, struct str value)
{
    static const struct {
        struct str text;
        enum question_superseded to;
    } choices[] = {
        {{"fail", 4}, SUPERSEDED_FAIL}, {{"wait", 4}, SUPERSEDED_WAIT}, {{"succeed", 7}, SUPERSEDED_SUCCEED}};

    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        if (str_eq(str_trim(value), choices[i].text)) {
            p->block->q.on_superseded = choices[i].to;
            return;
        }
    value_problem(p, name, value, "is not known: write fail, wait or succeed");
}

static void read_since(struct parser *p, const char *name, struct str value)
{
    struct str text = str_trim(value);
    int64_t ms;

    if (duration_parse(text, &ms))
        p->block->q.since_ms = p->asked_ms - ms;
    else if (!time_parse(text, &ms))
        value_problem(p, name, value,
                      "is neither a time nor a duration: write it such as 2006-01-02T15:04:05Z, or 1h for an "
                      "hour before");
    else if (ms > p->asked_ms)
        value_problem(p, name, value,
                      "is in the future: write a time that has passed, or a duration such as 1h");
    else
        p->block->q.since_ms = ms;
}

static void read_cluster(struct parser *p, const char *name, struct str value)
{
    if (value.len > MAX_CLUSTER) {
        value_problem(p, name, value, "is longer than 253 bytes");
        return;
    }
    p->block->q.cluster = keep(p, value);
    p->block->q.has_cluster = true;
}

static void read_timeout(struct parser *p, const char *name, struct str value)
{
    if (!duration_parse(str_trim(value), &p->block->q.timeout_ms))
        value_problem(p, name, value, DURATION_HOW);
}

static const struct {
    const char *name;
    void (*read)(struct parser *p, const char *name, struct str value);
    bool array; /* may be an array */
} known[] = {
    {"revision", read_revision, false},
    {"objects", read_objects, true},
    {"expect", read_expect, false},
    {"failAfter", read_fail_after, false},
    {"onSuperseded", read_on_superseded, false},
    {"since", read_since, false},
    {"cluster", read_cluster, false},
    {"timeout", read_timeout, false},
};
#define N_KNOWN (sizeof known / sizeof known[0])

static size_t find_known(struct str name)
{
    size_t i = 0;

    while (i < N_KNOWN && !str_eq(name, str_of(known[i].name)))
        i++;
    return i;
}

/* A value that the question cannot come from whatever it says; NULL when there is none. */
static const char *wrong_shape(const struct question_param *param, bool array)
{
    if (param->is_array && !array)
        return "is an array: write one string";
    if (param->not_string || (!param->is_array && param->n_values != 1))
        return array ? "must be a string or an array of strings" : "must be a string";
    if (param->n_values == 0)
        return "is empty: leave it out, or name at least one object as Kind/namespace/name";
    return NULL;
}

static void read_param(struct parser *p, const struct question_param *param, size_t i)
{
    const char *wrong = wrong_shape(param, known[i].array);

    if (wrong) {
        problem(p, known[i].name, wrong);
        return;
    }
    for (size_t v = 0; v < param->n_values; v++)
        if (str_has(param->values[v], STR("$(")))
            value_problem(
                p, known[i].name, param->values[v],
                "was not substituted: check the spelling of the parameter or result that it refers to");
        else
            known[i].read(p, known[i].name, param->values[v]);
}

static void unknown_param(struct parser *p, struct str name)
{
    begin_problem(p, name);
    text_add(&p->err, STR(": is no parameter: known are"));
    for (size_t i = 0; i < N_KNOWN; i++)
        text_addf(&p->err, "%s %s", i == 0 ? "" : ",", known[i].name);
}

static void read_params(struct parser *p, const struct question_param *params, size_t n)
{
    bool seen[N_KNOWN] = {false};

    for (size_t i = 0; i < n; i++) {
        size_t k = find_known(params[i].name);
        if (k == N_KNOWN) {
            unknown_param(p, params[i].name);
        } else if (seen[k]) {
            problem(p, known[k].name, "is given more than once");
        } else {
            seen[k] = true;
            read_param(p, &params[i], k);
        }
    }
    if (!seen[find_known(STR("revision"))])
        problem(p, "revision", "is missing: write the revision to wait for, such as a commit's SHA");
    if (seen[find_known(STR("expect"))] && seen[find_known(STR("objects"))])
        problem(p, "expect",
                "cannot be given beside objects, which all have to succeed: leave one of them out");
}

static size_t count_commas(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.at[i] == ',';
    return n;
}

struct question *question_new(const struct question_param *params, size_t n, int64_t asked_ms,
                              char err[static QUESTION_ERROR])
{
    struct parser p = {.asked_ms = asked_ms};
    size_t room = 0;
    size_t n_objects = 0; /* at most: thousands of questions wait at once, few of them with many objects */

    text_init(&p.err, err, QUESTION_ERROR);
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < params[i].n_values; v++) {
            room += params[i].values[v].len;
            n_objects += 1 + count_commas(params[i].values[v]);
        }
    if (n_objects > QUESTION_MAX_OBJECTS)
        n_objects = QUESTION_MAX_OBJECTS;
    p.block = calloc(1, sizeof *p.block + n_objects * sizeof p.block->objects[0] + room);
    if (!p.block) {
        text_add(&p.err, STR(QUESTION_NO_MEMORY));
        return NULL;
    }
    p.end = (char *)&p.block->objects[n_objects];
    p.block->q = (struct question){.objects = p.block->objects,
                                   .expect = 1,
                                   .on_superseded = SUPERSEDED_FAIL,
                                   .since_ms = INT64_MIN,
                                   .timeout_ms = -1};
    read_params(&p, params, n);
    if (p.err.len > 0) {
        free(p.block);
        return NULL;
    }
    return &p.block->q;
}

void question_free(struct question *q)
{
    free(q);
}
