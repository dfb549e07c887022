/* Who may post events and who may read: HMAC signatures and bearer tokens.
 *
 * POST: a Flux Provider of type generic-hmac signs the raw body: "X-Signature: sha256=<64 hex digits>", an
 * HMAC-SHA256 whose key is the Secret's token. notification-controller used the token as it is until 1.2,
 * trimmed of white space from 1.3 to 1.6, and as it is again since 1.7, so each key is tried both ways. Type
 * generic can send a bearer token (RFC 6750) as one of its own headers. Where both are configured either
 * suffices. Reading takes a token of its own. What is not configured is open.
 *
 * Secrets come from files only, and are read again while in use. None is ever reported or logged, nor is a
 * signature, not even in part.
 */
#ifndef FES_HTTP_AUTH_H
#define FES_HTTP_AUTH_H

#include "store/flags.h"
#include "store/report.h"

struct auth;

#define AUTH_MAX_KEYS   8     /* --hmac-key-file; each costs every refused request two hashes of its body */
#define AUTH_MAX_SECRET 65536 /* bytes of a file */
#define AUTH_LOOK_MS    1000  /* files are looked at no more often, and only when a request comes */
#define AUTH_REPORT_MS  60000 /* between two reports that the same file cannot be used */

struct auth_config {
    struct flag_list hmac_key_files;
    const char *post_token_file; /* NULL: none */
    const char *read_token_file; /* NULL: none */
};
extern const struct flag auth_flags[]; /* fill a struct auth_config */

/* Reads all files once. NULL with one line in err, which names flag and file, when one cannot be read, is
 * empty, larger than AUTH_MAX_SECRET, or, for a token, holds what no header can carry. config is copied; its
 * strings and reporter outlive the result. */
#define AUTH_ERROR 256
struct auth *auth_new(const struct auth_config *config, const struct reporter *reporter,
                      char err[static AUTH_ERROR]);
/* Wipes the secrets. Accepts NULL. */
void auth_free(struct auth *a);

/* Before a check: reads the files again when AUTH_LOOK_MS have passed on a clock that only goes forward. The
 * old secret stays in use while its file cannot be used, which is reported; so is a change. */
void auth_refresh(struct auth *a, int64_t mono_ms);
/* The same at once, and without a bound on the reports (SIGHUP). */
void auth_reload(struct auth *a, int64_t mono_ms);

enum auth_what {
    AUTH_POST, /* POST /events */
    AUTH_READ, /* everything else but the probes */
};

/* The answers, each with a sentence for the sender and for the log. All but GRANTED are a 401. */
#define AUTH_ANSWERS(X)                                                                       \
    X(GRANTED, "granted")                                                                     \
    X(MISSING, "a signature or bearer token is required")                                     \
    X(MALFORMED_SIGNATURE, "X-Signature must be \"sha256=\" and 64 hexadecimal digits")       \
    X(WRONG_SIGNATURE, "X-Signature does not fit the body: is it the same key at both ends?") \
    X(WRONG_TOKEN, "the bearer token is wrong")
enum auth_answer {
#define AUTH_ENUM(name, sentence) AUTH_##name,
    AUTH_ANSWERS(AUTH_ENUM)
#undef AUTH_ENUM
};
const char *auth_sentence(enum auth_answer answer);

/* Pure. signature and authorization are the values of the headers X-Signature and Authorization, empty when
 * absent; body is the raw body of a POST. How long it takes depends on the lengths, on the form of the
 * signature and on which key fits, not on how much of a secret was guessed. */
enum auth_answer auth_check(const struct auth *a, enum auth_what what, struct str signature,
                            struct str authorization, struct str body);

#endif
