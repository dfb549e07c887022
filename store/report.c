/* Log lines from reports (see report.h).
 *
 * Invariant: whatever came from the wire, a line is one line, and a JSON line is one valid JSON object: a value is
 * escaped into memory of its own first, and added only when it and the closing brace fit.
 */
#include "store/report.h"

static const char *const level_names[] = {
    [REPORT_DEBUG] = "debug", [REPORT_INFO] = "info", [REPORT_WARN] = "warn", [REPORT_ERROR] = "error"};

bool report_level_of(struct str name, enum report_level *ret)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (str_eq(name, str_of(level_names[i]))) {
            *ret = (enum report_level)i;
            return true;
        }
    return false;
}

/* The value between quotes. Control bytes are gone after text_add_clean, so that two bytes need a backslash. */
static void add_quoted(struct text *t, struct str value)
{
    char clean[REPORT_VALUE];
    struct text c;

    text_init(&c, clean, sizeof clean);
    text_add_clean(&c, value);
    text_add(t, STR("\""));
    for (size_t i = 0; i < c.len;) {
        size_t n = strcspn(clean + i, "\"\\");
        text_add(t, (struct str){clean + i, n});
        i += n;
        if (i < c.len)
            text_addf(t, "\\%c", clean[i++]);
    }
    text_add(t, STR("\""));
}

static void add_field(struct text *t, const struct report_field *f, bool json)
{
    text_addf(t, json ? ",\"%s\":" : " %s=", f->name);
    if (f->is_number)
        text_addf(t, "%lld", (long long)f->number);
    else
        add_quoted(t, f->text);
}

void report_line(const struct report *report, const char *time, bool json, char out[static REPORT_LINE])
{
    char piece[2 * REPORT_VALUE + 128];
    struct text line;
    struct text p;

    text_init(&line, out, REPORT_LINE);
    if (json)
        text_addf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"", time, level_names[report->level],
                  report->sentence);
    else
        text_addf(&line, "%s %-5s %s", time, level_names[report->level], report->sentence);
    for (const struct report_field *f = report->fields; f->name; f++) {
        text_init(&p, piece, sizeof piece);
        add_field(&p, f, json);
        if (line.len + p.len + sizeof "}" <= REPORT_LINE)
            text_add(&line, text_str(&p));
    }
    if (json)
        text_add(&line, STR("}"));
}
