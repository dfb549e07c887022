/* Signatures and tokens: the vectors of upstream and of a real notification-controller, every way to be
 * refused, and files that change. */
#include "http/auth.h"

#include <unistd.h>

#include "golden.h"

#define UPSTREAM_KEY "7152fed34dd6149a7c75a276c510da27cb6f82b0"
#define CONTROLLER   "test/golden/notification-controller-1.5.0/"

struct fixture {
    char dir[64];
    char files[AUTH_MAX_KEYS + 3][96];
    struct auth_config config;
    struct auth *auth;
    char err[AUTH_ERROR];
    size_t reports;
    enum report_level level; /* of the last report */
    char told[1024];         /* all reports, as text */
    struct reporter reporter;
};

static void on_report(void *arg, const struct report *report)
{
    struct fixture *f = arg;
    struct text t = {f->told, sizeof f->told, strlen(f->told), false};

    f->reports++;
    f->level = report->level;
    text_addf(&t, "%s", report->sentence);
    for (const struct report_field *field = report->fields; field->name; field++)
        text_addf(&t, " %s=%.*s", field->name, STR_ARG(field->text));
    text_add(&t, STR("\n"));
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.reporter = {on_report, f}};
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/fes-auth-XXXXXX");
    CHECK(mkdtemp(f->dir) != NULL);
    for (size_t i = 0; i < sizeof f->files / sizeof f->files[0]; i++)
        (void)snprintf(f->files[i], sizeof f->files[i], "%s/%zu", f->dir, i);
}

static void teardown(struct fixture *f)
{
    auth_free(f->auth);
    for (size_t i = 0; i < sizeof f->files / sizeof f->files[0]; i++)
        (void)remove(f->files[i]);
    (void)rmdir(f->dir);
}

static void write_file(const char *file, struct str content)
{
    FILE *out = fopen(file, "wb");

    CHECK(out != NULL);
    CHECK(fwrite(content.at, 1, content.len, out) == content.len);
    CHECK_INT(fclose(out), 0);
}

/* File i gets the content and is a key. */
static void add_key(struct fixture *f, size_t i, struct str content)
{
    write_file(f->files[i], content);
    f->config.hmac_key_files.values[f->config.hmac_key_files.n++] = f->files[i];
}

static const char *add_token(struct fixture *f, size_t i, struct str content)
{
    write_file(f->files[i], content);
    return f->files[i];
}

static void start(struct fixture *f)
{
    f->auth = auth_new(&f->config, &f->reporter, f->err);
    CHECK_TEXT(f->err, "");
    CHECK(f->auth != NULL);
}

static enum auth_answer post(const struct fixture *f, const char *signature, const char *authorization,
                             struct str body)
{
    return auth_check(f->auth, AUTH_POST, str_of(signature), str_of(authorization), body);
}

static void refresh(struct fixture *f, int64_t mono_ms)
{
    f->reports = 0;
    f->told[0] = '\0';
    auth_refresh(f->auth, mono_ms);
}

/* --- vectors --- */

/* The test vector of notification-controller's forwarder_test.go, and every sample signed with its key. */
static void test_upstream_vectors(void)
{
    struct fixture f;
    struct str list = golden_read("test/golden/flux/SIGNATURES.txt");
    struct str rest = list;
    size_t n = 0;

    setup(&f);
    add_key(&f, 0, STR(UPSTREAM_KEY));
    start(&f);
    while (rest.at) {
        struct str line = str_trim(str_split(&rest, '\n'));
        struct str name = str_split(&line, ' ');
        char path[256], signature[128];
        if (!str_ends(name, STR(".json")))
            continue;
        (void)str_split(&line, ' '); /* its size */
        (void)snprintf(path, sizeof path, "test/golden/flux/%.*s", STR_ARG(name));
        (void)snprintf(signature, sizeof signature, "%.*s", STR_ARG(line));
        harness_case("%s", path);
        struct str body = golden_read(path);
        CHECK_INT(post(&f, signature, "", body), AUTH_GRANTED);
        CHECK_INT(post(&f, signature, "", str_upto(body, body.len - 1)), AUTH_WRONG_SIGNATURE);
        free((char *)body.at);
        n++;
    }
    harness_case("%s", "");
    CHECK_INT(n, 31);
    free((char *)list.at);
    teardown(&f);
}

