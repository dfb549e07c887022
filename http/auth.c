/* Signatures and tokens (see auth.h).
 *
 * A file is read again, not only looked at: the time stamps of two writes within one tick of the kernel are
 * the same, and a pod's files are swapped by a symbolic link. They are a few bytes, read at most once a
 * second and only while requests come, so an idle process stays idle.
 *
 * Of a token only the SHA-256 digest is kept, which makes the comparison one of equal lengths. A key is kept in
 * OpenSSL's contexts, ready to hash: to fetch the algorithm and to set the key for each event cost more than to hash
 * it. They are wiped when the key is replaced or freed, and so is every buffer it passes through.
 *
 * Invariant: whatever fails (a hash, a file, memory) refuses or leaves the old secret; nothing that is
 * configured is ever left open.
 */
#include "http/auth.h"

#include "http/file_priv.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGEST_SIZE 32 /* SHA-256 */
#define MAX_SECRETS (AUTH_MAX_KEYS + 2)

enum use { HMAC_KEY, POST_TOKEN, READ_TOKEN };
static const char *const flag_names[] = {
    [HMAC_KEY] = "--hmac-key-file",
    [POST_TOKEN] = "--post-token-file",
    [READ_TOKEN] = "--read-token-file",
};

const struct flag auth_flags[] = {
    {"--hmac-key-file", "FILE", FLAG_LIST, offsetof(struct auth_config, hmac_key_files), NULL,
     "key of a generic-hmac Provider, for POST /events; repeatable, to rotate it"},
    {"--post-token-file", "FILE", FLAG_STRING, offsetof(struct auth_config, post_token_file), NULL,
     "bearer token for POST /events; beside --hmac-key-file either suffices"},
    {"--read-token-file", "FILE", FLAG_STRING, offsetof(struct auth_config, read_token_file), NULL,
     "bearer token for everything else but the probes"},
    {0},
};

/* One file. The digest is that of a token, or of a key's file, which tells a change. */
struct secret {
    enum use use;
    const char *file;     /* borrowed from the configuration */
    EVP_MAC_CTX *raw;     /* HMAC with the file's bytes as the key; NULL for a token */
    EVP_MAC_CTX *trimmed; /* the same without white space around them; NULL where there is none */
    unsigned char digest[DIGEST_SIZE];
    bool failing;
    int64_t reported_ms; /* when failing was last reported */
};

struct auth {
    const struct reporter *reporter;
    bool looked;
    int64_t looked_ms;
    struct secret secrets[MAX_SECRETS];
    size_t n;
};

/* --- files --- */

static void wipe_key(struct secret *s)
{
    EVP_MAC_CTX_free(s->raw);
    EVP_MAC_CTX_free(s->trimmed);
    s->raw = NULL;
    s->trimmed = NULL;
}

static EVP_MAC_CTX *hmac_new(struct str key)
{
    char sha256[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, sizeof sha256 - 1),
                                 OSSL_PARAM_END};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

    EVP_MAC_free(hmac); /* the context has a reference of its own */
    if (ctx && EVP_MAC_init(ctx, (const unsigned char *)key.at, key.len, params) == 1)
        return ctx;
    EVP_MAC_CTX_free(ctx);
    return NULL;
}

/* False, and the old key stays, when OpenSSL cannot take the new one. */
static bool set_key(struct secret *s, struct str key)
{
    struct str trimmed = str_trim(key);
    struct secret fresh = {.raw = hmac_new(key)};

    if (trimmed.len != key.len)
        fresh.trimmed = hmac_new(trimmed);
    if (!fresh.raw || (trimmed.len != key.len && !fresh.trimmed)) {
        wipe_key(&fresh);
        return false;
    }
    wipe_key(s);
    s->raw = fresh.raw;
    s->trimmed = fresh.trimmed;
    return true;
}

static bool digest_of(struct str s, unsigned char ret[static DIGEST_SIZE])
{
    return EVP_Digest(s.len ? s.at : "", s.len, ret, NULL, EVP_sha256(), NULL) == 1;
}

/* RFC 9110 section 5.5: what a header can carry, and no space, since a token has none. */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] <= 0x20 || s.at[i] >= 0x7F)
            return false;
    return true;
}

