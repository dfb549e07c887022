/* One Flux event as it was received, reduced to what this program decides on.
 *
 * The wire form is fluxcd/pkg apis/event/v1beta1. Strings are slices of memory that belongs to whoever made
 * the event (event_json: the parsed document); they are valid as long as the event is. Absent members are
 * empty.
 */
#ifndef FES_STORE_EVENT_H
#define FES_STORE_EVENT_H

#include "store/str.h"

/* What a record means for a wait on its revision. */
enum event_class {
    CLASS_OTHER,    /* nothing: rollbacks, drift, sources' errors, unknown kinds */
    CLASS_PROGRESS, /* on the way */
    CLASS_SUCCESS,
    CLASS_FAILURE,
};

/* How it came to be known. */
enum event_via {
    VIA_WEBHOOK, /* POST /events */
    VIA_STATUS,  /* read from the status of a watched Flux object */
};

struct flux_event {
    struct str cluster; /* metadata "cluster"; the store adds --cluster where it is empty */
    struct str kind;    /* involvedObject; all four empty: the anonymous object of the cluster */
    struct str namespace;
    struct str name;
    struct str uid;
    struct str api_version; /* involvedObject.apiVersion, "group/version" */
    struct str severity;    /* "info", "error", "trace" or anything else a sender wrote */
    struct str reason;
    struct str message;
    struct str controller; /* reportingController */
    struct str revision;   /* metadata, bare keys (a prefix "<group>.toolkit.fluxcd.io/" is dropped) */
    struct str origin_revision;
    struct str commit;
    struct str oci_digest;
    int64_t timestamp_ms; /* valid when has_timestamp */
    bool has_timestamp;   /* the member was a readable RFC 3339 time (of any year) */
    bool plain; /* the body can be given back as it is: an object without white space around its members'
                   framing or line breaks, no prefixed metadata key, no repeated member, and none
                   named like the members that an answer adds */
};

#endif
