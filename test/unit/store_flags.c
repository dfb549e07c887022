/* Flag tables: defaults, both forms of a value, lists, and what is refused with which words. */
#include "harness.h"
#include "store/flags.h"

struct config {
    bool quiet;
    bool help;
    const char *dir;
    struct flag_list listen;
    int64_t retention_ms;
    uint64_t size;
    uint64_t room;
    const char *cluster;
};

static const struct flag flags[] = {
    {"--quiet", NULL, FLAG_BOOL, offsetof(struct config, quiet), NULL, "say less"},
    {"--dir", "DIR", FLAG_STRING, offsetof(struct config, dir), "data", "where"},
    {"--listen", "ADDR", FLAG_LIST, offsetof(struct config, listen), ":8080", "address"},
    {"--retention", "TIME", FLAG_DURATION, offsetof(struct config, retention_ms), "30d", "how long"},
    {"--size", "SIZE", FLAG_SIZE, offsetof(struct config, size), "1GiB", "how much"},
    {"--room", "SIZE", FLAG_ROOM, offsetof(struct config, room), "0", "how much at most"},
    {"--cluster", "NAME", FLAG_STRING, offsetof(struct config, cluster), NULL, "whose"},
    {"--help", NULL, FLAG_BOOL, offsetof(struct config, help), NULL, "this"},
    {0},
};

static char err[FLAG_ERROR];
static const char *words[2];
static size_t n_words;

static bool parse(struct config *config, char **argv)
{
    int argc = 0;
    struct flag_section section = {flags, config};

    *config = (struct config){0};
    while (argv[argc])
        argc++;
    return flags_parse(&section, 1, argc, argv, words, 2, &n_words, err);
}
#define PARSE(config, ...) parse(config, (char *[]){"prog", __VA_ARGS__ __VA_OPT__(, ) NULL})

/* A table of its own: none of the other tests has files. */
struct file_config {
    const char *one;
    const char *absent;
    struct flag_list many;
    const char *dir;
};

static void on_file(void *arg, const char *value)
{
    size_t len = strlen(arg);
    (void)snprintf((char *)arg + len, 64 - len, "%s;", value);
}

static void test_each_file(void)
{
    static const struct flag table[] = {
        {"--one", "FILE", FLAG_STRING, offsetof(struct file_config, one), NULL, "x"},
        {"--absent", "FILE", FLAG_STRING, offsetof(struct file_config, absent), NULL, "x"},
        {"--many", "FILE", FLAG_LIST, offsetof(struct file_config, many), NULL, "x"},
        {"--dir", "DIR", FLAG_STRING, offsetof(struct file_config, dir), "data", "x"},
        {0},
    };
    struct file_config c = {0};
    struct flag_section section = {table, &c};
    char *argv[] = {"prog", "--many=b", "--one", "a", "--many", "c"};
    char seen[64] = "";

    CHECK(flags_parse(&section, 1, 6, argv, words, 2, &n_words, err));
    flags_each_file(&section, 1, on_file, seen);
    CHECK_TEXT(seen, "a;b;c;");
}

/* The help text: what is given, what it is for, and what it is when it is not given. */
static void test_print(void)
{
    char out[2048] = "";
    FILE *file = fmemopen(out, sizeof out, "w");

    CHECK(file != NULL);
    flags_print(flags, file);
    (void)fclose(file);
    CHECK(str_starts(str_of(out), STR("  --quiet                          say less\n"
                                      "  --dir DIR                        where [data]\n"
                                      "  --listen ADDR                    address [:8080]\n")));
}

static void test_words(void)
{
    struct config c;

    CHECK(PARSE(&c, "import", "-"));
    CHECK_INT(n_words, 2);
    CHECK_TEXT(words[1], "-"); /* a name like any other */
    CHECK(!PARSE(&c, "import", "-", "more"));
    CHECK_TEXT(err, "more: one word too many; see --help");
    CHECK(!PARSE(&c, "--"));
    CHECK_TEXT(err, "--: no such flag; see --help");
    CHECK(!PARSE(&c, "-x=1"));
    CHECK_TEXT(err, "-x: no such flag; see --help");
}

