/* Where the API server is and what we show it: flags, a pod's environment, files, and errors that name them.
 */
#include "k8s/creds_priv.h"

#include "k8s_server.h"

static struct reports reports;
static struct reporter reporter;

static struct k8s_creds *make(const struct k8s_config *config, const struct k8s_pod *pod,
                              char err[static K8S_ERROR])
{
    static const struct k8s_pod nowhere = {0};
    err[0] = '\0';
    reporter = reports_to(&reports);
    return k8s_creds_new(config, pod ? pod : &nowhere, &reporter, err);
}

static void test_flags(void)
{
    static const char *names[] = {"--kube-api",
                                  "--kube-token-file",
                                  "--kube-ca-file",
                                  "--kube-client-cert-file",
                                  "--kube-client-key-file",
                                  "--no-kube",
                                  "--namespace"};
    size_t n = 0;
    for (; k8s_flags[n].name; n++) {
        CHECK_TEXT(k8s_flags[n].name, names[n]);
        CHECK(k8s_flags[n].help != NULL);
        CHECK_INT(k8s_flags[n].argument == NULL, k8s_flags[n].type == FLAG_BOOL);
    }
    CHECK_INT(n, sizeof names / sizeof *names);
}

static void test_urls(void)
{
    static const struct {
        const char *url, *authority, *host;
        int port;
        bool literal;
    } good[] = {
        {"http://127.0.0.1:8001", "127.0.0.1:8001", "127.0.0.1", 8001, true},
        {"https://api.example/", "api.example", "api.example", 443, false},
        {"https://api.example:443", "api.example", "api.example", 443, false},
        {"http://localhost", "localhost", "localhost", 80, false},
        {"https://[fd00::1]:6443", "[fd00::1]:6443", "fd00::1", 6443, true},
        {"https://[::1]", "[::1]", "::1", 443, true},
        {"https://A-Z_a.z09.", "A-Z_a.z09.", "A-Z_a.z09.", 443, false},
        {"http://x:443", "x:443", "x", 443, false},
        {"https://x:80", "x:80", "x", 80, false},
        {"https://x:65535", "x:65535", "x", 65535, false},
    };
    static const char *bad[] = {"",
                                "127.0.0.1:8001",
                                "ftp://x",
                                "https://",
                                "https://x/path",
                                "https://u@x",
                                "https://x?y",
                                "https://x:",
                                "https://x:0",
                                "https://x:65536",
                                "https://x:12a",
                                "https://[::1",
                                "https://[::1]x",
                                "https://[name]",
                                "https://::1",
                                "https://a b",
                                "https://x\r\nHost: y",
                                "https://-x",
                                "https://.x",
                                "https://[127.0.0.1]",
                                "https://[]",
                                "https://[::1]:",
                                "https:///",
                                "https://x{",
                                "https://x[",
                                "https://x\x80"};
    struct k8s_url url;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        harness_case("%s", good[i].url);
        CHECK(k8s_url_parse(str_of(good[i].url), &url));
        CHECK_TEXT(url.authority, good[i].authority);
        CHECK_TEXT(url.host, good[i].host);
        CHECK_INT(url.port, good[i].port);
        CHECK_INT(url.literal, good[i].literal);
        CHECK_INT(url.tls, good[i].url[4] == 's');
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        harness_case("%s", bad[i]);
        CHECK(!k8s_url_parse(str_of(bad[i]), &url));
    }
}

/* As long as a name may be, and one more; a zero byte ends no name. */
static void test_long_urls(void)
{
    char text[K8S_HOST_TEXT + 16] = "https://";
    struct k8s_url url;

    memset(text + 8, 'x', K8S_HOST_TEXT);
    CHECK(!k8s_url_parse((struct str){text, 8 + K8S_HOST_TEXT}, &url));
    CHECK(k8s_url_parse((struct str){text, 8 + K8S_HOST_TEXT - 1}, &url));
    CHECK_INT(strlen(url.host), K8S_HOST_TEXT - 1);
    CHECK_INT(strlen(url.text), 8 + K8S_HOST_TEXT - 1);
    text[12] = '\0';
    CHECK(!k8s_url_parse((struct str){text, 20}, &url));
    CHECK(!k8s_url_make("", "443", &url));
    CHECK(!k8s_url_make("x", "", &url));
    CHECK(!k8s_url_make("x:y", "443", &url));
}

