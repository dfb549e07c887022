/* What a part has to say. Parts of the program report; only main.c turns reports into log lines.
 *
 * A report is one constant sentence and named values. It is borrowed for the duration of the call. A value is
 * never a secret: tokens, keys and signatures are not reported, not even in part.
 */
#ifndef FES_STORE_REPORT_H
#define FES_STORE_REPORT_H

#include "store/str.h"

enum report_level { REPORT_DEBUG, REPORT_INFO, REPORT_WARN, REPORT_ERROR };

/* "debug", "info", "warn", "error". False leaves *ret untouched. */
bool report_level_of(struct str name, enum report_level *ret);

struct report_field {
    const char *name; /* lowerCamelCase; NULL ends the list */
    struct str text;  /* used when is_number is false */
    int64_t number;
    bool is_number;
};

struct report {
    enum report_level level;
    const char *sentence; /* constant text: what happened, without values */
    const struct report_field *fields;
};

struct reporter {
    void (*on_report)(void *arg, const struct report *report); /* never NULL */
    void *arg;
};

#define FIELD_STR(field, value)  ((struct report_field){.name = (field), .text = (value)})
#define FIELD_TEXT(field, value) FIELD_STR(field, str_of(value))
#define FIELD_INT(field, value) \
    ((struct report_field){.name = (field), .number = (int64_t)(value), .is_number = true})

/* At least one field: REPORT(&reporter, REPORT_INFO, "event stored", FIELD_STR("revision", r)); */
#define REPORT(reporter, lvl, what, ...)                                                             \
    (reporter)->on_report((reporter)->arg, &(struct report){.level = (lvl),                          \
                                                            .sentence = (what),                      \
                                                            .fields = (const struct report_field[]){ \
                                                                __VA_ARGS__, {.name = NULL}}})

/* One log line, without its newline: a JSON object, or text for people. Values are made one line of valid UTF-8, and
 * the longest is cut at REPORT_VALUE bytes; a line that is longer than `out` is closed properly all the same. */
#define REPORT_VALUE 2048
#define REPORT_LINE  8192
void report_line(const struct report *report, const char *time, bool json, char out[static REPORT_LINE]);

#endif
