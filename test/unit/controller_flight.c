/* Replies of every kind: conflicts, refusals, silence, and answers that were lost (controller_world.h). */
#include "controller_world.h"

#define C KIND_CUSTOMRUN
#define R KIND_RUN

static void waiting_run(const char *name)
{
    create(C, name, "");
    serve_all();
}

static void item_52_conflicts(void)
{
    begin();
    create(C, "w", "");
    harness_case("one conflict is read and written again at once");
    change(C, "w", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    CHECK_INT(serve_one(), 409);
    CHECK_INT(next_request()->kind, A_GET);
    CHECK_INT(serve_one(), 200);
    CHECK_INT(next_request()->kind, A_PATCH);
    CHECK_INT(serve_one(), 200);
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    CHECK_INT(stats().conflicts, 1);
    harness_case("a storm is bounded, then there is a pause");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    size_t before = n_seen;
    for (int i = 0; i < 100 && next_request(); i++) {
        change(C, "w", "{\"metadata\":{\"labels\":{\"a\":\"c\"}}}");
        serve_one();
    }
    CHECK(n_seen - before < 10);
    CHECK_INT(count_under_way(), 0);
    harness_case("and it goes on when the storm is over, reading first");
    advance(SECOND);
    CHECK_INT(next_request()->kind, A_GET);
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_INT(count_requests(AN_EVENT), 2);
}

static void conflict_with_an_end(void)
{
    begin();
    waiting_run("w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    change(
        C, "w",
        "{\"status\":{\"conditions\":[{\"type\":\"Succeeded\",\"status\":\"False\",\"reason\":\"Other\"}]}}");
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Other"));
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(count_requests(AN_EVENT), 1);
}

static void conflict_with_another_uid(void)
{
    begin();
    waiting_run("w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    store_says(VERDICT_WAITING, 0);
    make(C, "w", "second", "");
    CHECK_INT(serve_one(), 409);
    CHECK_INT(serve_one(), 200);
    serve_all();
    harness_case("the new object begins from scratch");
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    CHECK_INT(count_waiters(), 1);
    harness_case("the watch shows it too");
    show(C, "w");
    turn();
    serve_all();
    CHECK_INT(controller->n_tracked, 1);
}

static void item_53_retry_after(void)
{
    begin();
    waiting_run("w");
    waiting_run("other");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    fail_one(429, 3000);
    fail_one(429, 1000);
    advance(2999);
    CHECK_INT(count_under_way(), 0);
    harness_case("nor for a Run that comes now");
    create(R, "late", "");
    CHECK_INT(count_under_way(), 0);
    advance(1000);
    CHECK_INT(count_under_way(), 3);
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_STR(condition(R, "late", "status"), STR("True"));
}

static void item_54_broken_webhook_for_ten_minutes(void)
{
    size_t tries = 0;

    begin();
    waiting_run("w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    for (int i = 0; i < 600; i++) {
        while (next_request()) {
            fail_one(500, -1);
            tries++;
        }
        advance(SECOND);
    }
    printf("# %zu tries in 10 minutes\n", tries);
    CHECK(tries >= 20 && tries <= 1200);
    advance(SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_INT(count_requests(AN_EVENT), 2);
    CHECK_INT(stats().finished, 1);
}

static void item_54_one_of_many_tries_and_all_go_on(void)
{
    static const int codes[] = {500, 0, 504, 429};
    char name[32];

    for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
        size_t tries = 0;
        harness_case("%d", codes[c]);
        begin();
        for (int i = 0; i < 200; i++) {
            (void)snprintf(name, sizeof name, "w%d", i);
            waiting_run(name);
        }
        store_says(VERDICT_SUCCEEDED, T0);
        turn();
        while (next_request())
            fail_one(codes[c], -1);
        for (int ms = 0; ms < 60000; ms += 100) {
            CHECK(count_under_way() <= 1);
            while (next_request()) {
                fail_one(codes[c], -1);
                tries++;
            }
            advance(100);
        }
        CHECK(tries > 60 && tries <= 120);
        create(C, "late", "");
        CHECK(count_under_way() <= 1);
        advance(SECOND);
        CHECK(count_under_way() >= 1);
        serve_all();
        CHECK_INT(stats().finished, 201);
        CHECK_INT(controller->n_held, 0);
        CHECK(!controller->failing);
        harness_case("%d: nothing is left to wake up for", codes[c]);
        CHECK_INT(wake_ms == INT64_MAX, 1);
    }
}

/* The store behind the API server may be unable to take one object, and only that. */
static void one_run_that_cannot_be_written_holds_up_nobody(void)
{
    size_t tries = 0;
    char name[32];

    begin();
    create(C, "bad", ",\"timeout\":\"0s\"");
    for (int s = 0; s < 600; s++) {
        (void)snprintf(name, sizeof name, "w%d", s);
        create(C, name, "");
        for (int n = 0; n < 20 && next_request(); n++) {
            bool bad = strstr(next_request()->path, "/bad/") != NULL;
            if (bad)
                fail_one(500, -1);
            else
                serve_one();
            tries += bad;
        }
        advance(SECOND);
        for (int n = 0; n < 20 && next_request(); n++) {
            bool bad = strstr(next_request()->path, "/bad/") != NULL;
            if (bad)
                fail_one(500, -1);
            else
                serve_one();
            tries += bad;
        }
        CHECK_STR(condition(C, name, "reason"), STR("Waiting"));
    }
    printf("# %zu tries in 10 minutes\n", tries);
    CHECK(tries >= 20 && tries <= 40);
}

static void nobody_is_left_to_try(void)
{
    begin();
    create(C, "w", "");
    fail_one(500, -1);
    CHECK(controller->failing);
    vanish(C, "w", true);
    turn();
    CHECK_INT(controller->n_held, 0);
    CHECK_INT(wake_ms == INT64_MAX, 1);
    harness_case("the next one to come tries at once");
    advance(SECOND);
    create(C, "x", "");
    advance(0);
    serve_all();
    CHECK_STR(condition(C, "x", "reason"), STR("Waiting"));
    CHECK(!controller->failing);
}

/* A turn to try is over when there was nothing to send after all: it is not kept for later. */
static void a_turn_that_was_not_needed(void)
{
    begin();
    waiting_run("w");
    waiting_run("x");
    waiting_run("y");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    while (next_request())
        fail_one(500, -1);
    store_says(VERDICT_WAITING, 0);
    for (int i = 0; i < 5; i++) {
        advance(SECOND);
        CHECK_INT(count_under_way(), 0);
    }
    CHECK(controller->failing);
    CHECK_INT(controller->n_held, 0);
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(count_under_way(), 1);
    serve_all();
    CHECK_INT(stats().finished, 3);
}

/* Backing off for itself: it fails while others are written. */
static void backoff_doubles_to_its_cap(void)
{
    static const int64_t caps[] = {800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    char name[32];

    begin();
    create(C, "w", ",\"timeout\":\"0s\"");
    fail_one(500, -1);
    create(C, "first", ",\"timeout\":\"0s\"");
    advance(SECOND);
    CHECK_INT(serve_one(), 200);
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        harness_case("pause %zu", i);
        struct tracked *t = runs_find(controller, C, STR("ci"), STR("w"));
        fail_one(500, -1);
        int64_t pause = t->not_before_mono_ms - now.mono_ms;
        CHECK(pause > caps[i] / 2 && pause <= caps[i]);
        (void)snprintf(name, sizeof name, "other%zu", i);
        create(C, name, ",\"timeout\":\"0s\"");
        advance(SECOND / 2 - 200);
        serve_all();
        advance(pause - SECOND / 2 + 200 - 1);
        CHECK_INT(count_under_way(), 0);
        advance(1);
        CHECK_INT(count_under_way(), 1);
    }
    harness_case("and begins anew after a success");
    serve_all();
    CHECK_INT(runs_find(controller, C, STR("ci"), STR("w"))->failures, 0);
    harness_case("Retry-After of a 503");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    while (!strstr(next_request()->path, "/w/"))
        serve_one();
    fail_one(503, 10000);
    CHECK_INT(runs_find(controller, C, STR("ci"), STR("w"))->not_before_mono_ms - now.mono_ms, 10000);
}

static void item_55_refused(void)
{
    static const int codes[] = {400, 422, 413, 405};

    for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
        size_t tries = 0;
        harness_case("%d", codes[c]);
        begin();
        create(C, "w", ",\"timeout\":\"0s\"");
        for (int s = 0; s < 300; s++) {
            while (next_request()) {
                fail_one(codes[c], -1);
                tries++;
            }
            advance(SECOND);
        }
        CHECK(tries >= 5 && tries <= 25);
        CHECK_INT(n_reports[REPORT_ERROR], 1);
        CHECK_INT(count_requests(AN_EVENT), 1);
        CHECK_STR(text_in(seen[1].body, "reason"), STR("StatusRefused"));
        CHECK_HAS(text_in(seen[1].body, "message"), STR("it says no"));
        advance(MINUTE);
        serve_all();
        CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    }
}

static void item_55_a_parked_run_is_not_written_to_by_news(void)
{
    begin();
    create(C, "w", "");
    fail_one(422, -1);
    size_t before = n_seen;
    for (int i = 0; i < 20; i++) {
        change(C, "w", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
        show(C, "w");
        store_says(VERDICT_FAILED, T0);
        turn();
    }
    CHECK_INT(n_seen, before);
}

static void item_56_forbidden_is_reported_once_per_interval(void)
{
    char name[32];

    begin();
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "w%d", i);
        create(C, name, ",\"timeout\":\"0s\"");
    }
    for (int s = 0; s < 290; s++) {
        while (next_request())
            fail_one(403, -1);
        advance(SECOND);
    }
    CHECK_INT(n_reports[REPORT_ERROR], 1);
    advance(MINUTE);
    while (next_request())
        fail_one(401, -1);
    CHECK_INT(n_reports[REPORT_ERROR], 2);
    advance(MINUTE);
    serve_all();
    CHECK_STR(condition(C, "w7", "reason"), STR("Waiting"));
}

