/* The life of a Run, from first sight to the end, against a world of its own (controller_world.h). */
#include "controller_world.h"

#define C KIND_CUSTOMRUN
#define R KIND_RUN

static void item_17_new_run_one_patch(void)
{
    begin();
    create(C, "w", "");
    CHECK_INT(n_seen, 1);
    CHECK_TEXT(seen[0].path, "/apis/tekton.dev/v1beta1/namespaces/ci/customruns/w/status");
    CHECK(seen[0].urgent);
    CHECK_STR(text_in(seen[0].body, "status.conditions.0.status"), STR("Unknown"));
    CHECK_STR(text_in(seen[0].body, "status.conditions.0.reason"), STR("Waiting"));
    CHECK_STR(text_in(seen[0].body, "status.startTime"), STR("2026-01-01T00:00:00Z"));
    CHECK_INT(json_integer_value(at_path(seen[0].body, "status.observedGeneration")), 1);
    CHECK_INT(controller_pending(controller), 1);
    CHECK_INT(serve_one(), 200);
    CHECK_INT(controller_pending(controller), 0);
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_INT(count_requests(AN_EVENT), 1);
    harness_case("its own write comes back, and nothing happens for an hour");
    show(C, "w");
    advance(59 * MINUTE);
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_INT(count_requests(AN_EVENT), 1);
    CHECK_INT(stats().waiting, 1);
}

static void item_18_event_before_the_run(void)
{
    begin();
    store_says(VERDICT_SUCCEEDED, T0 - MINUTE);
    create(C, "w", "");
    serve_all();
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_STR(status_text(C, "w", "startTime"), STR("2026-01-01T00:00:00Z"));
    CHECK_STR(status_text(C, "w", "completionTime"), STR("2026-01-01T00:00:00Z"));
    CHECK_INT(count_requests(AN_EVENT), 1);
    CHECK_INT(stats().finished, 1);
    CHECK_INT(stats().waiting, 0);
    CHECK_INT(count_waiters(), 0);
}

static void item_19_success(void)
{
    begin();
    create(R, "w", "");
    serve_all();
    show(R, "w");
    advance(90 * SECOND);
    store_says(VERDICT_SUCCEEDED, T0 + 90 * SECOND);
    turn();
    CHECK_INT(count_under_way(), 1);
    serve_all();
    CHECK_STR(condition(R, "w", "status"), STR("True"));
    CHECK_STR(condition(R, "w", "reason"), STR("ReconciliationSucceeded"));
    CHECK_STR(status_text(R, "w", "startTime"), STR("2026-01-01T00:00:00Z"));
    CHECK_STR(status_text(R, "w", "completionTime"), STR("2026-01-01T00:01:30Z"));
    CHECK_INT(count_requests(A_PATCH), 2);
    CHECK_INT(count_requests(AN_EVENT), 2);
    harness_case("the watch shows the end");
    show(R, "w");
    turn();
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(wake_ms == INT64_MAX, 1);
}

static void item_20_failure(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    store_says(VERDICT_FAILED, T0);
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("False"));
    CHECK_STR(condition(C, "w", "reason"), STR("ReconciliationFailed"));
    CHECK_HAS(condition(C, "w", "message"), STR("Reason: 'TheReason'. Message: 'the message'."));
    CHECK_STR(text_in(seen[n_seen - 1].body, "type"), STR("Warning"));
    CHECK_STR(text_in(seen[n_seen - 1].body, "reason"), STR("ReconciliationFailed"));
}

static void item_21_22_24_no_write_for_what_decides_nothing(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    advance(MINUTE);
    for (int i = 0; i < 10; i++) {
        store_says(VERDICT_WAITING, 0);
        turn();
        advance(SECOND);
    }
    CHECK_INT(count_requests(A_PATCH), 1);
}

static void item_23_a_thousand_runs_on_one_revision(void)
{
    char name[32];

    begin();
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "w%d", i);
        create(C, name, "");
    }
    harness_case("first writes are not paced");
    CHECK_INT(count_under_way(), 1000);
    serve_all();
    n_asked = 0;
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(n_asked, 1000);
    CHECK_INT(count_under_way(), 1000);
    serve_all();
    CHECK_INT(stats().finished, 1000);
    CHECK_INT(stats().waiting, 0);
    CHECK_INT(count_requests(A_PATCH), 2000);
    CHECK_INT(count_requests(AN_EVENT), 2000);
}

