/* The strict reading of one HTTP/1.1 request head (see head_priv.h; RFC 9112, RFC 9110).
 *
 * evhttp reads leniently: it takes bare LF for a line end, cuts a value at NUL, lets the first of two
 * Content-Length fields win, knows "Content-Length : 3" as another field, and so on. Behind a proxy that
 * reads otherwise each of these lets one request hide another (request smuggling). So a head is admitted only
 * in the one form that everybody reads alike, and refused at the first byte that leaves it.
 *
 * Invariant: what is admitted is also well-formed for evhttp, which therefore never writes an error page of
 * its own: a target that begins with one '/', version 1.0 or 1.1, a method that it knows, tokens for names,
 * at most one Content-Length of digits, no Transfer-Encoding, no folding, no other Expect than 100-continue.
 */
#include "http/head_priv.h"

#include "http/server.h"

/* Header lines; evhttp looks fields up by walking a list. */
#define HEAD_MAX_LINES 128

enum head_state {
    AT_METHOD,
    AT_TARGET,
    AT_TARGET_SECOND, /* the byte after the first '/' */
    IN_TARGET,
    AT_VERSION,
    AT_LINE_LF, /* the CR of a line was read */
    AT_FIELD,   /* first byte of a header line */
    IN_NAME,
    IN_VALUE,
    AT_LAST_LF, /* the CR of the empty line was read */
};

/* POST, PUT and PATCH are read with a body. */
#define HEAD_METHODS(X) \
    X(GET, false)       \
    X(HEAD, false)      \
    X(POST, true)       \
    X(PUT, true)        \
    X(PATCH, true)      \
    X(DELETE, false)    \
    X(OPTIONS, false)

enum head_method {
#define X(name, body) METHOD_##name,
    HEAD_METHODS(X)
#undef X
        METHODS
};

static const struct {
    struct str name;
    bool has_body;
} methods[METHODS] = {
#define X(name, body) {STR(#name), body},
    HEAD_METHODS(X)
#undef X
};

enum head_field { FIELD_ANY, FIELD_HOST, FIELD_LENGTH, FIELD_EXPECT };

static const struct str version_text = STR("HTTP/1.1");
static const struct str expect_text = STR("100-continue");

void head_init(struct head *h)
{
    *h = (struct head){.state = AT_METHOD};
}