/* Bodies and signatures as notification-controller 1.5.0 sent them. */
static void test_controller_vectors(void)
{
    struct fixture f;
    struct str readme = golden_read(CONTROLLER "README.md");
    struct str rest = readme;
    size_t n = 0;

    setup(&f);
    add_key(&f, 0, STR("s3cret"));
    start(&f);
    while (rest.at) {
        struct str line = str_trim(str_split(&rest, '\n'));
        struct str name = str_split(&line, ' ');
        char path[256], signature[128];
        if (!str_ends(name, STR(".hmac.json")) || !line.at)
            continue;
        (void)snprintf(path, sizeof path, CONTROLLER "%.*s", STR_ARG(name));
        (void)snprintf(signature, sizeof signature, "%.*s", STR_ARG(str_trim(line)));
        harness_case("%s", path);
        struct str body = golden_read(path);
        CHECK_INT(post(&f, signature, "", body), AUTH_GRANTED);
        free((char *)body.at);
        n++;
    }
    harness_case("%s", "");
    CHECK_INT(n, 7);
    free((char *)readme.at);
    teardown(&f);
}

/* --- forms of a signature --- */

/* HMAC-SHA256 of "body" with the keys "key-a", "key-b" and "key-a\n". */
#define BODY            STR("body")
#define BY_A            "sha256=7adda7dee0330c94443c5b42ef1efeb84c8e2a2c3503088ad353512c83aeda95"
#define BY_B            "sha256=5659c6b73258d4bcc9cdc6d50c6a44e8845a045718fb185153fc56b021b18a2d"
#define BY_A_NEWLINE    "sha256=3f872c1322a419c3fa1b2e25293511b406b1ba2c7b1ce1fc4cfa4acaf27a201b"
#define EMPTY_BODY_BY_A "sha256=bc1a22a2d4e62aad438b32b5aa504abb7c5c3379de64638821480a9756883db3"

static void test_signature_forms(void)
{
    static const struct {
        const char *name;
        const char *signature;
        enum auth_answer want;
    } rows[] = {
        {"right", BY_A, AUTH_GRANTED},
        {"white space around", " " BY_A "\t", AUTH_GRANTED},
        {"none", "", AUTH_MISSING},
        {"of another key", BY_B, AUTH_WRONG_SIGNATURE},
        {"of an empty body", EMPTY_BODY_BY_A, AUTH_WRONG_SIGNATURE},
        {"zeros", "sha256=0000000000000000000000000000000000000000000000000000000000000000",
         AUTH_WRONG_SIGNATURE},
        {"one digit short", "sha256=000000000000000000000000000000000000000000000000000000000000000",
         AUTH_MALFORMED_SIGNATURE},
        {"one digit long", "sha256=00000000000000000000000000000000000000000000000000000000000000000",
         AUTH_MALFORMED_SIGNATURE},
        {"no digits", "sha256=", AUTH_MALFORMED_SIGNATURE},
        {"no prefix", "0000000000000000000000000000000000000000000000000000000000000000",
         AUTH_MALFORMED_SIGNATURE},
        {"another hash", "sha512=0000000000000000000000000000000000000000000000000000000000000000",
         AUTH_MALFORMED_SIGNATURE},
        {"not hexadecimal", "sha256=g000000000000000000000000000000000000000000000000000000000000000",
         AUTH_MALFORMED_SIGNATURE},
        {"not hexadecimal, second digit",
         "sha256=0:00000000000000000000000000000000000000000000000000000000000000", AUTH_MALFORMED_SIGNATURE},
    };
    struct fixture f;

    setup(&f);
    add_key(&f, 0, STR("key-a"));
    start(&f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        CHECK_INT(post(&f, rows[i].signature, "", BODY), rows[i].want);
    }
    harness_case("%s", "");
    CHECK_INT(post(&f, EMPTY_BODY_BY_A, "", STR_NONE), AUTH_GRANTED);
    teardown(&f);
}