static void item_25_restart_while_waiting(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    restart(40 * MINUTE);
    controller_on_list(controller, C, 0);
    show(C, "w");
    controller_on_synced(controller, C, 0, now);
    turn();
    CHECK_INT(n_seen, 0);
    harness_case("the timeout counts from the first start");
    advance(20 * MINUTE - SECOND);
    CHECK_INT(n_seen, 0);
    advance(SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunTimedOut"));
    CHECK_STR(status_text(C, "w", "startTime"), STR("2026-01-01T00:00:00Z"));
    CHECK_STR(status_text(C, "w", "completionTime"), STR("2026-01-01T01:00:00Z"));
}

static void item_19_success_while_the_first_write_is_under_way(void)
{
    begin();
    create(C, "w", "");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(count_under_way(), 1);
    CHECK_INT(serve_one(), 200);
    CHECK_INT(count_under_way(), 1);
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_INT(stats().conflicts, 0);
}

static void item_26_restart_between_commit_and_patch(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(count_under_way(), 1);
    restart(MINUTE);
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_INT(count_requests(A_PATCH), 1);
}

static void item_27_28_terminal_is_sticky(void)
{
    begin();
    store_says(VERDICT_SUCCEEDED, T0);
    create(C, "w", "");
    serve_all();
    show(C, "w");
    store_says(VERDICT_FAILED, T0 + MINUTE);
    change(
        C, "w",
        "{\"metadata\":{\"generation\":2,\"labels\":{\"a\":\"b\"}},\"spec\":{\"status\":\"RunCancelled\"}}");
    show(C, "w");
    turn();
    restart(MINUTE);
    controller_on_list(controller, C, 0);
    show(C, "w");
    controller_on_synced(controller, C, 0, now);
    turn();
    CHECK_INT(n_seen, 0);
    CHECK_INT(controller->n_tracked, 0);
    CHECK_STR(condition(C, "w", "status"), STR("True"));
}

static void item_30_garbage_condition_is_rewritten(void)
{
    begin();
    make(C, "w", "w", "");
    change(C, "w",
           "{\"status\":{\"startTime\":\"2025-12-31T23:50:00Z\",\"conditions\":[{\"type\":\"Succeeded\","
           "\"status\":\"\"}]}}");
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    CHECK_STR(status_text(C, "w", "startTime"), STR("2025-12-31T23:50:00Z"));
}

static void item_31_32_33_cancel_while_waiting(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    change(C, "w",
           "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\",\"statusMessage\":\"no "
           "%s\"}}");
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunCancelled"));
    CHECK_STR(condition(C, "w", "message"), STR("no %s"));
    CHECK_INT(json_integer_value(at_path(object(C, "w"), "status.observedGeneration")), 2);
    CHECK_STR(text_in(seen[n_seen - 1].body, "type"), STR("Normal"));
    CHECK_INT(count_waiters(), 0);
}

static void item_32_33_cancel_of_a_run(void)
{
    begin();
    create(R, "w", "");
    serve_all();
    change(R, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\"}}");
    show(R, "w");
    turn();
    serve_all();
    CHECK_STR(condition(R, "w", "status"), STR("False"));
    CHECK_STR(condition(R, "w", "reason"), STR("RunCancelled"));
    harness_case("without a message there is a default");
    CHECK_HAS(condition(R, "w", "message"), STR("cancelled while waiting for revision a"));
}

static void item_34_cancel_at_creation(void)
{
    begin();
    create(R, "w", ",\"status\":\"RunCancelled\"");
    serve_all();
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_STR(condition(R, "w", "reason"), STR("RunCancelled"));
    CHECK(status_text(R, "w", "startTime").len > 0);
    CHECK(status_text(R, "w", "completionTime").len > 0);
}

static void item_35_cancel_and_success_race(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(count_under_way(), 1);
    change(C, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\"}}");
    show(C, "w");
    turn();
    harness_case("nothing is written beside the PATCH under way");
    CHECK_INT(count_under_way(), 1);
    CHECK_INT(serve_one(), 409);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunCancelled"));
    CHECK_INT(stats().finished, 1);
    CHECK_INT(stats().conflicts, 1);
    CHECK_INT(count_requests(AN_EVENT), 2);
    harness_case("the other way round: written before the cancel");
    begin();
    create(C, "w", "");
    serve_all();
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    change(C, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"status\":\"RunCancelled\"}}");
    show(C, "w");
    turn();
    CHECK_INT(count_under_way(), 0);
    CHECK_STR(condition(C, "w", "status"), STR("True"));
}

static void item_38_invalid_timeout_and_other_rejections(void)
{
    begin();
    create(C, "w", ",\"timeout\":\"1d\"");
    CHECK_INT(count_waiters(), 0);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("InvalidTimeout"));
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_INT(stats().rejected, 1);
    CHECK_STR(text_in(seen[n_seen - 1].body, "type"), STR("Warning"));
    make(C, "x", "x", "");
    json_object_set_new(json_object_get(object(C, "x"), "spec"), "params", json_array());
    show(C, "x");
    turn();
    serve_all();
    CHECK_STR(condition(C, "x", "reason"), STR("UnexpectedParams"));
    CHECK_HAS(condition(C, "x", "message"), STR("revision"));
    CHECK_INT(stats().rejected, 2);
}

