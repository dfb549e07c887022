/* The JSON scanner: what is valid, what it finds, and list pages item by item. */
#include "k8s/scan_priv.h"

#include <jansson.h>
#include <time.h>

#include "harness.h"

static bool valid(const char *value)
{
    char text[8192];
    struct k8s_member m = {.name = STR("v")};
    snprintf(text, sizeof text, " { \"v\" : %s } ", value);
    return k8s_scan_object(str_of(text), &m, 1);
}

static void test_values(void)
{
    static const char *good[] = {"1",
                                 "-0",
                                 "0.5",
                                 "1e9",
                                 "1E-9",
                                 "-12.5e+3",
                                 "\"\"",
                                 "\"a\\n\\u00e9\\\\\\\"\"",
                                 "true",
                                 "false",
                                 "null",
                                 "[]",
                                 "{}",
                                 "[ ]",
                                 "{ }",
                                 "[1,2,[3,{\"a\":[]}]]",
                                 "{\"a\":{\"b\":{}}, \"c\":[{},{}]}",
                                 "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""};
    static const char *bad[] = {"",
                                "01",
                                "1.",
                                ".5",
                                "-",
                                "1e",
                                "+1",
                                "tru",
                                "nulll",
                                "\"",
                                "\"\\x\"",
                                "\"\\u12g4\"",
                                "\"\t\"",
                                "[1,]",
                                "[,1]",
                                "[1 2]",
                                "{\"a\":1,}",
                                "{\"a\"}",
                                "{a:1}",
                                "{\"a\":1 \"b\":2}",
                                "[}",
                                "{]",
                                "[",
                                "{",
                                "{\"a\":",
                                "\"\xC0\x80\"",
                                "\"\xED\xA0\x80\"",
                                "\"\xF5\"",
                                "\"\xE2\x82\"",
                                "1}",
                                "[1]]"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        harness_case("%s", good[i]);
        CHECK(valid(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        harness_case("%s", bad[i]);
        CHECK(!valid(bad[i]));
    }
    harness_case("not an object");
    CHECK(!k8s_scan_object(STR("[]"), NULL, 0));
    CHECK(!k8s_scan_object(STR(""), NULL, 0));
    CHECK(!k8s_scan_object(STR("  "), NULL, 0));
    CHECK(k8s_scan_object(STR("{}"), NULL, 0));
}

/* A stream is cut anywhere: what was valid is not when its end is missing. Each copy has no byte behind it. */
static void test_no_beginning_is_valid(void)
{
    static const char *whole[] = {
        "{\"v\":-12.5e+3,\"w\":[1,{\"x\":null}, true]}",
        " { \"v\" : \"a\\n\\u00e9\\\\\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\" , \"w\" : 0 }",
        "{\"v\":{\"inside\":{\"a\":[]},\"other\":false},\"w\":{}}",
    };
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        for (size_t len = 0; len <= strlen(whole[i]); len++) {
            struct k8s_member inside = {.name = STR("inside")};
            struct k8s_member m = {.name = STR("v"), .inside = &inside, .n_inside = 1};
            char *copy = malloc(len ? len : 1);
            memcpy(copy, whole[i], len);
            bool is_valid = k8s_scan_object((struct str){copy, len}, &m, 1);
            free(copy);
            harness_case("%.*s", (int)len, whole[i]);
            CHECK_INT(is_valid, len == strlen(whole[i]));
        }
}

/* The table of well-formed UTF-8 of Unicode (3-7), at its edges. */
static void test_utf8(void)
{
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"\x7F", true},
        {"\x80", false},
        {"\xBF", false},
        {"\xC1\xBF", false},
        {"\xC2\x80", true},
        {"\xC2\x7F", false},
        {"\xC2\xC0", false},
        {"\xDF\xBF", true},
        {"\xE0\x9F\xBF", false},
        {"\xE0\xA0\x80", true},
        {"\xE1\x80\x80", true},
        {"\xE1\x80", false},
        {"\xED\x9F\xBF", true},
        {"\xED\xA0\x80", false},
        {"\xEE\x80\x80", true},
        {"\xEF\xBF\xBF", true},
        {"\xF0\x8F\xBF\xBF", false},
        {"\xF0\x90\x80\x80", true},
        {"\xF1\x80\x80\x80", true},
        {"\xF4\x8F\xBF\xBF", true},
        {"\xF4\x90\x80\x80", false},
        {"\xF5\x80\x80\x80", false},
        {"\xF0\x90\x80", false},
        {"\xF0\x90\x80x", false},
        {"\xFF", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char value[16];
        snprintf(value, sizeof value, "\"%s\"", rows[i].text);
        harness_case("row %zu", i);
        CHECK_INT(valid(value), rows[i].good);
    }
}

static void test_events(void)
{
    static const struct {
        const char *line;
        enum k8s_event_type type;
        bool good;
    } rows[] = {
        {"{\"type\":\"ADDED\",\"object\":{}}", K8S_EVENT_ADDED, true},
        {"{\"type\":\"MODIFIED\",\"object\":{}}", K8S_EVENT_MODIFIED, true},
        {"{\"object\":{},\"type\":\"DELETED\"}", K8S_EVENT_DELETED, true},
        {"{\"type\":\"BOOKMARK\",\"object\":{}}", K8S_EVENT_BOOKMARK, true},
        {"{\"type\":\"ERROR\",\"object\":{}}", K8S_EVENT_ERROR, true},
        {"{\"type\":\"Added\",\"object\":{}}", K8S_EVENT_OTHER, true},
        {"{\"type\":\"\",\"object\":{}}", K8S_EVENT_OTHER, true},
        {"{\"type\":\"SOMETHING-OF-THE-FUTURE\",\"object\":{}}", K8S_EVENT_OTHER, true},
        {"{\"type\":7,\"object\":{}}", K8S_EVENT_OTHER, true},
        {"{\"object\":{}}", 0, false},
        {"{\"type\":\"ADDED\"}", 0, false},
        {"{\"type\":\"ADDED\",\"object\":null}", 0, false},
        {"{\"type\":\"ADDED\",\"object\":[]}", 0, false},
        {"{\"type\":\"ADDED\",\"object\":{}", 0, false},
        {"", 0, false},
    };
    struct k8s_event e;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_case("%s", rows[i].line);
        CHECK_INT(k8s_scan_event(str_of(rows[i].line), &e), rows[i].good);
        if (rows[i].good)
            CHECK_INT(e.type, rows[i].type);
    }
    harness_case("what is found");
    CHECK(k8s_scan_event(STR("{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"gone\","
                             "\"metadata\":{\"resourceVersion\":\"7\"}}}"),
                         &e));
    CHECK_STR(e.code, STR("410"));
    CHECK_STR(e.message, STR("\"gone\""));
    CHECK_STR(e.version, STR("\"7\""));
}

static void test_depth(void)
{
    static char text[2 * K8S_SCAN_DEPTH + 64];

    for (int extra = 0; extra < 2; extra++) {
        int depth = K8S_SCAN_DEPTH + extra;
        char *p = text + snprintf(text, sizeof text, "{\"v\":");
        memset(p, '[', (size_t)depth);
        memset(p + depth, ']', (size_t)depth);
        memcpy(p + 2 * depth, "}", 2);
        CHECK_INT(k8s_scan_object(str_of(text), NULL, 0), extra == 0);
    }
}

static void test_members(void)
{
    struct k8s_member inside[] = {{.name = STR("version")}, {.name = STR("absent")}};
    struct k8s_member m[] = {{.name = STR("type")}, {.name = STR("object"), .inside = inside, .n_inside = 2}};

    CHECK(k8s_scan_object(
        STR("{\"x\":{\"type\":0},\"object\" : {\"version\": \"7\" , \"o\":[1]} ,\"type\":\"T\"}"), m, 2));
    CHECK_STR(m[0].value, STR("\"T\""));
    CHECK_STR(m[1].value, STR("{\"version\": \"7\" , \"o\":[1]}"));
    CHECK_STR(inside[0].value, STR("\"7\""));
    CHECK(inside[1].value.at == NULL);
    harness_case("the last one counts, and what was inside the first is forgotten");
    CHECK(k8s_scan_object(STR("{\"object\":{\"version\":\"7\"},\"object\":[1]}"), m, 2));
    CHECK_STR(m[1].value, STR("[1]"));
    CHECK(inside[0].value.at == NULL);
    CHECK(m[0].value.at == NULL);
}

static void test_text(void)
{
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"\"\"", ""},
        {"\"abc\"", "abc"},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\xC3\xA9\xE2\x82\xAC"},
        {"\"\\ud83d\\ude00\"", "\xF0\x9F\x98\x80"},
        {"\"\\ud83d\"", "\xEF\xBF\xBD"},
        {"\"\\ude00x\"", "\xEF\xBF\xBDx"},
        {"\"\\ud83d\\u0041\"", "\xEF\xBF\xBD"
                               "A"},
        {"\"\\ud83d\\ue000\"", "\xEF\xBF\xBD\xEE\x80\x80"},
        {"\"\\ud83d\\nabcdef\"", "\xEF\xBF\xBD\nabcdef"},
        {"\"\\ud83dabcdefg\"", "\xEF\xBF\xBD"
                               "abcdefg"},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xEF\xBF\xBD\xF0\x9F\x98\x80"},
        {"\"\\udbff\\udfff\\ud7ff\"", "\xF4\x8F\xBF\xBF\xED\x9F\xBF"},
        {"\"\\u0000\"", NULL},
        {"12", NULL},
        {"", NULL},
        {"\"0123456789abcdef\"", NULL},
        {"\"0123456789abcde\"", "0123456789abcde"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[16];
        harness_case("%s", rows[i].json);
        CHECK_INT(k8s_scan_text(str_of(rows[i].json), out, sizeof out), rows[i].text != NULL);
        if (rows[i].text)
            CHECK_TEXT(out, rows[i].text);
    }
}

