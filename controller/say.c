/* The words: what `kubectl get`, `tkn describe` and a following task read.
 *
 * Text from events and parameters only ever enters as a value: cleaned to one line of valid UTF-8, never as a
 * format. Messages begin with the first version's sentence where it had one. Times are absolute, so that a
 * message written once stays true.
 */
#include "controller/say_priv.h"

#include <inttypes.h>

#include "store/units.h"

const char *say_status(enum action_kind kind)
{
    if (kind == ACTION_SUCCEED)
        return "True";
    return action_is_final(kind) ? "False" : "Unknown";
}

static const char *fault_reason(enum run_fault fault)
{
    switch (fault) {
    case FAULT_NONE: break;
    case FAULT_SPEC: return "UnsupportedSpec";
    case FAULT_NAME: return "UnexpectedName";
    case FAULT_PARAMS: return "UnexpectedParams";
    case FAULT_TIMEOUT: return "InvalidTimeout";
    }
    return "";
}

const char *say_reason(const struct run *r, enum action_kind kind)
{
    bool custom = r->kind == KIND_CUSTOMRUN;

    switch (kind) {
    case ACTION_NONE:
    case ACTION_FORGET: break;
    case ACTION_START:
    case ACTION_EXPLAIN: return r->retries_done > 0 ? "Retrying" : "Waiting";
    case ACTION_RETRY_FAILED:
    case ACTION_RETRY_EXPIRED: return "Retrying";
    case ACTION_SUCCEED: return r->first_version ? "ReconciliationSuceeded" : "ReconciliationSucceeded";
    case ACTION_FAIL: return "ReconciliationFailed";
    case ACTION_SUPERSEDE: return "Superseded";
    case ACTION_AMBIGUOUS: return "AmbiguousRevision";
    case ACTION_EXPIRE: return custom ? "CustomRunTimedOut" : "RunTimedOut";
    case ACTION_CANCEL: return custom ? "CustomRunCancelled" : "RunCancelled";
    case ACTION_REJECT: return fault_reason(r->fault);
    }
    return "";
}

/* "Kustomization/apps/web", with its cluster where it has one; nothing for the anonymous object. */
static void add_object(struct text *t, const struct verdict_object *o)
{
    if (!o->kind.len && !o->namespace.len && !o->name.len)
        return;
    text_add_clean(t, o->kind);
    text_add(t, STR("/"));
    text_add_clean(t, o->namespace);
    text_add(t, STR("/"));
    text_add_clean(t, o->name);
}

static void add_time(struct text *t, int64_t ms)
{
    char time[TIME_TEXT];

    text_addf(t, "%s", time_format(ms, time));
}

static void add_object_or_event(struct text *t, const struct verdict_object *o)
{
    size_t before = t->len;

    add_object(t, o);
    if (t->len == before)
        text_add(t, STR("an event without an object"));
    if (o->cluster.len) {
        text_add(t, STR(" of cluster "));
        text_add_clean(t, o->cluster);
    }
}

/* " Revision R: object at time." */
static void add_source(struct text *t, const struct run *r, const struct verdict_object *o)
{
    text_add(t, STR(" Revision "));
    text_add_clean(t, r->revision);
    if (o) {
        text_add(t, STR(": "));
        add_object_or_event(t, o);
        text_add(t, STR(" at "));
        add_time(t, o->effective_ms);
    }
    text_add(t, STR("."));
}

static void add_success(struct text *t, const struct run *r, const struct verdict_object *o)
{
    text_add(t, STR("The revision has been reconciled."));
    add_source(t, r, o);
    if (o && o->superseded_by.len) {
        text_add(t, STR(" Replaced by "));
        text_add_clean(t, o->superseded_by);
        text_add(t, STR(" at "));
        add_time(t, o->superseded_ms);
        text_add(t, STR("."));
    }
}

static void add_failure(struct text *t, const struct run *r, const struct verdict_object *o)
{
    text_add(t, STR("The revision failed to reconcile."));
    if (o) {
        text_add(t, STR(" Reason: '"));
        text_add_clean(t, o->reason);
        text_add(t, STR("'. Message: '"));
        text_add_clean(t, o->message);
        text_add(t, STR("'."));
    }
    add_source(t, r, o);
}

static void add_superseded(struct text *t, const struct run *r, const struct verdict_object *o)
{
    text_add(t, STR("The revision was superseded before it was reconciled. Revision "));
    text_add_clean(t, r->revision);
    if (o) {
        text_add(t, STR(": "));
        add_object_or_event(t, o);
        text_add(t, STR(" reconciled "));
        text_add_clean(t, o->superseded_by);
        text_add(t, STR(" instead, at "));
        add_time(t, o->superseded_ms);
    }
    text_add(t, STR("."));
}

static void add_expired(struct text *t, const struct run *r, const struct verdict *v)
{
    char timeout[DURATION_TEXT];

    text_addf(t, "The revision was not reconciled within %s. Revision ",
              duration_format(r->timeout_ms, timeout));
    text_add_clean(t, r->revision);
    if (v) {
        text_add(t, STR(": "));
        text_add_clean(t, v->explanation);
    }
}

static void add_cancelled(struct text *t, const struct run *r)
{
    if (run_rare(r)->status_message.len) {
        text_add_clean(t, run_rare(r)->status_message);
        return;
    }
    text_addf(t, "%s cancelled while waiting for revision ", run_kind_name(r->kind)->kind);
    text_add_clean(t, r->revision);
    text_add(t, STR("."));
}

