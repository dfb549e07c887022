/* Slices and bounded text. */
#include "harness.h"

#include "store/str.h"

static void test_compare(void)
{
    CHECK(str_eq(STR_NONE, STR("")));
    CHECK(str_eq(STR("a\0b"), STR("a\0b")));
    CHECK(!str_eq(STR("a\0b"), STR("a\0c")));
    CHECK(!str_eq(STR("a"), STR("ab")));
    CHECK(str_eq_nocase(STR("AbZ@["), STR("aBz@[")));
    CHECK(!str_eq_nocase(STR("@"), STR("`")));
    CHECK(!str_eq_nocase(STR("a"), STR("ab")));
    CHECK(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR_NONE) &&
          str_starts(STR("abc"), STR("abc")));
    CHECK(!str_starts(STR("ab"), STR("abc")) && !str_starts(STR("abc"), STR("b")));
    CHECK(str_ends(STR("abc"), STR("bc")) && str_ends(STR("abc"), STR_NONE) &&
          str_ends(STR("abc"), STR("abc")));
    CHECK(!str_ends(STR("bc"), STR("abc")) && !str_ends(STR("abc"), STR("b")));
    CHECK(str_has(STR("abc"), STR("b")) && str_has(STR("abc"), STR_NONE) && str_has(STR_NONE, STR_NONE));
    CHECK(!str_has(STR_NONE, STR("a")) && !str_has(STR("abc"), STR("ac")));
    CHECK_INT(str_of(NULL).len, 0);
}

static void test_parts(void)
{
    CHECK_STR(str_from(STR("abc"), 1), STR("bc"));
    CHECK_STR(str_from(STR("abc"), 3), STR_NONE);
    CHECK_STR(str_from(STR("abc"), 9), STR_NONE);
    CHECK_STR(str_upto(STR("abc"), 2), STR("ab"));
    CHECK_STR(str_upto(STR("abc"), 9), STR("abc"));
    CHECK_STR(str_trim(STR(" \t\r\n\v\fa b ")), STR("a b"));
    CHECK_STR(str_trim(STR(" \n ")), STR_NONE);
    CHECK_STR(str_trim(STR_NONE), STR_NONE);
    CHECK_INT(str_find(STR("a/b/c"), '/'), 1);
    CHECK_INT(str_find_last(STR("a/b/c"), '/'), 3);
    CHECK_INT(str_find(STR("abc"), '/'), -1);
    CHECK_INT(str_find_last(STR_NONE, '/'), -1);
}

static void test_split(void)
{
    static const struct {
        const char *text;
        const char *parts[5];
    } rows[] = {
        {"a,b,c", {"a", "b", "c"}}, {"a", {"a"}}, {"", {""}}, {",", {"", ""}}, {"a,,b,", {"a", "", "b", ""}}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str rest = str_of(rows[i].text);
        size_t n = 0;
        harness_case("\"%s\"", rows[i].text);
        do {
            CHECK(rows[i].parts[n] != NULL);
            CHECK_STR(str_split(&rest, ','), str_of(rows[i].parts[n]));
            n++;
        } while (rest.at);
        CHECK(n == 5 || rows[i].parts[n] == NULL);
    }
}

static void test_cut_utf8(void)
{
    static const struct {
        const char *text;
        size_t max, len;
    } rows[] = {
        {"abc", 3, 3},          {"abc", 2, 2},          {"a\xC3\xA9z", 2, 1},        {"a\xC3\xA9z", 3, 3},
        {"\xE2\x82\xAC", 2, 0}, {"\xE2\x82\xAC", 3, 3}, {"\xF0\x9F\x98\x80z", 3, 0}, {"", 0, 0},
        {"abc", 0, 0}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("row %zu", i);
        CHECK_INT(str_cut_utf8(str_of(rows[i].text), rows[i].max).len, rows[i].len);
    }
}

static void test_dup(void)
{
    char *copy = str_dup(STR("abc"));

    CHECK_TEXT(copy, "abc");
    free(copy);
    copy = str_dup(STR_NONE);
    CHECK_TEXT(copy, "");
    free(copy);
    CHECK(str_dup(STR("a\0b")) == NULL);
}

