/* Any bytes as a Flux object. What it decides must be an event that reads back as the same success or
 * failure. */
#include "controller/flux_status.h"

#include <stdlib.h>

#include "store/classify_priv.h"
#include "store/event_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char err[FLUX_STATUS_ERROR] = "", event_err[EVENT_ERROR];
    struct flux_facts facts;
    struct str body = STR_NONE;
    struct flux_status *s = flux_status_read((struct str){(const char *)data, size}, err);

    if (!s) {
        if (err[0] == '\0')
            abort(); /* refused without a word */
        return 0;
    }
    flux_status_facts(s, &facts);
    const struct flux_event *e = flux_status_event(s, &body);
    if (e) {
        struct flux_event *again = event_from_json(body, event_err);
        enum event_class class = classify(e->kind, e->controller, e->severity, e->reason, e->message);
        if (class != CLASS_SUCCESS && class != CLASS_FAILURE)
            abort();
        if (facts.deleting || e->revision.len == 0 || !e->has_timestamp || !e->plain)
            abort();
        if (!again || !str_eq(again->revision, e->revision) || !str_eq(again->message, e->message))
            abort();
        event_json_free(again);
    }
    flux_status_free(s);
    return 0;
}
