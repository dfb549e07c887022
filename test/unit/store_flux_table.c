/* The table of docs/flux.md is the one of store/classify.c: printed from it with --print, and compared with it
 * otherwise. The source itself is included, because the tables are nobody else's business. */
#include "store/classify.c"

#include "golden.h"

#define DOCUMENT "docs/flux.md"
#define BEGIN    "<!-- from store/classify.c: build/asan/test/store_flux_table --print -->\n"
#define END      "<!-- end -->\n"

static const char *kinds_of(enum group group, char out[static 256])
{
    struct text t;

    text_init(&t, out, 256);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].group == group)
            text_addf(&t, "%s%s", t.len ? ", " : "", kinds[i].kind);
    if (group == GROUP_UNNAMED)
        text_addf(&t, "none (`curl`)");
    if (group == GROUP_OTHER)
        text_addf(&t, "any other");
    return out;
}

static const char *effect_of(enum event_class class)
{
    switch (class) {
    case CLASS_SUCCESS: return "**succeeds**";
    case CLASS_FAILURE: return "**fails**, at once or after `failAfter`";
    case CLASS_PROGRESS: return "waits on";
    case CLASS_OTHER: return "waits on; it says nothing about the revision";
    }
    return "";
}

static const char *severity_of(enum severity_rule rule)
{
    switch (rule) {
    case ANY_SEVERITY: return "any";
    case NOT_ERROR: return "not `error`";
    case NOT_INFO: return "not `info`";
    }
    return "";
}

static void write_table(struct text *t)
{
    char out[256];

    text_addf(t, "\n| Object | Reason | Severity | A waiting Run |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *tick = rows[i].reason ? "`" : "";
        text_addf(t, "| %s | %s%s%s | %s | %s |\n", kinds_of(rows[i].group, out), tick,
                  rows[i].reason ? rows[i].reason : "any other", tick, severity_of(rows[i].severity),
                  effect_of(rows[i].class));
    }
    text_addf(t, "\nA HelmRelease whose reason is `info` or `error` (helm-controller until 0.36):\n\n"
                 "| The message begins | A waiting Run |\n|---|---|\n");
    for (size_t i = 0; i < sizeof helm_messages / sizeof helm_messages[0]; i++) {
        bool any = helm_messages[i].begins[0] == '\0';
        text_addf(t, "| %s%s%s | %s |\n", any ? "" : "`", any ? "anything else" : helm_messages[i].begins,
                  any ? "" : "`", effect_of(helm_messages[i].class));
    }
    text_addf(t, "\n");
}

static char table_text[32768];

static void test_document(void)
{
    struct str document = golden_read(DOCUMENT);
    struct text t;

    text_init(&t, table_text, sizeof table_text);
    write_table(&t);
    const char *begin = memmem(document.at, document.len, BEGIN, strlen(BEGIN));
    CHECK(begin != NULL);
    struct str found = str_from(document, (size_t)(begin - document.at) + strlen(BEGIN));
    const char *end = memmem(found.at, found.len, END, strlen(END));
    CHECK(end != NULL);
    found.len = (size_t)(end - found.at);
    struct str want = text_str(&t);
    for (size_t line = 1; want.len > 0 || found.len > 0; line++) {
        harness_case("line %zu of the table", line);
        CHECK_STR(str_split(&found, '\n'), str_split(&want, '\n'));
    }
    free((char *)document.at);
}

/* Every test that the document names is there: `file::name`. */
static void test_named_tests(void)
{
    struct str document = golden_read(DOCUMENT);
    struct str rest = document;
    size_t found = 0;

    while (rest.len > 0) {
        char path[256], name[256];
        struct str quoted = str_split(&rest, '`');
        ptrdiff_t at = str_find(quoted, ':');
        if (!str_starts(quoted, STR("test/")) || at < 0)
            continue;
        (void)snprintf(path, sizeof path, "%.*s", (int)at, quoted.at);
        (void)snprintf(name, sizeof name, "%.*s(", STR_ARG(str_from(quoted, (size_t)at + 2)));
        harness_case("%s in %s", name, path);
        struct str file = golden_read(path);
        CHECK(str_has(file, str_of(name)));
        free((char *)file.at);
        found++;
    }
    CHECK(found > 20);
    free((char *)document.at);
}

int main(int argc, char *argv[])
{
    struct text t;

    if (argc > 1 && strcmp(argv[1], "--print") == 0) {
        text_init(&t, table_text, sizeof table_text);
        write_table(&t);
        printf("%s%.*s%s", BEGIN, STR_ARG(text_str(&t)), END);
        return 0;
    }
    return harness_run((struct test[]){TEST(test_document), TEST(test_named_tests), {0}});
}
