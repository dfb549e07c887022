/* Counting connections, and choosing who ends for another (see room_priv.h).
 *
 * Whoever takes the last place is taken for one that knocks: with it the room is full, and somebody ends. If nobody
 * has been there for long enough, accepting stops (the guard's hooks) until somebody has: a head that is still on its
 * way is not cut, and clients wait in the kernel for the tenth of a second.
 *
 * All of a class must have been in it for the same time before they may end, and join at the end of its list; so only
 * the first one of each list is ever looked at.
 */
#include "http/room_priv.h"

#include "http/server_priv.h"

#include <event2/event.h>

static const char *name_of(enum room_class class)
{
    switch (class) {
    case ROOM_KEPT:
    case ROOM_N: break;
#define X(name, text) \
    case ROOM_##name: return text;
        ROOM_CLASSES(X)
#undef X
    }
    return "";
}

/* How long one must have been in a class before it may end. */
static int64_t patience_ms(const struct room *room, enum room_class class)
{
    if (class == ROOM_BODY)
        return room->limits->head_ms;
    return class == ROOM_IDLE ? 0 : room->limits->grace_ms;
}

struct room_item *room_pick(const struct room *room, int64_t now_ms)
{
    for (enum room_class class = ROOM_KEPT + 1; class < ROOM_N; class ++) {
        struct room_item *item = TAILQ_FIRST(&room->lists[class]);
        if (item && now_ms - item->since_ms >= patience_ms(room, class))
            return item;
    }
    return NULL;
}

int64_t room_next_ms(const struct room *room)
{
    int64_t next_ms = INT64_MAX;

    for (enum room_class class = ROOM_KEPT + 1; class < ROOM_N; class ++) {
        const struct room_item *item = TAILQ_FIRST(&room->lists[class]);
        if (item && item->since_ms + patience_ms(room, class) < next_ms)
            next_ms = item->since_ms + patience_ms(room, class);
    }
    return next_ms;
}

/* EV_READ, because to plan() a time would take back an EV_TIMEOUT (event_add(3)). */
static void trim_soon(struct room *room)
{
    event_active(room->trim, EV_READ, 0);
}

/* Ends one; that it was idle is not worth a word. */
static void end(struct room *room, struct room_item *item)
{
    if (item->class != ROOM_IDLE)
        room->hooks->on_shed(room->hooks->arg, name_of(item->class));
    room->end(item);
}

/* Sees to it that somebody ends as soon as somebody may, if that is wanted. */
static void plan(struct room *room)
{
    int64_t next_ms = room_next_ms(room);

    if (!room_is_full(room) || next_ms == INT64_MAX)
        return;
    int64_t wait_ms = next_ms - http_mono_ms();
    struct timeval tv = {0};
    if (wait_ms > 0)
        tv = (struct timeval){.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
    (void)event_add(room->trim, &tv);
}

static void make_room(struct room *room)
{
    struct room_item *item;

    while (room_is_full(room) && (item = room_pick(room, http_mono_ms())) != NULL)
        end(room, item);
    plan(room);
}

static void on_trim(evutil_socket_t fd, short what, void *arg)
{
    struct room *room = arg;
    struct room_item *item;

    (void)fd;
    (void)what;
    while (room->n[ROOM_IDLE] > room->limits->idle)
        end(room, TAILQ_FIRST(&room->lists[ROOM_IDLE]));
    while (room->heads > room->limits->heads && (item = TAILQ_FIRST(&room->lists[ROOM_HEAD])) != NULL)
        end(room, item);
    make_room(room);
}

bool room_init(struct room *room, struct event_base *base, const struct guard_limits *limits,
               const struct guard_hooks *hooks, void (*end_item)(struct room_item *item))
{
    *room = (struct room){.limits = limits, .hooks = hooks, .end = end_item, .most = limits->connections};
    for (int class = 0; class < ROOM_N; class ++)
        TAILQ_INIT(&room->lists[class]);
    room->trim = event_new(base, -1, 0, on_trim, room);
    return room->trim != NULL;
}

void room_free(struct room *room)
{
    if (room->trim)
        event_free(room->trim);
    room->trim = NULL;
}

void room_enter(struct room *room)
{
    room->connections++;
    make_room(room);
}

void room_leave(struct room *room, struct room_item *item)
{
    room_put(room, item, ROOM_KEPT);
    room_count_head(room, item, 0);
    room->connections--;
}

bool room_is_full(const struct room *room)
{
    return room->connections >= room->most;
}

void room_set_crowded(struct room *room, bool is_crowded)
{
    size_t n = room->connections;

    room->most = room->limits->connections;
    if (is_crowded && n - n / 8 < room->most)
        room->most = n - n / 8;
    plan(room);
}

void room_put(struct room *room, struct room_item *item, enum room_class class)
{
    if (item->class == class)
        return;
    if (item->class != ROOM_KEPT) {
        TAILQ_REMOVE(&room->lists[item->class], item, link);
        room->n[item->class]--;
    }
    item->class = class;
    if (class == ROOM_KEPT)
        return;
    item->since_ms = http_mono_ms();
    TAILQ_INSERT_TAIL(&room->lists[class], item, link);
    room->n[class]++;
    if (room->n[ROOM_IDLE] > room->limits->idle)
        trim_soon(room);
    plan(room);
}

void room_count_head(struct room *room, struct room_item *item, size_t bytes)
{
    room->heads += bytes - item->head_bytes;
    item->head_bytes = bytes;
    if (room->heads > room->limits->heads)
        trim_soon(room);
}
