/* Metrics as tables, as Prometheus knows them: https://prometheus.io/docs/concepts/metric_types/.
 *
 * Each part gives a table of what it measures and a function that brings the numbers up to date; main.c joins them, and
 * http/metrics.c prints them. A table's rows point into one struct of numbers, as a flag table's do. Counting is an
 * increment: only the loop touches the numbers, and what the writer thread measures comes back with the batch.
 *
 * Numbers are whole: times are kept in microseconds and printed in seconds. No label ever holds an object, a namespace
 * or a revision, so the number of series is bounded by the tables.
 */
#ifndef FES_STORE_METRIC_H
#define FES_STORE_METRIC_H

#include "store/str.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum metric_unit {
    METRIC_ONE,
    METRIC_MICROSECONDS /* printed as seconds */,
};

/* The values that a label can have, as a list that ends with NULL: either constant, or in the struct of numbers. */
struct metric_label {
    const char *name; /* NULL: no label */
    const char *const *values;
    size_t values_offset; /* of an array of const char *, when values is NULL */
};

#define METRIC_LABELS 2
struct metric {
    const char *name; /* as printed, so that it can be searched for; NULL ends a table */
    enum metric_type type;
    enum metric_unit unit;
    size_t
        offset; /* in the table's struct: of a uint64_t, or, for each value of the label, of an array of them (with
                      two labels, the second one runs faster), or of a struct histogram */
    const char *help; /* one line, without '\\' */
    struct metric_label labels[METRIC_LABELS];
    bool is_sparse;         /* a series that is 0 is left out: for labels with many values */
    const uint64_t *bounds; /* of a histogram's buckets, ascending, 0 ends; at most METRIC_BUCKETS */
};

/* How many values fell below each bound; the last one counts those above all. */
#define METRIC_BUCKETS 16
struct histogram {
    uint64_t counts[METRIC_BUCKETS + 1]; /* not cumulative */
    uint64_t sum;
};
void histogram_add(struct histogram *h, const uint64_t *bounds, uint64_t value);

/* A table with its numbers. */
struct metric_source {
    const struct metric *table;
    const void *(*collect)(void *arg); /* brings the numbers up to date; borrowed until the loop turns */
    void *arg;
};

#endif
