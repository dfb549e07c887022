/* An import is whole, or what it leaves is not taken for a store; what no export wrote is refused. */
#include "store_fixture.h"

#include <errno.h>

#include "store/crc32c_priv.h"
#include "store/transfer.h"

/* An export of so many records with bodies of so many bytes. */
static FILE *export_of(size_t records, size_t body_len)
{
    struct fixture *f = fixture_new_uncoalesced();
    FILE *out = tmpfile();
    char *body = malloc(body_len + 1);
    char err[STORE_ERROR];
    uint64_t n;

    CHECK(out && body);
    memset(body, 'x', body_len);
    for (size_t i = 0; i < records; i++) {
        int head = snprintf(body, body_len + 1, "{\"reason\":\"r%zu\",\"message\":\"", i);
        body[head] = 'x';
        memcpy(body + body_len - 2, "\"}", 2);
        struct flux_event e = {.reason = STR("r")};
        CHECK_INT(
            store_append(f->store, &e, (struct str){body, body_len}, VIA_WEBHOOK, NOW_MS, NULL, NULL, 0),
            STORE_OK);
        if (i % 64 == 63)
            fixture_settle(f);
    }
    fixture_settle(f);
    if (!transfer_export(f->store, out, &n, err))
        HARNESS_FAIL("%s", err);
    CHECK_INT(n, records);
    free(body);
    fixture_free(f);
    return out;
}

/* The commits of an import, the one of which is to fail, and as what. */
struct commits {
    size_t n;
    size_t fails;
    int status;
};

static int on_commit(void *arg)
{
    struct commits *c = arg;
    return ++c->n == c->fails ? c->status : 0;
}

static bool import(struct fixture *f, FILE *in, struct commits *c, char err[static STORE_ERROR])
{
    uint64_t n;

    commit_set_hook(f->store->committer, on_commit, c);
    bool done = transfer_import(f->store, in, "export", &n, err);
    commit_set_hook(f->store->committer, NULL, NULL);
    return done;
}

static void test_half_an_import_is_no_store(void)
{
    FILE *in = export_of(2 * STORE_BATCH_EVENTS + 10, 64);

    for (size_t fails = 1; fails <= 4; fails++) {
        struct fixture *f = fixture_new();
        struct commits commits = {.fails = fails, .status = ENOSPC};
        char err[STORE_ERROR] = "";
        bool done = import(f, in, &commits, err);
        harness_case("commit %zu fails", fails);
        CHECK_INT(done, fails == 4);
        store_close(f->store);
        f->store = NULL;
        if (!done)
            CHECK_HAS(str_of(err), STR("No space left on device"));
        if (fails == 1 || fails == 4) { /* nothing is there, or everything */
            fixture_open(f);
            CHECK_INT(f->store->stats.records, done ? 2 * STORE_BATCH_EVENTS + 10 : 0);
        } else {
            CHECK_HAS(str_of(err), STR("remove it, and import again"));
            f->store = fixture_try_open(f, NULL, err);
            CHECK(f->store == NULL);
            CHECK_HAS(str_of(err), str_of(f->dir));
            CHECK_HAS(str_of(err), STR("an import into it did not end"));
        }
        fixture_free(f);
    }
    (void)fclose(in);
}

/* Memory and commits are bounded however large the bodies are. */
static void test_pieces_are_bounded(void)
{
    static const struct {
        size_t records, body_len, commits;
    } rows[] = {
        {10, 64, 1},
        {STORE_BATCH_EVENTS + 1, 64, 2},
        {STORE_BATCH_EVENTS, 64, 2}, /* the last takes the mark away */
        {20, 1 << 20, 6},            /* four records are more than STORE_BATCH_BYTES */
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        FILE *in = export_of(rows[i].records, rows[i].body_len);
        struct fixture *f = fixture_new();
        struct commits commits = {0};
        char err[STORE_ERROR] = "";
        harness_case("%zu records of %zu bytes", rows[i].records, rows[i].body_len);
        if (!import(f, in, &commits, err))
            HARNESS_FAIL("%s", err);
        CHECK_INT(commits.n, rows[i].commits);
        fixture_reopen(f);
        CHECK_INT(f->store->stats.records, rows[i].records);
        fixture_free(f);
        (void)fclose(in);
    }
}

