/* GET /runs: an answer in pieces, one a turn, beside others, and what becomes of it when there are too many. */
#include "http_test.h"

#include "http/runs.h"

#define GET_RUNS "GET /runs HTTP/1.1\r\nHost: x\r\n\r\n"

static struct {
    int pieces; /* that a list has */
    int given, turns;
    bool no_memory;
} world;

/* A list of so many pieces, whose position counts them. */
static char *on_piece(void *arg, uint64_t *position, bool *ret_last)
{
    char *text = NULL;

    CHECK(arg == &world);
    if (world.no_memory)
        return NULL;
    world.given++;
    *ret_last = ++*position >= (uint64_t)world.pieces;
    CHECK(asprintf(&text, "piece %d;", (int)*position) > 0);
    return text;
}

static void on_turn(void *arg)
{
    (void)arg;
    world.turns++;
}

static struct runs *start(struct rig *rig, int pieces)
{
    memset(&world, 0, sizeof world);
    world.pieces = pieces;
    rig_start(rig, NULL);
    rig->on_turn = on_turn;
    struct runs *runs = runs_new(rig->server, rig->base, on_piece, &world);
    CHECK(runs != NULL);
    return runs;
}

static void stop(struct rig *rig, struct runs *runs)
{
    runs_free(runs);
    rig_stop(rig);
}

static void test_pieces_in_turns(void)
{
    struct rig rig;
    struct client c;
    struct str body;

    for (int pieces = 1; pieces <= 3; pieces++) {
        struct runs *runs = start(&rig, pieces);
        harness_case("%d", pieces);
        client_open(&c, &rig);
        client_text(&c, GET_RUNS);
        RIG_UNTIL(&rig, world.given > 0);
        int begun = world.turns;
        CHECK_INT(client_answer(&c, &body), 200);
        CHECK_STR(body, str_upto(STR("piece 1;piece 2;piece 3;"), (size_t)pieces * 8));
        CHECK_INT(world.given, pieces);
        CHECK(world.turns - begun >= pieces - 1); /* others have their turn between */
        client_close(&c);
        stop(&rig, runs);
    }
}

static void test_refused(void)
{
    struct rig rig;
    struct client c;
    struct runs *runs = start(&rig, 1);

    client_open(&c, &rig);
    client_text(&c, "GET /runs?all=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_INT(client_answer(&c, NULL), 400);
    CHECK_INT(world.given, 0);
    client_next(&c);
    harness_case("out of memory");
    world.no_memory = true;
    client_text(&c, GET_RUNS);
    CHECK_INT(client_answer(&c, NULL), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    client_next(&c);
    harness_case("and again with some");
    world.no_memory = false;
    client_text(&c, GET_RUNS);
    CHECK_INT(client_answer(&c, NULL), 200);
    client_close(&c);
    stop(&rig, runs);
}

#define ENDLESS (1 << 30)

static void begin_lists(struct rig *rig, struct client *c, int n)
{
    for (int i = 0; i < n; i++) {
        client_open(&c[i], rig);
        client_text(&c[i], GET_RUNS);
    }
    RIG_UNTIL(rig, http_server_pending(rig->server) == (size_t)n);
}

/* So many lists are gathered at once; who asks then is told to come again. The list of one that left is made to its end,
 * and dropped. */
static void test_too_many(void)
{
    struct client c[RUNS_MAX_RUNNING], more;
    struct rig rig;
    struct runs *runs = start(&rig, ENDLESS);

    begin_lists(&rig, c, RUNS_MAX_RUNNING);
    client_open(&more, &rig);
    client_text(&more, GET_RUNS);
    CHECK_INT(client_answer(&more, NULL), 503);
    CHECK_HAS(client_in(&more), STR("too many lists are being gathered: try again"));
    client_next(&more);
    client_close(&c[0]);
    world.pieces = 0;
    RIG_UNTIL(&rig, http_server_pending(rig.server) == 0);
    for (int i = 1; i < RUNS_MAX_RUNNING; i++) {
        CHECK_INT(client_answer(&c[i], NULL), 200);
        client_close(&c[i]);
    }
    client_text(&more, GET_RUNS);
    CHECK_INT(client_answer(&more, NULL), 200);
    client_close(&more);
    stop(&rig, runs);
}

/* Those that are being made are forgotten, and nothing of them is left. */
static void test_end_while_lists_are_made(void)
{
    struct client c[3];
    struct rig rig;
    struct runs *runs = start(&rig, ENDLESS);

    begin_lists(&rig, c, 3);
    runs_free(runs);
    int given = world.given;
    for (int i = 0; i < 10; i++)
        rig_loop(&rig, EVLOOP_NONBLOCK);
    CHECK_INT(world.given, given);
    rig_stop(&rig);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    runs_free(NULL);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_pieces_in_turns),
                                       TEST(test_refused),
                                       TEST(test_too_many),
                                       TEST(test_end_while_lists_are_made),
                                       {0}});
}
