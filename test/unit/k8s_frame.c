/* Framing: the lines do not depend on where the bytes were cut. */
#include "k8s/frame_priv.h"

#include "harness.h"

/* Feeds s in the pieces that end at a and b, and writes "line|line|", and "!" when it failed. */
static void frame(struct str s, size_t a, size_t b, size_t most, struct text *out)
{
    struct k8s_frame f;
    struct str pieces[] = {str_upto(s, a), str_upto(str_from(s, a), b - a), str_from(s, b)}, line;

    k8s_frame_init(&f, most);
    for (size_t i = 0; i < 3; i++) {
        k8s_frame_add(&f, pieces[i]);
        while (k8s_frame_next(&f, &line)) {
            text_add(out, line);
            text_add(out, STR("|"));
        }
    }
    if (f.failed)
        text_add(out, STR("!"));
    k8s_frame_free(&f);
}

static void item_63_every_split(void)
{
    static const struct {
        const char *name;
        struct str in;
        size_t most;
        const char *lines;
    } rows[] = {
        {"nothing", STR(""), 100, ""},
        {"one", STR("{\"a\":1}\n"), 100, "{\"a\":1}|"},
        {"unfinished", STR("abc"), 100, ""},
        {"several", STR("one\ntwo\nthree\nfo"), 100, "one|two|three|"},
        {"blank lines", STR("\n\n  \none\n\r\n\t\ntwo\n"), 100, "one|two|"},
        {"white space inside", STR(" one \r\n"), 100, " one \r|"},
        {"as long as may be", STR("12345678\n1234\n"), 8, "12345678|1234|"},
        {"too long", STR("1234\n123456789\n12\n"), 8, "1234|!"},
        {"too long and unfinished", STR("1234\n123456789"), 8, "1234|!"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t a = 0; a <= rows[i].in.len; a++)
            for (size_t b = a; b <= rows[i].in.len; b++) {
                char buffer[256];
                struct text out;
                harness_case("%s, cut at %zu and %zu", rows[i].name, a, b);
                text_init(&out, buffer, sizeof buffer);
                frame(rows[i].in, a, b, rows[i].most, &out);
                CHECK_TEXT(buffer, rows[i].lines);
            }
}

static void test_memory_is_given_back(void)
{
    static char large[300000];
    struct k8s_frame f;
    struct str line;

    memset(large, 'x', sizeof large);
    k8s_frame_init(&f, 1 << 20);
    CHECK(k8s_frame_add(&f, (struct str){large, sizeof large}));
    CHECK(!k8s_frame_next(&f, &line));
    CHECK(k8s_frame_add(&f, STR("\n")));
    CHECK(k8s_frame_next(&f, &line));
    CHECK_INT(line.len, sizeof large);
    CHECK(k8s_frame_add(&f, STR("small\n")));
    CHECK(f.cap <= 16384);
    CHECK(k8s_frame_next(&f, &line));
    CHECK_STR(line, STR("small"));
    k8s_frame_free(&f);
}

static void test_reset(void)
{
    struct k8s_frame f;
    struct str line;

    k8s_frame_init(&f, 4);
    CHECK(k8s_frame_add(&f, STR("12345")));
    CHECK(!k8s_frame_next(&f, &line));
    CHECK(f.failed);
    CHECK(!k8s_frame_add(&f, STR("1\n")));
    k8s_frame_reset(&f);
    CHECK(k8s_frame_add(&f, STR("ok\n")));
    CHECK(k8s_frame_next(&f, &line));
    CHECK_STR(line, STR("ok"));
    k8s_frame_free(&f);
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(item_63_every_split), TEST(test_memory_is_given_back), TEST(test_reset), {0}});
}
