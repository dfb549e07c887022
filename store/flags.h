/* Command-line flags as tables. Each folder exports a table that fills its own configuration struct; main.c
 * joins them and is the only one that reads argv. Help text, defaults and --check come from the same rows.
 */
#ifndef FES_STORE_FLAGS_H
#define FES_STORE_FLAGS_H

#include <stdio.h>

#include "store/str.h"

enum flag_type {
    FLAG_BOOL,     /* bool; given without a value */
    FLAG_STRING,   /* const char *; borrowed from argv */
    FLAG_LIST,     /* struct flag_list; repeatable, the first use replaces the default */
    FLAG_DURATION, /* int64_t, ms */
    FLAG_SIZE,     /* uint64_t, bytes */
    FLAG_ROOM, /* the same, for what is kept: 0, as much as can be, or FLAG_ROOM_LEAST to FLAG_ROOM_MOST */
};

/* The body of an event may have 4 MiB: with less room it would be acknowledged and deleted at once. */
#define FLAG_ROOM_LEAST (UINT64_C(4) << 20)
#define FLAG_ROOM_MOST  (UINT64_C(64) << 30) /* STORE_MAP_BYTES */

#define FLAG_LIST_MAX 64
struct flag_list {
    const char *values[FLAG_LIST_MAX]; /* borrowed from argv */
    size_t n;
    bool given; /* false while it holds the default */
};

struct flag {
    const char *name;     /* with the dashes: "--data-dir"; NULL ends a table */
    const char *argument; /* as in the help text: "DIR"; NULL for FLAG_BOOL. "FILE": see flags_each_file */
    enum flag_type type;
    size_t offset;      /* of the field in the table's configuration struct */
    const char *preset; /* default as text, NULL for none */
    const char *help;   /* one line */
};

/* A table together with the struct it fills. */
struct flag_section {
    const struct flag *flags;
    void *config;
};

/* Fills defaults, then reads argv[1..argc-1]. "--name value" and "--name=value" are the same, but that a value which
 * begins with "--" needs the second form. Only a NAME may be empty. Returns false with one line in err that names the
 * flag and how to write it. The number of other words (not flags) is returned in *ret_words, and they are moved to the
 * front of words[], which has room for words_max. */
#define FLAG_ERROR 256
bool flags_parse(const struct flag_section *sections, size_t n_sections, int argc, char *const argv[],
                 const char *words[], size_t words_max, size_t *ret_words, char err[static FLAG_ERROR]);

/* Calls visit with the value of every flag whose argument is "FILE": the files that are read while the process runs,
 * too. Values are borrowed from argv. */
typedef void flag_visit(void *arg, const char *value);
void flags_each_file(const struct flag_section *sections, size_t n_sections, flag_visit *visit, void *arg);

/* One line for each flag of a table, with its default: for the help text. */
void flags_print(const struct flag *flags, FILE *out);

#endif
