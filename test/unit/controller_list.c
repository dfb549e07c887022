/* What GET /runs shows, in pieces, against a world of its own (controller_world.h). */
#include "controller_world.h"

/* All pieces, as one document; counts them. */
static json_t *list(size_t *ret_pieces)
{
    uint64_t position = 0;
    char *all = NULL;
    size_t len = 0;
    bool last = false;
    json_error_t e;

    for (*ret_pieces = 0; !last; ++*ret_pieces) {
        char *piece = controller_list(controller, &position, now, &last);
        CHECK(piece != NULL);
        all = realloc(all, len + strlen(piece) + 1);
        memcpy(all + len, piece, strlen(piece) + 1);
        len += strlen(piece);
        free(piece);
    }
    json_t *json = json_loadb(all, len, 0, &e);
    if (!json)
        HARNESS_FAIL("%s: %s", e.text, all);
    free(all);
    return json;
}

static void nothing(void)
{
    size_t pieces;

    begin();
    json_t *json = list(&pieces);
    CHECK_INT(json_array_size(json_object_get(json, "waiting")), 0);
    CHECK_INT(json_array_size(json_object_get(json, "finished")), 0);
    CHECK_INT(pieces, 1);
    json_decref(json);
}

static void one_that_waits(void)
{
    size_t pieces;

    begin();
    create(KIND_CUSTOMRUN, "w", "");
    serve_all();
    advance(90 * SECOND);
    json_t *json = list(&pieces);
    json_t *run = json_array_get(json_object_get(json, "waiting"), 0);
    CHECK_TEXT(json_string_value(json_object_get(run, "kind")), "CustomRun");
    CHECK_TEXT(json_string_value(json_object_get(run, "namespace")), "ci");
    CHECK_TEXT(json_string_value(json_object_get(run, "name")), "w");
    CHECK_TEXT(json_string_value(json_object_get(run, "age")), "1m30s");
    CHECK_TEXT(json_string_value(json_object_get(run, "verdict")), "waiting");
    CHECK_TEXT(json_string_value(json_object_get(run, "createdAt")), "2026-01-01T00:00:00Z");
    CHECK_INT(json_integer_value(json_object_get(run, "attempt")), 1);
    json_t *question = json_object_get(run, "question");
    CHECK_INT(json_integer_value(json_object_get(question, "expect")), 1);
    CHECK_HAS(str_of(json_string_value(json_object_get(run, "message"))),
              str_of(json_string_value(json_object_get(question, "revision"))));
    json_decref(json);
}

/* Without a readable creationTimestamp there is no age. */
static void one_of_unknown_age(void)
{
    size_t pieces;

    begin();
    make(KIND_CUSTOMRUN, "w", "w", "");
    change(KIND_CUSTOMRUN, "w", "{\"metadata\":{\"creationTimestamp\":\"some day\"}}");
    show(KIND_CUSTOMRUN, "w");
    turn();
    serve_all();
    json_t *json = list(&pieces);
    json_t *run = json_array_get(json_object_get(json, "waiting"), 0);
    CHECK_TEXT(json_string_value(json_object_get(run, "name")), "w");
    CHECK(json_object_get(run, "startedAt") != NULL);
    CHECK(json_object_get(run, "createdAt") == NULL);
    CHECK(json_object_get(run, "age") == NULL);
    json_decref(json);
}