/* Takes over the content of a file; *ret_changed tells whether it is another than before. NULL, or why it
 * cannot be used; then the secret is as it was. */
static const char *take(struct secret *s, struct str content, bool *ret_changed)
{
    unsigned char digest[DIGEST_SIZE];
    struct str trimmed = str_trim(content);

    if (content.len > AUTH_MAX_SECRET)
        return "larger than 64 KiB";
    if (trimmed.len == 0)
        return "empty";
    if (s->use != HMAC_KEY && !is_token(trimmed))
        return "not a token: white space or other than visible ASCII in it";
    if (!digest_of(s->use == HMAC_KEY ? content : trimmed, digest))
        return "SHA-256 failed";
    *ret_changed = CRYPTO_memcmp(digest, s->digest, DIGEST_SIZE) != 0;
    if (s->use == HMAC_KEY && *ret_changed && !set_key(s, content))
        return "HMAC-SHA256 failed";
    memcpy(s->digest, digest, DIGEST_SIZE);
    OPENSSL_cleanse(digest, sizeof digest);
    return NULL;
}

/* As take(), from the file. */
static const char *look(struct secret *s, bool *ret_changed)
{
    const char *why = "out of memory";
    char *buffer = OPENSSL_malloc(AUTH_MAX_SECRET + 1);

    if (!buffer)
        return why;
    ssize_t n = file_read(s->file, buffer, AUTH_MAX_SECRET + 1);
    why = n < 0 ? strerror(errno) : take(s, (struct str){buffer, (size_t)n}, ret_changed);
    OPENSSL_clear_free(buffer, AUTH_MAX_SECRET + 1);
    return why;
}

static void look_again(struct auth *a, struct secret *s, bool asked, int64_t mono_ms)
{
    bool changed = false;
    const char *why = look(s, &changed);

    if (changed || (!why && s->failing))
        REPORT(a->reporter, REPORT_INFO, "secret read again", FIELD_TEXT("flag", flag_names[s->use]),
               FIELD_TEXT("file", s->file));
    if (why && (asked || !s->failing || mono_ms - s->reported_ms >= AUTH_REPORT_MS)) {
        REPORT(a->reporter, REPORT_WARN, "secret cannot be read; the old one stays in use",
               FIELD_TEXT("flag", flag_names[s->use]), FIELD_TEXT("file", s->file), FIELD_TEXT("error", why));
        s->reported_ms = mono_ms;
    }
    s->failing = why != NULL;
}

static void look_at_all(struct auth *a, bool asked, int64_t mono_ms)
{
    for (size_t i = 0; i < a->n; i++)
        look_again(a, &a->secrets[i], asked, mono_ms);
    a->looked = true;
    a->looked_ms = mono_ms;
}

void auth_reload(struct auth *a, int64_t mono_ms)
{
    look_at_all(a, true, mono_ms);
}

void auth_refresh(struct auth *a, int64_t mono_ms)
{
    if (!a->looked || mono_ms - a->looked_ms >= AUTH_LOOK_MS)
        look_at_all(a, false, mono_ms);
}

/* --- life --- */

static bool add(struct auth *a, enum use use, const char *file, char err[static AUTH_ERROR])
{
    struct secret *s = &a->secrets[a->n];
    bool changed;

    *s = (struct secret){.use = use, .file = file};
    const char *why = look(s, &changed);
    if (why) {
        (void)snprintf(err, AUTH_ERROR, "%s %s: %s", flag_names[use], file, why);
        return false;
    }
    a->n++;
    return true;
}

static bool add_all(struct auth *a, const struct auth_config *config, char err[static AUTH_ERROR])
{
    if (config->hmac_key_files.n > AUTH_MAX_KEYS) {
        (void)snprintf(err, AUTH_ERROR, "%s: at most %d of them", flag_names[HMAC_KEY], AUTH_MAX_KEYS);
        return false;
    }
    for (size_t i = 0; i < config->hmac_key_files.n; i++)
        if (!add(a, HMAC_KEY, config->hmac_key_files.values[i], err))
            return false;
    return (!config->post_token_file || add(a, POST_TOKEN, config->post_token_file, err)) &&
           (!config->read_token_file || add(a, READ_TOKEN, config->read_token_file, err));
}