static void item_39_expiry_without_any_api_event(void)
{
    begin();
    create(C, "w", ",\"timeout\":\"90s\"");
    serve_all();
    show(C, "w");
    advance(90 * SECOND - 1);
    CHECK_INT(count_requests(A_PATCH), 1);
    advance(1);
    CHECK_INT(count_requests(A_PATCH), 2);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunTimedOut"));
    harness_case("Run");
    create(R, "r", ",\"timeout\":\"500ms\"");
    serve_all();
    advance(500);
    serve_all();
    CHECK_STR(condition(R, "r", "reason"), STR("RunTimedOut"));
    harness_case("none");
    create(C, "n", ",\"timeout\":\"0s\"");
    serve_all();
    advance(INT64_C(1000) * 24 * 60 * MINUTE);
    CHECK_STR(condition(C, "n", "reason"), STR("Waiting"));
}

static void item_40_expired_while_down(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    restart(120 * MINUTE);
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunTimedOut"));
    harness_case("a decision from before the deadline was stored");
    begin();
    create(C, "w", "");
    serve_all();
    restart(120 * MINUTE);
    store_says(VERDICT_SUCCEEDED, T0 + 59 * MINUTE);
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
}

static void item_42_46_retries_after_failures(void)
{
    begin();
    create(C, "w", ",\"retries\":2");
    serve_all();
    for (int i = 1; i <= 2; i++) {
        harness_case("failure %d", i);
        advance(MINUTE);
        store_says(VERDICT_FAILED, now.wall_ms);
        turn();
        serve_all();
        show(C, "w");
        CHECK_STR(condition(C, "w", "status"), STR("Unknown"));
        CHECK_STR(condition(C, "w", "reason"), STR("Retrying"));
        CHECK_INT(json_array_size(at_path(object(C, "w"), "status.retriesStatus")), i);
        CHECK(all_waiters->failures_from_ms > said_object.received_ms);
        harness_case("the old failure consumes nothing");
        advance(20 * SECOND);
        serve_all();
        CHECK_INT(json_array_size(at_path(object(C, "w"), "status.retriesStatus")), i);
    }
    harness_case("a restart counts on from there");
    restart(MINUTE);
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("Unknown"));
    CHECK(all_waiters->failures_from_ms > said_object.received_ms);
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    json_t *entries = at_path(object(C, "w"), "status.retriesStatus");
    CHECK_INT(json_array_size(entries), 2);
    CHECK(json_object_get(json_array_get(entries, 1), "retriesStatus") == NULL);
    CHECK_STR(text_in(entries, "1.startTime"), STR("2026-01-01T00:01:00Z"));
    CHECK_STR(text_in(entries, "1.conditions.0.status"), STR("False"));
}

