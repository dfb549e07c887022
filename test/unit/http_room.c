/* Who ends when there is no room: the order of the classes, the patience with each, the sums. */
#include "harness.h"

#include "http/room_priv.h"

#include <event2/event.h>

#define GRACE_MS 1000
#define HEAD_MS  10000

struct fixture {
    struct event_base *base;
    struct guard_limits limits;
    struct guard_hooks hooks;
    struct room room;
    struct room_item items[6];
    const char *said; /* by on_shed */
};

static struct fixture *ending; /* whose items end */
static char ended[8];          /* their letters, in the order of their end */

static void on_end(struct room_item *item)
{
    size_t n = strlen(ended);
    ended[n] = (char)('a' + (item - ending->items));
    ended[n + 1] = '\0';
    room_leave(&ending->room, item);
}

static void on_shed(void *arg, const char *what)
{
    ((struct fixture *)arg)->said = what;
}

static void setup(struct fixture *f, size_t connections)
{
    memset(f, 0, sizeof *f);
    memset(ended, 0, sizeof ended);
    ending = f;
    f->base = event_base_new();
    f->limits = (struct guard_limits){
        .connections = connections, .idle = 2, .heads = 1000, .grace_ms = GRACE_MS, .head_ms = HEAD_MS};
    f->hooks = (struct guard_hooks){.on_shed = on_shed, .arg = f};
    CHECK(room_init(&f->room, f->base, &f->limits, &f->hooks, on_end));
    f->said = "";
}

static void teardown(struct fixture *f)
{
    room_free(&f->room);
    event_base_free(f->base);
}

/* Item i joins and is of this class since this time. */
static void join(struct fixture *f, int i, enum room_class class, int64_t since_ms)
{
    f->room.connections++;
    room_put(&f->room, &f->items[i], class);
    f->items[i].since_ms = since_ms;
}

static int picked(const struct fixture *f, int64_t now_ms)
{
    const struct room_item *item = room_pick(&f->room, now_ms);
    return item ? (int)(item - f->items) : -1;
}

static void test_order_and_patience(void)
{
    struct fixture f;

    setup(&f, 100);
    CHECK_INT(picked(&f, 0), -1);
    CHECK(room_next_ms(&f.room) == INT64_MAX);
    join(&f, 0, ROOM_BODY, 1000);
    CHECK_INT(room_next_ms(&f.room), 1000 + HEAD_MS);
    CHECK_INT(picked(&f, 999 + HEAD_MS), -1);
    CHECK_INT(picked(&f, 1000 + HEAD_MS), 0);
    join(&f, 1, ROOM_HEAD, 2000);
    join(&f, 2, ROOM_HEAD, 2001);
    CHECK_INT(room_next_ms(&f.room), 2000 + GRACE_MS);
    CHECK_INT(picked(&f, 1999 + GRACE_MS), -1);
    CHECK_INT(picked(&f, 2000 + GRACE_MS), 1);
    join(&f, 3, ROOM_IDLE, 2500);
    CHECK_INT(picked(&f, 2500), 3);
    CHECK_INT(picked(&f, 2000 + GRACE_MS), 1);
    join(&f, 4, ROOM_REFUSED, 2600);
    CHECK_INT(picked(&f, 2600 + GRACE_MS), 4);
    join(&f, 5, ROOM_KEPT, 0);
    room_put(&f.room, &f.items[4], ROOM_KEPT);
    room_put(&f.room, &f.items[1], ROOM_KEPT);
    CHECK_INT(picked(&f, 1000000), 2);
    /* Its place in the queue stays, and its time. */
    room_put(&f.room, &f.items[2], ROOM_HEAD);
    CHECK_INT(f.items[2].since_ms, 2001);
    room_put(&f.room, &f.items[2], ROOM_KEPT);
    room_put(&f.room, &f.items[3], ROOM_KEPT);
    CHECK_INT(picked(&f, 1000000), 0);
    room_put(&f.room, &f.items[0], ROOM_KEPT);
    CHECK_INT(picked(&f, 1000000), -1);
    teardown(&f);
}

/* The last place is given up at once where somebody may end, and later where nobody may yet. */
static void test_the_last_place(void)
{
    struct fixture f;

    setup(&f, 3);
    join(&f, 0, ROOM_HEAD, 0);
    join(&f, 1, ROOM_KEPT, 0);
    CHECK(!room_is_full(&f.room));
    room_enter(&f.room);
    CHECK_TEXT(ended, "a");
    CHECK_TEXT(f.said, "unfinished head");
    CHECK(!room_is_full(&f.room));

    room_enter(&f.room);
    CHECK(room_is_full(&f.room));
    CHECK_TEXT(ended, "a");
    f.said = "";
    room_put(&f.room, &f.items[1], ROOM_IDLE);
    event_base_loop(f.base, EVLOOP_ONCE);
    CHECK_TEXT(ended, "ab");
    CHECK_TEXT(f.said, "");

    /* A head gets its time, and no timer is needed while there is room. */
    f.limits.grace_ms = 500;
    room_enter(&f.room);
    f.room.connections--; /* join() counts it */
    join(&f, 2, ROOM_HEAD, 0);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    CHECK_TEXT(ended, "ab");
    event_base_loop(f.base, EVLOOP_ONCE);
    CHECK_TEXT(ended, "abc");
    CHECK(!room_is_full(&f.room));
    CHECK_INT(event_base_get_num_events(f.base, EVENT_BASE_COUNT_ADDED), 0);
    teardown(&f);
}

static void test_sums(void)
{
    struct fixture f;

    setup(&f, 100);
    for (int i = 0; i < 3; i++) {
        join(&f, i, ROOM_HEAD, i);
        room_count_head(&f.room, &f.items[i], 300);
    }
    room_count_head(&f.room, &f.items[2], 400);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    CHECK_TEXT(ended, "");
    CHECK_INT(f.room.heads, 1000);
    room_count_head(&f.room, &f.items[1], 301);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    CHECK_TEXT(ended, "a");
    CHECK_INT(f.room.heads, 701);
    room_count_head(&f.room, &f.items[1], 0);
    CHECK_INT(f.room.heads, 400);

    harness_case("idle");
    for (int i = 3; i < 6; i++)
        join(&f, i, ROOM_IDLE, i);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    CHECK_TEXT(ended, "ad");
    CHECK_INT(f.room.connections, 4);
    teardown(&f);
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(test_order_and_patience), TEST(test_the_last_place), TEST(test_sums), {0}});
}
