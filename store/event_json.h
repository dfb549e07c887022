/* Flux event JSON <-> struct flux_event. The only file of store/ that knows jansson. */
#ifndef FES_STORE_EVENT_JSON_H
#define FES_STORE_EVENT_JSON_H

#include "store/event.h"
#include "store/record.h"

#define EVENT_ERROR 256
/* Deepest nesting of objects and arrays that is accepted (RFC 8259 section 9 allows a limit). */
#define EVENT_MAX_DEPTH 32

/* Reads one event. Accepted: any JSON object whose known members have the right type or are null; unknown members,
 * "\u0000" in strings, numbers of any size, repeated members (the last wins), no revision, no object, no timestamp,
 * an unreadable timestamp string. Refused, with one line in err that names the member: not JSON, not an object, a
 * known member of the wrong type, a metadata value that is not a string or null.
 * Returns NULL on refusal, and when out of memory with NO_MEMORY in err. Free with event_json_free(); `body` is not
 * kept. */
struct flux_event *event_from_json(struct str body, char err[static EVENT_ERROR]);
void event_json_free(struct flux_event *e);

/* The answer form of a record: the Flux members of its first body with bare metadata keys, and id, receivedAt, count,
 * lastTimestamp, class, via. Appends to *out (malloc'ed, grown, *len bytes used); the caller frees *out.
 * False when out of memory. Compact, one line, no line breaks. */
struct json_out {
    char *at;
    size_t len;
    size_t cap;
};
bool event_record_to_json(const struct record *r, struct json_out *out);
/* Appends text as it is. False when out of memory: then nothing was appended. */
bool json_out_add(struct json_out *out, struct str s);
void json_out_free(struct json_out *out);

#endif