static void item_24_26_an_answer_that_was_lost(void)
{
    begin();
    waiting_run("w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    harness_case("found when trying again");
    CHECK_INT(apply(next_request()), 200);
    fail_one(0, -1);
    advance(SECOND);
    serve_all();
    CHECK_INT(stats().finished, 1);
    CHECK_INT(count_requests(AN_EVENT), 2);
    CHECK_INT(controller->n_tracked, 0);
    harness_case("shown by the watch before the reply failed");
    begin();
    waiting_run("w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(apply(next_request()), 200);
    show(C, "w");
    turn();
    fail_one(0, -1);
    CHECK_INT(stats().finished, 1);
    CHECK_INT(count_requests(AN_EVENT), 2);
    CHECK_STR(text_in(seen[n_seen - 1].body, "reason"), STR("ReconciliationSucceeded"));
    CHECK_HAS(text_in(seen[n_seen - 1].body, "message"), STR("The revision has been reconciled."));
    CHECK_INT(controller->n_tracked, 0);
    harness_case("shown by the watch after it");
    begin();
    waiting_run("w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(apply(next_request()), 200);
    fail_one(0, -1);
    show(C, "w");
    CHECK_INT(stats().finished, 1);
    CHECK_INT(count_requests(AN_EVENT), 2);
    CHECK_HAS(text_in(seen[n_seen - 1].body, "message"), STR("The revision has been reconciled."));
    harness_case("a retry that was applied consumes one attempt");
    begin();
    create(C, "w", ",\"retries\":3");
    serve_all();
    advance(MINUTE);
    store_says(VERDICT_FAILED, now.wall_ms);
    turn();
    CHECK_INT(apply(next_request()), 200);
    fail_one(504, -1);
    advance(SECOND);
    serve_all();
    CHECK_INT(json_array_size(at_path(object(C, "w"), "status.retriesStatus")), 1);
    CHECK_INT(count_requests(AN_EVENT), 2);
}

static void a_reply_that_cannot_be_read(void)
{
    static const char *const bodies[] = {"", "garbage", "{}", "[]",
                                         "{\"metadata\":{\"name\":\"x\",\"namespace\":\"ci\",\"uid\":\"x\","
                                         "\"resourceVersion\":\"1\"}}"};

    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        harness_case("%s", bodies[i]);
        begin();
        store_says(VERDICT_SUCCEEDED, T0);
        create(C, "w", "");
        struct request_seen *r = next_request();
        CHECK_INT(apply(r), 200);
        r->answered = true;
        controller_on_reply(controller, r->token, 200, -1, str_of(bodies[i]), now);
        turn();
        CHECK_INT(next_request()->kind, A_GET);
        serve_all();
        CHECK_INT(stats().finished, 1);
        CHECK_INT(count_requests(AN_EVENT), 1);
        CHECK_INT(controller->n_tracked, 0);
    }
}

static void a_get_that_fails(void)
{
    begin();
    create(C, "w", "");
    change(C, "w", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    CHECK_INT(serve_one(), 409);
    fail_one(500, -1);
    advance(SECOND);
    CHECK_INT(next_request()->kind, A_GET);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    harness_case("gone");
    create(C, "x", "");
    vanish(C, "x", false);
    make(C, "x", "x", "");
    CHECK_INT(serve_one(), 409);
    vanish(C, "x", false);
    CHECK_INT(serve_one(), 404);
    CHECK_INT(controller->n_tracked, 1);
}

static void a_full_queue(void)
{
    begin();
    queue_full = true;
    create(C, "w", "");
    CHECK_INT(n_seen, 0);
    queue_full = false;
    advance(SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
}

static void unknown_tokens_do_nothing(void)
{
    begin();
    create(C, "w", "");
    controller_on_reply(controller, 0, 200, -1, STR("{}"), now);
    controller_on_reply(controller, UINT64_MAX, 200, -1, STR("{}"), now);
    controller_on_reply(controller, seen[0].token + (UINT64_C(1) << 32), 404, -1, STR_NONE, now);
    CHECK_INT(count_under_way(), 1);
    CHECK_INT(stats().in_flight, 1);
    serve_all();
    harness_case("a second reply to the same request");
    controller_on_reply(controller, seen[0].token, 404, -1, STR_NONE, now);
    CHECK_INT(stats().waiting, 1);
}

static void the_watch_overtakes_the_reply(void)
{
    begin();
    create(C, "w", "");
    struct request_seen *r = next_request();
    CHECK_INT(apply(r), 200);
    json_t *written = json_deep_copy(object(C, "w"));
    show(C, "w");
    turn();
    change(C, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\"}}");
    show(C, "w");
    turn();
    CHECK_INT(count_under_way(), 1);
    reply_with(r, 200, -1, written);
    json_decref(written);
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunCancelled"));
    CHECK_INT(stats().conflicts, 0);
    CHECK_INT(count_requests(AN_EVENT), 2);
}

/* The watch has shown the end, the answer to the PATCH came cut short, and reading it again fails. */
static void an_end_is_told_although_its_answer_was_garbled(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    struct request_seen *r = next_request();
    CHECK_INT(apply(r), 200);
    show(C, "w");
    turn();
    reply_with(r, 200, -1, NULL);
    turn();
    if (next_request())
        fail_one(500, -1);
    advance(MINUTE);
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(count_requests(AN_EVENT), 2);
    CHECK_INT(stats().finished, 1);
}

/* A GET is answered with what was there before the watch showed a cancel: the cancel stays known. */
static void the_watch_overtakes_a_read(void)
{
    begin();
    create(C, "w", "");
    struct request_seen *r = next_request();
    CHECK_INT(apply(r), 200);
    reply_with(r, 200, -1, NULL);
    r = next_request();
    CHECK_INT(r->kind, A_GET);
    json_t *read = json_deep_copy(object(C, "w"));
    change(C, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\"}}");
    show(C, "w");
    turn();
    reply_with(r, 200, -1, read);
    json_decref(read);
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunCancelled"));
}

static void versions_that_are_no_numbers(void)
{
    begin();
    create(C, "w", "");
    struct request_seen *r = next_request();
    CHECK_INT(apply(r), 200);
    json_object_set_new(json_object_get(object(C, "w"), "metadata"), "resourceVersion", json_string("x1"));
    json_t *written = json_deep_copy(object(C, "w"));
    change(C, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\"}}");
    json_object_set_new(json_object_get(object(C, "w"), "metadata"), "resourceVersion", json_string("x2"));
    show(C, "w");
    turn();
    reply_with(r, 200, -1, written);
    json_decref(written);
    turn();
    harness_case("which is newer cannot be told: it is read");
    CHECK_INT(next_request()->kind, A_GET);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunCancelled"));
}

static void a_list_older_than_what_is_known_is_checked(void)
{
    begin();
    make(C, "w", "w", "");
    char *first = json_dumps(object(C, "w"), JSON_COMPACT);
    show(C, "w");
    turn();
    serve_all();
    controller_on_list(controller, C, 0);
    controller_on_object(controller, C, 0, false, str_of(first), now);
    controller_on_synced(controller, C, 0, now);
    turn();
    CHECK_INT(next_request()->kind, A_GET);
    serve_all();
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_INT(stats().waiting, 1);
    harness_case("an end that the server has lost (a restored backup)");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    CHECK_INT(stats().finished, 1);
    json_object_set_new(objects, path_of(C, "w"), json_loads(first, 0, NULL));
    controller_on_list(controller, C, 0);
    show(C, "w");
    controller_on_synced(controller, C, 0, now);
    turn();
    serve_all();
    free(first);
    CHECK_STR(condition(C, "w", "status"), STR("True"));
}

static void no_event_before_the_patch_was_accepted(void)
{
    begin();
    create(C, "w", "");
    CHECK_INT(count_requests(AN_EVENT), 0);
    fail_one(500, -1);
    CHECK_INT(count_requests(AN_EVENT), 0);
    advance(SECOND);
    serve_all();
    CHECK_INT(count_requests(AN_EVENT), 1);
    CHECK_TEXT(seen[n_seen - 1].path, "/api/v1/namespaces/ci/events");
    CHECK_STR(text_in(seen[n_seen - 1].body, "involvedObject.uid"), STR("w"));
}

int main(void)
{
    int failed = harness_run((struct test[]){TEST(item_52_conflicts),
                                             TEST(conflict_with_an_end),
                                             TEST(conflict_with_another_uid),
                                             TEST(item_53_retry_after),
                                             TEST(item_54_broken_webhook_for_ten_minutes),
                                             TEST(item_54_one_of_many_tries_and_all_go_on),
                                             TEST(one_run_that_cannot_be_written_holds_up_nobody),
                                             TEST(nobody_is_left_to_try),
                                             TEST(a_turn_that_was_not_needed),
                                             TEST(backoff_doubles_to_its_cap),
                                             TEST(item_55_refused),
                                             TEST(item_55_a_parked_run_is_not_written_to_by_news),
                                             TEST(item_56_forbidden_is_reported_once_per_interval),
                                             TEST(item_24_26_an_answer_that_was_lost),
                                             TEST(a_reply_that_cannot_be_read),
                                             TEST(a_get_that_fails),
                                             TEST(a_full_queue),
                                             TEST(the_watch_overtakes_a_read),
                                             TEST(an_end_is_told_although_its_answer_was_garbled),
                                             TEST(unknown_tokens_do_nothing),
                                             TEST(the_watch_overtakes_the_reply),
                                             TEST(versions_that_are_no_numbers),
                                             TEST(a_list_older_than_what_is_known_is_checked),
                                             TEST(no_event_before_the_patch_was_accepted),
                                             {0}});
    end();
    return failed;
}
