/* Slices of text, and bounded text building.
 *
 * Everything that comes from the wire is a slice with a length: a Flux message may contain NUL (RFC 8259
 * allows "\u0000"), so a C string would cut it. A slice never owns what it points to; each use states how
 * long the memory behind it lives. This file is the lowest of the project and includes nothing of it.
 */
#ifndef FES_STORE_STR_H
#define FES_STORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *at; /* may be NULL only when len is 0 */
    size_t len;     /* bytes */
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})
/* For printf: printf("%.*s", STR_ARG(s)). Stops at a NUL byte, so never for framing. */
#define STR_ARG(s) (int)(s).len, (s).len ? (s).at : ""

static inline struct str str_of(const char *cstring)
{
    return (struct str){cstring, cstring ? strlen(cstring) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}
/* Below, at or above 0: a sorts before b, they are equal, or b before a. By bytes. */
static inline int str_compare(struct str a, struct str b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.at, b.at, shorter) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline struct str str_from(struct str s, size_t offset)
{
    return offset >= s.len ? STR_NONE : (struct str){s.at + offset, s.len - offset};
}

static inline struct str str_upto(struct str s, size_t len)
{
    return (struct str){s.at, len < s.len ? len : s.len};
}

/* ASCII case is ignored. */
bool str_eq_nocase(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_has(struct str s, struct str part);
/* Without leading and trailing ASCII white space. */
struct str str_trim(struct str s);
/* Position of a byte, or -1. */
ptrdiff_t str_find(struct str s, char byte);
ptrdiff_t str_find_last(struct str s, char byte);
/* Cuts the first part off *rest at `byte` (not part of either side); the last part is all of *rest, after
 * which *rest has at == NULL. An empty input gives one empty part. */
struct str str_split(struct str *rest, char byte);
/* At most max bytes, cut at a UTF-8 boundary. */
struct str str_cut_utf8(struct str s, size_t max);
/* NUL-terminated copy; the caller frees with free(). NULL when out of memory or when s holds a NUL byte. */
char *str_dup(struct str s);
/* 0 to 15, of either case, or -1. */
int str_hex_digit(char c);
/* Unsigned decimal of digits only, at most UINT64_MAX. False leaves *ret untouched. */
bool str_to_u64(struct str s, uint64_t *ret);

/* The sentence of a parser that refuses for want of memory: nothing is wrong with what it was to read. No other sentence
 * of a parser is this one. */
#define NO_MEMORY "out of memory"
static inline bool is_no_memory(const char *sentence)
{
    return strcmp(sentence, NO_MEMORY) == 0;
}

/* Text that is built piece by piece into memory of the caller. Always NUL-terminated. What does not fit is
 * cut at a UTF-8 boundary and `cut` is set; later additions do nothing (sticky), so a sequence needs one
 * check. */
struct text {
    char *at;
    size_t cap; /* bytes at `at`, the NUL included; at least 1 */
    size_t len;
    bool cut;
};

void text_init(struct text *t, char *buffer, size_t cap);
void text_add(struct text *t, struct str s);
void text_addf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds s as one line for people: control bytes, NUL included, become spaces, and invalid UTF-8 becomes '?'.
 */
void text_add_clean(struct text *t, struct str s);

static inline struct str text_str(const struct text *t)
{
    return (struct str){t->at, t->len};
}

#endif
