/* A small test harness: TAP output, checks that print what they saw.
 *
 *   static void test_name(void) { CHECK_INT(1 + 1, 2); }
 *   int main(void) { return harness_run((struct test[]){TEST(test_name), {0}}); }
 *
 * A failed check ends its test; the next test still runs. harness_case() names the row of a table.
 */
#ifndef FES_TEST_HARNESS_H
#define FES_TEST_HARNESS_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/str.h"

struct test {
    const char *name;
    void (*run)(void);
};
#define TEST(function)      \
    {                       \
#function, function \
    }

static jmp_buf harness_failed;
static char harness_row[256];

/* Names what is being checked, for the output of a failure; "" to end. */
__attribute__((format(printf, 1, 2), unused)) static void harness_case(const char *format, ...)
{
    __builtin_va_list args;
    __builtin_va_start(args, format);
    (void)vsnprintf(harness_row, sizeof harness_row, format, args);
    __builtin_va_end(args);
}

#define HARNESS_FAIL(...)                                                                         \
    do {                                                                                          \
        printf("# %s:%d:%s%s ", __FILE__, __LINE__, harness_row[0] ? " case " : "", harness_row); \
        printf(__VA_ARGS__);                                                                      \
        printf("\n");                                                                             \
        longjmp(harness_failed, 1);                                                               \
    } while (0)

#define CHECK(condition)                              \
    do {                                              \
        if (!(condition))                             \
            HARNESS_FAIL("not true: %s", #condition); \
    } while (0)

#define CHECK_INT(got, want)                                                        \
    do {                                                                            \
        long long harness_got = (long long)(got), harness_want = (long long)(want); \
        if (harness_got != harness_want)                                            \
            HARNESS_FAIL("%s is %lld, want %lld", #got, harness_got, harness_want); \
    } while (0)

#define CHECK_STR(got, want)                                                          \
    do {                                                                              \
        struct str harness_got = (got), harness_want = (want);                        \
        if (!str_eq(harness_got, harness_want))                                       \
            HARNESS_FAIL("%s is \"%.*s\", want \"%.*s\"", #got, STR_ARG(harness_got), \
                         STR_ARG(harness_want));                                      \
    } while (0)

#define CHECK_TEXT(got, want) CHECK_STR(str_of(got), str_of(want))

/* The text must contain the part. */
#define CHECK_HAS(got, part)                                                             \
    do {                                                                                 \
        struct str harness_got = (got), harness_part = (part);                           \
        if (!str_has(harness_got, harness_part))                                         \
            HARNESS_FAIL("%s is \"%.*s\", without \"%.*s\"", #got, STR_ARG(harness_got), \
                         STR_ARG(harness_part));                                         \
    } while (0)

__attribute__((unused)) static int harness_run(const struct test *tests)
{
    volatile int failed = 0;
    volatile int n = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const struct test *volatile t = tests; t->name; t++) {
        harness_row[0] = '\0';
        n++;
        if (setjmp(harness_failed) == 0) {
            t->run();
            printf("ok %d - %s\n", n, t->name);
        } else {
            failed++;
            printf("not ok %d - %s\n", n, t->name);
        }
    }
    printf("1..%d\n", n);
    return failed ? 1 : 0;
}

#endif