/* RFC 3986 section 2.3: these stay, and nothing else. */
static void test_escape(void)
{
    static const char stay[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char out[8], want[8];

    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        struct text t;
        text_init(&t, out, sizeof out);
        k8s_url_escape(&t, (struct str){&byte, 1});
        bool stays = c != 0 && strchr(stay, c);
        snprintf(want, sizeof want, stays ? "%c" : "%%%02X", (unsigned)c);
        CHECK_TEXT(out, want);
    }
}

static void test_namespaces(void)
{
    static const struct {
        const char *name;
        bool good;
    } rows[] = {
        {"a", true},
        {"0-z", true},
        {"a23456789012345678901234567890123456789012345678901234567890123", true},
        {"a234567890123456789012345678901234567890123456789012345678901234", false},
        {"", false},
        {"-a", false},
        {"a-", false},
        {"-", false},
        {"A", false},
        {"a.b", false},
        {"a/b", false},
        {"..", false},
    };
    char err[K8S_ERROR], want[128];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct flag_list names = {.values = {"fine", rows[i].name}, .n = 2};
        harness_case("%s", rows[i].name);
        err[0] = '\0';
        CHECK_INT(k8s_namespaces_check("--flux-namespace", &names, err), rows[i].good);
        snprintf(want, sizeof want, "--flux-namespace \"%s\": not the name of a namespace", rows[i].name);
        CHECK_TEXT(err, rows[i].good ? "" : want);
    }
}

static void write_authority(const char *name)
{
    struct authority ca = authority_new("CA");
    authority_write(&ca, in_folder(name));
    authority_free(&ca);
}

static void item_68_pod(void)
{
    char err[K8S_ERROR];

    write_authority("ca.crt");
    write_file("token", "  pod-token \n");
    const struct k8s_pod pod = {"10.96.0.1", "443", folder};
    struct k8s_creds *c = make(&(struct k8s_config){0}, &pod, err);
    CHECK_TEXT(err, "");
    CHECK_TEXT(k8s_creds_url(c)->text, "https://10.96.0.1");
    CHECK_STR(k8s_creds_token(c, 0), STR("pod-token"));
    k8s_creds_free(c);

    harness_case("IPv6");
    const struct k8s_pod six = {"fd00::1", "6443", folder};
    c = make(&(struct k8s_config){0}, &six, err);
    CHECK_TEXT(err, "");
    CHECK_TEXT(k8s_creds_url(c)->text, "https://[fd00::1]:6443");
    k8s_creds_free(c);

    harness_case("the service account is for the pod's own API server only");
    c = make(&(struct k8s_config){.api = "https://elsewhere.example"}, &pod, err);
    CHECK_TEXT(err, "");
    CHECK_STR(k8s_creds_token(c, 0), STR(""));
    k8s_creds_free(c);
}

static void write_identities(void)
{
    struct authority ca = authority_new("CA");

    identity_write(&ca, "one", NULL, 3600, in_folder("one.crt"), in_folder("one.key"));
    identity_write(&ca, "two", NULL, 3600, in_folder("two.crt"), in_folder("two.key"));
    authority_free(&ca);
}

