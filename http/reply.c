/* Answers as bytes (see reply_priv.h).
 *
 * Flux puts the body of a failed answer into its log and into a Kubernetes event, and people read it there:
 * so it is one short line, valid JSON and valid UTF-8 whatever the request held.
 */
#include "http/reply_priv.h"

#include "http/server.h"

#include <event2/buffer.h>
#include <event2/util.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {
#define X(status, reason) {status, reason},
    REPLY_STATUSES(X)
#undef X
};

const char *reply_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

struct str reply_error_body(char out[static REPLY_ERROR_BODY], struct str message)
{
    char clean[REPLY_ERROR_BODY / 2 - 16]; /* each byte may need an escape */
    struct text line, body;

    text_init(&line, clean, sizeof clean);
    text_add_clean(&line, message);
    text_init(&body, out, REPLY_ERROR_BODY);
    text_add(&body, STR("{\"error\":\""));
    for (struct str rest = str_trim(text_str(&line)); rest.len > 0; rest = str_from(rest, 1)) {
        if (rest.at[0] == '"' || rest.at[0] == '\\')
            body.at[body.len++] = '\\';
        body.at[body.len++] = rest.at[0];
    }
    text_add(&body, STR("\"}\n"));
    return text_str(&body);
}

const char *reply_date(struct reply_date *d, time_t now)
{
    struct tm utc;

    if (d->text[0] == '\0' || d->at != now) {
        d->at = now;
        (void)evutil_date_rfc1123(d->text, sizeof d->text, gmtime_r(&now, &utc));
    }
    return d->text;
}

void reply_refusal(struct evbuffer *output, int status, const char *why, bool head_only)
{
    char json[REPLY_ERROR_BODY];
    char date[64];
    struct str body = reply_error_body(json, str_of(why));

    evbuffer_add_printf(output, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n",
                        status, reply_reason(status), body.len);
    if (evutil_date_rfc1123(date, sizeof date, NULL) > 0)
        evbuffer_add_printf(output, "Date: %s\r\n", date);
    if (status == 405)
        evbuffer_add_printf(output, "Allow: GET, HEAD, POST\r\n");
    if (status == 503)
        evbuffer_add_printf(output, "Retry-After: %d\r\n", HTTP_RETRY_AFTER);
    evbuffer_add_printf(output, "Connection: close\r\n\r\n");
    if (!head_only)
        evbuffer_add(output, body.at, body.len);
}
