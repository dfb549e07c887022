/* Flux event JSON <-> struct flux_event (see event_json.h).
 *
 * jansson checks the syntax and gives the values. What goes back out is not written by jansson but cut out of
 * the body as it was received, because a tree does not keep what the sender wrote: numbers of any size, the
 * order of the members, Go's escapes. A body that is already in its final form ("plain") is spliced without
 * being looked at.
 *
 * Invariant: the walk over a body (struct json_walk) runs only on text that jansson accepted, so it needs to
 * know no more of the grammar than strings and brackets; it is bounded all the same, and gives up on text
 * that is something else. Failure modes: out of memory, reported as NULL or false; a refused event, reported
 * in one line.
 */
#include "store/event_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/arena_priv.h"
#include "store/json_text_priv.h"
#include "store/units.h"

#define FLUX_GROUP_SUFFIX STR(".toolkit.fluxcd.io")

struct document {
    struct flux_event event; /* first, so that a struct flux_event * is the document */
    json_t *root;            /* in `tree`, whole: it is never changed, and goes with it */
    struct arena tree;
    json_free_t release;
};

/* NULL with an empty error text: out of memory (which jansson does not always tell from bad syntax). */
static json_t *load(struct str body, json_error_t *error)
{
    const size_t flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_t *root = json_loadb(body.len ? body.at : "", body.len, flags, error);

    if (root || json_error_code(error) != json_error_numeric_overflow)
        return root;
    char *copy = malloc(body.len);
    if (!copy) {
        error->text[0] = '\0';
        return NULL;
    }
    memcpy(copy, body.at, body.len);
    json_flatten_numbers(copy, copy + body.len);
    root = json_loadb(copy, body.len, flags, error);
    free(copy);
    return root;
}

/* jansson takes its memory from functions without an argument. */
static struct arena *tree_being_read;

static void *take_of_tree(size_t bytes)
{
    return arena_take(tree_being_read, bytes);
}

static void leave_in_tree(void *piece)
{
    (void)piece;
}

/* Most of what a small tree costs is a hundred allocations. */
static json_t *load_tree(struct document *d, struct str body, json_error_t *error)
{
    json_malloc_t more;

    json_get_alloc_funcs(&more, &d->release);
    d->tree = (struct arena){.more = more};
    tree_being_read = &d->tree;
    json_set_alloc_funcs(take_of_tree, leave_in_tree);
    json_t *root = load(body, error);
    json_set_alloc_funcs(more, d->release);
    return root;
}

/* --- reading --- */

static struct str string_of(const json_t *value)
{
    return json_is_string(value) ? (struct str){json_string_value(value), json_string_length(value)}
                                 : STR_NONE;
}

static bool refuse(char err[static EVENT_ERROR], struct str outer, struct str member, const char *want)
{
    struct text t;

    text_init(&t, err, EVENT_ERROR);
    text_add_clean(&t, outer);
    if (outer.len)
        text_add(&t, STR("."));
    text_add_clean(&t, str_cut_utf8(member, EVENT_ERROR / 2));
    text_addf(&t, ": must be %s or null", want);
    return false;
}

struct string_member {
    const char *name;
    struct str *to; /* NULL: checked only */
};

/* False with a line in err when one of the members is neither a string nor null nor absent. */
static bool read_strings(const json_t *object, const char *outer, const struct string_member *members,
                         char err[static EVENT_ERROR])
{
    for (; members->name; members++) {
        const json_t *value = json_object_get(object, members->name);
        if (value && !json_is_string(value) && !json_is_null(value))
            return refuse(err, str_of(outer), str_of(members->name), "a string");
        if (members->to)
            *members->to = string_of(value);
    }
    return true;
}

/* "group" of "group/version". */
static struct str group_of(struct str api_version)
{
    ptrdiff_t slash = str_find(api_version, '/');

    return slash > 0 ? str_upto(api_version, (size_t)slash) : STR_NONE;
}

/* Controllers write metadata keys with a prefix; notification-controller drops it, a controller that posts
 * directly does not. What follows the last '/' is the bare key when the prefix is Flux's or the object's own
 * API group. */
static struct str bare_key(struct str key, struct str group)
{
    ptrdiff_t slash = str_find_last(key, '/');

    if (slash <= 0 || (size_t)slash + 1 == key.len)
        return key;
    struct str prefix = str_upto(key, (size_t)slash);
    if (str_ends(prefix, FLUX_GROUP_SUFFIX) || (group.len > 0 && str_eq(prefix, group)))
        return str_from(key, (size_t)slash + 1);
    return key;
}