struct auth *auth_new(const struct auth_config *config, const struct reporter *reporter,
                      char err[static AUTH_ERROR])
{
    struct auth *a = calloc(1, sizeof *a);

    if (!a) {
        (void)snprintf(err, AUTH_ERROR, "out of memory");
        return NULL;
    }
    a->reporter = reporter;
    if (!add_all(a, config, err)) {
        auth_free(a);
        return NULL;
    }
    return a;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        wipe_key(&a->secrets[i]);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

/* --- checking --- */

static bool parse_signature(struct str header, unsigned char ret[static DIGEST_SIZE])
{
    const struct str prefix = STR("sha256=");
    struct str hex = str_from(header, prefix.len);

    if (!str_starts(header, prefix) || hex.len != 2 * DIGEST_SIZE)
        return false;
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        int high = str_hex_digit(hex.at[2 * i]), low = str_hex_digit(hex.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

/* ctx: NULL is never signed with. */
static bool signed_with(EVP_MAC_CTX *ctx, const unsigned char signature[static DIGEST_SIZE], struct str body)
{
    unsigned char mac[DIGEST_SIZE];
    size_t len = 0;

    /* Without a key the context begins anew with the one it has (EVP_MAC(3)). */
    if (!ctx || EVP_MAC_init(ctx, NULL, 0, NULL) != 1 ||
        EVP_MAC_update(ctx, (const unsigned char *)(body.len ? body.at : ""), body.len) != 1 ||
        EVP_MAC_final(ctx, mac, &len, sizeof mac) != 1)
        return false;
    bool same = len == DIGEST_SIZE && CRYPTO_memcmp(mac, signature, DIGEST_SIZE) == 0;
    OPENSSL_cleanse(mac, sizeof mac);
    return same;
}

static enum auth_answer check_signature(const struct auth *a, struct str header, struct str body)
{
    unsigned char signature[DIGEST_SIZE];

    if (!parse_signature(str_trim(header), signature))
        return AUTH_MALFORMED_SIGNATURE;
    for (size_t i = 0; i < a->n; i++) {
        const struct secret *s = &a->secrets[i];
        if (signed_with(s->raw, signature, body) || signed_with(s->trimmed, signature, body))
            return AUTH_GRANTED;
    }
    return AUTH_WRONG_SIGNATURE;
}

/* The token of "Bearer <token>", whose scheme ignores case (RFC 9110 section 11.1); empty for others. */
static struct str bearer_token(struct str authorization)
{
    const struct str scheme = STR("Bearer ");

    if (!str_eq_nocase(str_upto(authorization, scheme.len), scheme))
        return STR_NONE;
    return str_trim(str_from(authorization, scheme.len));
}

static enum auth_answer check_token(const struct secret *s, struct str token)
{
    unsigned char digest[DIGEST_SIZE];
    bool same = digest_of(token, digest) && CRYPTO_memcmp(digest, s->digest, DIGEST_SIZE) == 0;

    OPENSSL_cleanse(digest, sizeof digest);
    return same ? AUTH_GRANTED : AUTH_WRONG_TOKEN;
}

static const struct secret *find_secret(const struct auth *a, enum use use)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->secrets[i].use == use)
            return &a->secrets[i];
    return NULL;
}

enum auth_answer auth_check(const struct auth *a, enum auth_what what, struct str signature,
                            struct str authorization, struct str body)
{
    bool by_key = what == AUTH_POST && find_secret(a, HMAC_KEY);
    const struct secret *by_token = find_secret(a, what == AUTH_POST ? POST_TOKEN : READ_TOKEN);
    struct str token = bearer_token(authorization);
    enum auth_answer answer = AUTH_MISSING;

    if (!by_key && !by_token)
        return AUTH_GRANTED;
    if (by_token && token.len > 0)
        answer = check_token(by_token, token);
    if (answer != AUTH_GRANTED && by_key && signature.len > 0)
        answer = check_signature(a, signature, body);
    return answer;
}

const char *auth_sentence(enum auth_answer answer)
{
    switch (answer) {
#define AUTH_SENTENCE(name, sentence) \
    case AUTH_##name: return sentence;
        AUTH_ANSWERS(AUTH_SENTENCE)
#undef AUTH_SENTENCE
    }
    return "";
}
