/* Times, durations and sizes (see units.h).
 *
 * Invariant: pure functions of their arguments. Every parser reads all of its input or fails, checks each
 * arithmetic step for overflow, and leaves the result untouched on failure. The calendar is the proleptic
 * Gregorian one that RFC 3339 means, counted in days by 400-year eras, so that no time zone or locale of the
 * process matters.
 */
#include "store/units.h"

#include <limits.h>
#include <stdio.h>

#define MS_PER_SECOND INT64_C(1000)
#define MS_PER_DAY    INT64_C(86400000)
#define NS_PER_MS     INT64_C(1000000)
#define DAYS_TO_1970  719468                   /* from 0000-03-01 */
#define DAYS_PER_ERA  146097                   /* 400 years */
#define MIN_TIME_MS   INT64_C(-62167219200000) /* 0000-01-01T00:00:00Z */
#define MAX_TIME_MS   INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Years are counted from March, so that the day added in leap years is the last one. */
static int64_t days_from_date(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_1970;
}

static void date_from_days(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    days += DAYS_TO_1970;
    int64_t era = (days >= 0 ? days : days - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
    int64_t day_of_era = days - era * DAYS_PER_ERA;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;

    *ret_day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    *ret_month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

/* Reads exactly n digits from the front of *s. */
static bool take_digits(struct str *s, size_t n, int *ret)
{
    int value = 0;

    if (s->len < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit(s->at[i]))
            return false;
        value = value * 10 + (s->at[i] - '0');
    }
    *s = str_from(*s, n);
    *ret = value;
    return true;
}

static bool take_byte(struct str *s, const char *any_of)
{
    if (s->len == 0 || s->at[0] == '\0' || !strchr(any_of, s->at[0]))
        return false;
    *s = str_from(*s, 1);
    return true;
}

/* ".5", ".123456789": milliseconds, the rest is dropped. */
static bool take_fraction(struct str *s, int *ret_ms)
{
    int ms = 0;
    size_t n = 0;

    if (!take_byte(s, "."))
        return true;
    while (n < s->len && is_digit(s->at[n])) {
        if (n < 3)
            ms = ms * 10 + (s->at[n] - '0');
        n++;
    }
    if (n == 0)
        return false;
    for (size_t i = n; i < 3; i++)
        ms *= 10;
    *s = str_from(*s, n);
    *ret_ms = ms;
    return true;
}

static bool take_offset(struct str *s, int *ret_minutes)
{
    int hours, minutes;

    if (take_byte(s, "Zz")) {
        *ret_minutes = 0;
        return true;
    }
    bool west = s->len > 0 && s->at[0] == '-';
    if (!take_byte(s, "+-") || !take_digits(s, 2, &hours) || !take_byte(s, ":") ||
        !take_digits(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

bool time_parse(struct str s, int64_t *ret_ms)
{
    int year, month, day, hour, minute, second, ms = 0, offset;

    if (!take_digits(&s, 4, &year) || !take_byte(&s, "-") || !take_digits(&s, 2, &month) ||
        !take_byte(&s, "-") || !take_digits(&s, 2, &day) || !take_byte(&s, "Tt ") ||
        !take_digits(&s, 2, &hour) || !take_byte(&s, ":") || !take_digits(&s, 2, &minute) ||
        !take_byte(&s, ":") || !take_digits(&s, 2, &second) || !take_fraction(&s, &ms) ||
        !take_offset(&s, &offset) || s.len != 0)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    if (second == 60) /* a leap second: the clocks that this is compared with have none */
        second = 59;
    *ret_ms = days_from_date(year, month, day) * MS_PER_DAY +
              ((int64_t)(hour * 60 + minute - offset) * 60 + second) * MS_PER_SECOND + ms;
    return true;
}

/* n digits of value and a byte behind them; returns the end. */
static char *put_digits(char *at, int n, int value, char behind)
{
    for (int i = n - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    at[n] = behind;
    return at + n + 1;
}

const char *time_format(int64_t ms, char out[static TIME_TEXT])
{
    int64_t year;
    int month, day;

    if (ms < MIN_TIME_MS)
        ms = MIN_TIME_MS;
    if (ms > MAX_TIME_MS)
        ms = MAX_TIME_MS;
    int64_t days = (ms >= 0 ? ms : ms - (MS_PER_DAY - 1)) / MS_PER_DAY;
    int seconds = (int)((ms - days * MS_PER_DAY) / MS_PER_SECOND);
    date_from_days(days, &year, &month, &day);
    char *at = put_digits(out, 4, (int)year, '-');
    at = put_digits(at, 2, month, '-');
    at = put_digits(at, 2, day, 'T');
    at = put_digits(at, 2, seconds / 3600, ':');
    at = put_digits(at, 2, seconds / 60 % 60, ':');
    at = put_digits(at, 2, seconds % 60, 'Z');
    *at = '\0';
    return out;
}

/* Longest names first where one begins another. */
static const struct {
    struct str name;
    int64_t ns;
} duration_units[] = {
    {{"ns", 2}, 1},
    {{"us", 2}, 1000},
    {{"\xC2\xB5s", 3}, 1000}, /* U+00B5, micro sign */
    {{"\xCE\xBCs", 3}, 1000}, /* U+03BC, Greek mu */
    {{"ms", 2}, NS_PER_MS},
    {{"s", 1}, INT64_C(1000000000)},
    {{"m", 1}, INT64_C(60000000000)},
    {{"h", 1}, INT64_C(3600000000000)},
    {{"d", 1}, INT64_C(86400000000000)},
};

/* The number's digits before and after the point; at least one of either. Digits of a fraction that no longer
 * fit are dropped, as Go does. */
static bool take_decimal(struct str *s, uint64_t *ret_whole, uint64_t *ret_fraction, double *ret_scale)
{
    size_t n = 0;
    bool any = false, full = false;

    *ret_whole = *ret_fraction = 0;
    *ret_scale = 1;
    for (; n < s->len && is_digit(s->at[n]); n++, any = true)
        if (__builtin_mul_overflow(*ret_whole, 10, ret_whole) ||
            __builtin_add_overflow(*ret_whole, (uint64_t)(s->at[n] - '0'), ret_whole))
            return false;
    if (n < s->len && s->at[n] == '.') {
        for (n++; n < s->len && is_digit(s->at[n]); n++, any = true) {
            full = full || *ret_fraction > (uint64_t)INT64_MAX / 10 - 1;
            if (full)
                continue;
            *ret_fraction = *ret_fraction * 10 + (uint64_t)(s->at[n] - '0');
            *ret_scale *= 10;
        }
    }
    *s = str_from(*s, n);
    return any;
}

/* One "1.5h" of a duration; adds to *ns. */
static bool take_duration_part(struct str *s, bool with_days, uint64_t *ns)
{
    uint64_t whole, fraction, part;
    double scale;

    if (!take_decimal(s, &whole, &fraction, &scale))
        return false;
    for (size_t i = 0; i < sizeof duration_units / sizeof duration_units[0]; i++) {
        if (!str_starts(*s, duration_units[i].name) || (!with_days && duration_units[i].name.at[0] == 'd'))
            continue;
        *s = str_from(*s, duration_units[i].name.len);
        uint64_t unit = (uint64_t)duration_units[i].ns;
        uint64_t rest = (uint64_t)((double)fraction * ((double)unit / scale));
        return !__builtin_mul_overflow(whole, unit, &part) && !__builtin_add_overflow(part, rest, &part) &&
               !__builtin_add_overflow(*ns, part, ns);
    }
    return false;
}

static bool parse_duration(struct str s, bool with_days, int64_t *ret_ms)
{
    bool negative = s.len > 0 && s.at[0] == '-';
    uint64_t ns = 0;

    (void)take_byte(&s, "+-");
    if (s.len == 0)
        return false;
    if (!str_eq(s, STR("0"))) {
        while (s.len > 0)
            if (!take_duration_part(&s, with_days, &ns))
                return false;
    }
    if (ns > (uint64_t)INT64_MAX + negative)
        return false;
    int64_t ms = (int64_t)(ns / (uint64_t)NS_PER_MS) + (ns % (uint64_t)NS_PER_MS != 0);
    *ret_ms = negative ? -ms : ms;
    return true;
}

bool duration_parse_go(struct str s, int64_t *ret_ms)
{
    return parse_duration(s, false, ret_ms);
}

bool duration_parse(struct str s, int64_t *ret_ms)
{
    int64_t ms;

    if (!parse_duration(s, true, &ms) || ms < 0)
        return false;
    *ret_ms = ms;
    return true;
}

const char *duration_format(int64_t ms, char out[static DURATION_TEXT])
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    uint64_t left = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
    struct text t;

    text_init(&t, out, DURATION_TEXT);
    if (ms == 0)
        text_add(&t, STR("0s"));
    if (ms < 0)
        text_add(&t, STR("-"));
    /* "1500ms" is shorter than "1s500ms": below a minute a broken second is written in ms alone. */
    bool only_ms = left < 60000 && left % 1000 != 0;
    for (size_t i = only_ms ? 4 : 0; i < sizeof units / sizeof units[0]; i++) {
        if (left / units[i].ms > 0)
            text_addf(&t, "%llu%s", (unsigned long long)(left / units[i].ms), units[i].unit);
        left %= units[i].ms;
    }
    return out;
}

static const struct {
    struct str name;
    unsigned shift;
} size_units[] = {
    {{"Ki", 2}, 10}, {{"Mi", 2}, 20}, {{"Gi", 2}, 30}, {{"Ti", 2}, 40}, {{"Pi", 2}, 50}, {{"Ei", 2}, 60},
};

bool size_parse(struct str s, uint64_t *ret_bytes)
{
    uint64_t n;
    unsigned shift = 0;

    if (str_ends(s, STR("B")) && s.len > 1) /* "1GiB" is "1Gi", and "4096B" is "4096" */
        s.len--;
    for (size_t i = 0; i < sizeof size_units / sizeof size_units[0]; i++)
        if (str_ends(s, size_units[i].name)) {
            shift = size_units[i].shift;
            s.len -= size_units[i].name.len;
            break;
        }
    if (!str_to_u64(s, &n) || n > UINT64_MAX >> shift)
        return false;
    *ret_bytes = n << shift;
    return true;
}

const char *size_format(uint64_t bytes, char out[static SIZE_TEXT])
{
    size_t best = sizeof size_units / sizeof size_units[0];

    for (size_t i = 0; i < sizeof size_units / sizeof size_units[0]; i++)
        if (bytes != 0 && bytes % (UINT64_C(1) << size_units[i].shift) == 0)
            best = i;
    if (best == sizeof size_units / sizeof size_units[0])
        (void)snprintf(out, SIZE_TEXT, "%llu", (unsigned long long)bytes);
    else
        (void)snprintf(out, SIZE_TEXT, "%llu%.*sB", (unsigned long long)(bytes >> size_units[best].shift),
                       STR_ARG(size_units[best].name));
    return out;
}
