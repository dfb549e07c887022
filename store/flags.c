/* Command-line flags from tables (see flags.h).
 *
 * Invariant: after flags_parse every field named by a table holds its default or what was given. The first
 * problem wins and is one line that names the flag; nothing is printed here.
 */
#include "store/flags.h"

#include "store/units.h"

#include <stdio.h>

static void *field_of(const struct flag_section *section, const struct flag *flag)
{
    return (char *)section->config + flag->offset;
}

static void list_add(struct flag_list *list, const char *value, bool given)
{
    if (given && !list->given)
        *list = (struct flag_list){.given = true};
    list->values[list->n++] = value;
}

static bool size_set(const struct flag *flag, uint64_t *field, const char *value, char err[static FLAG_ERROR])
{
    char bound[SIZE_TEXT];
    uint64_t bytes;

    if (!size_parse(str_of(value), &bytes)) {
        (void)snprintf(err, FLAG_ERROR, "%s: \"%s\" is not a size; write it such as 64MiB or 1GiB",
                       flag->name, value);
        return false;
    }
    if (flag->type == FLAG_ROOM && bytes > 0 && (bytes < FLAG_ROOM_LEAST || bytes > FLAG_ROOM_MOST)) {
        bool small = bytes < FLAG_ROOM_LEAST;
        (void)snprintf(err, FLAG_ERROR, "%s: \"%s\" is too %s; give %s or %s, or 0 for as much as can be",
                       flag->name, value, small ? "small" : "large",
                       size_format(small ? FLAG_ROOM_LEAST : FLAG_ROOM_MOST, bound), small ? "more" : "less");
        return false;
    }
    *field = bytes;
    return true;
}

/* Stores one value. False with the reason in err. */
static bool flag_set(const struct flag *flag, void *field, const char *value, bool given,
                     char err[static FLAG_ERROR])
{
    int64_t ms;

    switch (flag->type) {
    case FLAG_BOOL: *(bool *)field = true; return true;
    case FLAG_STRING: *(const char **)field = value; return true;
    case FLAG_LIST:
        if (given && ((struct flag_list *)field)->given && ((struct flag_list *)field)->n == FLAG_LIST_MAX) {
            (void)snprintf(err, FLAG_ERROR, "%s: at most %d of them", flag->name, FLAG_LIST_MAX);
            return false;
        }
        list_add(field, value, given);
        return true;
    case FLAG_DURATION:
        if (!duration_parse(str_of(value), &ms)) {
            (void)snprintf(err, FLAG_ERROR,
                           "%s: \"%s\" is not a duration; write it with a unit, such as 90s, 1h30m, 30d",
                           flag->name, value);
            return false;
        }
        *(int64_t *)field = ms;
        return true;
    case FLAG_SIZE:
    case FLAG_ROOM: return size_set(flag, field, value, err);
    }
    return false;
}

static const struct flag *flag_find(const struct flag_section *sections, size_t n_sections, struct str name,
                                    void **ret_field)
{
    for (size_t i = 0; i < n_sections; i++)
        for (const struct flag *flag = sections[i].flags; flag->name; flag++)
            if (str_eq(name, str_of(flag->name))) {
                *ret_field = field_of(&sections[i], flag);
                return flag;
            }
    return NULL;
}

static bool set_defaults(const struct flag_section *sections, size_t n_sections, char err[static FLAG_ERROR])
{
    for (size_t i = 0; i < n_sections; i++)
        for (const struct flag *flag = sections[i].flags; flag->name; flag++)
            if (flag->preset && !flag_set(flag, field_of(&sections[i], flag), flag->preset, false, err))
                return false;
    return true;
}

/* An empty value is mostly a variable that is not set in a script: nothing that is named can be meant by it, and a default
 * is not what was asked for. A name alone may be empty: there is none. */
static bool check_given(const struct flag *flag, const char *value, char err[static FLAG_ERROR])
{
    if (flag->type == FLAG_BOOL || value[0] != '\0' || strcmp(flag->argument, "NAME") == 0)
        return true;
    (void)snprintf(err, FLAG_ERROR, "%s: an empty value; give %s %s, or leave it out", flag->name, flag->name,
                   flag->argument);
    return false;
}

/* Reads the flag at argv[*i] and moves *i past its value. */
static bool parse_one(const struct flag_section *sections, size_t n_sections, int argc, char *const argv[],
                      int *i, char err[static FLAG_ERROR])
{
    struct str word = str_of(argv[*i]);
    ptrdiff_t equals = str_find(word, '=');
    struct str name = str_eq(word, STR("-h")) ? STR("--help") /* what a newcomer types */
                      : equals < 0            ? word
                                              : str_upto(word, (size_t)equals);
    const char *value = equals < 0 ? NULL : argv[*i] + equals + 1;
    void *field = NULL;
    const struct flag *flag = flag_find(sections, n_sections, name, &field);

    if (!flag) {
        (void)snprintf(err, FLAG_ERROR, "%.*s: no such flag; see --help", STR_ARG(name));
        return false;
    }
    if (flag->type == FLAG_BOOL && value) {
        (void)snprintf(err, FLAG_ERROR, "%s takes no value", flag->name);
        return false;
    }
    if (flag->type != FLAG_BOOL && !value) {
        if (*i + 1 >= argc ||
            strncmp(argv[*i + 1], "--", 2) == 0) { /* another flag: its value was forgotten */
            (void)snprintf(err, FLAG_ERROR, "%s needs a value: %s %s", flag->name, flag->name,
                           flag->argument);
            return false;
        }
        value = argv[++*i];
    }
    return check_given(flag, value, err) && flag_set(flag, field, value, true, err);
}

bool flags_parse(const struct flag_section *sections, size_t n_sections, int argc, char *const argv[],
                 const char *words[], size_t words_max, size_t *ret_words, char err[static FLAG_ERROR])
{
    size_t n_words = 0;

    if (!set_defaults(sections, n_sections, err))
        return false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!parse_one(sections, n_sections, argc, argv, &i, err))
                return false;
        } else if (n_words == words_max) {
            (void)snprintf(err, FLAG_ERROR, "%s: one word too many; see --help", argv[i]);
            return false;
        } else {
            words[n_words++] = argv[i];
        }
    }
    *ret_words = n_words;
    return true;
}

void flags_each_file(const struct flag_section *sections, size_t n_sections, flag_visit *visit, void *arg)
{
    for (size_t i = 0; i < n_sections; i++)
        for (const struct flag *flag = sections[i].flags; flag->name; flag++) {
            const void *field = field_of(&sections[i], flag);
            if (!flag->argument || strcmp(flag->argument, "FILE") != 0)
                continue;
            if (flag->type == FLAG_STRING && *(const char *const *)field)
                visit(arg, *(const char *const *)field);
            for (size_t j = 0; flag->type == FLAG_LIST && j < ((const struct flag_list *)field)->n; j++)
                visit(arg, ((const struct flag_list *)field)->values[j]);
        }
}

void flags_print(const struct flag *flags, FILE *out)
{
    for (const struct flag *flag = flags; flag->name; flag++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%s%s%s", flag->name, flag->argument ? " " : "",
                       flag->argument ? flag->argument : "");
        (void)fprintf(out, "  %-32s %s%s%s%s\n", left, flag->help, flag->preset ? " [" : "",
                      flag->preset ? flag->preset : "", flag->preset ? "]" : "");
    }
}
