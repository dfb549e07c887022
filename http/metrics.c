/* The tables of metrics as text (see metrics.h).
 *
 * A family is HELP, TYPE, and a line for each combination of its labels' values. The buckets of a histogram are
 * cumulative in the text only. Numbers are whole, or whole microseconds printed as seconds, so nothing is rounded.
 *
 * Failure mode: without memory for the text the answer is 503.
 */
#include "http/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#define MICROS 1000000

struct metrics {
    struct http_server *server;
    struct metric_source sources[METRICS_MAX_SOURCES];
    size_t n;
};

static const char *const type_names[] = {
    [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

static void put_value(FILE *out, enum metric_unit unit, uint64_t value)
{
    unsigned long long whole = unit == METRIC_ONE ? value : value / MICROS;
    unsigned micros = unit == METRIC_ONE ? 0 : (unsigned)(value % MICROS);
    int digits = 6;

    for (; micros && micros % 10 == 0; digits--)
        micros /= 10;
    if (micros)
        (void)fprintf(out, "%llu.%0*u", whole, digits, micros);
    else
        (void)fprintf(out, "%llu", whole);
}

static void put_histogram(FILE *out, const struct metric *m, const struct histogram *h)
{
    uint64_t below = 0;
    size_t i = 0;

    for (; m->bounds[i] != 0; i++) {
        below += h->counts[i];
        (void)fprintf(out, "%s_bucket{le=\"", m->name);
        put_value(out, m->unit, m->bounds[i]);
        (void)fprintf(out, "\"} %llu\n", (unsigned long long)below);
    }
    below += h->counts[i];
    (void)fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum ", m->name, (unsigned long long)below, m->name);
    put_value(out, m->unit, h->sum);
    (void)fprintf(out, "\n%s_count %llu\n", m->name, (unsigned long long)below);
}

/* NULL past the end; of a label that is not there, "" is the only value. */
static const char *label_value(const struct metric_label *label, const char *numbers, size_t i)
{
    const char *const *values = label->values;

    if (!label->name)
        return i == 0 ? "" : NULL;
    if (!values)
        values = (const void *)(numbers + label->values_offset);
    return values[i];
}

static void put_labels(FILE *out, const struct metric *m, const char *const values[static METRIC_LABELS])
{
    if (m->labels[0].name)
        (void)fprintf(out, "{%s=\"%s\"", m->labels[0].name, values[0]);
    if (m->labels[1].name)
        (void)fprintf(out, ",%s=\"%s\"", m->labels[1].name, values[1]);
    if (m->labels[0].name)
        (void)fputc('}', out);
}

static void put_series(FILE *out, const struct metric *m, const char *numbers)
{
    const uint64_t *at = (const void *)(numbers + m->offset);
    const char *values[METRIC_LABELS];

    for (size_t i = 0; (values[0] = label_value(&m->labels[0], numbers, i)) != NULL; i++)
        for (size_t j = 0; (values[1] = label_value(&m->labels[1], numbers, j)) != NULL; j++, at++) {
            if (m->is_sparse && *at == 0)
                continue;
            (void)fputs(m->name, out);
            put_labels(out, m, values);
            (void)fputc(' ', out);
            put_value(out, m->unit, *at);
            (void)fputc('\n', out);
        }
}

static void put_family(FILE *out, const struct metric *m, const char *numbers)
{
    (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, type_names[m->type]);
    if (m->type == METRIC_HISTOGRAM)
        put_histogram(out, m, (const void *)(numbers + m->offset));
    else
        put_series(out, m, numbers);
}

char *metrics_text(const struct metrics *m)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    for (size_t i = 0; i < m->n; i++) {
        const struct metric_source *s = &m->sources[i];
        const void *numbers = s->collect(s->arg);
        for (const struct metric *row = s->table; row->name; row++)
            put_family(out, row, numbers);
    }
    bool failed = ferror(out) != 0;
    failed |= fclose(out) != 0;
    if (!failed)
        return text;
    free(text);
    return NULL;
}

static void on_get(void *arg, struct http_request *r)
{
    struct metrics *m = arg;
    struct http_reply reply = {.status = 200, .type = "text/plain; version=0.0.4; charset=utf-8"};

    if (!http_without_params(m->server, r))
        return;
    char *text = metrics_text(m);
    reply.body = str_of(text);
    if (text)
        http_reply(m->server, http_request_id(r), &reply);
    else
        http_reply_error(m->server, http_request_id(r), 503, "out of memory");
    free(text);
}

bool metrics_add(struct metrics *m, struct metric_source source)
{
    if (m->n == METRICS_MAX_SOURCES)
        return false;
    m->sources[m->n++] = source;
    return true;
}

struct metrics *metrics_new(struct http_server *server)
{
    struct metrics *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->server = server;
    if (server && !http_route_admin(server, HTTP_GET, "/metrics", on_get, m)) {
        free(m);
        return NULL;
    }
    return m;
}

void metrics_free(struct metrics *m)
{
    free(m);
}
