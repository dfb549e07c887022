/* From an API object to struct run.
 *
 * The objects come from an API server, but their spec and status are whatever a user or another controller
 * wrote, with or without Tekton's webhook in between: every member may have any type. Nothing here fails for
 * a strange spec; it becomes a fault that the Run is answered with, so that no pipeline waits for something
 * that cannot come. Only an object without a usable identity is refused: it cannot be answered.
 *
 * Invariant: a struct run holds nothing of the JSON document; its text is one block of its own, so a waiting
 * Run costs its own few hundred bytes whatever annotations the object carries.
 */
#include "controller/run_json_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "controller/json_priv.h"
#include "store/question.h"

/* FNV-1a: tells texts apart; not a defence. */
uint64_t run_hash(struct str s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.at[i]) * UINT64_C(0x100000001b3);
    return h;
}

bool run_version_older(struct str a, struct str b)
{
    uint64_t m;
    uint64_t n;

    return str_to_u64(a, &m) && str_to_u64(b, &n) && m < n;
}

/* ---- small readers: a member of the wrong type reads as absent ---- */

static struct str text_of(const json_t *value)
{
    if (!json_is_string(value))
        return STR_NONE;
    return (struct str){json_string_value(value), json_string_length(value)};
}

static struct str text_at(const json_t *object, const char *key)
{
    return text_of(json_object_get(object, key));
}

static int64_t integer_at(const json_t *object, const char *key)
{
    return json_int64(json_object_get(object, key));
}

static int64_t time_at(const json_t *object, const char *key)
{
    int64_t ms = RUN_NO_TIME;

    (void)time_parse(text_at(object, key), &ms);
    return ms;
}

bool run_same_second(int64_t a_ms, int64_t b_ms)
{
    char a[TIME_TEXT];
    char b[TIME_TEXT];

    return strcmp(time_format(a_ms, a), time_format(b_ms, b)) == 0;
}

static bool is_given(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

/* ---- what is read from one document, with the temporaries that its slices point into ---- */

struct reader {
    const struct run_parse_options *options;
    struct run *run;
    struct run_rare rare;
    json_t *temporaries; /* array of strings */
    bool no_memory;      /* sticky */
    char error[QUESTION_ERROR];
};

/* Keeps a text until the run has copied it. Takes over a malloc'ed one. */
static struct str keep(struct reader *rd, char *text)
{
    json_t *kept = text ? json_string(text) : NULL;

    free(text);
    if (!kept || json_array_append_new(rd->temporaries, kept) != 0) {
        rd->no_memory = true;
        return STR_NONE;
    }
    return text_of(kept);
}

static struct str keep_json(struct reader *rd, const json_t *value)
{
    return keep(rd, json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY));
}

static void fault(struct reader *rd, enum run_fault which, struct str message)
{
    if (rd->run->fault != FAULT_NONE)
        return;
    rd->run->fault = which;
    rd->rare.fault_message = message;
}

/* A fault that quotes what was written, shortened. */
static void fault_quoting(struct reader *rd, enum run_fault which, const char *before, const json_t *value,
                          const char *after)
{
    char buffer[512];
    struct text t;

    text_init(&t, buffer, sizeof buffer);
    text_add(&t, str_of(before));
    text_add_clean(&t, str_cut_utf8(keep_json(rd, value), 128));
    text_add(&t, str_of(after));
    fault(rd, which, keep(rd, strdup(buffer)));
}

