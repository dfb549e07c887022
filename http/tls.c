/* Certificate, key and client CA (see tls_priv.h).
 *
 * The files are read whole, and what was read is hashed and parsed: so what is compared is what is used. A new context
 * is made and checked first, and then takes the place of the old one; connections that stand keep theirs. A look may
 * fall between the writing of certificate and key: what does not fit together is looked at a second time at once, and
 * then again when the next connection comes, a second later at the earliest.
 *
 * With client certificates no session is resumed: a resumed one is not verified again, and a certificate that has
 * expired, or whose CA was taken away, must not outlive its connection.
 *
 * Invariant: the key passes through one buffer, which is wiped; no part of it, nor of what OpenSSL says about it other
 * than the reason, is reported.
 */
#include "http/tls_priv.h"

#include "http/file_priv.h"
#include "http/tally_priv.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGEST_SIZE 32 /* SHA-256 */
#define TIME_SIZE   sizeof "9999-12-31T23:59:59Z"

enum file { CERTIFICATE, KEY, CLIENT_CA, FILES };
static const char *const flag_names[FILES] = {"--tls-cert-file", "--tls-key-file", "--tls-client-ca-file"};

struct content {
    char *at;
    size_t len;
};

struct tls {
    const struct reporter *reporter;
    const char *files[FILES]; /* NULL: not used; borrowed from the configuration */
    SSL_CTX *context;
    unsigned char digest[DIGEST_SIZE]; /* of the files it was made from */
    unsigned char tried[DIGEST_SIZE];  /* of the files that were last found to be of no use */
    char why[HTTP_ERROR];              /* and why they are not */
    bool failing;
    int64_t reported_ms; /* when failing was last reported */
    bool looked;
    int64_t looked_ms;
    struct {
        uint64_t n;
        struct tally_line line;
    } failed[N_TLS_FAILURES];
    struct event *rest; /* NULL: none */
};

static const char *const failures[] = {
#define X(id, label) label,
    TLS_FAILURES(X)
#undef X
};

/* --- parsing --- */

static bool fail(const struct tls *t, enum file file, const char *why, char err[static HTTP_ERROR])
{
    struct text text;

    text_init(&text, err, HTTP_ERROR);
    text_addf(&text, "%s ", flag_names[file]);
    text_add_clean(&text, str_of(t->files[file]));
    text_addf(&text, ": %s", why);
    ERR_clear_error();
    return false;
}

/* The reason alone: the rest of OpenSSL's sentence is about its own sources. */
static const char *openssl_reason(const char *otherwise)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    return reason ? reason : otherwise;
}

/* Nobody is asked for a password. */
static int no_password(char *buffer, int size, int is_writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)is_writing;
    (void)arg;
    return -1;
}

static bool use_certificate(const struct tls *t, SSL_CTX *context, BIO *in, char err[static HTTP_ERROR])
{
    X509 *x = PEM_read_bio_X509_AUX(in, NULL, no_password, NULL);

    if (!x)
        return fail(t, CERTIFICATE, "no certificate in PEM form in it", err);
    bool used = SSL_CTX_use_certificate(context, x) == 1;
    X509_free(x);
    if (!used)
        return fail(t, CERTIFICATE, openssl_reason("cannot be used"), err);
    while ((x = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(context, x) != 1) {
            X509_free(x);
            return fail(t, CERTIFICATE, openssl_reason("its chain cannot be used"), err);
        }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return fail(t, CERTIFICATE, "its chain is damaged", err);
    ERR_clear_error();
    return true;
}

static bool use_key(const struct tls *t, SSL_CTX *context, BIO *in, char err[static HTTP_ERROR])
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);

    if (!key && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ)
        return fail(t, KEY, "it is encrypted: give the key without a password", err);
    if (!key)
        return fail(t, KEY, "no private key in PEM form in it", err);
    bool fits = SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    return fits || fail(t, KEY, "the key does not belong to the certificate in --tls-cert-file", err);
}