static void refuse(struct head *h, int status, const char *why)
{
    h->verdict = HEAD_REFUSED;
    h->status = status;
    h->why = why;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_token(char c)
{
    return is_alnum(c) || c == '-' || (c != '\0' && strchr("!#$%&'*+.^_`|~", c) != NULL);
}

/* A registered name or an address, with a port (RFC 3986, section 3.2.2). */
static bool is_host(char c)
{
    return is_alnum(c) || (c != '\0' && strchr(".-_:[]%~!$&'()*+,;=", c) != NULL);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Collects a word; a longer one than all that matter stays different from all of them. */
static void name_add(struct head *h, char c)
{
    if (h->at < HEAD_NAME_MAX)
        h->name[h->at++] = c;
}

static void on_method(struct head *h, char c)
{
    struct str name = {h->name, h->at};

    if (is_token(c)) {
        name_add(h, c);
        return;
    }
    if (c != ' ' || h->at == 0) {
        refuse(h, 400, "the request does not begin with a method");
        return;
    }
    for (h->method = 0; h->method < METHODS; h->method++)
        if (str_eq(methods[h->method].name, name))
            break;
    h->is_head = h->method == METHOD_HEAD;
    if (h->method == METHODS)
        refuse(h, 405, "this method is not known here");
    h->state = AT_TARGET;
}

/* Origin form only. "//x" would be read as a host by evhttp, and "*" or "http://..." is nothing that is
 * served. */
static void on_target(struct head *h, char c)
{
    if (h->state == AT_TARGET && c != '/')
        refuse(h, 400, "the request target does not begin with '/'");
    else if (h->state == AT_TARGET_SECOND && c == '/')
        refuse(h, 400, "the request target begins with '//'");
    else if (h->state != AT_TARGET && c == ' ')
        h->at = 0;
    else if (c <= ' ' || c > '~' || c == '#')
        refuse(h, 400, "the request target holds a byte that must be percent-encoded");
    if (h->state == AT_TARGET)
        h->state = AT_TARGET_SECOND;
    else
        h->state = c == ' ' ? AT_VERSION : IN_TARGET;
}

static void on_version(struct head *h, char c)
{
    if (h->at == version_text.len) {
        h->state = AT_LINE_LF;
        if (c != '\r')
            refuse(h, 400, "the request line does not end with CR LF after its version");
        return;
    }
    bool is_last = h->at + 1u == version_text.len;
    if (is_last && (c == '0' || c == '1'))
        h->http11 = c == '1';
    else if (c != version_text.at[h->at] && is_digit(version_text.at[h->at]) && is_digit(c))
        refuse(h, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    else if (c != version_text.at[h->at])
        refuse(h, 400, "the request line does not end with a version");
    h->at++;
}

static void on_name_end(struct head *h)
{
    struct str name = {h->name, h->at};

    h->field = FIELD_ANY;
    if (str_eq(name, STR("content-length"))) {
        h->field = FIELD_LENGTH;
        if (h->has_length)
            refuse(h, 400, "more than one Content-Length");
        h->has_length = true;
    } else if (str_eq(name, STR("host"))) {
        h->field = FIELD_HOST;
        if (h->has_host)
            refuse(h, 400, "more than one Host");
        h->has_host = true;
    } else if (str_eq(name, STR("expect"))) {
        h->field = FIELD_EXPECT;
        if (h->has_expect)
            refuse(h, 400, "more than one Expect");
        h->has_expect = true;
    } else if (str_eq(name, STR("transfer-encoding"))) {
        refuse(h, 411, "Transfer-Encoding is not read here: send a Content-Length");
    }
    h->at = 0;
    h->value_started = h->value_ended = false;
    h->state = IN_VALUE;
}

static void on_name(struct head *h, char c)
{
    if (is_token(c))
        name_add(h, lower(c));
    else if (c == ':' && h->at > 0)
        on_name_end(h);
    else
        refuse(h, 400, "a header line does not begin with a name and ':'");
}

static void on_field_start(struct head *h, char c)
{
    if (c == '\r') {
        h->state = AT_LAST_LF;
        return;
    }
    if (c == ' ' || c == '\t') {
        refuse(h, 400, "a header line is folded");
        return;
    }
    if (++h->lines > HEAD_MAX_LINES) {
        refuse(h, 431, "more than 128 header lines");
        return;
    }
    h->at = 0;
    h->state = IN_NAME;
    on_name(h, c);
}

/* One byte of the value of a field that matters; white space around the value is not part of it. */
static void on_known_value(struct head *h, char c)
{
    if (c == ' ' || c == '\t') {
        h->value_ended = h->value_started;
        if (h->field == FIELD_EXPECT && (c == '\t' || h->value_started))
            refuse(h, 417, "only the expectation 100-continue is known here");
        return;
    }
    h->value_started = true;
    if (h->field == FIELD_HOST && (h->value_ended || !is_host(c)))
        refuse(h, 400, "the Host is not a host");
    if (h->field == FIELD_LENGTH) {
        if (h->value_ended || !is_digit(c))
            refuse(h, 400, "the Content-Length is not a number");
        else if (__builtin_mul_overflow(h->body_bytes, 10, &h->body_bytes) ||
                 __builtin_add_overflow(h->body_bytes, (uint64_t)(c - '0'), &h->body_bytes))
            refuse(h, 413, "the body is larger than 4 MiB");
    }
    if (h->field == FIELD_EXPECT) {
        if (h->at >= expect_text.len || lower(c) != expect_text.at[h->at])
            refuse(h, 417, "only the expectation 100-continue is known here");
        h->at++;
    }
}

static void on_value_end(struct head *h)
{
    if (h->field == FIELD_LENGTH && !h->value_started)
        refuse(h, 400, "the Content-Length is empty");
    if (h->field == FIELD_EXPECT && h->at != expect_text.len)
        refuse(h, 417, "only the expectation 100-continue is known here");
    h->state = AT_LINE_LF;
}

static void on_value(struct head *h, char c)
{
    if (c == '\r')
        on_value_end(h);
    else if (((unsigned char)c < ' ' && c != '\t') || c == 0x7F)
        refuse(h, 400, "a header value holds a control byte, or its line ends without CR LF");
    else if (h->field != FIELD_ANY)
        on_known_value(h, c);
}

/* The empty line was read: the questions that only the whole head answers. */
static void on_end(struct head *h)
{
    bool has_body = methods[h->method].has_body;

    h->verdict = HEAD_DONE;
    if (h->http11 && !h->has_host)
        refuse(h, 400, "the Host is missing");
    else if (has_body && !h->has_length && h->method != METHOD_POST)
        refuse(h, 405, "this method is not served here");
    else if (has_body && !h->has_length)
        refuse(h, 411, "send a Content-Length");
    else if (!has_body && h->body_bytes > 0)
        refuse(h, 400, "a body is not read with this method");
    else if (h->body_bytes > HTTP_MAX_BODY)
        refuse(h, 413, "the body is larger than 4 MiB");
}

static void on_lf(struct head *h, char c)
{
    if (c != '\n')
        refuse(h, 400, "CR without LF");
    else if (h->state == AT_LAST_LF)
        on_end(h);
    else
        h->state = AT_FIELD;
}

static void on_byte(struct head *h, char c)
{
    switch ((enum head_state)h->state) {
    case AT_METHOD: on_method(h, c); return;
    case AT_TARGET:
    case AT_TARGET_SECOND:
    case IN_TARGET: on_target(h, c); return;
    case AT_VERSION: on_version(h, c); return;
    case AT_FIELD: on_field_start(h, c); return;
    case IN_NAME: on_name(h, c); return;
    case IN_VALUE: on_value(h, c); return;
    case AT_LINE_LF:
    case AT_LAST_LF: on_lf(h, c); return;
    }
}

size_t head_feed(struct head *h, struct str bytes)
{
    size_t i = 0;

    while (i < bytes.len && h->verdict == HEAD_MORE) {
        on_byte(h, bytes.at[i++]);
        if (++h->bytes >= HTTP_MAX_HEAD && h->verdict == HEAD_MORE)
            refuse(h, 431, "the request line and headers are larger than 16 KiB");
    }
    return i;
}