/* The message of a condition that ends an attempt. */
static void add_ending(struct text *t, const struct run *r, enum action_kind ending, const struct verdict *v)
{
    const struct verdict_object *o = v ? v->decider : NULL;

    switch (ending) {
    case ACTION_SUCCEED: add_success(t, r, o); break;
    case ACTION_FAIL: add_failure(t, r, o); break;
    case ACTION_SUPERSEDE: add_superseded(t, r, o); break;
    case ACTION_AMBIGUOUS:
        text_add(t, STR("The revision is ambiguous: "));
        if (v)
            text_add_clean(t, v->explanation);
        break;
    case ACTION_EXPIRE: add_expired(t, r, v); break;
    case ACTION_CANCEL: add_cancelled(t, r); break;
    case ACTION_REJECT: text_add_clean(t, run_rare(r)->fault_message); break;
    case ACTION_NONE:
    case ACTION_FORGET:
    case ACTION_START:
    case ACTION_EXPLAIN:
    case ACTION_RETRY_FAILED:
    case ACTION_RETRY_EXPIRED: break;
    }
}

void say_message(const struct run *r, const struct action *a, const struct verdict *v, struct text *out)
{
    unsigned attempts = r->retries + 1;
    enum action_kind ending = action_ending(a->kind);

    if (action_is_retry(a->kind)) {
        text_addf(out, "Attempt %u of %u failed, waiting again. ", (unsigned)r->retries_done + 1, attempts);
        add_ending(out, r, ending, v);
    } else if (ending != ACTION_NONE) {
        add_ending(out, r, ending, v);
    } else {
        if (r->retries_done > 0)
            text_addf(out, "Attempt %u of %u: ", (unsigned)r->retries_done + 1, attempts);
        if (v)
            text_add_clean(out, v->explanation);
    }
}

static uint64_t mix(uint64_t digest, struct str s)
{
    return (digest ^ run_hash(s)) * UINT64_C(0x9E3779B97F4A7C15) + s.len;
}

uint64_t say_digest(const struct verdict *v)
{
    uint64_t digest = v->n_objects + 1;

    for (size_t i = 0; i < v->n_objects; i++) {
        const struct verdict_object *o = &v->objects[i];
        digest = mix(digest, o->cluster);
        digest = mix(digest, o->kind);
        digest = mix(digest, o->namespace);
        digest = mix(digest, o->name);
        digest = mix(digest, o->reason);
        digest = mix(digest, o->message);
        digest = mix(digest, o->revision);
        digest = mix(digest, o->superseded_by);
        digest = mix(digest, o->suspended ? STR("suspended") : STR_NONE);
    }
    return digest ? digest : 1;
}

const char *say_verdict(enum action_kind ending)
{
    switch (ending) {
    case ACTION_SUCCEED: return "succeeded";
    case ACTION_FAIL:
    case ACTION_AMBIGUOUS: return "failed";
    case ACTION_SUPERSEDE: return "superseded";
    case ACTION_EXPIRE: return "timedout";
    case ACTION_CANCEL: return "cancelled";
    case ACTION_REJECT: return "rejected";
    case ACTION_NONE:
    case ACTION_FORGET:
    case ACTION_START:
    case ACTION_EXPLAIN:
    case ACTION_RETRY_FAILED:
    case ACTION_RETRY_EXPIRED: break;
    }
    return "";
}

static void result(char *out, size_t size, struct str value, size_t most)
{
    struct text t;
    struct str start = str_trim(value);

    text_init(&t, out, size);
    if (start.len && (start.at[0] == '[' || start.at[0] == '{'))
        text_add(&t, STR(": "));
    text_add_clean(&t, str_cut_utf8(value, most));
}
#define RESULT(field, value) result(ret->field, sizeof ret->field, value, most)

static void results_of_object(const struct verdict_object *o, size_t most, struct results *ret)
{
    char buffer[512];
    struct text t;
    char time[TIME_TEXT];

    text_init(&t, buffer, sizeof buffer);
    add_object(&t, o);
    RESULT(object, text_str(&t));
    RESULT(reason, o->reason);
    RESULT(message, o->message);
    RESULT(timestamp, str_of(time_format(o->effective_ms, time)));
    RESULT(supersededBy, o->superseded_by);
    text_init(&t, buffer, sizeof buffer);
    if (o->seq)
        text_addf(&t, "%" PRIu64, o->seq);
    RESULT(eventId, text_str(&t));
}

void say_results(const struct run *r, const struct action *a, const struct verdict *v, size_t most,
                 struct results *ret)
{
    enum action_kind ending = action_ending(a->kind);
    bool by_record = ending == ACTION_SUCCEED || ending == ACTION_FAIL || ending == ACTION_SUPERSEDE;
    char message[SAY_MESSAGE];
    char time[TIME_TEXT];
    struct text t;

    *ret = (struct results){0};
    RESULT(verdict, str_of(say_verdict(ending)));
    RESULT(revision, r->revision);
    if (by_record && v && v->decider) {
        if (ending != ACTION_SUPERSEDE && v->decider->revision.len)
            RESULT(revision, v->decider->revision);
        results_of_object(v->decider, most, ret);
        return;
    }
    text_init(&t, message, sizeof message);
    add_ending(&t, r, ending, v);
    RESULT(reason, str_of(say_reason(r, ending)));
    RESULT(message, text_str(&t));
    RESULT(timestamp, str_of(time_format(a->completion_ms, time)));
}
