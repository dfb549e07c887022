/* JSON as text: where a string ends, whatever is escaped in it. */
#include "harness.h"

#include "store/json_text_priv.h"

#define MOST 9

/* The grammar, letter by letter: a backslash takes its next letter along. */
static size_t end_of_string(const char *text, size_t len)
{
    size_t at = 1;

    while (at < len && text[at] != '"')
        at += text[at] == '\\' && at + 1 < len ? 2 : 1;
    return at < len ? at + 1 : len;
}

/* All strings of these letters up to MOST, each in memory of its own: not a byte behind its end may be read. */
static void test_strings_of_few_letters(void)
{
    static const char letters[] = "a\\\"";
    size_t cases = 0;

    for (size_t len = 1, n = 1; len <= MOST; len++, n *= sizeof letters - 1) {
        char *text = malloc(len);
        text[0] = '"';
        for (size_t story = 0; story < n; story++, cases++) {
            for (size_t i = 1, rest = story; i < len; i++, rest /= sizeof letters - 1)
                text[i] = letters[rest % (sizeof letters - 1)];
            struct json_walk w = {text, text + len};
            json_skip_string(&w);
            harness_case("%.*s", (int)len, text);
            CHECK_INT(w.at - text, end_of_string(text, len));
        }
        free(text);
    }
    CHECK_INT(cases, 9841); /* 3^0 + … + 3^8 */
}

static void test_members_with_escapes(void)
{
    const char *text = "{\"a\\\"b\" : \"}\\\\\" , \"c\":[\"]\\\"\",{\"d\":\"\\\\\\\"\"}], \"\":-1}";
    struct json_walk w;
    struct str key, value;

    CHECK(json_enter_object(&w, str_of(text)));
    CHECK(json_next_member(&w, &key, &value));
    CHECK_STR(key, STR("\"a\\\"b\""));
    CHECK_STR(value, STR("\"}\\\\\""));
    CHECK(json_next_member(&w, &key, &value));
    CHECK_STR(key, STR("\"c\""));
    CHECK_STR(value, STR("[\"]\\\"\",{\"d\":\"\\\\\\\"\"}]"));
    CHECK(json_next_member(&w, &key, &value));
    CHECK_STR(key, STR("\"\""));
    CHECK_STR(value, STR("-1"));
    CHECK(!json_next_member(&w, &key, &value));
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(test_strings_of_few_letters), TEST(test_members_with_escapes), {0}});
}
