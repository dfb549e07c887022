/* JSON as text: finding members and values in it without losing what a tree does not keep, such as the digits
 * of a number, the order of members and the sender's escapes. It checks no syntax: that is jansson's part,
 * before.
 */
#ifndef FES_STORE_JSON_TEXT_PRIV_H
#define FES_STORE_JSON_TEXT_PRIV_H

#include "store/str.h"

struct json_walk {
    const char *at; /* borrowed text */
    const char *end;
};

static inline bool json_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void json_skip_space(struct json_walk *w);
/* From an opening quote to behind the closing one. */
void json_skip_string(struct json_walk *w);
/* False when the text is no object; else the walk stands behind its '{'. */
bool json_enter_object(struct json_walk *w, struct str text);
/* The next member of the object that was entered: the key with its quotes, and any value. False at the end.
 */
bool json_next_member(struct json_walk *w, struct str *ret_key, struct str *ret_value);

/* What one look at a text tells, before it is known to be JSON. */
struct json_survey {
    size_t depth;   /* deepest nesting */
    size_t members; /* ':' outside of strings */
    bool spaced;    /* white space outside of strings */
};
struct json_survey json_survey(struct str text);

/* Replaces every well-formed number (RFC 8259 section 6) by a 0 and white space, in place: for a parser that
 * cannot hold large ones, where the values do not matter. What is no number stays, for the parser to refuse.
 */
void json_flatten_numbers(char *at, const char *end);

#endif
