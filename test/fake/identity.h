/*
 * Who the fake API server is: its CA, its serving certificate, its bearer token, and the directory in which
 * it tells clients so.
 *
 *   DIR/ca.crt        the CA that signed the serving certificate (PEM)
 *   DIR/other-ca.crt  a CA that signed nothing here
 *   DIR/token         the bearer token
 *   DIR/info          "url https://127.0.0.1:PORT", "port PORT", "pid PID", one per line
 *   DIR/ready         empty; appears when all others are there and the port answers
 *
 * Each file is written under another name and renamed, so that nobody reads half of it.
 */
#ifndef TEST_FAKE_IDENTITY_H
#define TEST_FAKE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct identity;

struct identity_cert {
    bool wrong_san; /* for 127.0.0.2 and wrong.example instead of 127.0.0.1 and localhost */
    bool expired;   /* since yesterday */
};

/* Makes CA, certificate and token; writes nothing. NULL with *ret_problem (static). */
struct identity *identity_new(const char *dir, const struct identity_cert *cert, const char **ret_problem);
void identity_free(struct identity *identity);

SSL_CTX *identity_ssl_ctx(const struct identity *identity); /* borrowed until the next identity_rotate_cert */
bool identity_accepts(const struct identity *identity, const char *authorization);
/* The first token, which never changes: for the control endpoints. */
bool identity_knows(const struct identity *identity, const char *authorization);

/* Writes all files but `ready`; identity_ready writes that. False when the directory cannot be written. */
bool identity_write(const struct identity *identity, bool tls, uint16_t port);
bool identity_ready(const struct identity *identity);

/* A new token; the old one is refused from now on. write: replace DIR/token. */
bool identity_rotate_token(struct identity *identity, bool write);
/* A new serving certificate, from a new CA if new_ca; write: replace DIR/ca.crt. */
bool identity_rotate_cert(struct identity *identity, const struct identity_cert *cert, bool new_ca,
                          bool write);

#endif
