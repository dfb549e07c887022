/* A question: which revision, and what counts as an answer. One parser for Run parameters and query strings.
 */
#ifndef FES_STORE_QUESTION_H
#define FES_STORE_QUESTION_H

#include "store/str.h"

enum question_superseded { SUPERSEDED_FAIL, SUPERSEDED_WAIT, SUPERSEDED_SUCCEED };

/* "Kind/namespace/name" */
struct question_object {
    struct str kind;
    struct str namespace;
    struct str name;
};

#define QUESTION_MAX_OBJECTS  64
#define QUESTION_MAX_REVISION 1024 /* bytes */
#define QUESTION_MAX_EXPECT   10000

/* All slices point into memory that the question owns. */
struct question {
    struct str revision; /* trimmed, never empty */
    const struct question_object *objects;
    size_t n_objects; /* 0: any object that reports this revision */
    uint32_t expect;  /* objects that must have succeeded when n_objects is 0; at least 1 */
    int64_t fail_after_ms;
    enum question_superseded on_superseded;
    int64_t since_ms;   /* only records updated at or after this wall time; INT64_MIN: no bound */
    struct str cluster; /* empty with has_cluster false: all */
    bool has_cluster;
    int64_t timeout_ms; /* -1: not given; 0: none */
};

/* One parameter as it was written. A string has one value; an array any number. */
struct question_param {
    struct str name;
    const struct str *values;
    size_t n_values;
    bool is_array;   /* allowed for `objects` only */
    bool not_string; /* an object or null where a string belongs */
};

#define QUESTION_ERROR     2048
#define QUESTION_NO_MEMORY "out of memory" /* the one error that is not the asker's */
/* asked_ms: when the question was asked (for a Run: its creation), against which a relative `since` counts.
 * Returns NULL with all problems in one sentence in err, each naming its parameter and how to write it:
 * revision missing, empty, not a string, too long; an unknown or repeated parameter (names are
 * case-sensitive); "$(" that nobody substituted, in any value; `objects` not of the form Kind/namespace/name,
 * or more than QUESTION_MAX_OBJECTS; `expect` not 1..QUESTION_MAX_EXPECT, or given beside `objects`; bad
 * durations; `since` in the future; a bad `onSuperseded`. Free with question_free. */
struct question *question_new(const struct question_param *params, size_t n, int64_t asked_ms,
                              char err[static QUESTION_ERROR]);
void question_free(struct question *q);

#endif