/* One wrong bit anywhere refuses; upper-case digits are the same digits. */
static void test_every_digit_counts(void)
{
    struct fixture f;
    char signature[] = BY_A;

    setup(&f);
    add_key(&f, 0, STR("key-a"));
    start(&f);
    for (size_t i = 7; i < sizeof signature - 1; i++) {
        char right = signature[i];
        harness_case("digit %zu", i - 7);
        signature[i] = right == '0' ? '1' : '0';
        CHECK_INT(post(&f, signature, "", BODY), AUTH_WRONG_SIGNATURE);
        signature[i] = right;
    }
    harness_case("%s", "");
    for (size_t i = 7; i < sizeof signature - 1; i++)
        if (signature[i] >= 'a')
            signature[i] = (char)(signature[i] - 'a' + 'A');
    CHECK_INT(post(&f, signature, "", BODY), AUTH_GRANTED);
    teardown(&f);
}

/* A Secret made from a file with a line break at its end: notification-controller 1.3 to 1.6 trims the key,
 * others do not. */
static void test_raw_and_trimmed_key(void)
{
    struct fixture f;

    setup(&f);
    add_key(&f, 0, STR("key-a\n"));
    start(&f);
    CHECK_INT(post(&f, BY_A_NEWLINE, "", BODY), AUTH_GRANTED);
    CHECK_INT(post(&f, BY_A, "", BODY), AUTH_GRANTED);
    CHECK_INT(post(&f, BY_B, "", BODY), AUTH_WRONG_SIGNATURE);
    teardown(&f);

    setup(&f);
    add_key(&f, 0, STR("key-a"));
    start(&f);
    CHECK_INT(post(&f, BY_A_NEWLINE, "", BODY), AUTH_WRONG_SIGNATURE);
    teardown(&f);
}

static void test_two_keys(void)
{
    struct fixture f;

    setup(&f);
    add_key(&f, 0, STR("key-b"));
    add_key(&f, 1, STR("key-a"));
    start(&f);
    CHECK_INT(post(&f, BY_A, "", BODY), AUTH_GRANTED);
    CHECK_INT(post(&f, BY_B, "", BODY), AUTH_GRANTED);
    CHECK_INT(post(&f, BY_A_NEWLINE, "", BODY), AUTH_WRONG_SIGNATURE);
    teardown(&f);
}

/* --- who may do what --- */