/* In the order in which notification-controller merges them: the controller's own over annotations
 * ("event.toolkit.fluxcd.io/"). */
static int key_rank(struct str key, struct str group)
{
    struct str bare = bare_key(key, group);

    if (bare.len == key.len)
        return 3;
    return group.len > 0 && str_starts(key, group) && key.at[group.len] == '/' ? 2 : 1;
}

/* Which of several keys gives a bare one its value: `key`, which comes later, rather than `over`? Keys of one rank by
 * their bytes, since Go sends them sorted, and of a repeated one the last; so it does not depend on where they stand. */
static bool key_wins(struct str key, struct str over, struct str group)
{
    int rank = key_rank(key, group);
    int over_rank = key_rank(over, group);

    return rank != over_rank ? rank > over_rank : str_compare(key, over) >= 0;
}

static bool read_metadata(struct document *d, json_t *metadata, char err[static EVENT_ERROR])
{
    struct flux_event *e = &d->event;
    const struct {
        struct str key;
        struct str *to;
    } wanted[] = {{STR("cluster"), &e->cluster},
                  {STR("revision"), &e->revision},
                  {STR("originRevision"), &e->origin_revision},
                  {STR("commit"), &e->commit},
                  {STR("oci-digest"), &e->oci_digest}};
    struct str winner[sizeof wanted / sizeof wanted[0]] = {0};
    struct str group = group_of(e->api_version);
    const char *name;
    size_t name_len;
    json_t *value;

    json_object_keylen_foreach(metadata, name, name_len, value)
    {
        struct str key = {name, name_len};
        if (!json_is_string(value) && !json_is_null(value))
            return refuse(err, STR("metadata"), key, "a string");
        struct str bare = bare_key(key, group);
        e->plain = e->plain && bare.len == key.len;
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
            if (!str_eq(bare, wanted[i].key) || (winner[i].len && !key_wins(key, winner[i], group)))
                continue;
            winner[i] = key;
            *wanted[i].to = string_of(value);
        }
    }
    return true;
}

static bool read_object_member(const json_t *root, const char *name, json_t **ret,
                               char err[static EVENT_ERROR])
{
    json_t *value = json_object_get(root, name);

    if (value && !json_is_object(value) && !json_is_null(value))
        return refuse(err, STR_NONE, str_of(name), "an object");
    *ret = value; /* members of null are absent */
    return true;
}

static bool read_event(struct document *d, char err[static EVENT_ERROR])
{
    struct flux_event *e = &d->event;
    json_t *object, *metadata;
    struct str timestamp;

    if (!json_is_object(d->root)) {
        (void)snprintf(err, EVENT_ERROR, "an event must be a JSON object");
        return false;
    }
    if (!read_strings(d->root, "",
                      (const struct string_member[]){{"severity", &e->severity},
                                                     {"timestamp", &timestamp},
                                                     {"message", &e->message},
                                                     {"reason", &e->reason},
                                                     {"reportingController", &e->controller},
                                                     {"reportingInstance", NULL},
                                                     {NULL, NULL}},
                      err) ||
        !read_object_member(d->root, "involvedObject", &object, err) ||
        !read_object_member(d->root, "metadata", &metadata, err) ||
        !read_strings(object, "involvedObject",
                      (const struct string_member[]){{"kind", &e->kind},
                                                     {"namespace", &e->namespace},
                                                     {"name", &e->name},
                                                     {"uid", &e->uid},
                                                     {"apiVersion", &e->api_version},
                                                     {"resourceVersion", NULL},
                                                     {"fieldPath", NULL},
                                                     {NULL, NULL}},
                      err))
        return false;
    e->has_timestamp = time_parse(timestamp, &e->timestamp_ms);
    return read_metadata(d, metadata, err);
}

/* The members that an answer adds; a sender's own of these names give way. */
static const char *const added_members[] = {"id", "receivedAt", "count", "lastTimestamp", "class", "via"};
#define N_ADDED (sizeof added_members / sizeof added_members[0])

static size_t count_members(json_t *value)
{
    const char *key;
    json_t *member;
    size_t n = 0, index;

    if (json_is_object(value)) {
        n = json_object_size(value);
        json_object_foreach(value, key, member) n += count_members(member);
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, member) n += count_members(member);
    }
    return n;
}

