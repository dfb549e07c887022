/* Certificates made by the test: authorities, and what they sign. */
#ifndef FES_TEST_PKI_H
#define FES_TEST_PKI_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define UNUSED __attribute__((unused))

struct authority {
    EVP_PKEY *key;
    X509 *cert;
};

static X509 *make_cert(EVP_PKEY *key, const char *name, const char *san, struct authority *by, long valid_s)
{
    static long serial;
    X509 *x = X509_new();
    X509_NAME *subject = X509_get_subject_name(x);
    X509V3_CTX v3;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    X509_gmtime_adj(X509_getm_notAfter(x), valid_s);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, by ? X509_get_subject_name(by->cert) : subject);
    X509V3_set_ctx(&v3, by ? by->cert : x, x, NULL, NULL, 0);
    X509_EXTENSION *e = by ? NULL : X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    if (san)
        e = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, san);
    if (e) {
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    X509_sign(x, by ? by->key : key, EVP_sha256());
    return x;
}

static UNUSED struct authority authority_new(const char *name)
{
    struct authority a = {.key = EVP_EC_gen("P-256")};
    a.cert = make_cert(a.key, name, NULL, NULL, 86400);
    return a;
}

static UNUSED void authority_free(struct authority *a)
{
    X509_free(a->cert);
    EVP_PKEY_free(a->key);
}

static UNUSED void authority_write(const struct authority *a, const char *file)
{
    FILE *f = fopen(file, "w");
    PEM_write_X509(f, a->cert);
    fclose(f);
}

/* A certificate of by's and its key, as two files; valid_s may be negative: it has expired. */
static UNUSED void identity_write(struct authority *by, const char *name, const char *san, long valid_s,
                                  const char *cert_file, const char *key_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = make_cert(key, name, san, by, valid_s);
    FILE *f = fopen(cert_file, "w");

    PEM_write_X509(f, cert);
    fclose(f);
    f = fopen(key_file, "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

#endif