static void test_rules(void)
{
    enum { KEY = 1, POST = 2, READ = 4 };
    static const struct {
        const char *name;
        int configured;
        enum auth_what what;
        const char *signature;
        const char *authorization;
        enum auth_answer want;
    } rows[] = {
        {"open to post", 0, AUTH_POST, "", "", AUTH_GRANTED},
        {"open to read", 0, AUTH_READ, "", "", AUTH_GRANTED},
        {"what is not asked for is not looked at", 0, AUTH_POST, "rubbish", "Bearer x", AUTH_GRANTED},
        {"a key leaves reading open", KEY, AUTH_READ, "", "", AUTH_GRANTED},
        {"a post token leaves reading open", POST, AUTH_READ, "", "", AUTH_GRANTED},
        {"a read token leaves posting open", READ, AUTH_POST, "", "", AUTH_GRANTED},
        {"a key and no signature", KEY, AUTH_POST, "", "", AUTH_MISSING},
        {"a key and a token", KEY, AUTH_POST, "", "Bearer post-token", AUTH_MISSING},
        {"a token and none", POST, AUTH_POST, "", "", AUTH_MISSING},
        {"a token and a signature", POST, AUTH_POST, BY_A, "", AUTH_MISSING},
        {"the token", POST, AUTH_POST, "", "Bearer post-token", AUTH_GRANTED},
        {"the scheme in any case", POST, AUTH_POST, "", "bEARER post-token", AUTH_GRANTED},
        {"more white space", POST, AUTH_POST, "", "Bearer   post-token ", AUTH_GRANTED},
        {"another token", POST, AUTH_POST, "", "Bearer post-toke", AUTH_WRONG_TOKEN},
        {"a longer token", POST, AUTH_POST, "", "Bearer post-token2", AUTH_WRONG_TOKEN},
        {"two tokens", POST, AUTH_POST, "", "Bearer post-token post-token", AUTH_WRONG_TOKEN},
        {"the token alone", POST, AUTH_POST, "", "post-token", AUTH_MISSING},
        {"another scheme", POST, AUTH_POST, "", "Basic post-token", AUTH_MISSING},
        {"no token behind the scheme", POST, AUTH_POST, "", "Bearer ", AUTH_MISSING},
        {"the scheme alone", POST, AUTH_POST, "", "Bearer", AUTH_MISSING},
        {"the read token does not post", POST | READ, AUTH_POST, "", "Bearer read-token", AUTH_WRONG_TOKEN},
        {"the post token does not read", POST | READ, AUTH_READ, "", "Bearer post-token", AUTH_WRONG_TOKEN},
        {"the read token", POST | READ, AUTH_READ, "", "Bearer read-token", AUTH_GRANTED},
        {"a signature does not read", KEY | READ, AUTH_READ, BY_A, "", AUTH_MISSING},
        {"either: signature", KEY | POST, AUTH_POST, BY_A, "", AUTH_GRANTED},
        {"either: token", KEY | POST, AUTH_POST, "", "Bearer post-token", AUTH_GRANTED},
        {"either: signature, wrong token", KEY | POST, AUTH_POST, BY_A, "Bearer x", AUTH_GRANTED},
        {"either: token, wrong signature", KEY | POST, AUTH_POST, BY_B, "Bearer post-token", AUTH_GRANTED},
        {"either: both wrong", KEY | POST, AUTH_POST, BY_B, "Bearer x", AUTH_WRONG_SIGNATURE},
        {"either: none", KEY | POST, AUTH_POST, "", "", AUTH_MISSING},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        setup(&f);
        harness_case("%s", rows[i].name);
        if (rows[i].configured & KEY)
            add_key(&f, 0, STR("key-a"));
        if (rows[i].configured & POST)
            f.config.post_token_file = add_token(&f, 1, STR("post-token\n"));
        if (rows[i].configured & READ)
            f.config.read_token_file = add_token(&f, 2, STR(" read-token"));
        start(&f);
        CHECK_INT(
            auth_check(f.auth, rows[i].what, str_of(rows[i].signature), str_of(rows[i].authorization), BODY),
            rows[i].want);
        teardown(&f);
    }
}

static void test_sentences(void)
{
    for (int answer = AUTH_GRANTED; answer <= AUTH_WRONG_TOKEN; answer++)
        CHECK(strlen(auth_sentence((enum auth_answer)answer)) > 0);
    CHECK_HAS(str_of(auth_sentence(AUTH_WRONG_SIGNATURE)), STR("X-Signature"));
}

/* --- files --- */

static char big[AUTH_MAX_SECRET + 1];