/* Each certificate in the file is trusted, be it a root or not, as in Kubernetes and Go. */
static bool use_client_ca(const struct tls *t, SSL_CTX *context, BIO *in, char err[static HTTP_ERROR])
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509 *x;
    size_t n = 0;

    while ((x = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL) {
        bool added = X509_STORE_add_cert(store, x) == 1 && SSL_CTX_add_client_CA(context, x) == 1;
        X509_free(x);
        if (!added)
            return fail(t, CLIENT_CA, openssl_reason("cannot be used"), err);
        n++;
    }
    if (n == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return fail(t, CLIENT_CA, n == 0 ? "no certificate in PEM form in it" : "it is damaged", err);
    ERR_clear_error();
    (void)X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    return SSL_CTX_set_num_tickets(context, 0) == 1;
}

/* RFC 7301: who offers protocols is told which one it is, or refused. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned int in_len, void *arg)
{
    static const unsigned char http11[] = "\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, http11, sizeof http11 - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* What does not depend on the files. */
static SSL_CTX *new_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (!context)
        return NULL;
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets need none */
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(context, 1) != 1) {
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

static SSL_CTX *parse(const struct tls *t, const struct content contents[static FILES],
                      char err[static HTTP_ERROR])
{
    static bool (*const uses[FILES])(const struct tls *, SSL_CTX *, BIO *,
                                     char[static HTTP_ERROR]) = {use_certificate, use_key, use_client_ca};
    SSL_CTX *context = new_context();
    bool parsed = context || fail(t, CERTIFICATE, "out of memory", err);

    for (int i = 0; parsed && i < FILES; i++) {
        if (!t->files[i])
            continue;
        BIO *in = BIO_new_mem_buf(contents[i].at, (int)contents[i].len);
        parsed = in ? uses[i](t, context, in, err) : fail(t, (enum file)i, "out of memory", err);
        BIO_free(in);
    }
    if (parsed)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

/* --- looking at the files --- */

static void forget(struct content contents[static FILES])
{
    for (int i = 0; i < FILES; i++)
        OPENSSL_clear_free(contents[i].at, contents[i].len);
}

static bool read_one(const struct tls *t, enum file file, struct content *ret, char err[static HTTP_ERROR])
{
    char *buffer = OPENSSL_malloc(TLS_MAX_FILE + 1);

    if (!buffer)
        return fail(t, file, "out of memory", err);
    ssize_t n = file_read(t->files[file], buffer, TLS_MAX_FILE + 1);
    int error = errno;
    *ret = (struct content){buffer, n > 0 ? (size_t)n : 0};
    if (n < 0)
        return fail(t, file, strerror(error), err);
    return n <= (ssize_t)TLS_MAX_FILE || fail(t, file, "larger than 1 MiB", err);
}

static bool digest_of(const struct content contents[static FILES], unsigned char ret[static DIGEST_SIZE])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool done = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    for (int i = 0; done && i < FILES; i++)
        done = EVP_DigestUpdate(md, &contents[i].len, sizeof contents[i].len) == 1 &&
               (contents[i].len == 0 || EVP_DigestUpdate(md, contents[i].at, contents[i].len) == 1);
    done = done && EVP_DigestFinal_ex(md, ret, NULL) == 1;
    EVP_MD_CTX_free(md);
    return done;
}

enum found { SAME, CHANGED, USELESS };

static enum found use(struct tls *t, const struct content contents[static FILES])
{
    unsigned char digest[DIGEST_SIZE];

    if (!digest_of(contents, digest)) {
        (void)fail(t, CERTIFICATE, "SHA-256 failed", t->why);
        return USELESS;
    }
    if (t->context && memcmp(digest, t->digest, DIGEST_SIZE) == 0)
        return SAME;
    if (t->failing && memcmp(digest, t->tried, DIGEST_SIZE) == 0)
        return USELESS;
    SSL_CTX *context = parse(t, contents, t->why);
    memcpy(context ? t->digest : t->tried, digest, DIGEST_SIZE);
    if (!context)
        return USELESS;
    SSL_CTX_free(t->context);
    t->context = context;
    return CHANGED;
}

static enum found look(struct tls *t)
{
    struct content contents[FILES] = {{0}};
    bool is_read = true;

    for (int i = 0; is_read && i < FILES; i++)
        is_read = !t->files[i] || read_one(t, (enum file)i, &contents[i], t->why);
    enum found found = is_read ? use(t, contents) : USELESS;
    forget(contents);
    return found;
}

static const char *valid_until(const struct tls *t, char ret[static TIME_SIZE])
{
    const X509 *x = SSL_CTX_get0_certificate(t->context);
    struct tm tm;

    if (!x || ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) != 1 ||
        strftime(ret, TIME_SIZE, "%FT%TZ", &tm) == 0)
        return "?";
    return ret;
}

