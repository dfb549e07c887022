/*
 * The bytes of an answer: status line, the headers a kube-apiserver sends, chunks.
 *
 * Pure but for the Date header. Nothing here knows a connection, so that the damage done to an answer has one
 * place, in http.c.
 */
#include "test/fake/http_format.h"

#include <time.h>

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {200, "OK"},
        {201, "Created"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Request Entity Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].status == status) {
            return table[i].text;
        }
    }
    return "Unknown";
}

void http_format_head(struct evbuffer *out, int status, const char *content_type, const char *headers,
                      bool closes)
{
    char date[64];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    evbuffer_add_printf(out,
                        "HTTP/1.1 %d %s\r\nCache-Control: no-cache, private\r\nContent-Type: %s\r\n"
                        "Date: %s\r\n%s%s",
                        status, http_status_text(status), content_type, date, headers,
                        closes ? "Connection: close\r\n" : "");
}

void http_format_chunks(struct evbuffer *out, const char *data, size_t bytes, size_t chunk_bytes)
{
    while (bytes > 0) {
        size_t now = chunk_bytes > 0 && chunk_bytes < bytes ? chunk_bytes : bytes;
        evbuffer_add_printf(out, "%zx\r\n", now);
        evbuffer_add(out, data, now);
        evbuffer_add(out, "\r\n", 2);
        data += now;
        bytes -= now;
    }
}