/* ---- what an import refuses ---- */

#define EXPORT_MAX 4096
#define HEAD_LEN   21 /* {"crc32c":"00000000", */

/* Two records, the first said twice. */
static struct fixture *small_store(void)
{
    struct fixture *f = fixture_new();
    struct said said = {.kind = "Kustomization", .name = "apps", .reason = "ReconciliationSucceeded"};

    said.revision = "a";
    said.body = "{\"reason\":\"one\"}";
    CHECK_INT(fixture_store(f, &said, NOW_MS), 1);
    said.body = "{\"reason\":\"again\"}";
    CHECK_INT(fixture_store(f, &said, NOW_MS + 1000), 1);
    said.revision = "b";
    said.body = "{\"reason\":\"two\"}";
    CHECK_INT(fixture_store(f, &said, NOW_MS + 2000), 2);
    return f;
}

/* It exported: a line for each record, and the trailer. */
static void small_export(char out[static EXPORT_MAX])
{
    struct fixture *f = small_store();
    FILE *file = fmemopen(out, EXPORT_MAX, "w");
    char err[STORE_ERROR];
    uint64_t n = 0;

    CHECK(file);
    CHECK(transfer_export(f->store, file, &n, err));
    CHECK_INT(n, 2);
    (void)fclose(file);
    fixture_free(f);
}

/* The export with one text of one line replaced, and the checksums made to fit again: what there is to refuse is what
 * the line says. */
static FILE *doctored(struct str export, int line, const char *from, const char *to)
{
    FILE *file = tmpfile();
    uint32_t all = 0;

    CHECK(file);
    for (int i = 1; export.len > 0; i++) {
        char text[EXPORT_MAX], head[HEAD_LEN + 1];
        struct str old = str_split(&export, '\n');
        (void)snprintf(text, sizeof text, "%.*s", STR_ARG(old));
        char *at = i == line ? strstr(text, from) : NULL;
        CHECK(i != line || at);
        if (at)
            (void)snprintf(at, sizeof text - (size_t)(at - text), "%s%.*s", to,
                           STR_ARG(str_from(old, (size_t)(at - text) + strlen(from))));
        char *sum = i == line ? NULL : strstr(text, "exportCrc32c\":\"");
        if (sum)
            (void)snprintf(sum + 15, 11, "%08x\"}", all);
        (void)snprintf(head, sizeof head, "{\"crc32c\":\"%08x\",", crc32c(0, str_of(text + HEAD_LEN)));
        memcpy(text, head, HEAD_LEN);
        (void)fprintf(file, "%s\n", text);
        all = crc32c(crc32c(all, str_of(text)), STR("\n"));
    }
    return file;
}

/* "": it is taken. */
static void check_import(FILE *in, const char *refused)
{
    struct fixture *f = fixture_new();
    struct commits commits = {0};
    char err[STORE_ERROR] = "";
    bool done = import(f, in, &commits, err);

    CHECK_HAS(str_of(err), str_of(refused));
    CHECK_INT(done, refused[0] == '\0');
    CHECK_INT(commits.n, done ? 1 : 0); /* nothing is written before all was read */
    CHECK_INT(f->store->stats.records, 0);
    fixture_reopen(f);
    CHECK_INT(f->store->stats.records, done ? 2 : 0);
    fixture_free(f);
    (void)fclose(in);
}

