/* An import is whole, or what it leaves is not taken for a store. */
#include "store_fixture.h"

#include <errno.h>

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

int main(void)
{
    fixture_in_memory();
    return harness_run(
        (struct test[]){TEST(test_half_an_import_is_no_store), TEST(test_pieces_are_bounded), {0}});
}