static void test_defaults(void)
{
    struct config c;
    CHECK(PARSE(&c));
    CHECK(!c.quiet);
    CHECK_TEXT(c.dir, "data");
    CHECK_INT(c.listen.n, 1);
    CHECK_TEXT(c.listen.values[0], ":8080");
    CHECK_INT(c.retention_ms, INT64_C(30) * 86400 * 1000);
    CHECK_INT(c.size, 1 << 30);
    CHECK_INT(n_words, 0);
}

static void test_given(void)
{
    struct config c;
    CHECK(PARSE(&c, "serve", "--dir=x=y", "--listen", "[::]:1", "--quiet", "--listen=:2", "--size", "2KiB"));
    CHECK(c.quiet);
    CHECK_TEXT(c.dir, "x=y");
    CHECK_INT(c.listen.n, 2);
    CHECK_TEXT(c.listen.values[0], "[::]:1");
    CHECK_TEXT(c.listen.values[1], ":2");
    CHECK_INT(c.size, 2048);
    CHECK_INT(n_words, 1);
    CHECK_TEXT(words[0], "serve");
    CHECK(!c.help);
    CHECK(PARSE(&c, "-h"));
    CHECK(c.help);
}

static void test_refused(void)
{
    struct config c;
    CHECK(!PARSE(&c, "--nope"));
    CHECK_TEXT(err, "--nope: no such flag; see --help");
    CHECK(!PARSE(&c, "--dir"));
    CHECK_TEXT(err, "--dir needs a value: --dir DIR");
    CHECK(!PARSE(&c, "--dir", "--quiet"));
    CHECK_TEXT(err, "--dir needs a value: --dir DIR");
    CHECK(PARSE(&c, "--dir=--quiet"));
    CHECK_TEXT(c.dir, "--quiet");
    CHECK(!PARSE(&c, "--quiet=yes"));
    CHECK_TEXT(err, "--quiet takes no value");
    CHECK(!PARSE(&c, "--retention", "5"));
    CHECK_HAS(str_of(err), STR("--retention: \"5\" is not a duration"));
    CHECK(!PARSE(&c, "--size", "-1"));
    CHECK_HAS(str_of(err), STR("--size"));
    CHECK(!PARSE(&c, "--room", "1KiB"));
    CHECK_TEXT(err, "--room: \"1KiB\" is too small; give 4MiB or more, or 0 for as much as can be");
    CHECK(!PARSE(&c, "--room", "65GiB"));
    CHECK_TEXT(err, "--room: \"65GiB\" is too large; give 64GiB or less, or 0 for as much as can be");
    CHECK(PARSE(&c, "--room", "64GiB"));
    CHECK(!PARSE(&c, "--room=4194303"));
    CHECK(PARSE(&c, "--room", "4Mi"));
    CHECK_INT(c.room, 4 << 20);
    CHECK(PARSE(&c, "--room", "0"));
    CHECK_INT(c.room, 0);
    CHECK(!PARSE(&c, "a", "b", "c"));
    CHECK_TEXT(err, "c: one word too many; see --help");
}

static void test_empty(void)
{
    static char *const refused[] = {"--dir=", "--listen=", "--retention=", "--size=", "--room="};
    struct config c;

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        harness_case("%s", refused[i]);
        CHECK(!PARSE(&c, refused[i]));
        CHECK_HAS(str_of(err), STR(": an empty value; give --"));
        CHECK(!PARSE(&c, "--quiet", refused[i]));
    }
    CHECK(!PARSE(&c, "--listen", ":1", "--listen", ""));
    CHECK_TEXT(err, "--listen: an empty value; give --listen ADDR, or leave it out");
    CHECK(PARSE(&c, "--cluster=", "--quiet"));
    CHECK_TEXT(c.cluster, "");
    CHECK(c.quiet);
}

static void test_list_limit(void)
{
    struct config c;
    char *argv[2 * FLAG_LIST_MAX + 4] = {"prog"};
    for (size_t i = 1; i < 2 * FLAG_LIST_MAX + 3; i++)
        argv[i] = "--listen=:1";
    CHECK(!parse(&c, argv));
    CHECK_HAS(str_of(err), STR("--listen: at most 64"));
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_each_file),
                                       TEST(test_print),
                                       TEST(test_words),
                                       TEST(test_defaults),
                                       TEST(test_given),
                                       TEST(test_refused),
                                       TEST(test_empty),
                                       TEST(test_list_limit),
                                       {0}});
}