static void test_lines_that_no_export_wrote(void)
{
    static const char no_record[] = "export, line 1: not a record of an export";
    static const char no_trailer[] = "export, line 3: the trailer does not fit what is above it";
    static const struct {
        int line;
        const char *from, *to, *refused;
    } rows[] = {
        {1, "\"id\":\"1\"", "\"id\":\"1\"", ""}, /* the checksums do fit */
        {1, "\"id\":\"1\"", "\"id\":\"0\"", no_record},
        {1, "\"id\":\"1\"", "\"id\":\"\"", no_record},
        {1, "\"id\":\"1\"", "\"id\":\"-1\"", no_record},
        {1, "\"id\":\"1\"", "\"id\":\"18446744073709551616\"", no_record},
        {2, "\"id\":\"2\"", "\"id\":\"9223372036854775808\"", "export, line 2: not a record of an export"},
        {1, "\"id\":\"1\"", "\"id\":1", no_record},
        {1, "\"id\"", "\"no\"", no_record},
        {2, "\"id\":\"2\"", "\"id\":\"1\"", "export, line 2: its id does not ascend"},
        {1, "webhook", "status", ""},
        {1, "webhook", "mail", no_record},
        {1, "webhook", "", no_record},
        {1, "\"count\":2", "\"count\":4294967295", ""},
        {1, "\"count\":2", "\"count\":4294967296", no_record},
        {1, "\"count\":2", "\"count\":0", no_record},
        {1, "\"count\":2", "\"count\":two", no_record},
        {1, "\"first\":[", "\"first\":[-", ""}, /* before 1970 */
        {1, "\"first\":[", "\"first\":[--", no_record},
        {1, "\"first\":[", "\"first\":[9999999999999999999999", no_record},
        {1, "\"first\":[1785578400000", "\"first\":[9223372036854775808", no_record},
        {1, "\"first\":[1785578400000", "\"first\":[253402300799999", ""},
        {1, "\"first\":[1785578400000", "\"first\":[253402300800000", no_record},
        {1, "\"last\":[1785578401000", "\"last\":[-253402300800000", no_record},
        {1, "\"first\":[", "\"first\":", no_record},
        {1, ",1],\"last\"", ",2],\"last\"", no_record},
        {1, ",1],\"last\"", ",1,\"last\"", no_record},
        {1, "\"last\":[", "\"then\":[", no_record},
        {1, "\"cluster\":\"\"", "\"cluster\":\"cHJvZA==\"", ""},
        {1, "\"cluster\":\"\"", "\"cluster\":\"cHJvZA=\"", no_record},  /* not a multiple of four */
        {1, "\"cluster\":\"\"", "\"cluster\":\"cHJvZB==\"", no_record}, /* bits that nothing writes */
        {1, "\"cluster\":\"\"", "\"cluster\":\"cHJv=A==\"", no_record},
        {1, "\"cluster\":\"\"", "\"cluster\":\"cH==cHJv\"", no_record},
        {1, "\"cluster\":\"\"", "\"cluster\":\"c===\"", no_record},
        {1, "\"cluster\":\"\"", "\"cluster\":\"cH=v\"", no_record},
        {1, "\"cluster\":\"\"", "\"cluster\":\"cH-_\"", no_record},
        {1, "\",\"body\":\"", "\",\"text\":\"", no_record},
        {1, "\",\"body\":\"", "\",\"body\":\"AAAA", "export, line 1: "},         /* no JSON */
        {1, "\",\"lastBody\":\"", "\",\"lastBody\":\"AAAA", "export, line 1: "}, /* neither */
        {1, "\"}", "\"", no_record},
        {1, "\"}", "\",\"more\":1}", no_record},
        {3, "\"records\":2", "\"records\":3", no_trailer},
        {3, "\"records\":2", "\"records\":", no_trailer},
        {3, "\"lastId\":\"2\"", "\"lastId\":\"1\"", no_trailer},
        {3, "\"lastId\":\"2\"", "\"lastId\":\"3\"", ""}, /* retention took the third */
        {3, "\"lastId\":\"2\"", "\"lastId\":\"9223372036854775807\"", ""},
        {3, "\"lastId\":\"2\"", "\"lastId\":\"9223372036854775808\"", no_trailer},
        {3, "\"lastId\"", "\"noId\"", no_trailer},
        {3, "exportCrc32c\":\"", "exportCrc32c\":\"0", no_trailer},
        {3, "\"}", "\",\"more\":1}", no_trailer},
    };
    char export[EXPORT_MAX];

    small_export(export);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("line %d, %s for %s", rows[i].line, rows[i].to, rows[i].from);
        check_import(doctored(str_of(export), rows[i].line, rows[i].from, rows[i].to), rows[i].refused);
    }
}

static FILE *file_of(const char *text, size_t len)
{
    FILE *file = tmpfile();

    CHECK(file);
    CHECK_INT(fwrite(text, 1, len, file), len);
    return file;
}

