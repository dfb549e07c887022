/* A data.mdb that this program did not write, or not all of: it is refused with what is wrong, and left as it is. */
#include "store_fixture.h"

#include <lmdb.h>

#include "store/transfer.h"

struct entry {
    const char *db; /* NULL: the root */
    const char *key;
    const char *value; /* in hexadecimal digits; NULL: the database is made, and nothing is put into it */
};

static void put(MDB_env *env, const struct entry *e)
{
    unsigned char bytes[32];
    MDB_val key = {strlen(e->key), (void *)(uintptr_t)e->key}, value = {0, bytes};
    MDB_txn *txn;
    MDB_dbi dbi;

    CHECK_INT(mdb_txn_begin(env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_dbi_open(txn, e->db, e->db ? MDB_CREATE : 0, &dbi), 0);
    for (const char *at = e->value; at && *at; at += 2)
        bytes[value.mv_size++] = (unsigned char)(str_hex_digit(at[0]) << 4 | str_hex_digit(at[1]));
    if (e->value)
        CHECK_INT(mdb_put(txn, dbi, &key, &value, 0), 0);
    CHECK_INT(mdb_txn_commit(txn), 0);
}

/* Makes a data.mdb of these entries in the directory of f, which is closed. */
static void make(struct fixture *f, const struct entry *entries, size_t n)
{
    char path[128];
    MDB_env *env;

    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    CHECK_INT(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/lock.mdb", f->dir);
    (void)unlink(path);
    CHECK_INT(mdb_env_create(&env), 0);
    CHECK_INT(mdb_env_set_maxdbs(env, 4), 0);
    CHECK_INT(mdb_env_open(env, f->dir, 0, 0600), 0);
    for (size_t i = 0; i < n; i++)
        put(env, &entries[i]);
    mdb_env_close(env);
}

static size_t read_file(const struct fixture *f, char *out, size_t size)
{
    char path[128];

    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    size_t n = fread(out, 1, size, file);
    (void)fclose(file);
    return n;
}

#define SCHEMA                       \
    {                                \
        "meta", "schema", "01000000" \
    }
#define SEED                                               \
    {                                                      \
        "meta", "seed", "00112233445566778899aabbccddeeff" \
    }
#define EVENTS             \
    {                      \
        "events", "", NULL \
    }
#define MOST 4

static const struct {
    const char *name;
    struct entry entries[MOST];
    size_t n;
    const char *want; /* NULL: it is one of ours */
} rows[] = {
    {"whole, and empty", {SCHEMA, SEED, EVENTS}, 3, NULL},
    {"another program's records", {{NULL, "theirs", "00"}}, 1, "data.mdb belongs to another program"},
    {"another program's database", {{"theirs", "key", "00"}}, 1, "data.mdb belongs to another program"},
    {"events alone", {EVENTS}, 1, "data.mdb belongs to another program"},
    {"no schema", {SEED, EVENTS}, 2, "is damaged: data.mdb has no schema number; restore it from a copy"},
    {"a schema before the first",
     {{"meta", "schema", "00000000"}, SEED, EVENTS},
     3,
     "is damaged: data.mdb lacks a part"},
    {"no seed", {SCHEMA, EVENTS}, 2, "is damaged: data.mdb lacks a part"},
    {"no events", {SCHEMA, SEED}, 2, "is damaged: data.mdb lacks a part"},
    {"an import that did not end",
     {SCHEMA, SEED, EVENTS, {"meta", "importing", "01"}},
     4,
     "an import into it did not end"},
};

static void test_what_is_not_ours(void)
{
    static char before[1 << 18], after[1 << 18];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture *f = fixture_new();
        const struct store_config config = {.dir = f->dir, .allow_network_fs = true};
        char err[STORE_ERROR] = "", verify_err[STORE_ERROR] = "";
        uint64_t n;

        harness_case("%s", rows[i].name);
        fixture_close(f);
        make(f, rows[i].entries, rows[i].n);
        size_t len = read_file(f, before, sizeof before);
        CHECK_INT(transfer_verify(&config, stdout, &n, verify_err), rows[i].want == NULL);
        f->store = fixture_try_open(f, NULL, err);
        CHECK_INT(f->store != NULL, rows[i].want == NULL);
        if (rows[i].want) {
            CHECK_HAS(str_of(err), str_of(rows[i].want));
            CHECK_HAS(str_of(err), str_of(f->dir));
            CHECK_TEXT(verify_err, err);
            CHECK_INT(read_file(f, after, sizeof after), len);
            CHECK(memcmp(before, after, len) == 0);
        }
        fixture_free(f);
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_what_is_not_ours), {0}});
}
