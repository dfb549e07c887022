/* Room for connections: how many there are, and which ends first when there is none for a new one.
 *
 * A connection of which nothing can be expected is worth less than one that knocks: first those that were refused and
 * still send, then those that have not sent a whole head, then those between two requests, then bodies that are slow
 * beyond measure; the longest waiting of each first. One whose request is being answered never ends for another. Who
 * sends its head at once is therefore served, however many connections sit there and send nothing (slowloris).
 */
#ifndef FES_HTTP_ROOM_PRIV_H
#define FES_HTTP_ROOM_PRIV_H

#include "http/guard_priv.h"

#include <sys/queue.h>

struct event;
struct event_base;

/* In the order in which they end. */
#define ROOM_CLASSES(X)           \
    X(REFUSED, "refused request") \
    X(HEAD, "unfinished head")    \
    X(IDLE, "idle")               \
    X(BODY, "unfinished body")
enum room_class {
    ROOM_KEPT, /* does not end for another */
#define X(name, text) ROOM_##name,
    ROOM_CLASSES(X)
#undef X
        ROOM_N
};

/* One for each connection; zeroed at first. */
struct room_item {
    enum room_class class;
    int64_t since_ms;
    size_t head_bytes;
    TAILQ_ENTRY(room_item) link;
};
TAILQ_HEAD(room_list, room_item);

struct room {
    const struct guard_limits *limits;
    const struct guard_hooks *hooks;
    void (*end)(struct room_item *item); /* ends the connection at once, with room_leave */
    struct event *trim;                  /* ends connections outside of evhttp's calls */
    struct room_list lists[ROOM_N];      /* the longest there first; none of ROOM_KEPT */
    size_t n[ROOM_N];
    size_t connections;
    size_t most;    /* connections before the room is full */
    uint64_t heads; /* bytes of unfinished heads */
};

/* False when out of memory. limits and hooks are borrowed. */
bool room_init(struct room *room, struct event_base *base, const struct guard_limits *limits,
               const struct guard_hooks *hooks, void (*end)(struct room_item *item));
void room_free(struct room *room);

/* A connection comes, and others end if that fills the room. */
void room_enter(struct room *room);
void room_leave(struct room *room, struct room_item *item);
bool room_is_full(const struct room *room);
/* There are fewer descriptors than the limits say: until this is taken back, no more connections than there are now,
 * but a few less, so that who knocks is served as at the limit. */
void room_set_crowded(struct room *room, bool is_crowded);
/* From now on the connection is of this class; one that is so already keeps its place. */
void room_put(struct room *room, struct room_item *item, enum room_class class);
/* The bytes that have come of an unfinished head; 0 when it is finished. */
void room_count_head(struct room *room, struct room_item *item, size_t bytes);

/* The one to end at this time, or NULL. */
struct room_item *room_pick(const struct room *room, int64_t mono_ms);
/* When room_pick has one; INT64_MAX while there is none to wait for. */
int64_t room_next_ms(const struct room *room);

#endif
