/*
 * CA, serving certificate and token of the fake API server, made afresh at each start.
 *
 * P-256 throughout, TLS 1.2 or newer, ALPN http/1.1 when the client offers it: what a kube-apiserver would
 * agree on with a client that has no HTTP/2. Failures are reported as one sentence; there is no partial
 * state, because an identity without a working SSL_CTX is not returned.
 */
#include "test/fake/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define TOKEN_BYTES 24
#define DAY_SECONDS (24L * 3600L)

struct authority {
    EVP_PKEY *key;
    X509 *cert;
};

struct identity {
    char *dir;
    char token[2 * TOKEN_BYTES + 1];
    char first_token[2 * TOKEN_BYTES + 1];
    struct authority ca;
    struct authority other_ca;
    SSL_CTX *ssl_ctx;
};

static void authority_clear(struct authority *authority)
{
    EVP_PKEY_free(authority->key);
    X509_free(authority->cert);
    *authority = (struct authority){0};
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* A certificate without extensions, valid in [from, to] seconds from now; not yet signed. */
static X509 *new_cert(const char *name, EVP_PKEY *key, long from, long to)
{
    X509 *cert = X509_new();
    uint32_t serial = 0;
    if (cert == NULL || RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1) {
        X509_free(cert);
        return NULL;
    }
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)(serial >> 1) + 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), from);
    X509_gmtime_adj(X509_getm_notAfter(cert), to);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name,
                               -1, -1, 0);
    return cert;
}

static bool make_authority(struct authority *ret, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key == NULL ? NULL : new_cert(name, key, -DAY_SECONDS, 365 * DAY_SECONDS);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE") ||
        !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
        X509_sign(cert, key, EVP_sha256()) == 0) {
        EVP_PKEY_free(key);
        X509_free(cert);
        return false;
    }
    *ret = (struct authority){.key = key, .cert = cert};
    return true;
}

static bool make_leaf(struct authority *ret, const struct authority *ca, const struct identity_cert *how)
{
    const char *san = how->wrong_san ? "IP:127.0.0.2,DNS:wrong.example" : "IP:127.0.0.1,DNS:localhost";
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key == NULL ? NULL
                             : new_cert("fake-apiserver", key, -30 * DAY_SECONDS,
                                        how->expired ? -DAY_SECONDS : 30 * DAY_SECONDS);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) != 1 ||
        !add_extension(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(cert, ca->cert, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(cert, ca->cert, NID_ext_key_usage, "serverAuth") ||
        !add_extension(cert, ca->cert, NID_authority_key_identifier, "keyid") ||
        !add_extension(cert, ca->cert, NID_subject_alt_name, san) ||
        X509_sign(cert, ca->key, EVP_sha256()) == 0) {
        EVP_PKEY_free(key);
        X509_free(cert);
        return false;
    }
    *ret = (struct authority){.key = key, .cert = cert};
    return true;
}

static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_bytes,
                   const unsigned char *offered, unsigned int offered_bytes, void *arg)
{
    static const unsigned char mine[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, ret_bytes, mine, sizeof(mine) - 1, offered, offered_bytes) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_ssl_ctx(const struct authority *ca, const struct identity_cert *how)
{
    struct authority leaf = {0};
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || !make_leaf(&leaf, ca, how) ||
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_use_certificate(ctx, leaf.cert) != 1 || SSL_CTX_use_PrivateKey(ctx, leaf.key) != 1) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    } else {
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    }
    authority_clear(&leaf);
    return ctx;
}

static bool make_token(struct identity *identity)
{
    unsigned char raw[TOKEN_BYTES];
    if (RAND_bytes(raw, sizeof(raw)) != 1) {
        return false;
    }
    for (size_t i = 0; i < sizeof(raw); i++) {
        snprintf(identity->token + 2 * i, 3, "%02x", raw[i]);
    }
    return true;
}

