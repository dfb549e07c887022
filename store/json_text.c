/* Walking over JSON as text (see json_text_priv.h).
 *
 * Invariant: no function reads past the end it was given, whatever the text is; on text that jansson accepted
 * the walk is exact, because strings and brackets are all of the grammar that it needs.
 */
#include "store/json_text_priv.h"

void json_skip_space(struct json_walk *w)
{
    while (w->at < w->end && json_is_space(*w->at))
        w->at++;
}

/* A quote is looked for again only when it turned out to be escaped: no byte is read more than twice, however many
 * backslashes there are.
 */
void json_skip_string(struct json_walk *w)
{
    const char *quote = w->at++;

    for (;;) {
        if (quote < w->at)
            quote = memchr(w->at, '"', (size_t)(w->end - w->at));
        if (!quote) {
            w->at = w->end;
            return;
        }
        const char *backslash = memchr(w->at, '\\', (size_t)(quote - w->at));
        if (!backslash) {
            w->at = quote + 1;
            return;
        }
        w->at = backslash + 2;
    }
}

/* Any value: ends at the ',' or bracket that does not belong to it. */
static struct str take_value(struct json_walk *w)
{
    const char *from = w->at;
    size_t depth = 0;

    while (w->at < w->end) {
        char c = *w->at;
        if (c == '"') {
            json_skip_string(w);
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        if (c == '{' || c == '[')
            depth++;
        if (c == '}' || c == ']')
            depth--;
        w->at++;
    }
    return str_trim((struct str){from, (size_t)(w->at - from)});
}

bool json_next_member(struct json_walk *w, struct str *ret_key, struct str *ret_value)
{
    json_skip_space(w);
    if (w->at < w->end && *w->at == ',')
        w->at++;
    json_skip_space(w);
    if (w->at >= w->end || *w->at != '"')
        return false;
    const char *key = w->at;
    json_skip_string(w);
    *ret_key = (struct str){key, (size_t)(w->at - key)};
    json_skip_space(w);
    if (w->at >= w->end || *w->at != ':')
        return false;
    w->at++;
    json_skip_space(w);
    *ret_value = take_value(w);
    return true;
}

bool json_enter_object(struct json_walk *w, struct str raw)
{
    *w = (struct json_walk){raw.at, raw.at + raw.len};
    json_skip_space(w);
    if (w->at >= w->end || *w->at != '{')
        return false;
    w->at++;
    return true;
}

struct json_survey json_survey(struct str body)
{
    struct json_survey s = {0};
    struct json_walk w = {body.at, body.at + body.len};
    size_t depth = 0;

    while (w.at < w.end) {
        char c = *w.at;
        if (c == '"') {
            json_skip_string(&w);
            continue;
        }
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        else if (c == ':')
            s.members++;
        else if (json_is_space(c))
            s.spaced = true;
        if (depth > s.depth)
            s.depth = depth;
        w.at++;
    }
    return s;
}

static size_t count_digits(const char *at, const char *end)
{
    size_t n = 0;

    while (at + n < end && at[n] >= '0' && at[n] <= '9')
        n++;
    return n;
}

/* Length of the JSON number (RFC 8259 section 6) that begins here; 0 when there is none. */
static size_t number_length(const char *from, const char *end)
{
    const char *at = from + (from < end && *from == '-');
    size_t digits = count_digits(at, end);

    if (digits == 0)
        return 0;
    if (*at == '0')
        digits = 1;
    at += digits;
    if (at < end && *at == '.' && (digits = count_digits(at + 1, end)) > 0)
        at += 1 + digits;
    if (at < end && (*at == 'e' || *at == 'E')) {
        const char *exponent = at + 1;
        if (exponent < end && (*exponent == '+' || *exponent == '-'))
            exponent++;
        if ((digits = count_digits(exponent, end)) > 0)
            at = exponent + digits;
    }
    return (size_t)(at - from);
}

void json_flatten_numbers(char *at, const char *end)
{
    struct json_walk w = {at, end};

    while (w.at < w.end) {
        if (*w.at == '"') {
            json_skip_string(&w);
            continue;
        }
        size_t n = number_length(w.at, w.end);
        if (n > 0) {
            char *number = at + (w.at - at);
            memset(number, ' ', n);
            number[0] = '0';
        }
        w.at += n ? n : 1;
    }
}
