/* Slices and bounded text (see str.h).
 *
 * Invariant: nothing here reads past len, allocates (but str_dup), or needs a terminating NUL.
 */
#include "store/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : (unsigned char)c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.at[i]) != lower(b.at[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_upto(s, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_from(s, s.len - suffix.len), suffix);
}

bool str_has(struct str s, struct str part)
{
    return part.len == 0 || (s.len && memmem(s.at, s.len, part.at, part.len) != NULL);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.len && is_space(s.at[s.len - 1]))
        s.len--;
    while (s.len && is_space(s.at[0])) {
        s.at++;
        s.len--;
    }
    return s;
}

ptrdiff_t str_find(struct str s, char byte)
{
    const char *hit = s.len ? memchr(s.at, byte, s.len) : NULL;
    return hit ? hit - s.at : -1;
}

ptrdiff_t str_find_last(struct str s, char byte)
{
    const char *hit = s.len ? memrchr(s.at, byte, s.len) : NULL;
    return hit ? hit - s.at : -1;
}

struct str str_split(struct str *rest, char byte)
{
    ptrdiff_t at = str_find(*rest, byte);
    struct str part = *rest;

    if (at < 0) {
        *rest = STR_NONE;
        return part;
    }
    part.len = (size_t)at;
    *rest = (struct str){rest->at + at + 1, rest->len - (size_t)at - 1};
    return part;
}

/* Length of the valid UTF-8 sequence that s begins with, 0 when it is none (RFC 3629, section 4). */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
    size_t n;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF)
        n = 2;
    else if (s[0] >= 0xE0 && s[0] <= 0xEF)
        n = 3;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4)
        n = 4;
    else
        return 0;
    if (len < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
        (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

struct str str_cut_utf8(struct str s, size_t max)
{
    if (s.len <= max)
        return s;
    while (max > 0 && ((unsigned char)s.at[max] & 0xC0) == 0x80)
        max--;
    return str_upto(s, max);
}

char *str_dup(struct str s)
{
    if (str_find(s, '\0') >= 0)
        return NULL;
    char *copy = malloc(s.len + 1);
    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.at, s.len);
    copy[s.len] = '\0';
    return copy;
}

int str_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool str_to_u64(struct str s, uint64_t *ret)
{
    uint64_t n = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(s.at[i] - '0'), &n))
            return false;
    }
    *ret = n;
    return true;
}

void text_init(struct text *t, char *buffer, size_t cap)
{
    *t = (struct text){.at = buffer, .cap = cap};
    buffer[0] = '\0';
}

void text_add(struct text *t, struct str s)
{
    if (t->cut)
        return;
    struct str fits = str_cut_utf8(s, t->cap - 1 - t->len);
    t->cut = fits.len < s.len;
    if (fits.len)
        memcpy(t->at + t->len, fits.at, fits.len);
    t->len += fits.len;
    t->at[t->len] = '\0';
}

void text_addf(struct text *t, const char *format, ...)
{
    va_list args;

    if (t->cut)
        return;
    va_start(args, format);
    int n = vsnprintf(t->at + t->len, t->cap - t->len, format, args);
    va_end(args);
    if (n < 0) {
        t->at[t->len] = '\0';
        t->cut = true;
    } else if ((size_t)n < t->cap - t->len) {
        t->len += (size_t)n;
    } else {
        /* vsnprintf may have cut in the middle of a UTF-8 sequence: go back to its start. */
        size_t end = t->cap - 1;
        size_t start = end;
        while (start > t->len && ((unsigned char)t->at[start - 1] & 0xC0) == 0x80)
            start--;
        if (start > t->len && utf8_sequence((unsigned char *)t->at + start - 1, end - start + 1) == 0)
            end = start - 1;
        t->len = end;
        t->at[end] = '\0';
        t->cut = true;
    }
}

void text_add_clean(struct text *t, struct str s)
{
    for (size_t i = 0; i < s.len && !t->cut;) {
        size_t n = utf8_sequence((const unsigned char *)s.at + i, s.len - i);
        unsigned char c = (unsigned char)s.at[i];
        if (n == 0)
            text_add(t, STR("?"));
        else if (c < 0x20 || c == 0x7F)
            text_add(t, STR(" "));
        else
            text_add(t, (struct str){s.at + i, n});
        i += n ? n : 1;
    }
}
