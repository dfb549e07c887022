/*
 * Reads one HTTP/1.1 request out of a buffer.
 *
 * Strict on purpose: a fake that forgives would hide a client's mistakes. Refused are bare LF, NUL and
 * control bytes, folded or malformed header lines, no Host or two, two Content-Lengths, any
 * Transfer-Encoding, and HTTP/1.0. Nothing is taken from the buffer until the request is complete, so the
 * caller just calls again.
 */
#include "test/fake/http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/http.h>

struct head {
    int hosts;
    int lengths;
    size_t content_length;
    bool expects;
};

static bool is_token(const char *text)
{
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (!isalnum((unsigned char)*text) && strchr("!#$%&'*+-.^_`|~", *text) == NULL) {
            return false;
        }
    }
    return true;
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 && *text != '\t') {
            return false;
        }
    }
    return true;
}

static void keep(char **slot, const char *value)
{
    free(*slot);
    *slot = strdup(value);
}

/* "GET /path HTTP/1.1"; the line is cut up in place. */
static const char *read_request_line(struct http_request *request, char *line)
{
    char *target = strchr(line, ' ');
    char *version = target == NULL ? NULL : strchr(target + 1, ' ');
    if (version == NULL) {
        return "malformed request line";
    }
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line) || strlen(line) >= sizeof(request->method)) {
        return "malformed method";
    }
    if (*target != '/' || !is_printable(target) || strcmp(version, "HTTP/1.1") != 0) {
        return "malformed target or version";
    }
    memcpy(request->method, line, strlen(line) + 1);
    request->target = strdup(target);
    const char *query = strchr(target, '?');
    request->query = strdup(query == NULL ? "" : query + 1);
    char *path = strndup(target, query == NULL ? strlen(target) : (size_t)(query - target));
    request->path = path == NULL ? NULL : evhttp_uridecode(path, 0, NULL);
    free(path);
    return request->path == NULL ? "malformed target" : NULL;
}

static const char *read_length(struct head *head, const char *value)
{
    size_t length = 0;
    if (*value == '\0' || strlen(value) > 9 || strspn(value, "0123456789") != strlen(value)) {
        return "malformed Content-Length";
    }
    for (; *value != '\0'; value++) {
        length = length * 10 + (size_t)(*value - '0');
    }
    head->lengths++;
    head->content_length = length;
    return NULL;
}

static const char *read_header(struct http_request *request, struct head *head, char *line)
{
    char *colon = strchr(line, ':');
    if (colon == NULL) {
        return "malformed header line";
    }
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t length = strlen(value);
    while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\t')) {
        value[--length] = '\0';
    }
    if (!is_token(line) || !is_printable(value)) {
        return "malformed header line";
    }
    if (strcasecmp(line, "Host") == 0) {
        head->hosts++;
    } else if (strcasecmp(line, "Content-Length") == 0) {
        return read_length(head, value);
    } else if (strcasecmp(line, "Transfer-Encoding") == 0) {
        return "Transfer-Encoding on a request";
    } else if (strcasecmp(line, "Authorization") == 0) {
        keep(&request->authorization, value);
    } else if (strcasecmp(line, "Content-Type") == 0) {
        keep(&request->content_type, value);
    } else if (strcasecmp(line, "User-Agent") == 0) {
        keep(&request->user_agent, value);
    } else if (strcasecmp(line, "Connection") == 0) {
        request->wants_close = strcasecmp(value, "close") == 0;
    } else if (strcasecmp(line, "Expect") == 0) {
        head->expects = strcasecmp(value, "100-continue") == 0;
    }
    return NULL;
}

/* The whole head, NUL-terminated after its last CRLF; cut up in place. */
static const char *read_head(struct http_request *request, struct head *head, char *text)
{
    bool first = true;
    for (char *line = text; *line != '\0';) {
        char *end = strstr(line, "\r\n");
        if (end == NULL || memchr(line, '\n', (size_t)(end - line)) != NULL) {
            return "bare line feed";
        }
        *end = '\0';
        const char *problem = first ? read_request_line(request, line) : read_header(request, head, line);
        if (problem != NULL) {
            return problem;
        }
        first = false;
        line = end + 2;
    }
    if (head->hosts != 1) {
        return "not exactly one Host";
    }
    return head->lengths > 1 ? "more than one Content-Length" : NULL;
}

void http_request_free(struct http_request *request)
{
    if (request == NULL) {
        return;
    }
    free(request->target);
    free(request->path);
    free(request->query);
    free(request->authorization);
    free(request->content_type);
    free(request->user_agent);
    free(request->body);
    free(request);
}

/* The head is there: is the body, too? */
static int finish(struct evbuffer *in, struct http_request *request, const struct head *head,
                  size_t head_bytes, const char **ret_problem)
{
    if (head->content_length > HTTP_MAX_BODY_BYTES) {
        *ret_problem = "Request entity too large: limit is 3145728";
        return 413;
    }
    if (evbuffer_get_length(in) < head_bytes + head->content_length) {
        return 0;
    }
    request->body = malloc(head->content_length + 1);
    if (request->body == NULL) {
        *ret_problem = "out of memory";
        return 500;
    }
    evbuffer_drain(in, head_bytes);
    evbuffer_remove(in, request->body, head->content_length);
    request->body[head->content_length] = '\0';
    request->body_bytes = head->content_length;
    return 1;
}

int http_request_read(struct evbuffer *in, struct http_request **ret_request, bool *ret_expects,
                      const char **ret_problem)
{
    struct evbuffer_ptr blank = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    size_t head_bytes = blank.pos < 0 ? evbuffer_get_length(in) : (size_t)blank.pos + 4;
    *ret_expects = false;
    if (head_bytes > HTTP_MAX_HEAD_BYTES) {
        *ret_problem = "request head too large";
        return 431;
    }
    if (blank.pos < 0) {
        return 0;
    }
    char *text = calloc(1, head_bytes + 1);
    struct http_request *request = calloc(1, sizeof(*request));
    struct head head = {0};
    int result = 400;
    if (text == NULL || request == NULL) {
        *ret_problem = "out of memory";
        result = 500;
        goto out;
    }
    evbuffer_copyout(in, text, head_bytes - 2); /* without the blank line */
    *ret_problem = strlen(text) == head_bytes - 2 ? read_head(request, &head, text) : "NUL byte";
    if (*ret_problem != NULL) {
        goto out;
    }
    result = finish(in, request, &head, head_bytes, ret_problem);
    *ret_expects = head.expects;
    if (result == 1) {
        *ret_request = request;
        request = NULL;
    }
out:
    http_request_free(request);
    free(text);
    return result;
}

char *http_query(const struct http_request *request, const char *name)
{
    size_t name_bytes = strlen(name);
    for (const char *at = request->query; *at != '\0';) {
        size_t length = strcspn(at, "&");
        if (length > name_bytes && strncmp(at, name, name_bytes) == 0 && at[name_bytes] == '=') {
            char *raw = strndup(at + name_bytes + 1, length - name_bytes - 1);
            char *value = raw == NULL ? NULL : evhttp_uridecode(raw, 1, NULL);
            free(raw);
            return value;
        }
        at += length + (at[length] == '&');
    }
    return NULL;
}
