/* Revisions: every format that Flux has written, every row of the matching rules, and the index's promise. */
#include "harness.h"

#include "store/revision_priv.h"

#define GIT   "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
#define GIT_2 "bd88a9156325322a124e55a369b59063470310eb"
#define OCI   "6f132a51cacdd080a2efc97cdc20b1807c025b6464c58a530f3803373d5f12cf"

static void test_parse(void)
{
    static const struct {
        const char *text;
        enum revision_kind kind;
        const char *pointer, *algo, *hex, *core;
        bool git;
    } rows[] = {
        {"main@sha1:" GIT, REVISION_HASH, "main", "sha1", GIT, "", true},
        {" main@sha1:" GIT "\n", REVISION_HASH, "main", "sha1", GIT, "", true},
        {"feature/x@sha1:" GIT, REVISION_HASH, "feature/x", "sha1", GIT, "", true},
        {"a@b/c@sha1:" GIT, REVISION_HASH, "a@b/c", "sha1", GIT, "", true},
        {"refs/heads/main@sha1:" GIT, REVISION_HASH, "main", "sha1", GIT, "", true},
        {"refs/tags/v1@sha1:" GIT, REVISION_HASH, "v1", "sha1", GIT, "", true},
        {"refs/pull/420/head@sha1:" GIT, REVISION_HASH, "refs/pull/420/head", "sha1", GIT, "", true},
        {"sha1:" GIT, REVISION_HASH, "", "sha1", GIT, "", true},
        {"main@<unknown>:" OCI, REVISION_HASH, "main", "<unknown>", OCI, "", true},
        {"main/" GIT, REVISION_HASH, "main", "sha1", GIT, "", true},
        {"feature/x/" GIT, REVISION_HASH, "feature/x", "sha1", GIT, "", true},
        {"a@b/" GIT, REVISION_HASH, "a@b", "sha1", GIT, "", true},
        {"HEAD/" GIT, REVISION_HASH, "", "sha1", GIT, "", true},
        {GIT, REVISION_HASH, "", "sha1", GIT, "", true},
        {"latest@sha256:" OCI, REVISION_HASH, "latest", "sha256", OCI, "", false},
        {"latest/" OCI, REVISION_HASH, "latest", "sha256", OCI, "", false},
        {"sha256:" OCI, REVISION_HASH, "", "sha256", OCI, "", false},
        {OCI, REVISION_HASH, "", "sha256", OCI, "", false},
        {"sha512:" OCI OCI, REVISION_HASH, "", "sha512", OCI OCI, "", false},
        {"new+algo:" OCI, REVISION_HASH, "", "new+algo", OCI, "", false},
        {"5394cb7", REVISION_SHORT, "", "", "5394cb7", "", true},
        {"5394CB7F", REVISION_SHORT, "", "", "5394CB7F", "", true},
        {"2024061", REVISION_SHORT, "", "", "2024061", "", true},
        {"sha256:6f132a5", REVISION_SHORT, "", "sha256", "6f132a5", "", false},
        {"5394cb", REVISION_OPAQUE, "", "", "", "", false},
        {"sha256:6f132a", REVISION_OPAQUE, "", "", "", "", false},
        {"main@sha1:5394cb7", REVISION_OPAQUE, "", "", "", "", false},
        {"sha1:" OCI, REVISION_OPAQUE, "", "", "", "", false},
        {"new:5394cb7f", REVISION_OPAQUE, "", "", "", "", false},
        {"SHA1:" GIT, REVISION_OPAQUE, "", "", "", "", false},
        {"main/5394cb7", REVISION_OPAQUE, "", "", "", "", false},
        {"main", REVISION_OPAQUE, "", "", "", "", false},
        {"a", REVISION_OPAQUE, "", "", "", "", false},
        {"", REVISION_OPAQUE, "", "", "", "", false},
        {"1.2.3", REVISION_CHART, "", "", "", "1.2.3", false},
        {"v1.2.3", REVISION_CHART, "", "", "", "v1.2.3", false},
        {"1.2.3-rc.1", REVISION_CHART, "", "", "", "1.2.3-rc.1", false},
        {"1.2.3+2", REVISION_CHART, "", "", "", "1.2.3", false},
        {"1.2.3+5394cb7f4833", REVISION_CHART, "", "", "5394cb7f4833", "1.2.3", false},
        {"1.2.3+5394cb7f4833.4", REVISION_CHART, "", "", "5394cb7f4833", "1.2.3", false},
        {"1.2.3-a+5394cb7f4833", REVISION_CHART, "", "", "5394cb7f4833", "1.2.3-a", false},
        {"1.2.3+5394cb7f48332", REVISION_CHART, "", "", "", "1.2.3", false},
        {"1.2", REVISION_OPAQUE, "", "", "", "", false},
        {"1.2.", REVISION_OPAQUE, "", "", "", "", false},
        {"1.2.3+", REVISION_OPAQUE, "", "", "", "", false},
        {"1.2.3-", REVISION_OPAQUE, "", "", "", "", false},
        {"1.2.3.4", REVISION_OPAQUE, "", "", "", "", false},
        {"1.2.3+a_b", REVISION_OPAQUE, "", "", "", "", false},
        {"v", REVISION_OPAQUE, "", "", "", "", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct revision r = revision_parse(str_of(rows[i].text));
        harness_case("\"%s\"", rows[i].text);
        CHECK_INT(r.kind, rows[i].kind);
        CHECK_STR(r.pointer, str_of(rows[i].pointer));
        CHECK_STR(r.algo, str_of(rows[i].algo));
        CHECK_STR(r.hex, str_of(rows[i].hex));
        CHECK_STR(r.core, str_of(rows[i].core));
        CHECK_INT(r.git, rows[i].git);
        CHECK_STR(r.text, str_trim(str_of(rows[i].text)));
    }
}

/* Columns: what is asked, the stored members, the object's kind, the level. */
struct match_row {
    const char *asked, *revision, *origin, *commit, *digest, *kind;
    enum revision_level level;
};
#define KS "Kustomization"
#define HR "HelmRelease"
static const struct match_row match_rows[] = {
    {"main@sha1:" GIT, "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"main/" GIT, "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"main@sha1:" GIT, "main/" GIT, "", "", "", KS, MATCH_EXACT},
    {"refs/heads/main@sha1:" GIT, "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"refs/tags/v1@sha1:" GIT, "v1/" GIT, "", "", "", KS, MATCH_EXACT},
    {"main@sha1:" GIT, "sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"sha1:" GIT, "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"HEAD/" GIT, "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"main@sha1:" GIT, "staging@sha1:" GIT, "", "", "", KS, MATCH_NONE},
    {"main@sha1:" GIT, "Main@sha1:" GIT, "", "", "", KS, MATCH_NONE},
    {"main@sha1:" GIT, "main@sha1:" GIT_2, "", "", "", KS, MATCH_NONE},
    {GIT, "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {"5394CB7F48332B2DE7C17DD8B8384BBC84B7E738", "main@sha1:" GIT, "", "", "", KS, MATCH_EXACT},
    {GIT, GIT, "", "", "", KS, MATCH_EXACT},
    {GIT, "latest@sha256:" OCI, "main@sha1:" GIT, "", "", KS, MATCH_EXACT},
    {GIT, "latest@sha256:" OCI, GIT, "", "", KS, MATCH_EXACT},
    {GIT, "latest@sha256:" OCI, "main/" GIT, "", "", KS, MATCH_EXACT},
    {GIT, "6.5.1", "", GIT, "", HR, MATCH_EXACT},
    {"main@sha1:" GIT, "6.5.1", "", GIT, "", HR, MATCH_EXACT},
    {GIT, "6.5.1+5394cb7f4833", "", "", "", HR, MATCH_EXACT},
    {GIT, "6.5.1+5394CB7F4833.3", "", "", "", HR, MATCH_EXACT},
    {"main@sha1:" GIT, "6.5.1+5394cb7f4833", "", "", "", "HelmChart", MATCH_EXACT},
    {GIT, "6.5.1+5394cb7f4833", "", "", "", KS, MATCH_NONE},
    {GIT, "6.5.1", "6.5.1+5394cb7f4833", "", "", HR, MATCH_NONE},
    {GIT, "6.5.1+5394cb7f4834", "", "", "", HR, MATCH_NONE},
    {GIT, "6.5.1+2", "", "", "", HR, MATCH_NONE},
    {"5394cb7", "main@sha1:" GIT, "", "", "", KS, MATCH_PREFIX},
    {"5394CB7F4", "main/" GIT, "", "", "", KS, MATCH_PREFIX},
    {"5394cb7f48332b2de7c17dd8b8384bbc84b7e73", GIT, "", "", "", KS, MATCH_PREFIX},
    {"5394cb7", "x", "main@sha1:" GIT, "", "", KS, MATCH_PREFIX},
    {"5394cb7", "x", "", GIT, "", KS, MATCH_PREFIX},
    {"6f132a5", "main@<unknown>:" OCI, "", "", "", KS, MATCH_PREFIX},
    {"5394cb8", "main@sha1:" GIT, "", "", "", KS, MATCH_NONE},
    {"5394cb", "main@sha1:" GIT, "", "", "", KS, MATCH_NONE},
    {"5394cb", "5394cb", "", "", "", KS, MATCH_EXACT},
    {"5394cb7", "5394cb7", "", "", "", KS, MATCH_EXACT},
    {"5394cb7", "main@sha1:" GIT, "", "5394cb7", "", KS, MATCH_EXACT},
    {"6f132a5", "latest@sha256:" OCI, "", "", "", KS, MATCH_NONE},
    {"6f132a5", OCI, "", "", "", KS, MATCH_NONE},
    {"6f132a5", "6.5.1", "", "", "sha256:" OCI, HR, MATCH_NONE},
    {"6f132a51cacd", "6.5.1+6f132a51cacd", "", "", "", HR, MATCH_NONE},
    {"sha256:6f132a5", "latest@sha256:" OCI, "", "", "", KS, MATCH_PREFIX},
    {"sha256:6f132a5", OCI, "", "", "", KS, MATCH_PREFIX},
    {"sha256:6f132a5", "6.5.1", "", "", "sha256:" OCI, HR, MATCH_PREFIX},
    {"sha256:6f132a", "latest@sha256:" OCI, "", "", "", KS, MATCH_NONE},
    {"sha256:" OCI, "latest@sha256:" OCI, "", "", "", KS, MATCH_EXACT},
    {"latest@sha256:" OCI, "latest/" OCI, "", "", "", KS, MATCH_EXACT},
    {"v1@sha256:" OCI, "latest@sha256:" OCI, "", "", "", KS, MATCH_EXACT},
    {"latest@sha256:" OCI, "6.5.1+6f132a51cacd", "", "", "sha256:" OCI, HR, MATCH_EXACT},
    {OCI, "sha256:" OCI, "", "", "", KS, MATCH_EXACT},
    {"6.5.1", "6.5.1", "", "", "", HR, MATCH_EXACT},
    {"6.5.1", "6.5.1+6f132a51cacd", "", "", "", HR, MATCH_EXACT},
    {"6.5.1", "6.5.1+2", "", "", "", HR, MATCH_EXACT},
    {"6.5.1", "6.5.1+2", "", "", "", KS, MATCH_NONE},
    {"6.5.1", "6.5.1", "", "", "", KS, MATCH_EXACT},
    {"6.5.1", "6.5.10", "", "", "", HR, MATCH_NONE},
    {"6.5.1", "6.5.1-rc.1", "", "", "", HR, MATCH_NONE},
    {"6.5.1+2", "6.5.1", "", "", "", HR, MATCH_NONE},
    {"6.5.1+2", "6.5.1+3", "", "", "", HR, MATCH_NONE},
    {"6.5.1+2", "6.5.1+2", "", "", "", HR, MATCH_EXACT},
    {"main", "main@sha1:" GIT, "", "", "", KS, MATCH_NONE},
    {"main", "main", "", "", "", KS, MATCH_EXACT},
    {"a", "a", "", "", "", "", MATCH_EXACT},
    {"a", "b", "", "", "", "", MATCH_NONE},
    {"a", "A", "", "", "", "", MATCH_NONE},
    {"a", "", "", "", "", "", MATCH_NONE},
};

static struct revision_set set_of(const struct match_row *row)
{
    return (struct revision_set){
        .member = {str_of(row->revision), str_of(row->origin), str_of(row->commit), str_of(row->digest)},
        .kind = str_of(row->kind)};
}

static void test_match(void)
{
    for (size_t i = 0; i < sizeof match_rows / sizeof match_rows[0]; i++) {
        const struct match_row *row = &match_rows[i];
        struct revision asked = revision_parse(str_of(row->asked));
        struct revision_set set = set_of(row);
        harness_case("%s against %s %s %s %s", row->asked, row->revision, row->origin, row->commit,
                     row->digest);
        CHECK_INT(revision_match(&asked, &set).level, row->level);
    }
}

static void test_candidates(void)
{
    static const char other[] = "5394cb7fffffffffffffffffffffffffffffffff";
    struct revision asked = revision_parse(STR("5394cb7"));
    struct revision_set set = {.member = {STR("main@sha1:" GIT), str_of(other), STR("main/" GIT), STR_NONE}};
    struct revision_match m = revision_match(&asked, &set);

    CHECK_INT(m.level, MATCH_PREFIX);
    CHECK_INT(m.n_candidates, 2);
    CHECK_STR(m.candidates[0], STR(GIT));
    CHECK_STR(m.candidates[1], str_of(other));
}

static void test_hint(void)
{
    static const struct {
        const char *asked, *stored;
        enum revision_hint hint;
    } rows[] = {
        {"main", "main@sha1:" GIT, HINT_POINTER},
        {"refs/heads/main", "main/" GIT, HINT_POINTER},
        {"main", "refs/heads/main@sha1:" GIT, HINT_POINTER},
        {"latest", "latest@sha256:" OCI, HINT_POINTER},
        {"v1.0.0", "v1.0.0@sha1:" GIT, HINT_POINTER},
        {"deadbeef", "deadbeef@sha1:" GIT, HINT_POINTER},
        {"5394cb", "main@sha1:" GIT, HINT_BEGINS},
        {"5", "main@sha1:" GIT, HINT_BEGINS},
        {"6f132a51", "latest@sha256:" OCI, HINT_BEGINS},
        {"mai", "main@sha1:" GIT, HINT_NONE},
        {"6", "main@sha1:" GIT, HINT_NONE},
        {"main", "main", HINT_NONE},
        {"1.2", "1.2.3", HINT_NONE},
        {"HEAD", "HEAD/" GIT, HINT_NONE},
        {"", GIT, HINT_NONE},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct revision asked = revision_parse(str_of(rows[i].asked));
        harness_case("%s against %s", rows[i].asked, rows[i].stored);
        CHECK_INT(revision_hint(&asked, str_of(rows[i].stored)), rows[i].hint);
    }
}

static bool share_form(struct str asked, const struct revision_set *set)
{
    struct revision_form mine[REVISION_MAX_FORMS], theirs[REVISION_MAX_FORMS];
    size_t n = question_forms(asked, mine);

    for (int m = 0; m < REVISION_MEMBERS; m++) {
        size_t n_theirs = revision_forms(set->member[m], (enum revision_member)m, theirs);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n_theirs; j++)
                if (mine[i].kind == theirs[j].kind &&
                    str_eq(revision_form_text(&mine[i]), revision_form_text(&theirs[j])))
                    return true;
    }
    return false;
}

/* A random revision text out of few parts, so that pairs match often. */
static void generate(unsigned *seed, struct text *t)
{
    static const char *const pointers[] = {"",    "",      "",      "main@", "refs/heads/main@",
                                           "v1@", "main/", "HEAD/", "1.2.3+"};
    static const char *const algos[] = {"", "", "", "sha1:", "sha256:", "<unknown>:", "foo:"};
    static const char *const hashes[] = {GIT,
                                         GIT,
                                         OCI,
                                         OCI,
                                         "5394cb7f4833ffffffffffffffffffffffffffff",
                                         "6F132A51CACDFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
                                         "1.2.3",
                                         "v1.2.3-a",
                                         "main"};
    static const char *const ends[] = {"", "", "", "", "", "", "+2", ".4", "+5394cb7f4833", " "};
    static const size_t lengths[] = {6, 7, 12, 12, 40, 64, 64, 64};

    text_add(t, str_of(pointers[(size_t)rand_r(seed) % (sizeof pointers / sizeof pointers[0])]));
    text_add(t, str_of(algos[(size_t)rand_r(seed) % (sizeof algos / sizeof algos[0])]));
    text_add(t, str_upto(str_of(hashes[(size_t)rand_r(seed) % (sizeof hashes / sizeof hashes[0])]),
                         lengths[(size_t)rand_r(seed) % (sizeof lengths / sizeof lengths[0])]));
    text_add(t, str_of(ends[(size_t)rand_r(seed) % (sizeof ends / sizeof ends[0])]));
}

/* What matches is found. */
static void test_forms_cover_matches(void)
{
    unsigned seed = 20260801;
    size_t matches = 0;

    for (size_t i = 0; i < sizeof match_rows / sizeof match_rows[0]; i++) {
        struct revision_set set = set_of(&match_rows[i]);
        harness_case("%s against %s", match_rows[i].asked, match_rows[i].revision);
        if (match_rows[i].level != MATCH_NONE)
            CHECK(share_form(str_of(match_rows[i].asked), &set));
    }
    for (int i = 0; i < 300000; i++) {
        char buffers[5][256];
        struct text texts[5];
        for (int j = 0; j < 5; j++) {
            text_init(&texts[j], buffers[j], sizeof buffers[j]);
            if (j < 2 || rand_r(&seed) % 4 == 0)
                generate(&seed, &texts[j]);
        }
        struct revision_set set = {.kind = rand_r(&seed) % 2 ? STR(HR) : STR(KS)};
        for (int j = 0; j < REVISION_MEMBERS; j++)
            set.member[j] = text_str(&texts[j + 1]);
        struct revision asked = revision_parse(text_str(&texts[0]));
        if (revision_match(&asked, &set).level == MATCH_NONE)
            continue;
        matches++;
        harness_case("seed 20260801, pair %d: %s against %s, %s, %s, %s", i, buffers[0], buffers[1],
                     buffers[2], buffers[3], buffers[4]);
        CHECK(share_form(text_str(&texts[0]), &set));
    }
    harness_case("%s", "");
    CHECK(matches > 1000);
    printf("# %zu of 300000 generated pairs match\n", matches);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_parse),
                                       TEST(test_match),
                                       TEST(test_candidates),
                                       TEST(test_hint),
                                       TEST(test_forms_cover_matches),
                                       {0}});
}