static void item_42_the_last_failure_is_final(void)
{
    begin();
    create(C, "w", ",\"retries\":1");
    serve_all();
    for (int i = 0; i < 2; i++) {
        advance(MINUTE);
        store_says(VERDICT_FAILED, now.wall_ms);
        turn();
        serve_all();
    }
    CHECK_STR(condition(C, "w", "status"), STR("False"));
    CHECK_STR(condition(C, "w", "reason"), STR("ReconciliationFailed"));
    CHECK_INT(json_array_size(at_path(object(C, "w"), "status.retriesStatus")), 1);
    CHECK_INT(stats().finished, 1);
}

static void item_43_each_attempt_has_its_timeout(void)
{
    begin();
    create(C, "w", ",\"retries\":1,\"timeout\":\"10m\"");
    serve_all();
    advance(10 * MINUTE);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Retrying"));
    CHECK_STR(status_text(C, "w", "startTime"), STR("2026-01-01T00:10:00Z"));
    advance(10 * MINUTE - SECOND);
    CHECK_STR(condition(C, "w", "reason"), STR("Retrying"));
    advance(SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunTimedOut"));
    CHECK_STR(status_text(C, "w", "completionTime"), STR("2026-01-01T00:20:00Z"));
}

/* The second attempt would begin where the first did, if only the wall clock were asked. */
static void item_43_50_the_wall_clock_steps_back_between_attempts(void)
{
    begin();
    create(C, "w", ",\"retries\":1,\"timeout\":\"1m\"");
    serve_all();
    now.wall_ms -= 10 * MINUTE;
    advance(MINUTE);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Retrying"));
    CHECK(controller->slots[0]->run.deadline_mono_ms > now.mono_ms);
    CHECK(wake_ms != INT64_MAX);
    advance(10 * MINUTE + SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("CustomRunTimedOut"));
}

static void item_45_run_retries_without_retries_status(void)
{
    begin();
    create(R, "w", ",\"retries\":1");
    serve_all();
    for (int i = 0; i < 2; i++) {
        advance(MINUTE);
        store_says(VERDICT_FAILED, now.wall_ms);
        turn();
        serve_all();
    }
    CHECK(at_path(object(R, "w"), "status.retriesStatus") == NULL);
    CHECK_STR(condition(R, "w", "status"), STR("False"));
}

static void item_47_deleted_while_waiting(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    vanish(C, "w", true);
    turn();
    CHECK_INT(count_waiters(), 0);
    CHECK_INT(stats().waiting, 0);
    CHECK_INT(count_under_way(), 0);
    harness_case("404 on a PATCH is silent");
    create(C, "x", "");
    vanish(C, "x", false);
    CHECK_INT(serve_one(), 404);
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(n_reports[REPORT_WARN] + n_reports[REPORT_ERROR], 0);
    harness_case("a reply to one that is gone");
    create(C, "y", "");
    vanish(C, "y", true);
    CHECK_INT(serve_one(), 404);
    CHECK_INT(stats().in_flight, 0);
}

static void item_48_being_deleted(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    change(C, "w", "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:05Z\",\"finalizers\":[\"x\"]}}");
    show(C, "w");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_INT(count_waiters(), 0);
}

static void item_49_same_name_new_uid(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    advance(30 * MINUTE);
    make(C, "w", "second", "");
    show(C, "w");
    turn();
    CHECK_INT(count_waiters(), 1);
    CHECK_INT(controller->n_tracked, 1);
    serve_all();
    CHECK_STR(status_text(C, "w", "startTime"), STR("2026-01-01T00:30:00Z"));
    harness_case("the first one's end arrives late");
    controller_on_object(
        controller, C, 0, true,
        STR("{\"metadata\":{\"name\":\"w\",\"namespace\":\"ci\",\"uid\":\"w\",\"resourceVersion\":\"1\"},"
            "\"spec\":{\"customRef\":{\"apiVersion\":\"" V1 "\",\"kind\":\"FluxDeploymentWait\"}}}"),
        now);
    CHECK_INT(controller->n_tracked, 1);
}

/* A watch that has fallen behind what was read tells of the object that had the name before. */
static void item_49_late_news_of_the_first_uid(void)
{
    begin();
    create(C, "w", "");
    json_t *first = json_deep_copy(object(C, "w"));
    make(C, "w", "second", "");
    CHECK_INT(serve_one(), 409);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    CHECK_INT(count_under_way(), 1);
    char *text = json_dumps(first, JSON_COMPACT);
    for (int deleted = 0; deleted < 2; deleted++)
        controller_on_object(controller, C, 0, deleted, str_of(text), now);
    free(text);
    json_decref(first);
    turn();
    CHECK_INT(controller->n_tracked, 1);
    CHECK_INT(count_under_way(), 1);
    serve_all();
    CHECK_INT(count_requests(A_PATCH), 3);
    CHECK_INT(count_requests(A_GET), 1);
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_INT(stats().finished, 1);
}

static void item_50_clocks(void)
{
    begin();
    make(C, "w", "w", "");
    change(C, "w", "{\"metadata\":{\"creationTimestamp\":\"2026-01-01T00:00:07Z\"}}");
    show(C, "w");
    turn();
    serve_all();
    CHECK_STR(status_text(C, "w", "startTime"), STR("2026-01-01T00:00:07Z"));
    harness_case("the wall clock steps back a day");
    now.wall_ms -= 24 * 60 * MINUTE;
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    CHECK_STR(status_text(C, "w", "completionTime"), STR("2026-01-01T00:00:07Z"));
    harness_case("the wall clock steps a day ahead");
    begin();
    create(C, "w", "");
    serve_all();
    now.wall_ms += 24 * 60 * MINUTE;
    show(C, "w");
    turn();
    advance(59 * MINUTE);
    store_says(VERDICT_WAITING, 0);
    turn();
    CHECK_INT(count_requests(A_PATCH), 1);
    advance(MINUTE);
    CHECK_INT(count_requests(A_PATCH), 2);
}

static void item_51_malformed_is_counted(void)
{
    begin();
    controller_on_object(controller, C, 0, false, STR("{\"metadata\":{\"name\":\"x\"}}"), now);
    controller_on_object(controller, C, 0, false, STR("garbage"), now);
    controller_on_object(controller, C, 0, true, STR(""), now);
    CHECK_INT(stats().malformed, 3);
    CHECK_INT(controller->n_tracked, 0);
}

static void item_61_66_what_a_new_list_does_not_show_is_gone(void)
{
    begin();
    create(C, "stays", "");
    create(C, "goes", "");
    create(R, "other", "");
    serve_all();
    vanish(C, "goes", false);
    make(C, "new", "new", "");
    controller_on_list(controller, C, 0);
    show(C, "stays");
    show(C, "new");
    controller_on_synced(controller, C, 0, now);
    turn();
    serve_all();
    CHECK_INT(stats().waiting, 3);
    CHECK_STR(condition(C, "new", "reason"), STR("Waiting"));
    harness_case("item_66 the kind is not served any more");
    controller_on_absent(controller, C, 0);
    CHECK_INT(stats().waiting, 1);
    CHECK_INT(count_waiters(), 1);
}

static void one_patch_under_way_while_a_collection_is_out_of_sight(void)
{
    begin();
    create(C, "w", "");
    create(C, "x", "");
    controller_on_absent(controller, C, 0);
    harness_case("shown again before the reply");
    show(C, "w");
    turn();
    CHECK_INT(count_requests(A_PATCH), 2);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    CHECK_INT(count_requests(A_PATCH), 2);
    harness_case("not shown again: forgotten with the reply");
    CHECK_INT(stats().waiting, 1);
    CHECK_INT(stats().in_flight, 0);
    CHECK_INT(count_waiters(), 1);
}

static void a_run_for_which_there_was_no_memory_is_listed_again(void)
{
    begin();
    no_memory = true;
    create(C, "w", "");
    create(C, "x", "");
    serve_all();
    no_memory = false;
    CHECK_INT(n_reports[REPORT_ERROR], 2);
    CHECK_INT(count_waiters(), 0);
    store_says(VERDICT_SUCCEEDED, T0);
    advance(LIST_AGAIN_MS - 1);
    CHECK_INT(n_list_again, 0);
    CHECK(wake_ms <= now.mono_ms + 1);
    advance(1);
    CHECK_INT(n_list_again, 1);
    controller_on_list(controller, C, 0);
    show(C, "w");
    show(C, "x");
    controller_on_synced(controller, C, 0, now);
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    CHECK_STR(condition(C, "x", "status"), STR("True"));
    harness_case("once");
    advance(MINUTE);
    CHECK_INT(n_list_again, 1);
}

static void item_67_same_name_in_both_kinds(void)
{
    begin();
    create(C, "w", "");
    create(R, "w", "");
    serve_all();
    CHECK_INT(stats().waiting, 2);
    vanish(R, "w", true);
    CHECK_INT(stats().waiting, 1);
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("True"));
}