/* A question is shown as its parameters are written, and a Run that asks none says why. */
static void questions(void)
{
    static const struct {
        const char *params, *question; /* NULL: it asks none */
    } rows[] = {
        {"", "{\"revision\":\"a\",\"expect\":1,\"failAfter\":\"0s\",\"onSuperseded\":\"fail\"}"},
        {",{\"name\":\"expect\",\"value\":\"2\"},{\"name\":\"onSuperseded\",\"value\":\"wait\"}",
         "{\"revision\":\"a\",\"expect\":2,\"failAfter\":\"0s\",\"onSuperseded\":\"wait\"}"},
        {",{\"name\":\"objects\",\"value\":[\"Kustomization/x/y\",\"HelmRelease/x/z\"]},"
         "{\"name\":\"onSuperseded\",\"value\":\"succeed\"},{\"name\":\"failAfter\",\"value\":\"90s\"}",
         "{\"revision\":\"a\",\"objects\":[\"Kustomization/x/y\",\"HelmRelease/x/"
         "z\"],\"failAfter\":\"1m30s\","
         "\"onSuperseded\":\"succeed\"}"},
        {",{\"name\":\"since\",\"value\":\"2025-12-31T23:00:00Z\"},{\"name\":\"cluster\",\"value\":\"prod\"}",
         "{\"revision\":\"a\",\"expect\":1,\"failAfter\":\"0s\",\"onSuperseded\":\"fail\","
         "\"since\":\"2025-12-31T23:00:00Z\",\"cluster\":\"prod\"}"},
        {",{\"name\":\"colour\",\"value\":\"red\"}", NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char spec[512];
        size_t pieces;
        harness_case("%s", rows[i].params);
        begin();
        (void)snprintf(spec, sizeof spec, ",\"params\":[{\"name\":\"revision\",\"value\":\"a\"}%s]",
                       rows[i].params);
        create(KIND_CUSTOMRUN, "w", spec);
        if (rows[i].question) /* what has none waits for its rejection to be written */
            serve_all();
        json_t *json = list(&pieces);
        json_t *run = json_array_get(json_object_get(json, "waiting"), 0);
        char *text = json_dumps(json_object_get(run, "question"), JSON_COMPACT);
        CHECK_INT(text != NULL, rows[i].question != NULL);
        if (text)
            CHECK_TEXT(text, rows[i].question);
        else
            CHECK_HAS(str_of(json_string_value(json_object_get(run, "message"))), STR("colour"));
        free(text);
        json_decref(json);
    }
    harness_case("a cancel that is being written");
    size_t pieces;
    begin();
    create(KIND_CUSTOMRUN, "w", ",\"status\":\"RunCancelled\"");
    json_t *json = list(&pieces);
    json_t *run = json_array_get(json_object_get(json, "waiting"), 0);
    CHECK_TEXT(json_string_value(json_object_get(run, "message")),
               "A cancel was asked for, and is being written.");
    CHECK(json_object_get(run, "question") == NULL);
    json_decref(json);
}

/* Each once, whatever ends between two pieces; the last hundred that ended, in their order. */
static void many(void)
{
    char name[16];
    size_t pieces;

    begin();
    for (int i = 0; i < 250; i++) {
        snprintf(name, sizeof name, "w-%03d", i);
        create(KIND_CUSTOMRUN, name, "");
    }
    serve_all();
    json_t *json = list(&pieces);
    CHECK_INT(json_array_size(json_object_get(json, "waiting")), 250);
    CHECK(pieces > 5);
    json_decref(json);

    store_says(VERDICT_SUCCEEDED, now.wall_ms);
    turn();
    serve_all();
    json = list(&pieces);
    CHECK_INT(json_array_size(json_object_get(json, "waiting")), 0);
    json_t *finished = json_object_get(json, "finished");
    CHECK_INT(json_array_size(finished), CONTROLLER_FINISHED);
    json_t *names = json_object();
    for (size_t i = 0; i < json_array_size(finished); i++) {
        json_t *run = json_array_get(finished, i);
        CHECK_TEXT(json_string_value(json_object_get(run, "verdict")), "succeeded");
        CHECK_TEXT(json_string_value(json_object_get(run, "reason")), "ReconciliationSucceeded");
        json_object_set_new(names, json_string_value(json_object_get(run, "name")), json_true());
    }
    CHECK_INT(json_object_size(names), CONTROLLER_FINISHED);
    json_decref(names);
    json_decref(json);
}

int main(void)
{
    int failed = harness_run((struct test[]){
        TEST(nothing), TEST(one_that_waits), TEST(one_of_unknown_age), TEST(questions), TEST(many), {0}});
    end();
    return failed;
}
