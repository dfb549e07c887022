/* The command "ping URL": posts an event to a server of this program and reads it back, as `helm test` does from the
 * image that holds nothing but the binary. A repeated ping is coalesced by the server: one record, whose count grows.
 */
#ifndef FES_K8S_PING_H
#define FES_K8S_PING_H

#include "store/flags.h"

#define PING_SECONDS \
    30 /* in all, for both requests; a server that starts or is full for a moment is asked again */
#define PING_ERROR 768
#define PING_ID    24 /* room for an id as text */

struct ping_config {
    const char *ca_file; /* of a server that speaks TLS */
};
extern const struct flag ping_flags[]; /* fill a struct ping_config */

enum ping_result {
    PING_DONE,     /* the event was stored under ret_id, and is there */
    PING_FAILED,   /* the server did not do that; one sentence in err */
    PING_UNUSABLE, /* the URL, or a file, cannot be used, so nobody was asked; one sentence in err */
};

/* url: http(s)://host[:port]. The token files are those of the server, NULL for none. wall_ms: the event's timestamp, in
 * milliseconds since 1970. Blocks: what may mend itself (no connection, 503) is tried again for PING_SECONDS, what does
 * not ends it at once. */
enum ping_result ping_run(const char *url, const struct ping_config *config, const char *post_token_file,
                          const char *read_token_file, int64_t wall_ms, char ret_id[static PING_ID],
                          char err[static PING_ERROR]);

#endif
