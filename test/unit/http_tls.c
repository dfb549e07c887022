/* TLS on the listeners: files good and bad, and read again; who gets through the handshake; how many handshakes a turn
 * of the loop takes; and that nothing is ever served in plain text. What is not peculiar to TLS is in http_over_tls_*. */
#define RIG_TLS
#include "http/tls_priv.h"
#include "http_test.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#define GET_OK "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"

static int served;

static void on_ok(void *arg, struct http_request *r)
{
    struct http_reply reply = {.status = 200, .body = STR("{}")};
    served++;
    http_reply(((struct rig *)arg)->server, http_request_id(r), &reply);
}

static void start(struct rig *rig, const struct guard_limits *limits)
{
    rig_start(rig, limits);
    served = 0;
    CHECK(http_route(rig->server, HTTP_GET, "/ok", on_ok, rig));
    CHECK(http_route(rig->server, HTTP_POST, "/ok", on_ok, rig));
}

static void write_file(const char *file, const char *bytes, size_t len)
{
    FILE *f = fopen(file, "w");

    fwrite(bytes, 1, len, f);
    fclose(f);
}

/* ---- files ---- */

struct folder {
    struct reporter reporter;
    struct rig rig; /* its reports */
    char name[32];
    char cert[64], key[64], ca[64];
};

static void folder_make(struct folder *f, long valid_s)
{
    memset(f, 0, sizeof *f);
    snprintf(f->name, sizeof f->name, "/tmp/http-tls-XXXXXX");
    CHECK(mkdtemp(f->name) != NULL);
    snprintf(f->cert, sizeof f->cert, "%s/cert", f->name);
    snprintf(f->key, sizeof f->key, "%s/key", f->name);
    snprintf(f->ca, sizeof f->ca, "%s/ca", f->name);
    if (!rig_ca.key)
        rig_ca = authority_new("CA");
    identity_write(&rig_ca, "server", "IP:127.0.0.1", valid_s, f->cert, f->key);
    authority_write(&rig_ca, f->ca);
    f->reporter = (struct reporter){rig_report, &f->rig};
}

static void folder_remove(struct folder *f)
{
    unlink(f->cert);
    unlink(f->key);
    unlink(f->ca);
    rmdir(f->name);
}

enum damage { MISSING, EMPTY, NOISE, OTHERS, ENCRYPTED, CUT, HUGE };

static void damage(const struct folder *f, const char *file, enum damage how)
{
    static char huge[TLS_MAX_FILE + 1];
    char spare[64];
    struct stat st;

    switch (how) {
    case MISSING: unlink(file); break;
    case EMPTY: write_file(file, "", 0); break;
    case NOISE: write_file(file, "\x16\x03\x01noise", 8); break;
    case HUGE:
        memset(huge, '\n', sizeof huge);
        write_file(file, huge, sizeof huge);
        break;
    case CUT: /* a good certificate, and the beginning of another one */
        CHECK(stat(file, &st) == 0);
        FILE *a = fopen(file, "a");
        fputs("-----BEGIN CERTIFICATE-----\nMIIB", a);
        fclose(a);
        break;
    case OTHERS:
        snprintf(spare, sizeof spare, "%s/spare", f->name);
        identity_write(&rig_ca, "other", NULL, 86400, file == f->cert ? file : spare,
                       file == f->cert ? spare : file);
        unlink(spare);
        break;
    case ENCRYPTED: {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        FILE *out = fopen(file, "w");
        PEM_write_PrivateKey(out, key, EVP_aes_128_cbc(), (const unsigned char *)"password", 8, NULL, NULL);
        fclose(out);
        EVP_PKEY_free(key);
        break;
    }
    }
}

static const struct {
    enum { CERT, KEY, CA } file;
    enum damage how;
    const char *says;
} bad_files[] = {
    {CERT, MISSING, "No such file or directory"},
    {CERT, EMPTY, "no certificate in PEM form in it"},
    {CERT, NOISE, "no certificate in PEM form in it"},
    {CERT, CUT, "its chain is damaged"},
    {CERT, HUGE, "larger than 1 MiB"},
    {KEY, MISSING, "No such file or directory"},
    {KEY, EMPTY, "no private key in PEM form in it"},
    {KEY, NOISE, "no private key in PEM form in it"},
    {KEY, OTHERS, "the key does not belong to the certificate in --tls-cert-file"},
    {KEY, ENCRYPTED, "it is encrypted: give the key without a password"},
    {CA, MISSING, "No such file or directory"},
    {CA, EMPTY, "no certificate in PEM form in it"},
    {CA, CUT, "it is damaged"},
};
#define BAD_FILES (sizeof bad_files / sizeof bad_files[0])

