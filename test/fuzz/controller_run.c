/* The Run codec on any bytes: whatever is read as ours must give bodies that are JSON. The first byte picks
 * the kind. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "controller/run_body_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_json(struct str body)
{
    json_t *root =
        body.at ? json_loadb(body.at, body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;

    if (!root)
        abort();
    json_decref(root);
    free((char *)(uintptr_t)body.at);
}

static void write_all(struct run *r)
{
    struct verdict_object o = {
        .reported = true, .kind = r->reason, .message = r->message, .reason = r->revision};
    struct verdict v = {.decider = &o, .objects = &o, .n_objects = 1, .explanation = r->message};
    const struct moment now = {INT64_C(1767225600000), 1};
    const struct run_event e = {r->reason, r->message, false, now.wall_ms, 7};
    struct action a = decide(r, NULL, now);

    run_anchor(r, now);
    for (enum action_kind kind = ACTION_START; kind <= ACTION_REJECT; kind++) {
        a.kind = kind;
        must_be_json(run_patch_body(r, &a, &v));
    }
    must_be_json(run_event_body(r, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run_refs refs = {0};
    const struct run_parse_options options = {&refs, 3600000};
    struct run r;

    if (size == 0)
        return 0;
    struct str json = {(const char *)data + 1, size - 1};
    enum run_parsed parsed = run_parse(data[0] & 1 ? KIND_CUSTOMRUN : KIND_RUN, json, &options, &r);
    if (parsed == RUN_OURS)
        write_all(&r);
    if (parsed == RUN_OURS || parsed == RUN_FOREIGN)
        run_release(&r);
    return 0;
}