static void item_70_foreign_runs_are_held_nowhere(void)
{
    begin();
    for (int i = 0; i < 100; i++) {
        make(C, "f", "f", "");
        change(C, "f", "{\"spec\":{\"customRef\":{\"kind\":\"Other\"}}}");
        show(C, "f");
        turn();
    }
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(n_seen, 0);
    harness_case("one of ours becomes foreign");
    create(C, "w", "");
    serve_all();
    change(C, "w", "{\"metadata\":{\"generation\":2},\"spec\":{\"customRef\":{\"kind\":\"Other\"}}}");
    show(C, "w");
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(count_waiters(), 0);
}

static void a_changed_spec_asks_another_question(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    CHECK_STR(all_waiters->question->revision, STR("a"));
    change(
        C, "w",
        "{\"metadata\":{\"generation\":2},\"spec\":{\"params\":[{\"name\":\"revision\",\"value\":\"b\"}]}}");
    show(C, "w");
    turn();
    CHECK_INT(count_waiters(), 1);
    CHECK_STR(all_waiters->question->revision, STR("b"));
}

static void late_news_of_the_watch_revives_nothing(void)
{
    begin();
    make(C, "w", "w", "");
    char *first = json_dumps(object(C, "w"), JSON_COMPACT);
    show(C, "w");
    turn();
    serve_all();
    char *waiting = json_dumps(object(C, "w"), JSON_COMPACT);
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    CHECK_INT(stats().finished, 1);
    forget_requests();
    controller_on_object(controller, C, 0, false, str_of(first), now);
    turn();
    controller_on_object(controller, C, 0, false, str_of(waiting), now);
    turn();
    free(first);
    free(waiting);
    CHECK_INT(n_seen, 0);
    show(C, "w");
    CHECK_INT(controller->n_tracked, 0);
    CHECK_INT(stats().finished, 1);
}