static void test_bad_files_are_named_with_the_reason(void)
{
    static const char *const flags[] = {"--tls-cert-file", "--tls-key-file", "--tls-client-ca-file"};
    char err[HTTP_ERROR], want[HTTP_ERROR];

    for (size_t i = 0; i < BAD_FILES; i++) {
        struct folder f;
        folder_make(&f, 86400);
        const char *files[] = {f.cert, f.key, f.ca};
        const char *file = files[bad_files[i].file];
        struct http_config config = {.tls = {f.cert, f.key, f.ca}};
        snprintf(want, sizeof want, "%s %s: %s", flags[bad_files[i].file], file, bad_files[i].says);
        harness_case("%s", want);
        struct tls *t = tls_new(&config.tls, &f.reporter, err);
        CHECK(t != NULL);
        tls_free(t);
        CHECK(http_config_check(&config, &f.reporter, err));
        damage(&f, file, bad_files[i].how);
        CHECK(tls_new(&config.tls, &f.reporter, err) == NULL);
        CHECK_TEXT(err, want);
        CHECK(!http_config_check(&config, &f.reporter, err));
        CHECK_TEXT(err, want);
        folder_remove(&f);
    }
    harness_case("%s", "");
}

static void test_both_or_neither(void)
{
    struct folder f;
    char err[HTTP_ERROR];

    folder_make(&f, 86400);
    const struct {
        struct tls_config config;
        const char *says;
    } rows[] = {
        {{f.cert, NULL, NULL}, "--tls-cert-file needs --tls-key-file"},
        {{NULL, f.key, NULL}, "--tls-key-file needs --tls-cert-file"},
        {{NULL, NULL, f.ca}, "--tls-client-ca-file needs --tls-cert-file"},
        {{f.cert, NULL, f.ca}, "--tls-cert-file needs --tls-key-file"},
    };
    CHECK(!tls_wanted(&(struct tls_config){0}));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK(tls_wanted(&rows[i].config));
        CHECK(tls_new(&rows[i].config, &f.reporter, err) == NULL);
        CHECK_TEXT(err, rows[i].says);
    }
    folder_remove(&f);
}

static void test_an_expired_certificate_is_reported_and_used(void)
{
    struct folder f;
    char err[HTTP_ERROR];

    folder_make(&f, -3600);
    struct tls *t = tls_new(&(struct tls_config){f.cert, f.key, NULL}, &f.reporter, err);
    CHECK(t != NULL);
    CHECK_INT(f.rig.reports, 2);
    CHECK_TEXT(f.rig.last_error, "it has expired");
    tls_free(t);
    folder_remove(&f);
}

/* ---- reading again ---- */

static bool uses(struct tls *t, const char *cert_file)
{
    FILE *file = fopen(cert_file, "r");
    X509 *want = PEM_read_X509(file, NULL, NULL, NULL);
    SSL *ssl = tls_ssl(t);
    bool same = X509_cmp(SSL_get_certificate(ssl), want) == 0;

    fclose(file);
    SSL_free(ssl);
    X509_free(want);
    return same;
}

/* Whatever the system's settings of OpenSSL allow or refuse: they hide what is missing here. */
static void test_the_oldest_protocol_is_set(void)
{
    struct folder f;
    char err[HTTP_ERROR];

    folder_make(&f, 86400);
    struct tls *t = tls_new(&(struct tls_config){f.cert, f.key, NULL}, &f.reporter, err);
    CHECK(t != NULL);
    SSL *ssl = tls_ssl(t);
    CHECK_INT(SSL_get_min_proto_version(ssl), TLS1_2_VERSION);
    CHECK((SSL_get_options(ssl) & SSL_OP_NO_RENEGOTIATION) != 0);
    SSL_free(ssl);
    tls_free(t);
    folder_remove(&f);
}