static void test_bad_files_at_start(void)
{
    static const struct {
        const char *name;
        struct str content; /* at == NULL: no file */
        bool as_key;
        const char *err;
    } rows[] = {
        {"no such key", {NULL, 0}, true, "No such file"},
        {"no such token", {NULL, 0}, false, "No such file"},
        {"an empty key", {"", 0}, true, ": empty"},
        {"an empty token", {"", 0}, false, ": empty"},
        {"a key of white space", {" \n", 2}, true, ": empty"},
        {"a token of white space", {"\t\n", 2}, false, ": empty"},
        {"a token of two lines", {"one\ntwo\n", 8}, false, "not a token"},
        {"a token with a control byte", {"a\0b", 3}, false, "not a token"},
        {"a token that is no ASCII",
         {"gr\xc3\xb6\xc3\x9f"
          "e",
          7},
         false,
         "not a token"},
        {"a token with a space", {"one two", 7}, false, "not a token"},
        {"a token with a DEL", {"a\x7f", 2}, false, "not a token"},
        {"a token that is too large", {big, sizeof big}, false, "larger than"},
        {"a key that is too large", {big, sizeof big}, true, "larger than"},
    };

    memset(big, 'x', sizeof big);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        setup(&f);
        harness_case("%s", rows[i].name);
        if (rows[i].as_key)
            add_key(&f, 0, rows[i].content.at ? rows[i].content : STR("x"));
        else
            f.config.read_token_file = add_token(&f, 0, rows[i].content.at ? rows[i].content : STR("x"));
        if (!rows[i].content.at)
            CHECK_INT(remove(f.files[0]), 0);
        f.auth = auth_new(&f.config, &f.reporter, f.err);
        CHECK(f.auth == NULL);
        CHECK_HAS(str_of(f.err), str_of(rows[i].err));
        CHECK_HAS(str_of(f.err), str_of(f.files[0]));
        CHECK_HAS(str_of(f.err), rows[i].as_key ? STR("--hmac-key-file ") : STR("--read-token-file "));
        teardown(&f);
    }
}

static void test_directory_and_too_many(void)
{
    struct fixture f;

    setup(&f);
    f.config.post_token_file = f.dir;
    CHECK(auth_new(&f.config, &f.reporter, f.err) == NULL);
    CHECK_HAS(str_of(f.err), STR("--post-token-file "));
    CHECK_HAS(str_of(f.err), STR("directory"));
    teardown(&f);

    setup(&f);
    for (size_t i = 0; i <= AUTH_MAX_KEYS; i++)
        add_key(&f, i, STR("key"));
    CHECK(auth_new(&f.config, &f.reporter, f.err) == NULL);
    CHECK_HAS(str_of(f.err), STR("at most 8"));
    teardown(&f);

    setup(&f);
    add_key(&f, 0, str_upto((struct str){big, sizeof big}, AUTH_MAX_SECRET));
    start(&f);
    teardown(&f);
    auth_free(NULL);
}

static void test_rotation(void)
{
    struct fixture f;

    setup(&f);
    add_key(&f, 0, STR("key-a"));
    f.config.read_token_file = add_token(&f, 1, STR("old"));
    start(&f);
    refresh(&f, 10000);
    CHECK_INT(f.reports, 0);

    write_file(f.files[0], STR("key-b")); /* as long as before, within the same tick of the clock */
    refresh(&f, 10999);
    CHECK_INT(post(&f, BY_A, "", BODY), AUTH_GRANTED); /* not looked at yet */
    refresh(&f, 11000);
    CHECK_INT(post(&f, BY_B, "", BODY), AUTH_GRANTED);
    CHECK_INT(post(&f, BY_A, "", BODY), AUTH_WRONG_SIGNATURE);
    CHECK_INT(f.reports, 1);
    CHECK_INT(f.level, REPORT_INFO);
    CHECK_HAS(str_of(f.told), str_of(f.files[0]));

    /* as the kubelet does it: another file under the same name */
    write_file(f.files[2], STR("new\n"));
    CHECK_INT(rename(f.files[2], f.files[1]), 0);
    auth_reload(f.auth, 11001);
    CHECK_INT(auth_check(f.auth, AUTH_READ, STR_NONE, STR("Bearer new"), STR_NONE), AUTH_GRANTED);
    CHECK_INT(auth_check(f.auth, AUTH_READ, STR_NONE, STR("Bearer old"), STR_NONE), AUTH_WRONG_TOKEN);

    refresh(&f, 20000);
    CHECK_INT(f.reports, 0);
    teardown(&f);
}