/* A name that may stand in a path as it is. */
static bool is_dns_name(struct str s)
{
    if (s.len == 0 || s.len > RUN_MAX_NAME || s.at[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
    }
    return true;
}

static bool is_id(struct str s)
{
    return s.len > 0 && s.len <= RUN_MAX_ID && str_find(s, '\0') < 0;
}

static bool read_metadata(struct reader *rd, const json_t *root)
{
    const json_t *metadata = json_object_get(root, "metadata");
    struct run *r = rd->run;

    r->uid = text_at(metadata, "uid");
    r->name = text_at(metadata, "name");
    r->namespace = text_at(metadata, "namespace");
    r->resource_version = text_at(metadata, "resourceVersion");
    r->generation = integer_at(metadata, "generation");
    r->created_ms = time_at(metadata, "creationTimestamp");
    r->deleting = is_given(metadata, "deletionTimestamp");
    return is_id(r->uid) && is_id(r->resource_version) && is_dns_name(r->name) && is_dns_name(r->namespace);
}

/* ---- spec ---- */

static bool read_ref(struct reader *rd, const json_t *spec)
{
    bool custom = rd->run->kind == KIND_CUSTOMRUN;
    const json_t *ref = json_object_get(spec, custom ? "customRef" : "ref");
    const json_t *embedded = json_object_get(spec, custom ? "customSpec" : "spec");
    bool by_ref = ref && !json_is_null(ref);

    const json_t *named = by_ref ? ref : embedded;

    if (!run_refs_match(rd->options->refs, text_at(named, "apiVersion"), text_at(named, "kind"),
                        &rd->run->first_version))
        return false;
    if (embedded && !json_is_null(embedded))
        fault(rd, FAULT_SPEC,
              by_ref ? STR("A ref and an embedded spec are given; give only the ref.")
                     : STR("An embedded spec is not supported; refer to apiVersion and kind instead."));
    if (by_ref && is_given(ref, "name") &&
        (!json_is_string(json_object_get(ref, "name")) || text_at(ref, "name").len))
        fault_quoting(rd, FAULT_NAME, "Found unexpected ref name ", json_object_get(ref, "name"),
                      rd->run->kind == KIND_RUN ? ": leave spec.ref.name out."
                                                : ": leave spec.customRef.name out.");
    return true;
}

/* One value as text: integers and booleans by their JSON text. False: not a string, nor near enough to one.
 */
static bool param_text(struct reader *rd, const json_t *value, struct str *ret)
{
    char number[24];

    switch (json_typeof(value)) {
    case JSON_STRING: *ret = text_of(value); return true;
    case JSON_TRUE: *ret = STR("true"); return true;
    case JSON_FALSE: *ret = STR("false"); return true;
    case JSON_INTEGER:
        (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        *ret = keep(rd, strdup(number));
        return true;
    case JSON_REAL:
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT: break;
    }
    return false;
}

/* Fills param from one entry of params. Returns the strings it points to (freed by the caller), or NULL for
 * none. */
static struct str *read_param(struct reader *rd, const json_t *entry, struct question_param *param)
{
    const json_t *value = json_object_get(entry, "value");
    bool is_array = json_is_array(value);
    size_t n = is_array ? json_array_size(value) : 1;
    struct str *values = calloc(n ? n : 1, sizeof *values);

    *param = (struct question_param){.name = text_at(entry, "name"), .is_array = is_array, .values = values};
    if (!values) {
        rd->no_memory = true;
        return NULL;
    }
    for (size_t i = 0; i < n && !param->not_string; i++) {
        const json_t *one = is_array ? json_array_get(value, i) : value;
        bool readable = is_array ? json_is_string(one) : one && param_text(rd, one, &values[i]);
        if (is_array)
            values[i] = text_of(one);
        param->not_string = !readable;
    }
    param->n_values = param->not_string ? 0 : n;
    return values;
}

static void read_question(struct reader *rd, const struct question_param *params, size_t n)
{
    struct run *r = rd->run;

    r->question = question_new(params, n, r->created_ms == RUN_NO_TIME ? 0 : r->created_ms, rd->error);
    if (r->question) {
        r->revision = r->question->revision;
        r->fail_after_ms = r->question->fail_after_ms;
        return;
    }
    if (is_no_memory(rd->error)) {
        rd->no_memory = true;
        return;
    }
    fault(rd, FAULT_PARAMS, str_of(rd->error));
    for (size_t i = 0; i < n && !r->revision.len; i++)
        if (str_eq(params[i].name, STR("revision")) && params[i].n_values == 1)
            r->revision = str_cut_utf8(params[i].values[0], QUESTION_MAX_REVISION);
}

static void read_params(struct reader *rd, const json_t *spec)
{
    const json_t *array = json_object_get(spec, "params");
    size_t n = json_array_size(array);

    if (array && !json_is_null(array) && !json_is_array(array)) {
        fault(rd, FAULT_PARAMS, STR("params is not an array of names and values."));
        return;
    }
    if (n > RUN_MAX_PARAMS) {
        fault(rd, FAULT_PARAMS, STR("There are too many params."));
        return;
    }
    struct question_param *params = calloc(n ? n : 1, sizeof *params);
    struct str **values = calloc(n ? n : 1, sizeof *values);
    if (params && values) {
        for (size_t i = 0; i < n; i++)
            values[i] = read_param(rd, json_array_get(array, i), &params[i]);
        if (!rd->no_memory)
            read_question(rd, params, n);
        for (size_t i = 0; i < n; i++)
            free(values[i]);
    } else {
        rd->no_memory = true;
    }
    free(values);
    free(params);
}

static void read_timeout(struct reader *rd, const json_t *spec)
{
    const json_t *timeout = json_object_get(spec, "timeout");
    struct run *r = rd->run;
    int64_t ms;

    r->timeout_ms = rd->options->default_timeout_ms;
    if (r->question && r->question->timeout_ms >= 0)
        r->timeout_ms = r->question->timeout_ms;
    if (!timeout || json_is_null(timeout))
        return;
    if (!json_is_string(timeout) || !duration_parse_go(text_of(timeout), &ms))
        fault_quoting(rd, FAULT_TIMEOUT, "spec.timeout ", timeout,
                      " is not a duration; write it like \"1h30m\" or \"90s\".");
    else if (ms < 0)
        fault_quoting(rd, FAULT_TIMEOUT, "spec.timeout ", timeout,
                      " is negative; write \"0s\" for no timeout.");
    else
        r->timeout_ms = ms;
}

static void read_spec(struct reader *rd, const json_t *spec)
{
    struct run *r = rd->run;
    json_int_t retries = integer_at(spec, "retries");

    r->retries = retries <= 0 ? 0 : retries > RUN_MAX_RETRIES ? RUN_MAX_RETRIES : (uint32_t)retries;
    r->cancelled = str_eq(text_at(spec, "status"), STR("RunCancelled"));
    if (r->cancelled)
        rd->rare.status_message = text_at(spec, "statusMessage");
    read_params(rd, spec);
    read_timeout(rd, spec);
}

/* ---- status ---- */

static enum run_succeeded read_succeeded(struct str status)
{
    if (str_eq(status, STR("True")))
        return SUCCEEDED_TRUE;
    if (str_eq(status, STR("False")))
        return SUCCEEDED_FALSE;
    return str_eq(status, STR("Unknown")) ? SUCCEEDED_UNKNOWN : SUCCEEDED_ABSENT;
}

static void read_conditions(struct reader *rd, const json_t *array)
{
    struct run *r = rd->run;
    json_auto_t *foreign = json_array();
    bool found = false;
    size_t i;
    json_t *condition;

    json_array_foreach(array, i, condition)
    {
        struct str type = text_at(condition, "type");
        if (!str_eq(type, STR("Succeeded"))) {
            if (type.len && json_array_append(foreign, condition) != 0)
                rd->no_memory = true;
            continue;
        }
        if (found)
            continue;
        found = true;
        r->succeeded = read_succeeded(text_at(condition, "status"));
        r->reason = str_cut_utf8(text_at(condition, "reason"), RUN_MAX_ID);
        r->transition_ms = time_at(condition, "lastTransitionTime");
        r->message_hash = run_hash(text_at(condition, "message"));
        r->message = text_at(condition, "message");
    }
    if (json_array_size(foreign) > 0)
        rd->rare.foreign_conditions = keep_json(rd, foreign);
}

/* What is known of the attempts. A CustomRun counts them in retriesStatus, a Run, which may not have that
 * field, in extraFields; the exact begin of an attempt is in extraFields of both. */
static void read_attempts(struct reader *rd, const json_t *status)
{
    struct run *r = rd->run;
    const json_t *extra = json_object_get(status, "extraFields");
    const json_t *entries = json_object_get(status, "retriesStatus");
    json_int_t done =
        r->kind == KIND_CUSTOMRUN ? (json_int_t)json_array_size(entries) : integer_at(extra, "retriesDone");
    int64_t began = time_at(extra, "attemptStartTime");

    r->retries_done = done <= 0 ? 0 : done > RUN_MAX_RETRIES ? RUN_MAX_RETRIES : (uint32_t)done;
    if (r->retries_done > 0) {
        r->attempt_ms = began != RUN_NO_TIME ? began : r->start_ms;
        if (began != RUN_NO_TIME && r->has_start && run_same_second(began, r->start_ms))
            r->start_ms = began;
    }
    if (r->kind != KIND_CUSTOMRUN || r->retries_done >= r->retries)
        return;
    const json_t *annotations = json_object_get(status, "annotations");
    if (r->retries_done > 0)
        rd->rare.retries_status = keep_json(rd, entries);
    if (json_is_object(annotations))
        rd->rare.annotations = keep_json(rd, annotations);
    if (extra && !json_is_null(extra))
        rd->rare.extra_fields = keep_json(rd, extra);
    if (rd->rare.annotations.len > RUN_MAX_CARRIED)
        rd->rare.annotations = STR_NONE;
    if (rd->rare.extra_fields.len > RUN_MAX_CARRIED)
        rd->rare.extra_fields = STR_NONE;
}

static void read_status(struct reader *rd, const json_t *status)
{
    struct run *r = rd->run;

    r->observed_generation = integer_at(status, "observedGeneration");
    r->start_ms = time_at(status, "startTime");
    r->has_start = r->start_ms != RUN_NO_TIME;
    r->has_completion = is_given(status, "completionTime");
    r->has_results = is_given(status, "results");
    read_conditions(rd, json_object_get(status, "conditions"));
    read_attempts(rd, status);
}

/* ---- the whole ---- */

/* Moves a text behind those that are in the block. */
static void move_in(struct str *s, char **end)
{
    if (s->len == 0) {
        *s = STR_NONE;
        return;
    }
    memcpy(*end, s->at, s->len);
    s->at = *end;
    *end += s->len;
}

/* Copies every text into one block, the rare ones' table before them if there is any. */
static bool own_texts(struct run *r, const struct run_rare *rare)
{
    size_t size = 0, rare_size = 0;
#define X(field) size += r->field.len;
    RUN_TEXTS(X)
#undef X
#define X(field) rare_size += rare->field.len;
    RUN_RARE_TEXTS(X)
#undef X
    size_t table = rare_size > 0 ? sizeof *rare : 0;
    r->block = malloc(table + rare_size + size + 1);
    char *message = malloc(r->message.len + 1);
    if (message && r->message.len)
        memcpy(message, r->message.at, r->message.len);
    r->message.at = message;
    if (!r->block || !message)
        return false;
    char *end = (char *)r->block + table;
    if (table) {
        struct run_rare *own = r->block;
        *own = *rare;
        r->rare = own;
#define X(field) move_in(&own->field, &end);
        RUN_RARE_TEXTS(X)
#undef X
    }
#define X(field) move_in(&r->field, &end);
    RUN_TEXTS(X)
#undef X
    return true;
}

static enum run_parsed read_object(struct reader *rd, const json_t *root)
{
    const json_t *spec = json_object_get(root, "spec");

    if (!read_metadata(rd, root))
        return RUN_MALFORMED;
    if (!read_ref(rd, spec))
        return RUN_FOREIGN;
    read_spec(rd, spec);
    read_status(rd, json_object_get(root, "status"));
    return RUN_OURS;
}

/* In place of all of r, which is released: whose it is. */
static struct run only_identity(struct run *r)
{
    static const struct run_rare none = {0};
    struct run ret = {.kind = r->kind, .namespace = r->namespace, .name = r->name};

    if (!own_texts(&ret, &none))
        run_release(&ret);
    run_release(r);
    return ret;
}

enum run_parsed run_parse(enum run_kind kind, struct str json, const struct run_parse_options *options,
                          struct run *ret)
{
    json_auto_t *root = json_read(json);
    struct run r = {.kind = kind,
                    .start_ms = RUN_NO_TIME,
                    .attempt_ms = RUN_NO_TIME,
                    .transition_ms = RUN_NO_TIME,
                    .deadline_mono_ms = INT64_MAX};
    json_auto_t *temporaries = json_array();
    struct reader rd = {.options = options, .run = &r, .temporaries = temporaries};
    enum run_parsed parsed = read_object(&rd, root);

    if (parsed == RUN_MALFORMED)
        return parsed;
    if (!own_texts(&r, &rd.rare) || rd.no_memory) {
        *ret = only_identity(&r);
        return RUN_NO_MEMORY;
    }
    *ret = r;
    return parsed;
}

const struct run_rare *run_rare(const struct run *r)
{
    static const struct run_rare none = {0};

    return r->rare ? r->rare : &none;
}

void run_drop_message(struct run *r)
{
    free((char *)(uintptr_t)r->message.at);
    r->message = STR_NONE;
}

void run_release(struct run *r)
{
    run_drop_message(r);
    if (r->question)
        question_free(r->question);
    free(r->block);
    *r = (struct run){.kind = r->kind};
}

void run_status_message(struct str json, struct text *out)
{
    json_auto_t *root = json_read(json);
    text_add_clean(out, text_at(root, "message"));
}