static void test_files_are_read_again(void)
{
    struct folder f;
    char err[HTTP_ERROR];
    int64_t now = 1000000;

    folder_make(&f, 86400);
    struct tls *t = tls_new(&(struct tls_config){f.cert, f.key, NULL}, &f.reporter, err);
    CHECK(t != NULL);
    tls_refresh(t, now);
    CHECK_INT(f.rig.reports, 1);
    identity_write(&rig_ca, "second", NULL, 86400, f.cert, f.key);
    tls_refresh(t, now + TLS_LOOK_MS - 1);
    CHECK_INT(f.rig.reports, 1);
    CHECK(!uses(t, f.cert));
    tls_refresh(t, now += TLS_LOOK_MS);
    CHECK_INT(f.rig.reports, 2);
    CHECK_TEXT(f.rig.last_report, "TLS certificate read again");
    CHECK(uses(t, f.cert));
    tls_refresh(t, now += TLS_LOOK_MS);
    CHECK_INT(f.rig.reports, 2);
    tls_free(t);
    folder_remove(&f);
}

static void test_bad_files_leave_the_old_pair(void)
{
    char err[HTTP_ERROR];

    for (size_t i = 0; i < BAD_FILES; i++) {
        struct folder f;
        int64_t now = 1000000;
        folder_make(&f, 86400);
        const char *files[] = {f.cert, f.key, f.ca};
        harness_case("%zu: %s", i, bad_files[i].says);
        struct tls *t = tls_new(&(struct tls_config){f.cert, f.key, f.ca}, &f.reporter, err);
        SSL *before = tls_ssl(t);
        damage(&f, files[bad_files[i].file], bad_files[i].how);
        tls_refresh(t, now);
        CHECK_INT(f.rig.reports, 2);
        CHECK_TEXT(f.rig.last_report, "TLS certificate cannot be read again; the old one stays in use");
        CHECK_HAS(str_of(f.rig.last_error), str_of(bad_files[i].says));
        CHECK(tls_renew(t, before));
        for (int look = 0; look < 50; look++)
            tls_refresh(t, now += TLS_LOOK_MS);
        CHECK_INT(f.rig.reports, 2);
        tls_refresh(t, now += 10000);
        CHECK_INT(f.rig.reports, 3); /* a minute later */
        tls_reload(t, now);
        CHECK_INT(f.rig.reports, 4); /* who asks is told */
        SSL *after = tls_ssl(t);
        CHECK(X509_cmp(SSL_get_certificate(after), SSL_get_certificate(before)) == 0);
        identity_write(&rig_ca, "good again", NULL, 86400, f.cert, f.key);
        authority_write(&rig_ca, f.ca);
        tls_refresh(t, now += TLS_LOOK_MS);
        CHECK_TEXT(f.rig.last_report, "TLS certificate read again");
        CHECK(uses(t, f.cert));
        CHECK(tls_renew(t, before) && uses(t, f.cert));
        SSL_free(before);
        SSL_free(after);
        tls_free(t);
        folder_remove(&f);
    }
    harness_case("%s", "");
}

/* The spare connection was made before the pair changed, and must not show the old one. */
static void test_a_new_connection_shows_the_new_certificate(void)
{
    struct rig rig;
    struct client c;

    start(&rig, NULL);
    for (int i = 0; i < 5; i++) {
        identity_write(&rig_ca, "new", "IP:127.0.0.1", 86400, rig.paths[0], rig.paths[1]);
        http_server_reload(rig.server);
        client_open(&c, &rig);
        client_text(&c, GET_OK);
        CHECK_INT(client_answer(&c, NULL), 200);
        FILE *file = fopen(rig.paths[0], "r");
        X509 *want = PEM_read_X509(file, NULL, NULL, NULL);
        X509 *got = SSL_get1_peer_certificate(c.ssl);
        fclose(file);
        CHECK(X509_cmp(got, want) == 0);
        X509_free(want);
        X509_free(got);
        client_close(&c);
    }
    rig_stop(&rig);
}

/* ---- handshakes ---- */

struct failures {
    uint64_t by[N_TLS_FAILURES];
    uint64_t all;
};

static struct failures failures_of(struct rig *rig)
{
    struct metric_source source = http_server_metrics(rig->server);
    const struct http_numbers *numbers = source.collect(source.arg);
    struct failures f = {.all = 0};

    for (int cause = 0; cause < N_TLS_FAILURES; cause++)
        f.all += f.by[cause] = numbers->tls_failed[cause];
    return f;
}