/* But for prefixed metadata keys, which read_metadata finds. */
static bool is_plain(json_t *root, const struct json_survey *survey)
{
    for (size_t i = 0; i < N_ADDED; i++)
        if (json_object_get(root, added_members[i]))
            return false;
    return !survey->spaced && survey->members == count_members(root);
}

struct flux_event *event_from_json(struct str body, char err[static EVENT_ERROR])
{
    struct json_survey survey = json_survey(body);
    struct document *d;
    json_error_t error;
    struct text t;

    text_init(&t, err, EVENT_ERROR);
    if (survey.depth > EVENT_MAX_DEPTH) {
        text_addf(&t, "nested deeper than %d levels", EVENT_MAX_DEPTH);
        return NULL;
    }
    d = calloc(1, sizeof *d);
    if (!d) {
        text_add(&t, STR(NO_MEMORY));
        return NULL;
    }
    d->root = load_tree(d, body, &error);
    if (!d->root) {
        if (error.text[0] == '\0') {
            text_add(&t, STR(NO_MEMORY));
        } else if (str_trim(body).len == 0) {
            text_add(&t, STR("not JSON: the body is empty"));
        } else {
            text_add(&t, STR("not JSON: "));
            text_add_clean(&t, str_of(error.text));
            text_addf(&t, " (line %d, column %d)", error.line, error.column);
        }
        goto refused;
    }
    d->event.plain = is_plain(d->root, &survey);
    if (!read_event(d, err))
        goto refused;
    return &d->event;

refused:
    event_json_free(&d->event);
    return NULL;
}

void event_json_free(struct flux_event *e)
{
    struct document *d = (struct document *)e;

    if (!d)
        return;
    arena_release(&d->tree, d->release);
    free(d);
}

/* --- writing --- */

bool json_out_add(struct json_out *out, struct str s)
{
    if (out->cap - out->len < s.len) {
        size_t cap = out->cap ? out->cap : 1024;
        while (cap - out->len < s.len)
            cap *= 2;
        char *at = realloc(out->at, cap);
        if (!at)
            return false;
        out->at = at;
        out->cap = cap;
    }
    if (s.len)
        memcpy(out->at + out->len, s.at, s.len);
    out->len += s.len;
    return true;
}

/* Sticky: after a failed growth nothing more is written, and one check at the end is enough. */
struct writer {
    struct json_out *out;
    bool failed;
};

static void put(struct writer *w, struct str s)
{
    w->failed = w->failed || !json_out_add(w->out, s);
}

/* A value without the white space between its tokens. */
static void put_compact(struct writer *w, struct str value)
{
    struct json_walk walk = {value.at, value.at + value.len};

    while (walk.at < walk.end) {
        const char *from = walk.at;
        while (walk.at < walk.end && !json_is_space(*walk.at)) {
            if (*walk.at == '"')
                json_skip_string(&walk);
            else
                walk.at++;
        }
        put(w, (struct str){from, (size_t)(walk.at - from)});
        json_skip_space(&walk);
    }
}

static const char *class_text(enum event_class class)
{
    switch (class) {
    case CLASS_OTHER: return "other";
    case CLASS_PROGRESS: return "progress";
    case CLASS_SUCCESS: return "success";
    case CLASS_FAILURE: return "failure";
    }
    return "other";
}

static const char *via_text(enum event_via via)
{
    switch (via) {
    case VIA_WEBHOOK: return "webhook";
    case VIA_STATUS: return "status";
    }
    return "webhook";
}

static void put_added(struct writer *w, const struct record *r)
{
    char buffer[512], received[TIME_TEXT], last[TIME_TEXT];
    struct text t;

    text_init(&t, buffer, sizeof buffer);
    text_addf(&t,
              "\"id\":\"%" PRIu64 "\",\"receivedAt\":\"%s\",\"count\":%" PRIu32
              ",\"lastTimestamp\":\"%s\",\"class\":\"%s\",\"via\":\"%s\"}",
              r->seq, time_format(r->first.received_ms, received), r->count,
              time_format(r->last.effective_ms, last), class_text(r->class), via_text(r->via));
    put(w, text_str(&t));
}

/* How the members of one object are written. */
struct rewrite {
    json_t *last;     /* key as it is written -> index of the member that is */
    bool is_root;     /* drops what the answer adds */
    bool is_metadata; /* drops the keys' prefixes */
    struct str group;
};