static void test_errors(void)
{
    write_authority("ca.crt");
    write_file("token", "t");
    write_file("empty", " \n");
    write_file("spaced", "a b");
    write_file("header", "a\r\nX: y");
    write_file("text", "no certificate");
    write_file("del", "a\x7f");
    char *token = malloc(K8S_MAX_TOKEN + 2);
    memset(token, 'x', K8S_MAX_TOKEN + 1);
    token[K8S_MAX_TOKEN + 1] = '\0';
    write_file("long", token);
    free(token);
    write_identities();
    const struct k8s_pod half_pod = {"10.96.0.1", NULL, folder}, other_half_pod = {NULL, "443", folder};
    const struct k8s_pod empty_half_pod = {"10.96.0.1", "", folder};
    const struct k8s_pod empty_pod = {"", "", folder};
    const struct k8s_pod bad_pod = {"bad host", "443", folder};
    const struct {
        const char *name;
        struct k8s_config config;
        const struct k8s_pod *pod;
        const char *error;
    } rows[] = {
        {"nowhere",
         {0},
         NULL,
         "not in a pod: give --kube-api URL (e.g. http://127.0.0.1:8001 with kubectl proxy), or --no-kube"},
        {"empty environment", {0}, &empty_pod, "not in a pod: give --kube-api URL"},
        {"no URL", {.api = "localhost"}, NULL, "--kube-api localhost: not of the form http(s)://host[:port]"},
        {"bad environment", {0}, &bad_pod, "KUBERNETES_SERVICE_HOST bad host"},
        {"no token file",
         {.api = "http://x", .token_file = "/nonexistent/token"},
         NULL,
         "--kube-token-file /nonexistent/token: No such file or directory"},
        {"empty token", {.api = "http://x", .token_file = in_folder("empty")}, NULL, "empty: holds no token"},
        {"token with a space",
         {.api = "http://x", .token_file = in_folder("spaced")},
         NULL,
         "spaced: holds no token"},
        {"token with a header",
         {.api = "http://x", .token_file = in_folder("header")},
         NULL,
         "header: holds no token"},
        {"token with a DEL",
         {.api = "http://x", .token_file = in_folder("del")},
         NULL,
         "del: holds no token"},
        {"a token too long",
         {.api = "http://x", .token_file = in_folder("long")},
         NULL,
         "long: holds no token"},
        {"half an environment", {0}, &half_pod, "not in a pod: give --kube-api URL"},
        {"the other half", {0}, &other_half_pod, "not in a pod: give --kube-api URL"},
        {"an empty half", {0}, &empty_half_pod, "not in a pod: give --kube-api URL"},
        {"no certificate in it",
         {.api = "https://x", .client_cert_file = in_folder("text"), .client_key_file = in_folder("one.key")},
         NULL,
         "--kube-client-cert-file "},
        {"another's key",
         {.api = "https://x",
          .client_cert_file = in_folder("one.crt"),
          .client_key_file = in_folder("two.key")},
         NULL,
         "--kube-client-key-file "},
        {"token is a folder", {.api = "http://x", .token_file = folder}, NULL, ": Is a directory"},
        {"no CA file",
         {.api = "https://x", .ca_file = "/nonexistent/ca"},
         NULL,
         "--kube-ca-file /nonexistent/ca: No such file or directory"},
        {"no CA in it",
         {.api = "https://x", .ca_file = in_folder("text")},
         NULL,
         "text: no certificate or crl found"},
        {"certificate without key",
         {.api = "https://x", .client_cert_file = "c"},
         NULL,
         "--kube-client-cert-file and --kube-client-key-file: give both or neither"},
        {"no key in it",
         {.api = "https://x", .client_cert_file = in_folder("ca.crt"), .client_key_file = in_folder("text")},
         NULL,
         "--kube-client-key-file "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char err[K8S_ERROR];
        harness_case("%s", rows[i].name);
        CHECK(make(&rows[i].config, rows[i].pod, err) == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].error));
        CHECK(strchr(err, '\n') == NULL);
    }
}