static void test_client_certificates(void)
{
    static const struct {
        const char *name;
        bool shown, others;
        long valid_s;
        int status;
        const char *says;
    } rows[] = {
        {"good", true, false, 3600, 200, ""},
        {"none", false, false, 0, 0, "peer did not return a certificate"},
        {"of another authority", true, true, 3600, 0, "unable to get local issuer certificate"},
        {"expired", true, false, -3600, 0, "certificate has expired"},
    };
    struct authority other = authority_new("other");
    struct rig rig;
    struct client c;
    char cert[64], key[64];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            harness_case("%s, %x", rows[i].name, (unsigned)version);
            rig_asks_clients = true;
            start(&rig, NULL);
            rig_asks_clients = false;
            SSL_CTX_set_max_proto_version(rig.client, version);
            snprintf(cert, sizeof cert, "%s/client", rig.folder);
            snprintf(key, sizeof key, "%s/client-key", rig.folder);
            identity_write(rows[i].others ? &other : &rig_ca, "client", NULL, rows[i].valid_s, cert, key);
            if (rows[i].shown) {
                CHECK(SSL_CTX_use_certificate_file(rig.client, cert, SSL_FILETYPE_PEM) == 1);
                CHECK(SSL_CTX_use_PrivateKey_file(rig.client, key, SSL_FILETYPE_PEM) == 1);
            }
            unlink(cert);
            unlink(key);
            client_open(&c, &rig);
            client_text(&c, GET_OK);
            CHECK_INT(client_answer(&c, NULL), rows[i].status);
            CHECK_INT(served, rows[i].status == 200);
            CHECK_TEXT(rig.last_error, rows[i].says);
            struct failures failed = failures_of(&rig);
            CHECK_INT(failed.by[TLS_FAILED_CLIENT_CERTIFICATE], rows[i].status == 0);
            CHECK_INT(failed.all, rows[i].status == 0);
            client_close(&c);
            rig_stop(&rig);
        }
    harness_case("%s", "");
    authority_free(&other);
}

static void test_protocols(void)
{
    static const struct {
        const char *name;
        int most;
        const char *alpn;
        int status;
    } rows[] = {
        {"TLS 1.3", TLS1_3_VERSION, NULL, 200},
        {"TLS 1.2", TLS1_2_VERSION, NULL, 200},
        {"TLS 1.1", TLS1_1_VERSION, NULL, 0},
        {"http/1.1", 0, "\x08http/1.1", 200},
        {"h2 or http/1.1", 0, "\x02h2\x08http/1.1", 200},
        {"h2 alone", 0, "\x02h2", 0},
    };
    struct rig rig;
    struct client c;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const unsigned char *chosen = NULL;
        unsigned len = 0;
        harness_case("%s", rows[i].name);
        start(&rig, NULL);
        SSL_CTX_set_security_level(rig.client, 0);
        SSL_CTX_set_min_proto_version(rig.client, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(rig.client, rows[i].most);
        client_open(&c, &rig);
        if (rows[i].alpn)
            SSL_set_alpn_protos(c.ssl, (const unsigned char *)rows[i].alpn, (unsigned)strlen(rows[i].alpn));
        client_text(&c, GET_OK);
        CHECK_INT(client_answer(&c, NULL), rows[i].status);
        SSL_get0_alpn_selected(c.ssl, &chosen, &len);
        if (rows[i].status == 200)
            CHECK_STR(((struct str){(const char *)chosen, len}), rows[i].alpn ? STR("http/1.1") : STR_NONE);
        else
            CHECK_TEXT(rig.last_report, "TLS handshake failed");
        struct failures failed = failures_of(&rig);
        CHECK_INT(failed.by[TLS_FAILED_PROTOCOL], rows[i].status == 0);
        CHECK_INT(failed.all, rows[i].status == 0);
        client_close(&c);
        rig_stop(&rig);
    }
    harness_case("%s", "");
}

/* The client does not know the server's authority: its alert says so. */
static void test_a_client_that_refuses(void)
{
    struct rig rig;
    struct client c;

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        harness_case("%x", (unsigned)version);
        start(&rig, NULL);
        SSL_CTX_set_max_proto_version(rig.client, version);
        SSL_CTX_set_cert_store(rig.client, X509_STORE_new());
        client_open(&c, &rig);
        client_text(&c, GET_OK);
        CHECK_INT(client_answer(&c, NULL), 0);
        RIG_UNTIL(&rig, failures_of(&rig).all == 1);
        CHECK_INT(failures_of(&rig).by[TLS_FAILED_REFUSED_BY_CLIENT], 1);
        CHECK_TEXT(rig.last_report, "TLS handshake failed");
        client_close(&c);
        rig_stop(&rig);
    }
    harness_case("%s", "");
}

