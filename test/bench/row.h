/* A figure for the table that run.sh prints. */
#ifndef FES_BENCH_ROW_H
#define FES_BENCH_ROW_H

#include <stdarg.h>
#include <stdio.h>

/* op: "<=", ">=", or "-" where there is no bar. The yardstick is free text: what it is, and what it gave in this run. */
__attribute__((format(printf, 6, 7))) static inline void row(const char *what, double figure,
                                                             const char *unit, const char *op, double bar,
                                                             const char *yardstick, ...)
{
    va_list args;

    printf("row\t%s\t%.4g\t%s\t%s\t%.4g\t", what, figure, unit, op, bar);
    va_start(args, yardstick);
    (void)vprintf(yardstick, args);
    va_end(args);
    printf("\n");
    (void)fflush(stdout);
}

#endif