static void test_a_file_that_is_not_whole(void)
{
    char export[EXPORT_MAX + 2];
    int ends[2];

    small_export(export);
    size_t len = strlen(export), line = strcspn(export, "\n") + 1;
    harness_case("without a trailer");
    check_import(file_of(export, line), "export, line 2: the trailer is missing");
    harness_case("without its last line feed");
    check_import(file_of(export, len - 1), "export, line 3: it is cut short");
    harness_case("a line of nothing");
    memcpy(export + len, "\n", 2);
    check_import(file_of(export, len + 1), "export, line 4: something follows the trailer");
    check_import(file_of("\n", 1), "export, line 1: it is cut short");
    harness_case("a byte that is another");
    export[line - 5] ^= 1;
    check_import(file_of(export, len), "export, line 1: its checksum is wrong");
    harness_case("a pipe");
    CHECK(pipe(ends) == 0);
    (void)close(ends[1]);
    check_import(fdopen(ends[0], "r"), "export: it must be a file");
}

static void test_only_an_empty_store_imports(void)
{
    struct fixture *f = small_store();
    struct commits commits = {0};
    char export[EXPORT_MAX], err[STORE_ERROR] = "";

    small_export(export);
    FILE *in = file_of(export, strlen(export));
    CHECK(!import(f, in, &commits, err));
    CHECK_HAS(str_of(err), STR("holds events already; import into a new one"));
    CHECK_HAS(str_of(err), str_of(f->dir));
    CHECK_INT(f->store->stats.records, 2);
    (void)fclose(in);
    fixture_free(f);
}

/* ---- what is damaged ---- */

/* Changes every byte of the data file where this text begins. */
static void spoil(const struct fixture *f, const char *text)
{
    char path[128], *data;
    size_t len = 0, n = 0;

    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    FILE *file = fopen(path, "r+");
    CHECK(file && fseek(file, 0, SEEK_END) == 0 && (len = (size_t)ftell(file)) > 0);
    CHECK((data = malloc(len)) != NULL && fseek(file, 0, SEEK_SET) == 0);
    CHECK_INT(fread(data, 1, len, file), len);
    for (char *at = data; (at = memmem(at, len - (size_t)(at - data), text, strlen(text))) != NULL; n++)
        *at ^= 1;
    CHECK(n > 0 && fseek(file, 0, SEEK_SET) == 0);
    CHECK_INT(fwrite(data, 1, len, file), len);
    (void)fclose(file);
    free(data);
}

/* Verifies, and exports, both beside what is expected; "": nothing is wrong. */
static void check_reading(struct fixture *f, const char *said, const char *verified, const char *exported)
{
    const struct store_config config = {.dir = f->dir, .allow_network_fs = true};
    char out[EXPORT_MAX] = "", err[STORE_ERROR] = "";
    FILE *file = fmemopen(out, sizeof out, "w");
    uint64_t n = 0;

    CHECK_INT(transfer_verify(&config, file, &n, err), verified[0] == '\0');
    (void)fclose(file);
    CHECK_TEXT(out, said);
    CHECK_HAS(str_of(err), str_of(verified));
    CHECK_INT(n, 2);
    fixture_open(f);
    file = tmpfile();
    err[0] = '\0';
    CHECK_INT(transfer_export(f->store, file, &n, err), exported[0] == '\0');
    CHECK_HAS(str_of(err), str_of(exported));
    (void)fclose(file);
    fixture_close(f);
}

static void test_damage_is_named(void)
{
    struct fixture *f = small_store();

    fixture_close(f);
    check_reading(f, "", "", "");
    spoil(f, "{\"reason\":\"two\"}");
    check_reading(f, "record 2 is damaged: the checksum of its bodies is wrong\n", "has 1 damaged records",
                  "record 2 is damaged");
    fixture_free(f);
}

/* A disk that is full is said, not an export that ends early. */
static void test_an_export_that_cannot_be_written(void)
{
    struct fixture *f = small_store();
    FILE *full = fopen("/dev/full", "w");
    char err[STORE_ERROR] = "";
    uint64_t n;

    CHECK(full);
    CHECK(!transfer_export(f->store, full, &n, err));
    CHECK_TEXT(err, "the export cannot be written");
    setvbuf(full, NULL, _IONBF, 0);
    CHECK(!transfer_export(f->store, full, &n, err));
    CHECK_TEXT(err, "the export cannot be written");
    (void)fclose(full);
    fixture_free(f);
}