/* True when the handshake has failed on the client's side, and its alert is sent. */
static bool has_refused(const struct client *c)
{
    ERR_clear_error();
    int error = SSL_get_error(c->ssl, SSL_do_handshake(c->ssl));

    return error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL; /* the latter from the second time on */
}

/* A client whose alert is read when it has reset the connection: the socket does not know any more who it was. */
static void test_a_client_that_refuses_and_resets(void)
{
    const struct linger at_once = {.l_onoff = 1};
    struct rig rig;
    struct client c;

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        harness_case("%x", (unsigned)version);
        start(&rig, NULL);
        SSL_CTX_set_max_proto_version(rig.client, version);
        SSL_CTX_set_cert_store(rig.client, X509_STORE_new());
        client_open(&c, &rig);
        RIG_UNTIL(&rig, has_refused(&c));
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        client_close(&c);
        RIG_UNTIL(&rig, failures_of(&rig).all == 1);
        CHECK_INT(failures_of(&rig).by[TLS_FAILED_REFUSED_BY_CLIENT], 1);
        CHECK_TEXT(rig.last_report, "TLS handshake failed");
        CHECK_TEXT(rig.last_client, "127.0.0.1");
        rig_stop(&rig);
    }
    harness_case("%s", "");
}

/* A session is resumed, but not where a certificate would not be looked at again. */
static void test_resumption(void)
{
    struct rig rig;
    struct client c;

    for (int asks = 0; asks < 2; asks++) {
        harness_case("%s", asks ? "client certificates" : "none");
        rig_asks_clients = asks;
        start(&rig, NULL);
        rig_asks_clients = false;
        char cert[64], key[64];
        snprintf(cert, sizeof cert, "%s/client", rig.folder);
        snprintf(key, sizeof key, "%s/client-key", rig.folder);
        identity_write(&rig_ca, "client", NULL, 3600, cert, key);
        SSL_CTX_use_certificate_file(rig.client, cert, SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(rig.client, key, SSL_FILETYPE_PEM);
        unlink(cert);
        unlink(key);
        SSL_SESSION *session = NULL;
        for (int again = 0; again < 2; again++) {
            client_open(&c, &rig);
            if (session)
                SSL_set_session(c.ssl, session);
            client_text(&c, GET_OK);
            CHECK_INT(client_answer(&c, NULL), 200);
            CHECK_INT(SSL_session_reused(c.ssl), again && !asks);
            SSL_SESSION_free(session);
            session = SSL_get1_session(c.ssl);
            SSL_shutdown(c.ssl);
            client_close(&c);
        }
        SSL_SESSION_free(session);
        rig_stop(&rig);
    }
    harness_case("%s", "");
}

/* A connection of plain TCP, of which the test decides every byte. */
static int plain_open(const struct rig *rig)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rig->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        HARNESS_FAIL("connect: %s", strerror(errno));
    return fd;
}

/* Reads until the server ends it. */
static struct str plain_answer(struct rig *rig, int fd, char *in, size_t size)
{
    size_t len = 0;
    ssize_t n = -1;

    RIG_UNTIL(rig, (n = recv(fd, in + len, size - len, MSG_DONTWAIT)) == 0 || (n < 0 && errno != EAGAIN) ||
                       (len += n > 0 ? (size_t)n : 0) == size);
    return (struct str){in, len};
}

static void test_a_plain_client_is_told(void)
{
    struct rig rig;
    char in[4096];

    start(&rig, NULL);
    int fd = plain_open(&rig);
    CHECK_INT(send(fd, GET_OK, strlen(GET_OK), 0), (long long)strlen(GET_OK));
    struct str answer = plain_answer(&rig, fd, in, sizeof in);
    CHECK(str_starts(answer, STR("HTTP/1.1 400 ")));
    CHECK(str_ends(answer, STR("{\"error\":\"this port speaks TLS: use https\"}\n")));
    CHECK_TEXT(rig.last_report, "request refused");
    CHECK_TEXT(rig.last_error, "this port speaks TLS: use https");
    CHECK_INT(rig_refused(&rig, CAUSE_PLAIN), 1);
    CHECK_INT(failures_of(&rig).all, 0);
    CHECK_INT(http_server_connections(rig.server),
              1); /* reads on, so that the answer is not lost to a reset */
    CHECK(send(fd, GET_OK, strlen(GET_OK), MSG_NOSIGNAL) > 0);
    rig_turn(&rig, 10);
    close(fd);
    RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
    CHECK_INT(served, 0);
    rig_stop(&rig);
}