static void report_in_use(const struct tls *t, const char *sentence)
{
    const X509 *x = SSL_CTX_get0_certificate(t->context);
    char until[TIME_SIZE];
    bool expired = x && X509_cmp_current_time(X509_get0_notAfter(x)) < 0;
    bool early = x && X509_cmp_current_time(X509_get0_notBefore(x)) > 0;

    REPORT(t->reporter, REPORT_INFO, sentence, FIELD_TEXT("file", t->files[CERTIFICATE]),
           FIELD_TEXT("validUntil", valid_until(t, until)),
           FIELD_TEXT("clientCertificates", t->files[CLIENT_CA] ? "required" : "not asked for"));
    if (expired || early)
        REPORT(t->reporter, REPORT_WARN, "TLS certificate is out of date; it is used all the same",
               FIELD_TEXT("file", t->files[CERTIFICATE]),
               FIELD_TEXT("error", expired ? "it has expired" : "it is not valid yet"));
}

static void look_again(struct tls *t, bool asked, int64_t mono_ms)
{
    enum found found = look(t);

    t->looked = true;
    t->looked_ms = mono_ms;
    if (found == USELESS)
        found = look(t);
    if (found == CHANGED || (found == SAME && t->failing))
        report_in_use(t, "TLS certificate read again");
    if (found == USELESS && (asked || !t->failing || mono_ms - t->reported_ms >= TLS_REPORT_MS)) {
        REPORT(t->reporter, REPORT_WARN, "TLS certificate cannot be read again; the old one stays in use",
               FIELD_TEXT("error", t->why));
        t->reported_ms = mono_ms;
    }
    t->failing = found == USELESS;
}

void tls_reload(struct tls *t, int64_t mono_ms)
{
    look_again(t, true, mono_ms);
}

void tls_refresh(struct tls *t, int64_t mono_ms)
{
    if (!t->looked || mono_ms - t->looked_ms >= TLS_LOOK_MS)
        look_again(t, false, mono_ms);
}

/* --- life --- */

bool tls_wanted(const struct tls_config *config)
{
    return config->cert_file || config->key_file || config->client_ca_file;
}

struct tls *tls_new(const struct tls_config *config, const struct reporter *reporter,
                    char err[static HTTP_ERROR])
{
    if (!config->cert_file || !config->key_file) {
        (void)snprintf(err, HTTP_ERROR, "%s needs %s",
                       flag_names[config->cert_file  ? CERTIFICATE
                                  : config->key_file ? KEY
                                                     : CLIENT_CA],
                       flag_names[config->cert_file ? KEY : CERTIFICATE]);
        return NULL;
    }
    struct tls *t = calloc(1, sizeof *t);
    if (!t) {
        (void)snprintf(err, HTTP_ERROR, "out of memory");
        return NULL;
    }
    t->reporter = reporter;
    t->files[CERTIFICATE] = config->cert_file;
    t->files[KEY] = config->key_file;
    t->files[CLIENT_CA] = config->client_ca_file;
    if (look(t) == USELESS) {
        memcpy(err, t->why, HTTP_ERROR);
        tls_free(t);
        return NULL;
    }
    report_in_use(t, "TLS certificate read");
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->context);
    free(t);
}

SSL *tls_ssl(struct tls *t)
{
    SSL *ssl = SSL_new(t->context);

    if (ssl)
        SSL_set_accept_state(ssl);
    else
        ERR_clear_error();
    return ssl;
}

bool tls_renew(struct tls *t, SSL *ssl)
{
    if (SSL_get_SSL_CTX(ssl) == t->context || SSL_set_SSL_CTX(ssl, t->context))
        return true;
    ERR_clear_error();
    return false;
}

/* client: NULL for many. */
static void say_failed(struct tls *t, enum tls_failure cause, const char *why, const char *client)
{
    REPORT(t->reporter, REPORT_WARN, "TLS handshake failed", FIELD_TEXT("cause", failures[cause]),
           FIELD_TEXT("error", why), FIELD_INT("handshakes", tally_line_take(&t->failed[cause].line)),
           FIELD_TEXT(client ? "client" : NULL, client));
}

void tls_report_failed(struct tls *t, enum tls_failure cause, const char *why, const char *client,
                       int64_t mono_ms)
{
    t->failed[cause].n++;
    if (tally_is_due(t->rest, &t->failed[cause].line, mono_ms))
        say_failed(t, cause, why, client);
}

void tls_set_rest(struct tls *t, struct event *rest)
{
    t->rest = rest;
}

void tls_tell_rest(struct tls *t, int64_t mono_ms)
{
    for (int i = 0; i < N_TLS_FAILURES; i++)
        if (tally_is_rest_due(t->rest, &t->failed[i].line, mono_ms))
            say_failed(t, (enum tls_failure)i, TALLY_REST_SAYS, NULL);
}

uint64_t tls_failed(const struct tls *t, enum tls_failure cause)
{
    return t->failed[cause].n;
}