/* The key as it is to be written, decoded; the caller frees ret_key. False when out of memory. */
static bool decode_key(const struct rewrite *how, struct str raw, json_t **ret_key, struct str *ret_bare)
{
    *ret_key = json_loadb(raw.at, raw.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!*ret_key)
        return false;
    struct str key = string_of(*ret_key);
    *ret_bare = how->is_metadata ? bare_key(key, how->group) : key;
    return true;
}

/* Fills how->last. A repeated member: the last wins; keys that are one without their prefixes: see key_wins. */
static bool find_last(struct rewrite *how, struct str object)
{
    struct json_walk walk;
    struct str raw, value, key;
    json_t *decoded;

    how->last = json_object();
    if (!how->last || !json_enter_object(&walk, object))
        return how->last != NULL;
    for (json_int_t i = 0; json_next_member(&walk, &raw, &value); i++) {
        if (!decode_key(how, raw, &decoded, &key))
            return false;
        json_t *before = json_object_getn(how->last, key.at, key.len);
        bool wins = !before || key_wins(string_of(decoded), string_of(json_array_get(before, 1)), how->group);
        int failed =
            wins ? json_object_setn_new(how->last, key.at, key.len, json_pack("[IO]", i, decoded)) : 0;
        json_decref(decoded);
        if (failed)
            return false;
    }
    for (size_t i = 0; how->is_root && i < N_ADDED; i++)
        (void)json_object_del(how->last, added_members[i]);
    return true;
}

/* A string value as JSON. jansson writes "/" and non-ASCII as they are. */
static void put_string(struct writer *w, struct str s)
{
    json_t *value = json_stringn(s.at, s.len);
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    json_decref(value);
    if (text)
        put(w, str_of(text));
    else
        w->failed = true;
    free(text);
}

static void put_members(struct writer *w, struct str object, struct rewrite *how);

static void put_value(struct writer *w, struct str key, struct str value, const struct rewrite *outer)
{
    struct rewrite how = {.is_metadata = str_eq(key, STR("metadata")), .group = outer->group};

    if (!outer->is_root || !value.len || value.at[0] != '{' ||
        !(how.is_metadata || str_eq(key, STR("involvedObject")))) {
        put_compact(w, value);
        return;
    }
    put(w, STR("{"));
    put_members(w, value, &how);
    put(w, STR("}"));
}

/* The members of the object with commas between them and none behind the last. */
static void put_members(struct writer *w, struct str object, struct rewrite *how)
{
    struct json_walk walk;
    struct str raw, value, key;
    json_t *decoded = NULL;
    bool first = true;

    if (!find_last(how, object))
        w->failed = true;
    else if (json_enter_object(&walk, object))
        for (json_int_t i = 0; !w->failed && json_next_member(&walk, &raw, &value); i++) {
            if (!decode_key(how, raw, &decoded, &key)) {
                w->failed = true;
                break;
            }
            json_t *entry = json_object_getn(how->last, key.at, key.len);
            if (entry && json_integer_value(json_array_get(entry, 0)) == i) {
                if (!first)
                    put(w, STR(","));
                first = false;
                if (key.len == string_of(decoded).len)
                    put(w, raw);
                else
                    put_string(w, key);
                put(w, STR(":"));
                put_value(w, key, value, how);
            }
            json_decref(decoded);
        }
    json_decref(how->last);
    how->last = NULL;
}

/* The object's API group, which the record does not keep; ret_owner holds its text. False when out of memory:
 * an accepted event's body is JSON. */
static bool find_group(struct str body, json_t **ret_owner, struct str *ret_group)
{
    json_error_t error;

    *ret_owner = load(body, &error);
    if (!*ret_owner)
        return false;
    *ret_group =
        group_of(string_of(json_object_get(json_object_get(*ret_owner, "involvedObject"), "apiVersion")));
    return true;
}

bool event_record_to_json(const struct record *r, struct json_out *out)
{
    struct writer w = {.out = out};
    struct str body = r->body_first;
    size_t before = out->len;

    if (r->plain && body.len >= 2) {
        put(&w, str_upto(body, body.len - 1));
    } else {
        json_t *owner;
        struct rewrite how = {.is_root = true};
        w.failed = !find_group(body, &owner, &how.group);
        put(&w, STR("{"));
        if (!w.failed)
            put_members(&w, body, &how);
        json_decref(owner);
    }
    if (out->len > before + 1)
        put(&w, STR(","));
    put_added(&w, r);
    if (w.failed)
        out->len = before;
    return !w.failed;
}

void json_out_free(struct json_out *out)
{
    free(out->at);
    *out = (struct json_out){0};
}