/* Whatever comes first, and wherever it ends. */
static void test_noise(void)
{
    static const struct str first[] = {
        STR(""),
        STR("\x16"),
        STR("\x16\x03\x01"),
        STR("\x16\x03\x01\xff\xff"),
        STR("\x80\x2e\x01"),
        STR("\0\0\0\0\0\0"),
        STR("\x15\x03\x01\0\x02\x02\x28"),
        STR("\x16\x03\x01\0\x05\x01\0\0\x01\0"),
        STR("\xff\xff\xff\xff\xff\xff"),
    };
    struct rig rig;
    char in[4096];

    start(&rig, NULL);
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        harness_case("%zu", i);
        int fd = plain_open(&rig);
        CHECK_INT(send(fd, first[i].at, first[i].len, MSG_NOSIGNAL), first[i].len);
        rig_turn(&rig, 5);
        shutdown(fd, SHUT_WR);
        CHECK(!str_has(plain_answer(&rig, fd, in, sizeof in), STR("HTTP/")));
        close(fd);
        RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
    }
    harness_case("%s", "");
    CHECK_INT(served, 0);
    rig_stop(&rig);
}

static void test_deadline_includes_the_handshake(void)
{
    struct guard_limits limits;
    struct rig rig;
    struct client c;
    char in[64];

    http_default_limits(&limits);
    limits.head_ms = 150;
    start(&rig, &limits);
    for (int i = 0; i < 4; i++) {
        static const struct str said[] = {STR(""), STR("\x16"), STR("\x16\x03\x01\x02"),
                                          STR("GET /ok HTTP/1.1\r\n")};
        int64_t begin = clock_ms();
        harness_case("%d", i);
        int fd = plain_open(&rig);
        CHECK_INT(send(fd, said[i].at, said[i].len, MSG_NOSIGNAL), said[i].len);
        (void)plain_answer(&rig, fd, in, sizeof in);
        RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
        CHECK(clock_ms() - begin >= 140 && clock_ms() - begin < 5000);
        close(fd);
    }
    harness_case("%s", "shaken hands, then nothing");
    rig_stop(&rig);
    limits.head_ms = 2000; /* a busy machine shakes them in more than 150 ms */
    start(&rig, &limits);
    client_open(&c, &rig);
    RIG_UNTIL(&rig, (client_poll(&c), SSL_is_init_finished(c.ssl)));
    client_wait_closed(&c);
    client_close(&c);
    harness_case("%s", "");
    rig_stop(&rig);
}

/* ---- many at once ---- */

#define CROWD 100