/* ---- the message while waiting ---- */

static char news[64];
static void store_has_news(int n)
{
    store_says(VERDICT_WAITING, 0);
    (void)snprintf(news, sizeof news, "progress %d", n);
    said_object.message = str_of(news);
    said.n_objects = 1;
    said.explanation = str_of(news);
}

static void explanations_have_their_pace(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    for (int i = 0; i < 300; i++) {
        store_has_news(i);
        turn();
        serve_all();
        advance(100);
    }
    harness_case("30 s of news ten times a second: written after 10, 20 and 30 s");
    CHECK_INT(count_requests(A_PATCH), 1 + 3);
    CHECK(!seen[n_seen - 1].urgent);
    CHECK_INT(count_requests(AN_EVENT), 1);
    advance(11 * SECOND);
    serve_all();
    harness_case("the last news is written in the end");
    CHECK_STR(condition(C, "w", "message"), STR("progress 299"));
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    size_t before = n_seen;
    for (int i = 0; i < 100; i++) {
        store_has_news(299);
        turn();
        advance(SECOND);
    }
    harness_case("nothing new");
    CHECK_INT(n_seen, before);
}

static void explanations_take_turns(void)
{
    char name[32];

    begin();
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "w%d", i);
        create(C, name, "");
    }
    serve_all();
    advance(MINUTE);
    store_has_news(1);
    turn();
    size_t before = count_requests(A_PATCH);
    for (int s = 0; s < 10; s++) {
        serve_all();
        advance(SECOND);
    }
    size_t written = count_requests(A_PATCH) - before;
    printf("# %zu explanations in 10 s\n", written);
    CHECK(written >= 45 && written <= 55);
    harness_case("an end is not kept waiting behind them");
    store_says(VERDICT_SUCCEEDED, T0);
    turn();
    serve_all();
    CHECK_INT(stats().finished, 100);
}