static void test_to_u64(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t n;
    } rows[] = {{"0", true, 0},
                {"007", true, 7},
                {"18446744073709551615", true, UINT64_MAX},
                {"18446744073709551616", false, 0},
                {"99999999999999999999999", false, 0},
                {"", false, 0},
                {"-1", false, 0},
                {"+1", false, 0},
                {" 1", false, 0},
                {"1.0", false, 0},
                {"0x1", false, 0}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t n = 99;
        harness_case("\"%s\"", rows[i].text);
        CHECK_INT(str_to_u64(str_of(rows[i].text), &n), rows[i].ok);
        CHECK(n == (rows[i].ok ? rows[i].n : 99));
    }
}

static void test_text(void)
{
    char buffer[8];
    struct text t;

    text_init(&t, buffer, sizeof buffer);
    CHECK_TEXT(buffer, "");
    text_add(&t, STR("abc"));
    text_addf(&t, "%d", 45);
    CHECK(!t.cut);
    CHECK_STR(text_str(&t), STR("abc45"));
    text_add(&t, STR("\xE2\x82\xAC"));
    CHECK(t.cut);
    text_add(&t, STR("x"));
    text_addf(&t, "y");
    text_add_clean(&t, STR("z"));
    CHECK_TEXT(buffer, "abc45");

    text_init(&t, buffer, sizeof buffer);
    text_add(&t, STR("1234567"));
    CHECK(!t.cut);
    text_add(&t, STR_NONE);
    CHECK(!t.cut);
    CHECK_INT(t.len, 7);

    char one[1];
    text_init(&t, one, sizeof one);
    text_add(&t, STR("a"));
    CHECK(t.cut);
    CHECK_TEXT(one, "");
}

/* Formatted text is cut at a boundary too, wherever the buffer ends in it. */
static void test_text_format_cut(void)
{
    char buffer[16];
    struct text t;

    for (size_t cap = 1; cap <= sizeof buffer; cap++) {
        harness_case("cap %zu", cap);
        text_init(&t, buffer, cap);
        text_addf(&t, "%s", "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"); /* 1, 2, 3, 4 and 1 bytes */
        size_t room = cap - 1;
        CHECK_INT(t.len, room >= 11   ? 11
                         : room >= 10 ? 10
                         : room >= 6  ? 6
                         : room >= 3  ? 3
                         : room >= 1  ? 1
                                      : 0);
        CHECK_INT(t.cut, room < 11);
        CHECK_INT(strlen(buffer), t.len);
    }
}

static void test_text_clean(void)
{
    static const struct {
        struct str dirty;
        const char *clean;
    } rows[] = {{STR("plain"), "plain"},
                {STR("a\nb\tc\rd\0e\x1b\x7f"), "a b c d e  "},
                {STR("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
                {STR("\xff\xfe"), "??"},
                {STR("\xC3"), "?"},
                {STR("\xC0\x80"), "??"},
                {STR("\xED\xA0\x80"), "???"},
                {STR("\xE0\x80\x80"), "???"},
                {STR("\xF4\x90\x80\x80"), "????"},
                {STR_NONE, ""}};
    char buffer[64];
    struct text t;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("row %zu", i);
        text_init(&t, buffer, sizeof buffer);
        text_add_clean(&t, rows[i].dirty);
        CHECK_TEXT(buffer, rows[i].clean);
        CHECK(!t.cut);
    }
}

static void test_hex_digit(void)
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        CHECK_INT(str_hex_digit(digits[i]), i);
        if (i >= 10)
            CHECK_INT(str_hex_digit((char)(digits[i] - 'a' + 'A')), i);
    }
    for (const char *c = "/:@G`g \xff"; *c; c++)
        CHECK_INT(str_hex_digit(*c), -1);
    CHECK_INT(str_hex_digit('\0'), -1);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_compare),
                                       TEST(test_parts),
                                       TEST(test_split),
                                       TEST(test_cut_utf8),
                                       TEST(test_dup),
                                       TEST(test_to_u64),
                                       TEST(test_text),
                                       TEST(test_text_format_cut),
                                       TEST(test_text_clean),
                                       TEST(test_hex_digit),
                                       {0}});
}