/* ---- the commands ---- */

/* Runs one with stdout and stderr in files; false with the error. */
static bool run(struct fixture *f, const char *command, const char *file, char out[static EXPORT_MAX],
                char err[static STORE_ERROR])
{
    const struct store_config config = {.dir = f->dir, .allow_network_fs = true};
    const struct reporter reporter = {fixture_report, f};
    FILE *caught = tmpfile();
    int kept[] = {dup(1), dup(2)};

    CHECK(caught);
    (void)fflush(stdout);
    for (int fd = 1; fd <= 2; fd++)
        (void)dup2(fileno(caught), fd);
    bool done = transfer_run(command, file, &config, &reporter, err);
    (void)fflush(stdout);
    for (int fd = 1; fd <= 2; fd++) {
        (void)dup2(kept[fd - 1], fd);
        (void)close(kept[fd - 1]);
    }
    rewind(caught);
    size_t n = fread(out, 1, EXPORT_MAX - 1, caught);
    out[n] = '\0';
    (void)fclose(caught);
    return done;
}

static void test_commands(void)
{
    struct fixture *f = small_store(), *copy = fixture_new();
    char path[128], export[EXPORT_MAX], out[EXPORT_MAX], err[STORE_ERROR] = "";

    fixture_close(f);
    fixture_close(copy);
    CHECK(run(f, "verify", NULL, out, err));
    CHECK_TEXT(out, "verify: 2 records\n");
    CHECK(run(f, "export", NULL, export, err));
    CHECK_HAS(str_of(export), STR("export: 2 records\n"));

    (void)snprintf(path, sizeof path, "%s/export", copy->dir);
    CHECK(!run(copy, "import", path, out, err));
    CHECK_HAS(str_of(err), STR("/export: No such file or directory"));
    FILE *file = fopen(path, "w");
    *strstr(export, "export: ") = '\0'; /* what went to stderr */
    CHECK(file && fputs(export, file) >= 0);
    (void)fclose(file);
    CHECK(run(copy, "import", path, out, err));
    CHECK_TEXT(out, "import: 2 records\n");
    CHECK(!run(copy, "import", path, out, err));
    CHECK_HAS(str_of(err), STR("holds events already"));
    CHECK(run(copy, "export", NULL, out, err));
    *strstr(out, "export: ") = '\0';
    CHECK_TEXT(out, export);
    fixture_free(copy);
    fixture_free(f);
}

/* A path that was misspelt is no empty store. */
static void test_reading_makes_no_store(void)
{
    struct fixture none = {.dir = "/nonexistent/fes"};
    char out[EXPORT_MAX], err[STORE_ERROR] = "";
    char long_dir[5000];

    CHECK(!run(&none, "export", NULL, out, err));
    CHECK_TEXT(err, "/nonexistent/fes/data.mdb: No such file or directory");
    CHECK(!run(&none, "verify", NULL, out, err));
    CHECK_TEXT(err, "/nonexistent/fes/data.mdb: No such file or directory");
    memset(long_dir, 'd', sizeof long_dir);
    long_dir[sizeof long_dir - 1] = '\0';
    const struct store_config config = {.dir = long_dir, .allow_network_fs = true};
    const struct reporter reporter = {fixture_report, &none};
    CHECK(!transfer_run("verify", NULL, &config, &reporter, err));
    CHECK_INT(strlen(err), STORE_ERROR - 1); /* as much of the path as fits */
}

int main(void)
{
    fixture_in_memory();
    return harness_run((struct test[]){TEST(test_half_an_import_is_no_store),
                                       TEST(test_pieces_are_bounded),
                                       TEST(test_lines_that_no_export_wrote),
                                       TEST(test_a_file_that_is_not_whole),
                                       TEST(test_only_an_empty_store_imports),
                                       TEST(test_damage_is_named),
                                       TEST(test_an_export_that_cannot_be_written),
                                       TEST(test_commands),
                                       TEST(test_reading_makes_no_store),
                                       {0}});
}