static void the_store_is_asked_again_when_the_verdict_says(void)
{
    begin();
    create(C, "w", "");
    serve_all();
    store_says(VERDICT_WAITING, 0);
    said.wake_at_ms = now.wall_ms + 5 * MINUTE;
    turn();
    n_asked = 0;
    said.wake_at_ms = INT64_MAX;
    advance(5 * MINUTE - 1);
    CHECK_INT(n_asked, 0);
    advance(1);
    CHECK_INT(n_asked, 1);
}

static void a_bad_ref_flag(void)
{
    const struct controller_config config = {.refs = {.values = {"nonsense"}, .n = 1}};
    const struct controller_io io = {NULL,         fake_patch,     fake_get, fake_create_event,
                                     fake_wake_at, fake_list_again};
    const struct reporter reporter = {on_report, NULL};
    char err[CONTROLLER_ERROR];

    CHECK(controller_new(&config, NULL, &io, &reporter, err) == NULL);
    CHECK_HAS(str_of(err), STR("nonsense"));
}

int main(void)
{
    int failed = harness_run((struct test[]){TEST(item_17_new_run_one_patch),
                                             TEST(item_18_event_before_the_run),
                                             TEST(item_19_success),
                                             TEST(item_19_success_while_the_first_write_is_under_way),
                                             TEST(item_20_failure),
                                             TEST(item_21_22_24_no_write_for_what_decides_nothing),
                                             TEST(item_23_a_thousand_runs_on_one_revision),
                                             TEST(item_25_restart_while_waiting),
                                             TEST(item_26_restart_between_commit_and_patch),
                                             TEST(item_27_28_terminal_is_sticky),
                                             TEST(item_30_garbage_condition_is_rewritten),
                                             TEST(item_31_32_33_cancel_while_waiting),
                                             TEST(item_32_33_cancel_of_a_run),
                                             TEST(item_34_cancel_at_creation),
                                             TEST(item_35_cancel_and_success_race),
                                             TEST(item_38_invalid_timeout_and_other_rejections),
                                             TEST(item_39_expiry_without_any_api_event),
                                             TEST(item_40_expired_while_down),
                                             TEST(item_42_46_retries_after_failures),
                                             TEST(item_42_the_last_failure_is_final),
                                             TEST(item_43_each_attempt_has_its_timeout),
                                             TEST(item_43_50_the_wall_clock_steps_back_between_attempts),
                                             TEST(item_45_run_retries_without_retries_status),
                                             TEST(item_47_deleted_while_waiting),
                                             TEST(item_48_being_deleted),
                                             TEST(item_49_same_name_new_uid),
                                             TEST(item_49_late_news_of_the_first_uid),
                                             TEST(item_50_clocks),
                                             TEST(item_51_malformed_is_counted),
                                             TEST(item_61_66_what_a_new_list_does_not_show_is_gone),
                                             TEST(one_patch_under_way_while_a_collection_is_out_of_sight),
                                             TEST(a_run_for_which_there_was_no_memory_is_listed_again),
                                             TEST(item_67_same_name_in_both_kinds),
                                             TEST(item_70_foreign_runs_are_held_nowhere),
                                             TEST(a_changed_spec_asks_another_question),
                                             TEST(late_news_of_the_watch_revives_nothing),
                                             TEST(explanations_have_their_pace),
                                             TEST(explanations_take_turns),
                                             TEST(the_store_is_asked_again_when_the_verdict_says),
                                             TEST(a_bad_ref_flag),
                                             {0}});
    end();
    return failed;
}