static bool has_answer(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* A turn begins a few handshakes, and in each of them who is connected is served. */
static void test_handshakes_take_turns(void)
{
    struct rig rig;
    struct client known, crowd[CROWD];
    int begun = 0, turns = 0, between = 0;

    start(&rig, NULL);
    client_open(&known, &rig);
    client_text(&known, GET_OK);
    CHECK_INT(client_answer(&known, NULL), 200);
    for (int i = 0; i < CROWD; i++) {
        client_open(&crowd[i], &rig);
        client_poll(&crowd[i]); /* says hello */
    }
    for (; begun < CROWD && turns < 10000; turns++) {
        if (answer_at(client_in(&known), false, NULL, NULL)) {
            client_next(&known);
            CHECK(client_try_send(&known, GET_OK, strlen(GET_OK)) > 0);
            between += begun > 0;
        }
        event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        client_poll(&known);
        int before = begun;
        for (begun = 0; begun < CROWD && has_answer(crowd[begun].fd);)
            begun++;
        CHECK(begun - before <= TLS_HANDSHAKES);
    }
    CHECK_INT(begun, CROWD);
    CHECK(between >= 3);
    for (int i = 0; i < CROWD; i++) {
        client_text(&crowd[i], GET_OK);
        CHECK_INT(client_answer(&crowd[i], NULL), 200);
        client_close(&crowd[i]);
    }
    client_close(&known);
    rig_stop(&rig);
}

/* ---- traps of libevent ---- */

/* Requests that fill the input beyond its mark in the middle of a record: none is forgotten in OpenSSL's hands. */
static void test_more_pipelined_than_is_read(void)
{
    enum { N = 6000 };
    static char requests[N * sizeof GET_OK], *end = requests;
    struct rig rig;
    struct client c;
    size_t sent = 0, size = N * strlen(GET_OK);
    int answers = 0;

    for (end = requests; end < requests + size; end += strlen(GET_OK))
        memcpy(end, GET_OK, strlen(GET_OK));
    start(&rig, NULL);
    client_open(&c, &rig);
    for (int64_t deadline = clock_ms() + WAIT_MS; answers < N && clock_ms() < deadline;) {
        ssize_t n = sent < size ? client_try_send(&c, requests + sent, size - sent) : 0;
        sent += n > 0 ? (size_t)n : 0;
        rig_loop(&rig, EVLOOP_NONBLOCK);
        client_poll(&c);
        size_t at = 0, len = 0;
        while (answer_at(str_from(client_in(&c), at), false, NULL, &len) == 200) {
            at += len;
            answers++;
        }
        if (at > 0)
            memmove(c.in, c.in + at, c.len -= at);
    }
    CHECK_INT(answers, N);
    client_close(&c);
    rig_stop(&rig);
}

/* libevent says late that 100 Continue is written, and evhttp would take it for the answer. */
static void test_a_body_that_crosses_100_continue(void)
{
    static const char head[] =
        "POST /ok HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    struct rig rig;
    struct client c;

    start(&rig, NULL);
    client_open(&c, &rig);
    RIG_UNTIL(&rig, (client_poll(&c), SSL_is_init_finished(c.ssl)));
    for (int turns = 0; turns < 8; turns++) {
        harness_case("body after %d turns", turns);
        CHECK(client_try_send(&c, head, sizeof head - 1) > 0);
        for (int i = 0; i < turns; i++)
            event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        CHECK_INT(client_try_send(&c, "abc", 3), 3);
        RIG_UNTIL(&rig, (client_poll(&c), str_has(client_in(&c), STR("HTTP/1.1 200 OK\r\n"))));
        RIG_UNTIL(&rig, (client_poll(&c), str_ends(client_in(&c), STR("{}"))));
        RIG_UNTIL(&rig, http_server_pending(rig.server) == 0);
        c.len = 0;
        CHECK(!c.closed);
    }
    harness_case("%s", "");
    client_close(&c);
    rig_stop(&rig);
}

/* A client that ends TCP without a goodbye, or says goodbye and goes. */
static void test_ends(void)
{
    struct rig rig;
    struct client c;

    start(&rig, NULL);
    for (int i = 0; i < 4; i++) {
        harness_case("%d", i);
        client_open(&c, &rig);
        client_text(&c, GET_OK);
        CHECK_INT(client_answer(&c, NULL), 200);
        if (i & 1)
            client_text(&c, "POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
        if (i & 2)
            SSL_shutdown(c.ssl);
        client_close(&c);
        RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
    }
    harness_case("%s", "");
    CHECK_INT(served, 4);
    rig_stop(&rig);
}

/* ---- without memory ---- */

static long allocations_left = -1; /* before OpenSSL gets none; -1: no limit */
static bool memory_is_back;        /* it fails once only */

static bool no_memory(void)
{
    if (allocations_left < 0)
        return false;
    if (allocations_left > 0) {
        allocations_left--;
        return false;
    }
    if (memory_is_back)
        allocations_left = -1;
    return true;
}

static void *failing_malloc(size_t len, const char *file, int line)
{
    (void)file, (void)line;
    return no_memory() ? NULL : malloc(len);
}

static void *failing_realloc(void *at, size_t len, const char *file, int line)
{
    (void)file, (void)line;
    return no_memory() ? NULL : realloc(at, len);
}

static void failing_free(void *at, const char *file, int line)
{
    (void)file, (void)line;
    free(at);
}

/* SSL_new fails: nobody is accepted, and so nobody is served in plain text (evhttp would do so when it is given no
 * bufferevent). */
static void test_without_memory_nobody_is_accepted(void)
{
    struct rig rig;
    struct client c;
    char in[256];

    start(&rig, NULL);
    allocations_left = 0;
    int spare = plain_open(&rig), next = plain_open(&rig);
    CHECK(send(spare, GET_OK, strlen(GET_OK), 0) > 0 && send(next, GET_OK, strlen(GET_OK), 0) > 0);
    struct str answer = plain_answer(&rig, spare, in, sizeof in); /* of the bufferevent that was made ahead */
    CHECK(str_starts(answer, STR("HTTP/1.1 400 ")));
    for (int64_t end = clock_ms() + 350; clock_ms() < end;)
        rig_turn(&rig, 20);
    CHECK(recv(next, in, sizeof in, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    CHECK_INT(http_server_connections(rig.server), 1);
    allocations_left = -1;
    answer = plain_answer(&rig, next, in, sizeof in);
    CHECK(str_starts(answer, STR("HTTP/1.1 400 ")));
    client_open(&c, &rig);
    client_text(&c, GET_OK);
    CHECK_INT(client_answer(&c, NULL), 200);
    CHECK_INT(served, 1);
    client_close(&c);
    close(spare);
    close(next);
    rig_stop(&rig);
}

/* The n-th allocation of OpenSSL fails, on either side of the connection, from the accept() to the answer. */
static void test_each_allocation_fails_once(void)
{
    struct rig rig;
    struct client c;
    char in[256];
    int answered = 0;

    memory_is_back = true;
    start(&rig, NULL);
    for (long n = 0; n < 20000 && answered < 3; n += n < 300 ? 1 : 7) {
        harness_case("allocation %ld", n);
        client_open(&c, &rig);
        allocations_left = n;
        for (int64_t end = clock_ms() + 5000; clock_ms() < end && !c.closed && c.len == 0;) {
            if (!SSL_is_init_finished(c.ssl) || served == 0)
                (void)client_try_send(&c, GET_OK, strlen(GET_OK));
            rig_loop(&rig, EVLOOP_NONBLOCK);
            client_poll(&c);
            if (allocations_left < 0 && c.len == 0 && (c.reset || c.truncated))
                break;
        }
        answered = allocations_left >= 0 ? answered + 1 : 0; /* no more allocations than that */
        allocations_left = -1;
        client_close(&c);
        ERR_clear_error();
        RIG_UNTIL(&rig, http_server_connections(rig.server) == 0); /* nothing of it is served any more */
        int fd = plain_open(&rig);
        CHECK(send(fd, GET_OK, strlen(GET_OK), MSG_NOSIGNAL) > 0);
        served = 0;
        CHECK(!str_has(plain_answer(&rig, fd, in, sizeof in), STR(" 200 ")));
        CHECK_INT(served, 0);
        close(fd);
    }
    CHECK_INT(answered, 3);
    memory_is_back = false;
    harness_case("%s", "");
    RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
    rig_stop(&rig);
}

/* Memory for the files is short: what is in use stays. */
static void test_each_allocation_fails_while_files_are_read(void)
{
    struct folder f;
    char err[HTTP_ERROR];
    bool done = false;

    folder_make(&f, 86400);
    const struct tls_config config = {f.cert, f.key, f.ca};
    memory_is_back = true;
    struct tls *t = tls_new(&config, &f.reporter, err);
    for (long n = 0; n < 20000 && !done; n += n < 200 ? 1 : 37) {
        allocations_left = n;
        struct tls *made = tls_new(&config, &f.reporter, err);
        done = allocations_left >= 0;
        allocations_left = -1;
        CHECK(made || err[0]);
        tls_free(made);
        ERR_clear_error();
        allocations_left = n;
        tls_reload(t, 0);
        allocations_left = -1;
        CHECK(uses(t, f.cert));
    }
    CHECK(done);
    memory_is_back = false;
    tls_free(t);
    folder_remove(&f);
}

int main(void)
{
    CRYPTO_set_mem_functions(failing_malloc, failing_realloc, failing_free);
    return harness_run((struct test[]){
        TEST(test_bad_files_are_named_with_the_reason),
        TEST(test_both_or_neither),
        TEST(test_an_expired_certificate_is_reported_and_used),
        TEST(test_files_are_read_again),
        TEST(test_bad_files_leave_the_old_pair),
        TEST(test_a_new_connection_shows_the_new_certificate),
        TEST(test_client_certificates),
        TEST(test_protocols),
        TEST(test_the_oldest_protocol_is_set),
        TEST(test_resumption),
        TEST(test_a_client_that_refuses),
        TEST(test_a_client_that_refuses_and_resets),
        TEST(test_a_plain_client_is_told),
        TEST(test_noise),
        TEST(test_deadline_includes_the_handshake),
        TEST(test_handshakes_take_turns),
        TEST(test_more_pipelined_than_is_read),
        TEST(test_a_body_that_crosses_100_continue),
        TEST(test_ends),
        TEST(test_without_memory_nobody_is_accepted),
        TEST(test_each_allocation_fails_once),
        TEST(test_each_allocation_fails_while_files_are_read),
        {0},
    });
}
