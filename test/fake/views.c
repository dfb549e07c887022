/*
 * What people read: the columns that `kubectl get run` prints, with absolute times.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/fake/fake.h"

#define COLUMNS 5u

struct row {
    const char *cells[COLUMNS];
};

static const char *cell(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static struct row row_of(const json_t *object)
{
    const json_t *condition = object_succeeded(object);
    const json_t *status = json_object_get(object, "status");
    return (struct row){{object_meta(object, "name"), cell(condition, "status"), cell(condition, "reason"),
                         cell(status, "startTime"), cell(status, "completionTime")}};
}

static void widen(size_t *widths, const struct row *row)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        size_t width = strlen(row->cells[i]);
        widths[i] = width > widths[i] ? width : widths[i];
    }
}

static void print_row(FILE *out, const size_t *widths, const struct row *row)
{
    size_t last = COLUMNS;
    while (last > 1 && row->cells[last - 1][0] == '\0') {
        last--; /* no blanks at the end of a line */
    }
    for (size_t i = 0; i < last; i++) {
        fprintf(out, "%-*s", i + 1 == last ? 0 : (int)widths[i] + 3, row->cells[i]);
    }
    fputc('\n', out);
}

void view_table(struct call *call, const struct resource *resource)
{
    static const struct row head = {{"NAME", "SUCCEEDED", "REASON", "STARTTIME", "COMPLETIONTIME"}};
    const struct objects *objects = call->fake->objects;
    size_t widths[COLUMNS] = {0};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL) {
        abort();
    }
    widen(widths, &head);
    for (size_t i = 0; i < objects_count(objects, resource); i++) {
        struct row row = row_of(objects_at(objects, resource, i));
        widen(widths, &row);
    }
    print_row(out, widths, &head);
    for (size_t i = 0; i < objects_count(objects, resource); i++) {
        struct row row = row_of(objects_at(objects, resource, i));
        print_row(out, widths, &row);
    }
    fclose(out);
    call_reply_text(call, 200, text);
    free(text);
}