static void test_pages(void)
{
    static const struct {
        const char *json, *out; /* "item item metadata", "!" where it is found to be broken */
    } rows[] = {
        {"{\"apiVersion\":\"v1\",\"items\":[{\"a\":1}, {\"b\":[]}],\"metadata\":{\"c\":2}}",
         "{\"a\":1} {\"b\":[]} {\"c\":2}"},
        {" {\"metadata\":{} , \"items\" : [ ] } \n", "{}"},
        {"{\"items\":null,\"metadata\":{}}", "{}"},
        {"{}", ""},
        {"{\"items\":[1],\"metadata\":{}}", "!"},
        {"{\"items\":[{}],}", "{} !"},
        {"{\"items\":[{},]}", "{} !"},
        {"{\"items\":[{} {}]}", "{} !"},
        {"{\"items\":[{}]", "{} !"},
        {"{\"items\":[{}]}x", "{} !"},
        {"{\"items\":[{\"a\":}]}", "!"},
        {"[]", "!"},
        {"", "!"},
        {"{", "!"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char buffer[256];
        struct text out;
        struct k8s_page page;
        struct str item;
        enum k8s_page_part part;

        harness_case("%s", rows[i].json);
        text_init(&out, buffer, sizeof buffer);
        k8s_page_init(&page, str_of(rows[i].json));
        while ((part = k8s_page_next(&page, &item)) == K8S_PAGE_ITEM)
            text_addf(&out, "%.*s ", STR_ARG(item));
        if (part == K8S_PAGE_BAD)
            text_add(&out, STR("!"));
        else
            text_add(&out, page.metadata);
        CHECK_TEXT(buffer, rows[i].out);
    }
}

/* A page is read whole or found to be broken, wherever it is cut. */
static void test_no_beginning_is_a_page(void)
{
    static const char whole[] = " {\"kind\": \"List\", \"items\" : [ {\"a\":1} , {\"b\":[]}],"
                                "\"metadata\":{\"c\":2}, \"x\":null}";

    for (size_t len = 0; len < sizeof whole; len++) {
        struct k8s_page page;
        struct str item;
        enum k8s_page_part part;
        char *copy = malloc(len ? len : 1);

        memcpy(copy, whole, len);
        k8s_page_init(&page, (struct str){copy, len});
        while ((part = k8s_page_next(&page, &item)) == K8S_PAGE_ITEM)
            ;
        free(copy);
        harness_case("%zu bytes", len);
        CHECK_INT(part, len == sizeof whole - 1 ? K8S_PAGE_END : K8S_PAGE_BAD);
    }
}

/* Prints what a page costs; jansson beside it. */
static void test_speed(void)
{
    static char page[600000];
    size_t len = (size_t)snprintf(page, sizeof page, "{\"items\":[");
    for (int i = 0; i < 250; i++)
        len += (size_t)snprintf(page + len, sizeof page - len,
                                "%s{\"metadata\":{\"name\":\"run-%d\",\"annotations\":{\"a\":\"%01500d\"}},"
                                "\"spec\":{\"x\":[1,2,3]}}",
                                i ? "," : "", i, i);
    len += (size_t)snprintf(page + len, sizeof page - len, "],\"metadata\":{}}");

    struct k8s_page p;
    struct str item;
    int n = 0;
    clock_t start = clock();
    k8s_page_init(&p, (struct str){page, len});
    while (k8s_page_next(&p, &item) == K8S_PAGE_ITEM)
        n++;
    clock_t scanned = clock();
    json_t *tree = json_loadb(page, len, 0, NULL);
    clock_t parsed = clock();
    json_decref(tree);
    printf("# page of %zu bytes: scan %ld us, jansson %ld us\n", len, (long)(scanned - start),
           (long)(parsed - scanned));
    CHECK_INT(n, 250);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_values),
                                       TEST(test_no_beginning_is_valid),
                                       TEST(test_utf8),
                                       TEST(test_events),
                                       TEST(test_depth),
                                       TEST(test_members),
                                       TEST(test_text),
                                       TEST(test_pages),
                                       TEST(test_no_beginning_is_a_page),
                                       TEST(test_speed),
                                       {0}});
}