static void item_56_68_token_changes(void)
{
    char err[K8S_ERROR];

    struct k8s_config config = {.api = "http://x", .token_file = write_file("token", "one")};
    struct k8s_creds *c = make(&config, NULL, err);
    CHECK_STR(k8s_creds_token(c, 0), STR("one"));
    write_file("token", "second");
    harness_case("looked at once a minute");
    CHECK_STR(k8s_creds_token(c, K8S_FILES_MS - 1), STR("one"));
    CHECK_STR(k8s_creds_token(c, K8S_FILES_MS), STR("second"));
    harness_case("what cannot be read replaces nothing, and is reported once");
    write_file("token", "");
    CHECK_STR(k8s_creds_token(c, 2 * K8S_FILES_MS), STR("second"));
    CHECK_STR(k8s_creds_token(c, 3 * K8S_FILES_MS), STR("second"));
    CHECK_INT(count_of(reports.text, "API server credentials cannot be read again"), 1);
    harness_case("at once after a 401");
    write_file("token", "third");
    uint64_t sent = k8s_creds_token_number(c);
    CHECK(k8s_creds_refused(c, sent));
    CHECK_STR(k8s_creds_token(c, 3 * K8S_FILES_MS), STR("third"));
    harness_case("another connection was refused with the same old token");
    CHECK(k8s_creds_refused(c, sent));
    CHECK_INT(count_of(reports.text, "API server refuses the credentials"), 0);
    harness_case("the new one is refused too");
    CHECK(!k8s_creds_refused(c, k8s_creds_token_number(c)));
    CHECK(!k8s_creds_refused(c, k8s_creds_token_number(c)));
    CHECK_INT(count_of(reports.text, "API server refuses the credentials"), 1);
    k8s_creds_accepted(c);
    CHECK_INT(count_of(reports.text, "API server accepts the credentials again"), 1);
    harness_case("on demand");
    write_file("token", "fourth");
    k8s_creds_reload(c);
    CHECK_STR(k8s_creds_token(c, 3 * K8S_FILES_MS), STR("fourth"));
    CHECK(strstr(reports.text, "third") == NULL);
    k8s_creds_free(c);
}

static void item_68_ca_changes(void)
{
    char err[K8S_ERROR];

    write_authority("ca.crt");
    struct k8s_config config = {.api = "https://127.0.0.1", .ca_file = in_folder("ca.crt")};
    struct k8s_creds *c = make(&config, NULL, err);
    SSL *ssl = k8s_creds_ssl(c, 0);
    CHECK_INT(SSL_get_verify_mode(ssl), SSL_VERIFY_PEER);
    CHECK_INT(SSL_get_min_proto_version(ssl), TLS1_2_VERSION);
    CHECK(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == NULL);
    SSL_CTX *before = SSL_get_SSL_CTX(ssl);
    write_authority("next.crt");
    rename(in_folder("next.crt"), in_folder("ca.crt"));
    SSL *same = k8s_creds_ssl(c, 1000);
    CHECK(SSL_get_SSL_CTX(same) == before);
    k8s_creds_unverified(c);
    SSL *other = k8s_creds_ssl(c, 2000);
    CHECK(SSL_get_SSL_CTX(other) != before);
    harness_case("a broken file replaces nothing");
    write_file("ca.crt", "nothing");
    k8s_creds_unverified(c);
    SSL *kept = k8s_creds_ssl(c, 3000);
    CHECK(SSL_get_SSL_CTX(kept) == SSL_get_SSL_CTX(other));
    CHECK_HAS(str_of(reports.text), STR("no certificate or crl found"));
    SSL_free(ssl);
    SSL_free(same);
    SSL_free(other);
    SSL_free(kept);
    k8s_creds_free(c);
}

int main(void)
{
    int failed = harness_run((struct test[]){TEST(test_flags),
                                             TEST(test_urls),
                                             TEST(test_long_urls),
                                             TEST(test_escape),
                                             TEST(test_namespaces),
                                             TEST(item_68_pod),
                                             TEST(test_errors),
                                             TEST(item_56_68_token_changes),
                                             TEST(item_68_ca_changes),
                                             {0}});
    remove_folder();
    return failed;
}
