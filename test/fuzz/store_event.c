/* The event codec: what is accepted must come back as an event that says the same. */
#include <stdlib.h>

#include "store/event_json.h"

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_same(const struct flux_event *a, const struct flux_event *b)
{
    require(str_eq(a->cluster, b->cluster) && str_eq(a->kind, b->kind) &&
            str_eq(a->namespace, b->namespace) && str_eq(a->name, b->name) && str_eq(a->uid, b->uid) &&
            str_eq(a->api_version, b->api_version) && str_eq(a->severity, b->severity) &&
            str_eq(a->reason, b->reason) && str_eq(a->message, b->message) &&
            str_eq(a->controller, b->controller) && str_eq(a->revision, b->revision) &&
            str_eq(a->origin_revision, b->origin_revision) && str_eq(a->commit, b->commit) &&
            str_eq(a->oci_digest, b->oci_digest));
    require(a->has_timestamp == b->has_timestamp &&
            (!a->has_timestamp || a->timestamp_ms == b->timestamp_ms));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = {(const char *)data, size};
    char err[EVENT_ERROR];
    struct flux_event *e = event_from_json(body, err);
    struct json_out out = {0};

    if (!e) {
        require(err[0] != '\0' && str_find(str_of(err), '\n') < 0);
        return 0;
    }
    struct record r = {
        .seq = UINT64_MAX, .count = UINT32_MAX, .plain = e->plain, .body_first = body, .body_last = body};
    require(event_record_to_json(&r, &out));
    struct str answer = {out.at, out.len};
    require(str_find(answer, '\n') < 0 && str_find(answer, '\r') < 0);
    struct flux_event *again = event_from_json(answer, err);
    require(again != NULL);
    require_same(e, again);
    event_json_free(again);
    /* The careful way gives an event that says the same as the splice. */
    r.plain = false;
    out.len = 0;
    require(event_record_to_json(&r, &out));
    again = event_from_json((struct str){out.at, out.len}, err);
    require(again != NULL);
    require_same(e, again);
    event_json_free(again);
    event_json_free(e);
    json_out_free(&out);
    return 0;
}
