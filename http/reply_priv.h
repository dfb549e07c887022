/* Answers as bytes: reason phrases, the error body, and the whole answer to a request that evhttp never saw.
 */
#ifndef FES_HTTP_REPLY_PRIV_H
#define FES_HTTP_REPLY_PRIV_H

#include "store/str.h"

#include <time.h>

struct evbuffer;

/* Every status that is answered. */
#define REPLY_STATUSES(X)                     \
    X(200, "OK")                              \
    X(400, "Bad Request")                     \
    X(401, "Unauthorized")                    \
    X(403, "Forbidden")                       \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(410, "Gone")                            \
    X(411, "Length Required")                 \
    X(413, "Content Too Large")               \
    X(417, "Expectation Failed")              \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(500, "Internal Server Error")           \
    X(503, "Service Unavailable")             \
    X(505, "HTTP Version Not Supported")
/* "Bad Request"; never NULL. */
const char *reply_reason(int status);

/* {"error":"<message>"}, the message as one clean line. Returns its text within out. */
#define REPLY_ERROR_BODY 2048
struct str reply_error_body(char out[static REPLY_ERROR_BODY], struct str message);

/* What Date says (RFC 9110 section 5.6.7), made once a second: evhttp would make one for each answer. All zeros is a new
 * one. */
struct reply_date {
    time_t at;
    char text[32];
};
/* now: seconds since 1970. The text is that of d, up to the next call. */
const char *reply_date(struct reply_date *d, time_t now);

/* An answer that ends the connection, to a request that was refused before anything was known of its route.
 */
void reply_refusal(struct evbuffer *output, int status, const char *why, bool head_only);

#endif
