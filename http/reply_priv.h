/* Answers as bytes: reason phrases, the error body, and the whole answer to a request that evhttp never saw.
 */
#ifndef FES_HTTP_REPLY_PRIV_H
#define FES_HTTP_REPLY_PRIV_H

#include "store/str.h"

struct evbuffer;

/* "Bad Request"; never NULL. */
const char *reply_reason(int status);

/* {"error":"<message>"}, the message as one clean line. Returns its text within out. */
#define REPLY_ERROR_BODY 2048
struct str reply_error_body(char out[static REPLY_ERROR_BODY], struct str message);

/* An answer that ends the connection, to a request that was refused before anything was known of its route.
 */
void reply_refusal(struct evbuffer *output, int status, const char *why, bool head_only);

#endif
