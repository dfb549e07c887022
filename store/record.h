/* What the store keeps: one record for each distinct statement of an object.
 *
 * The record format is final: every field that coalescing, retention and the verdict need is in it, so that
 * those parts can grow without a new schema. store/record.c holds the encoding (version, checksums, layout).
 */
#ifndef FES_STORE_RECORD_H
#define FES_STORE_RECORD_H

#include "store/event.h"

/* Effective time: the event's timestamp, or the time of arrival where the timestamp is absent, before the
 * year 2000, or later than the arrival. */
struct record_time {
    int64_t effective_ms;
    int64_t received_ms; /* never decreases within a store */
    bool by_arrival;     /* the effective time is the time of arrival */
};

/* How many bytes of a message are kept beside the body, for explanations and conditions. */
#define RECORD_MESSAGE_MAX 1024

/* A decoded record. All slices point into the database and are valid only during the callback that hands it
 * over. */
struct record {
    uint64_t seq; /* 1, 2, 3, ... in order of arrival; the id of the API */
    enum event_class class;
    enum event_via via;
    bool plain;     /* see struct flux_event */
    uint32_t count; /* statements coalesced into this record, at least 1 */
    /* Of the first and the last statement by the order of records; received_ms: when the record was first and last
     * heard of, which a late statement moves too. */
    struct record_time first;
    struct record_time last;
    struct str cluster;
    struct str kind;
    struct str namespace;
    struct str name;
    struct str uid;
    struct str severity;
    struct str reason;
    struct str revision;
    struct str origin_revision;
    struct str commit;
    struct str oci_digest;
    struct str
        message; /* the first RECORD_MESSAGE_MAX bytes of the last statement's, cut at a UTF-8 boundary */
    uint64_t message_digest; /* of the whole message, to tell whether two statements say the same */
    struct str body_first;   /* of the first statement, as received */
    struct str body_last;    /* of the last; the same slice as body_first while count is 1 */
    uint32_t body_checksum;  /* see record_bodies_intact */
};

/* Whether it is a success or a failure: what verdicts are made of. */
static inline bool record_decides(const struct record *r)
{
    return r->class == CLASS_SUCCESS || r->class == CLASS_FAILURE;
}

/* Whether the bodies are still what was written. Everything else of a record is checked each time it is read; the
 * bodies are not, so that a scan which only filters does not touch them. Whoever gives a body away asks this first
 * (store_get has asked). */
bool record_bodies_intact(const struct record *r);

#endif
