/* Log lines: what comes from the wire cannot break one. */
#include "harness.h"
#include "store/report.h"

#include <jansson.h>

static char line[REPORT_LINE];

static void test_json(void)
{
    const struct report r = {REPORT_WARN, "event refused",
                             (const struct report_field[]){FIELD_TEXT("error", "say \"x\\y\"\n\tand more"),
                                                           FIELD_STR("nul", ((struct str){"a\0b\xff", 4})),
                                                           FIELD_INT("id", -7),
                                                           {.name = NULL}}};
    report_line(&r, "2026-01-02T03:04:05.678Z", true, line);
    CHECK_TEXT(line, "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"msg\":\"event refused\","
                     "\"error\":\"say \\\"x\\\\y\\\"  and more\",\"nul\":\"a b?\",\"id\":-7}");
    json_auto_t *json = json_loads(line, 0, NULL);
    CHECK(json != NULL);
}

static void test_text(void)
{
    const struct report r = {
        REPORT_INFO, "listening",
        (const struct report_field[]){FIELD_TEXT("address", "[::]:8080"), {.name = NULL}}};
    report_line(&r, "T", false, line);
    CHECK_TEXT(line, "T info  listening address=\"[::]:8080\"");
}

/* All bytes need a backslash: the escaped value is twice as long, and a second one does not fit. */
static void test_long_values(void)
{
    static char quotes[10000];
    memset(quotes, '"', sizeof quotes - 1);
    const struct report r = {
        REPORT_ERROR, "long",
        (const struct report_field[]){
            FIELD_TEXT("a", quotes), FIELD_TEXT("b", quotes), FIELD_INT("c", 1), {.name = NULL}}};
    report_line(&r, "T", true, line);
    json_auto_t *json = json_loads(line, 0, NULL);
    CHECK(json != NULL);
    CHECK_INT(json_string_length(json_object_get(json, "a")), REPORT_VALUE - 1);
    CHECK(json_object_get(json, "b") == NULL);
    CHECK_INT(json_integer_value(json_object_get(json, "c")), 1);
}

static void test_levels(void)
{
    enum report_level level = REPORT_DEBUG;
    CHECK(report_level_of(STR("error"), &level));
    CHECK_INT(level, REPORT_ERROR);
    CHECK(!report_level_of(STR("loud"), &level));
    CHECK_INT(level, REPORT_ERROR);
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(test_json), TEST(test_text), TEST(test_long_values), TEST(test_levels), {0}});
}