struct identity *identity_new(const char *dir, const struct identity_cert *cert, const char **ret_problem)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    if (identity == NULL || (identity->dir = strdup(dir)) == NULL) {
        *ret_problem = "out of memory";
    } else if (!make_token(identity)) {
        *ret_problem = "no random numbers";
    } else if (!make_authority(&identity->ca, "fake-apiserver-ca") ||
               !make_authority(&identity->other_ca, "unrelated-ca") ||
               (identity->ssl_ctx = make_ssl_ctx(&identity->ca, cert)) == NULL) {
        *ret_problem = "cannot make certificates";
    } else {
        memcpy(identity->first_token, identity->token, sizeof(identity->token));
        return identity;
    }
    identity_free(identity);
    return NULL;
}

void identity_free(struct identity *identity)
{
    if (identity == NULL) {
        return;
    }
    authority_clear(&identity->ca);
    authority_clear(&identity->other_ca);
    SSL_CTX_free(identity->ssl_ctx);
    free(identity->dir);
    free(identity);
}

SSL_CTX *identity_ssl_ctx(const struct identity *identity)
{
    return identity->ssl_ctx;
}

static bool is_bearer(const char *authorization, const char *token)
{
    static const char scheme[] = "Bearer ";
    size_t bytes = strlen(token);
    return authorization != NULL && strncmp(authorization, scheme, sizeof(scheme) - 1) == 0 &&
           strlen(authorization) == sizeof(scheme) - 1 + bytes &&
           CRYPTO_memcmp(authorization + sizeof(scheme) - 1, token, bytes) == 0;
}

bool identity_accepts(const struct identity *identity, const char *authorization)
{
    return is_bearer(authorization, identity->token);
}

bool identity_knows(const struct identity *identity, const char *authorization)
{
    return is_bearer(authorization, identity->first_token);
}

static bool write_file(const struct identity *identity, const char *name, const void *data, size_t bytes)
{
    char path[4096];
    char temporary[4096];
    int length = snprintf(path, sizeof(path), "%s/%s", identity->dir, name);
    int temporary_length = snprintf(temporary, sizeof(temporary), "%s/.%s.new", identity->dir, name);
    if (length >= (int)sizeof(path) || temporary_length >= (int)sizeof(temporary)) {
        return false;
    }
    FILE *file = fopen(temporary, "we");
    if (file == NULL) {
        return false;
    }
    bool ok = fwrite(data, 1, bytes, file) == bytes;
    ok = fclose(file) == 0 && ok;
    return ok && rename(temporary, path) == 0;
}

static bool write_cert(const struct identity *identity, const char *name, X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    bool ok = false;
    if (bio != NULL && PEM_write_bio_X509(bio, cert) == 1) {
        long bytes = BIO_get_mem_data(bio, &pem);
        ok = write_file(identity, name, pem, (size_t)bytes);
    }
    BIO_free(bio);
    return ok;
}

bool identity_write(const struct identity *identity, bool tls, uint16_t port)
{
    char info[256];
    int bytes = snprintf(info, sizeof(info), "url %s://127.0.0.1:%u\nport %u\npid %ld\n",
                         tls ? "https" : "http", port, port, (long)getpid());
    return write_cert(identity, "ca.crt", identity->ca.cert) &&
           write_cert(identity, "other-ca.crt", identity->other_ca.cert) &&
           write_file(identity, "token", identity->token, strlen(identity->token)) &&
           write_file(identity, "info", info, (size_t)bytes);
}

bool identity_ready(const struct identity *identity)
{
    return write_file(identity, "ready", "", 0);
}

bool identity_rotate_token(struct identity *identity, bool write)
{
    return make_token(identity) &&
           (!write || write_file(identity, "token", identity->token, strlen(identity->token)));
}

bool identity_rotate_cert(struct identity *identity, const struct identity_cert *cert, bool new_ca,
                          bool write)
{
    struct authority ca = {0};
    if (new_ca && !make_authority(&ca, "fake-apiserver-ca")) {
        return false;
    }
    SSL_CTX *ctx = make_ssl_ctx(new_ca ? &ca : &identity->ca, cert);
    if (ctx == NULL) {
        authority_clear(&ca);
        return false;
    }
    SSL_CTX_free(identity->ssl_ctx);
    identity->ssl_ctx = ctx;
    if (new_ca) {
        authority_clear(&identity->ca);
        identity->ca = ca;
    }
    return !write || write_cert(identity, "ca.crt", identity->ca.cert);
}