/* A file that becomes unusable: the old secret stays, and that is said, at most once a minute. */
static void test_file_lost(void)
{
    static const char *const why[] = {"No such file", "empty", "larger than"};

    memset(big, 'x', sizeof big);
    for (size_t i = 0; i < sizeof why / sizeof why[0]; i++) {
        struct fixture f;
        setup(&f);
        harness_case("%s", why[i]);
        add_key(&f, 0, STR("key-a"));
        start(&f);
        if (i == 0)
            CHECK_INT(remove(f.files[0]), 0);
        else
            write_file(f.files[0], (struct str){big, i == 1 ? 0 : sizeof big});
        refresh(&f, 5000);
        CHECK_INT(f.reports, 1);
        CHECK_INT(f.level, REPORT_WARN);
        CHECK_HAS(str_of(f.told), str_of(why[i]));
        CHECK_HAS(str_of(f.told), str_of(f.files[0]));
        CHECK_HAS(str_of(f.told), STR("--hmac-key-file"));
        CHECK_INT(post(&f, BY_A, "", BODY), AUTH_GRANTED);
        for (int64_t ms = 6000; ms < 65000; ms += 1000) {
            refresh(&f, ms);
            CHECK_INT(f.reports, 0);
        }
        refresh(&f, 65000);
        CHECK_INT(f.reports, 1);
        auth_reload(f.auth, 65001); /* whoever asks is told */
        CHECK_INT(f.reports, 2);

        write_file(f.files[0], STR("key-a"));
        refresh(&f, 67000);
        CHECK_INT(f.reports, 1);
        CHECK_INT(f.level, REPORT_INFO);
        CHECK_INT(post(&f, BY_A, "", BODY), AUTH_GRANTED);
        teardown(&f);
    }
}

static void test_no_secret_is_told(void)
{
    struct fixture f;

    setup(&f);
    add_key(&f, 0, STR("key-a"));
    f.config.post_token_file = add_token(&f, 1, STR("tok-first"));
    start(&f);
    write_file(f.files[0], STR("key-b"));
    write_file(f.files[1], STR("tok-second tok-third"));
    auth_reload(f.auth, 0);
    CHECK_INT(f.reports, 2);
    CHECK(!str_has(str_of(f.told), STR("key-a")));
    CHECK(!str_has(str_of(f.told), STR("key-b")));
    CHECK(!str_has(str_of(f.told), STR("tok-")));
    CHECK_INT(post(&f, "", "Bearer tok-first", BODY), AUTH_GRANTED);
    teardown(&f);
}

/* --- flags --- */

static void test_flags(void)
{
    struct auth_config config = {0};
    const struct flag_section section = {auth_flags, &config};
    char *argv[] = {"x", "--hmac-key-file",    "a", "--hmac-key-file=b", "--post-token-file",
                    "p", "--read-token-file=r"};
    const char *words[1];
    size_t n_words;
    char err[FLAG_ERROR] = "";

    CHECK(flags_parse(&section, 1, sizeof argv / sizeof argv[0], argv, words, 1, &n_words, err));
    CHECK_INT(config.hmac_key_files.n, 2);
    CHECK_TEXT(config.hmac_key_files.values[1], "b");
    CHECK_TEXT(config.post_token_file, "p");
    CHECK_TEXT(config.read_token_file, "r");
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_upstream_vectors),
                                       TEST(test_controller_vectors),
                                       TEST(test_signature_forms),
                                       TEST(test_every_digit_counts),
                                       TEST(test_raw_and_trimmed_key),
                                       TEST(test_two_keys),
                                       TEST(test_rules),
                                       TEST(test_sentences),
                                       TEST(test_bad_files_at_start),
                                       TEST(test_directory_and_too_many),
                                       TEST(test_rotation),
                                       TEST(test_file_lost),
                                       TEST(test_no_secret_is_told),
                                       TEST(test_flags),
                                       {0}});
}
