/* A verdict as JSON. */
#ifndef FES_HTTP_VERDICT_JSON_H
#define FES_HTTP_VERDICT_JSON_H

#include "store/verdict.h"

/* The reason beside a verdict, the same word as in a Run's condition: "Waiting", "ReconciliationSucceeded",
 * "ReconciliationFailed", "Superseded", "AmbiguousRevision". */
const char *verdict_reason(enum verdict_state state);

/* One object and a line break:
 *   verdict       "waiting", "succeeded", "failed" (an ambiguous revision too) or "superseded"
 *   reason        verdict_reason()
 *   message       the explanation, one sentence
 *   revision      as asked
 *   object        "Kind/namespace/name" that decided (empty: an event without an object), eventId: its record,
 *                 timestamp: since when; left out while waiting
 *   supersededBy  the revision that came instead, or afterwards; left out when there is none
 *   objects       each with cluster, kind, namespace, name, state, reported and, once it was heard of, of its last
 *                 record reason, message, revision, eventId, timestamp, receivedAt; and failingSince, supersededBy,
 *                 supersededAt where they apply
 * The caller frees with free(). NULL when out of memory. */
char *verdict_to_json(const struct verdict *v, struct str revision);

#endif
