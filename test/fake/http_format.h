/* The bytes of an HTTP answer; see http.h for the connections that send them. */
#ifndef TEST_FAKE_HTTP_FORMAT_H
#define TEST_FAKE_HTTP_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include <event2/buffer.h>

const char *http_status_text(int status);
/* All but the framing header and the blank line. headers: further lines, each with CRLF, or "". */
void http_format_head(struct evbuffer *out, int status, const char *content_type, const char *headers,
                      bool closes);
/* chunk_bytes 0: one chunk. Nothing for bytes = 0, because an empty chunk would end the body. */
void http_format_chunks(struct evbuffer *out, const char *data, size_t bytes, size_t chunk_bytes);

#endif
