/* Finds values in JSON text without building trees. Pure.
 *
 * A list page of 250 Runs is cut into its items, and a watch line into its type and its object, by one pass
 * over the text; only the objects themselves are parsed, one at a time, by whoever wants them.
 */
#ifndef FES_K8S_SCAN_PRIV_H
#define FES_K8S_SCAN_PRIV_H

#include "store/str.h"

#define K8S_SCAN_DEPTH 2048

/* A member to look for. All slices point into the text. */
struct k8s_member {
    struct str name; /* compared with the name as written: a name written with escapes is another one */
    struct k8s_member *inside; /* looked for inside the value when it is an object; may be NULL */
    size_t n_inside;
    struct str
        value; /* returned: the value's text; at is NULL when there is none. The last of several counts. */
};

/* json must be one object (white space around it is allowed) and valid by RFC 8259 all through, UTF-8
 * included. False: it is not; the values are then unspecified. */
bool k8s_scan_object(struct str json, struct k8s_member *members, size_t n);

/* Decodes a value that is a string into out, NUL-terminated. False: no string, does not fit, or holds a NUL.
 */
bool k8s_scan_text(struct str value, char *out, size_t cap);

enum k8s_event_type {
    K8S_EVENT_OTHER,
    K8S_EVENT_ADDED,
    K8S_EVENT_MODIFIED,
    K8S_EVENT_DELETED,
    K8S_EVENT_BOOKMARK,
    K8S_EVENT_ERROR,
};
/* One line of a watch. All slices point into it and are values as they are written; at is NULL for none. */
struct k8s_event {
    enum k8s_event_type type;
    struct str object;
    struct str version; /* the object's metadata.resourceVersion */
    struct str code;    /* with K8S_EVENT_ERROR, whose object is a Status */
    struct str message;
};
/* False: not a JSON object with a type and an object. */
bool k8s_scan_event(struct str line, struct k8s_event *ret);

/* A list page, item by item: kind and metadata may come before or after the items. */
struct k8s_page {
    const char *at;
    const char *end;
    bool in_items;
    bool begun;
    bool first;          /* of the members, or of the items */
    struct str metadata; /* valid after K8S_PAGE_END; at is NULL when there was none */
};
enum k8s_page_part { K8S_PAGE_ITEM, K8S_PAGE_END, K8S_PAGE_BAD };

void k8s_page_init(struct k8s_page *p, struct str json);
/* Gives the next item, borrowed from the text. After K8S_PAGE_END or K8S_PAGE_BAD it must not be called
 * again. */
enum k8s_page_part k8s_page_next(struct k8s_page *p, struct str *ret_item);

#endif
