/* Request heads: the verdict does not depend on how the bytes are split, and what is admitted is also what a second,
 * naive reading by lines finds well-formed. The first byte of the input says where to split. */
#include "http/head_priv.h"
#include "http/server.h"

#include <stdlib.h>

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t feed_in_parts(struct head *h, struct str bytes, size_t part)
{
    size_t read = 0;

    head_init(h);
    while (h->verdict == HEAD_MORE && read < bytes.len)
        read += head_feed(h, str_upto(str_from(bytes, read), part));
    return read;
}

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] <= ' ' || name.at[i] > '~' || strchr("()<>@,;:\\\"/[]?={}", name.at[i]))
            return false;
    return name.len > 0;
}

/* Each line ends with CR LF, holds neither of them elsewhere and no NUL; the fields that frame are there once. */
static void check_admitted(const struct head *h, struct str head)
{
    unsigned lengths = 0, hosts = 0;
    uint64_t length = 0;

    REQUIRE(head.len <= HTTP_MAX_HEAD && str_ends(head, STR("\r\n\r\n")));
    REQUIRE(str_find(head, '\0') < 0);
    head.len -= 4;
    struct str line = str_split(&head, '\n');
    REQUIRE(head.len == 0 || str_ends(line, STR("\r")));
    struct str method = str_split(&line, ' ');
    struct str target = str_split(&line, ' ');
    REQUIRE(is_name(method) && str_starts(target, STR("/")) && !str_starts(target, STR("//")));
    REQUIRE(str_starts(line, STR("HTTP/1.1")) || str_starts(line, STR("HTTP/1.0")));
    while (head.len > 0) {
        line = str_split(&head, '\n');
        bool is_last = head.at == NULL;
        REQUIRE(is_last || str_ends(line, STR("\r")));
        line.len -= !is_last;
        REQUIRE(str_find(line, '\r') < 0);
        struct str name = str_split(&line, ':');
        REQUIRE(is_name(name) && line.at != NULL);
        REQUIRE(!str_eq_nocase(name, STR("transfer-encoding")));
        hosts += str_eq_nocase(name, STR("host"));
        if (str_eq_nocase(name, STR("content-length"))) {
            lengths++;
            REQUIRE(str_to_u64(str_trim(line), &length));
        }
    }
    REQUIRE(lengths <= 1 && hosts <= 1);
    REQUIRE(h->body_bytes == length && length <= HTTP_MAX_BODY);
    REQUIRE(length == 0 || str_starts(method, STR("P")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct head whole, parts;

    if (size < 1)
        return 0;
    struct str bytes = {(const char *)data + 1, size - 1};
    head_init(&whole);
    size_t read = head_feed(&whole, bytes);
    REQUIRE(read <= bytes.len);
    REQUIRE(feed_in_parts(&parts, bytes, (size_t)data[0] + 1) == read);
    REQUIRE(parts.verdict == whole.verdict && parts.status == whole.status && parts.why == whole.why);
    REQUIRE(parts.body_bytes == whole.body_bytes);
    if (whole.verdict == HEAD_DONE)
        check_admitted(&whole, str_upto(bytes, read));
    if (whole.verdict == HEAD_REFUSED)
        REQUIRE(whole.status >= 400 && whole.why != NULL);
    return 0;
}
