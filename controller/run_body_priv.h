/* Bodies of the requests that change a Run, and where they go. */
#ifndef FES_CONTROLLER_RUN_BODY_PRIV_H
#define FES_CONTROLLER_RUN_BODY_PRIV_H

#include "controller/say_priv.h"

/* Namespaces, names and API prefixes are bounded (RUN_MAX_NAME), so every path fits. */
#define RUN_PATH 768

/* "/apis/tekton.dev/v1beta1/namespaces/NS/customruns/NAME", with "/status" for a PATCH. */
void run_path(const struct run *r, bool status, char out[static RUN_PATH]);
/* "/api/v1/namespaces/NS/events" */
void run_events_path(const struct run *r, char out[static RUN_PATH]);

/* The merge patch (RFC 7386) for an action: only the keys that change, arrays whole, and resourceVersion, so
 * that a write never lands on a state that was not decided on. Caller frees ->at. {NULL, 0}: out of memory.
 */
struct str run_patch_body(const struct run *r, const struct action *a, const struct verdict *v);

#define RUN_EVENT_MESSAGE 1024 /* bytes; the API server's limit on an Event's message */
/* A core/v1 Event on the Run. unique makes its name one of its own. Caller frees ->at; {NULL, 0}: out of
 * memory. */
struct run_event {
    struct str reason;
    struct str message; /* cut at RUN_EVENT_MESSAGE */
    bool warning;
    int64_t now_ms;
    uint64_t unique;
};
struct str run_event_body(const struct run *r, const struct run_event *e);

#endif
