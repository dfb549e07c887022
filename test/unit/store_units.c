/* Tables for times, durations and sizes. */
#include "harness.h"

#include "store/units.h"

#define BAD INT64_C(-77777)

static void test_time_parse(void)
{
    static const struct {
        const char *text;
        int64_t ms; /* BAD: refused */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-08-01T10:00:12Z", INT64_C(1785578412000)},
        {"2026-08-01t10:00:12z", INT64_C(1785578412000)},
        {"2026-08-01 10:00:12Z", INT64_C(1785578412000)},
        {"2026-08-01T12:00:12+02:00", INT64_C(1785578412000)},
        {"2026-08-01T04:30:12-05:30", INT64_C(1785578412000)},
        {"2026-08-01T10:00:12.5Z", INT64_C(1785578412500)},
        {"2026-08-01T10:00:12.123456789Z", INT64_C(1785578412123)},
        {"2000-01-01T00:00:00Z", YEAR_2000_MS},
        {"2000-02-29T00:00:00Z", YEAR_2000_MS + INT64_C(59) * 86400000},
        {"0001-01-01T00:01:00Z", INT64_C(-62135596740000)},
        {"0000-01-01T00:00:00Z", INT64_C(-62167219200000)},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799000)},
        {"2016-12-31T23:59:60Z", INT64_C(1483228799000)},
        {"1969-12-31T23:59:59Z", -1000},
        {"", BAD},
        {"2026-08-01", BAD},
        {"2026-08-01T10:00:12", BAD},
        {"2026-08-01T10:00:12.Z", BAD},
        {"2026-08-01T10:00:12ZZ", BAD},
        {"2026-13-01T10:00:12Z", BAD},
        {"2026-00-01T10:00:12Z", BAD},
        {"2026-02-29T10:00:12Z", BAD},
        {"1900-02-29T10:00:12Z", BAD},
        {"2026-08-32T10:00:12Z", BAD},
        {"2026-08-00T10:00:12Z", BAD},
        {"2026-08-01T24:00:12Z", BAD},
        {"2026-08-01T10:60:12Z", BAD},
        {"2026-08-01T10:00:61Z", BAD},
        {"2026-08-01T10:00:12+2:00", BAD},
        {"2026-08-01T10:00:12+24:00", BAD},
        {"26-08-01T10:00:12Z", BAD},
        {" 2026-08-01T10:00:12Z", BAD},
        {"2026-08-01T10:00:12+23:59", INT64_C(1785492072000)},
        {"2026-08-01T10:00:12+02:60", BAD},
        {"2026-08-01T10:00:12+0200", BAD},
        {"2026-08-01T10:00:12+aa:00", BAD},
        {"2026-08-01T10:00:12+02:aa", BAD},
        {"2026/08-01T10:00:12Z", BAD},
        {"2026-08/01T10:00:12Z", BAD},
        {"2026-08-01X10:00:12Z", BAD},
        {"2026-08-01T10.00:12Z", BAD},
        {"2026-08-01T10:00.12Z", BAD},
        {"202a-08-01T10:00:12Z", BAD},
        {"2026-0a-01T10:00:12Z", BAD},
        {"2026-08-0aT10:00:12Z", BAD},
        {"2026-08-01T1a:00:12Z", BAD},
        {"2026-08-01T10:0a:12Z", BAD},
        {"2026-08-01T10:00:1aZ", BAD},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t ms = BAD;
        harness_case("\"%s\"", rows[i].text);
        CHECK_INT(time_parse(str_of(rows[i].text), &ms), rows[i].ms != BAD);
        CHECK_INT(ms, rows[i].ms);
    }
}

/* Cut anywhere, or with a zero byte anywhere, it is no time. */
static void test_time_parse_in_parts(void)
{
    static const char whole[] = "2026-08-01T10:00:12.5+02:00";
    char text[sizeof whole];

    for (size_t at = 0; at < sizeof whole - 1; at++) {
        int64_t ms = BAD;
        harness_case("%zu bytes", at);
        memcpy(text, whole, sizeof whole);
        CHECK(!time_parse((struct str){text, at}, &ms));
        text[at] = '\0';
        CHECK(!time_parse((struct str){text, sizeof whole - 1}, &ms));
        CHECK_INT(ms, BAD);
    }
}

static void test_time_format(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {999, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59Z"},
        {INT64_C(1785578412999), "2026-08-01T10:00:12Z"},
        {INT64_C(951782400000), "2000-02-29T00:00:00Z"},
        {INT64_C(-62135596740000), "0001-01-01T00:01:00Z"},
        {INT64_MIN, "0000-01-01T00:00:00Z"},
        {INT64_MAX, "9999-12-31T23:59:59Z"},
    };
    char out[TIME_TEXT];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(time_format(rows[i].ms, out), rows[i].text);
    /* Every day of 800 years there and back. */
    for (int64_t day = -146097; day < 146097; day++) {
        int64_t ms = 0;
        CHECK(time_parse(str_of(time_format(day * 86400000 + 3723000, out)), &ms));
        CHECK_INT(ms, day * 86400000 + 3723000);
    }
}

static void test_duration_parse(void)
{
    static const struct {
        const char *text;
        int64_t go; /* BAD: refused */
        int64_t param;
    } rows[] = {
        {"0", 0, 0},
        {"0s", 0, 0},
        {"5s", 5000, 5000},
        {"+5s", 5000, 5000},
        {"-5s", -5000, BAD},
        {"-0", 0, 0},
        {"1h30m", 5400000, 5400000},
        {"1.5h", 5400000, 5400000},
        {".5s", 500, 500},
        {"5.s", 5000, 5000},
        {"500ms", 500, 500},
        {"1ns", 1, 1},
        {"1us", 1, 1},
        {"1500us", 2, 2},
        {"2000\xC2\xB5s", 2, 2},
        {"2000\xCE\xBCs", 2, 2},
        {"-1ns", -1, BAD},
        {"1h0m0s", 3600000, 3600000},
        {"9223372036854775807ns", INT64_C(9223372036855), INT64_C(9223372036855)},
        {"9223372036854775808ns", BAD, BAD},
        {"-9223372036854775808ns", INT64_C(-9223372036855), BAD},
        {"2562047h47m16.854775807s", INT64_C(9223372036855), INT64_C(9223372036855)},
        {"2562048h", BAD, BAD},
        {"0.100000000000000000000h", 360000, 360000},
        {"99999999999999999999h", BAD, BAD},
        {"1d12h", BAD, 129600000},
        {"30d", BAD, INT64_C(2592000000)},
        {"106752d", BAD, BAD},
        {"", BAD, BAD},
        {"5", BAD, BAD},
        {"s", BAD, BAD},
        {".s", BAD, BAD},
        {"-", BAD, BAD},
        {"--5s", BAD, BAD},
        {"5 s", BAD, BAD},
        {"5S", BAD, BAD},
        {"5sec", BAD, BAD},
        {"1h-5m", BAD, BAD},
        {"1w", BAD, BAD},
        {"1e3s", BAD, BAD},
        {"18446744073709551615ns", BAD, BAD},
        {"18446744073709551616ns", BAD, BAD},
        {"9223372036854775807ns9223372036854775807ns2ns", BAD, BAD},
        {"5124095h", BAD, BAD},
        {"5124095.9h", BAD, BAD}, /* beyond 64 bits by its fraction alone */
        {"2562047h47m16.854775807s1ns", BAD, BAD},
        {"9000000000000000000ns9000000000000000000ns9000000000000000000ns", BAD, BAD},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t go = BAD, param = BAD;
        harness_case("\"%s\"", rows[i].text);
        CHECK_INT(duration_parse_go(str_of(rows[i].text), &go), rows[i].go != BAD);
        CHECK_INT(go, rows[i].go);
        CHECK_INT(duration_parse(str_of(rows[i].text), &param), rows[i].param != BAD);
        CHECK_INT(param, rows[i].param);
    }
}

static void test_duration_format(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ms"},
        {1500, "1500ms"},
        {5000, "5s"},
        {60000, "1m"},
        {5400000, "1h30m"},
        {INT64_C(2592000000), "30d"},
        {-5000, "-5s"},
        {60500, "1m500ms"},
        {INT64_MIN, "-106751991167d7h12m55s808ms"},
    };
    char out[DURATION_TEXT];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(duration_format(rows[i].ms, out), rows[i].text);
}

static void test_size(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t bytes;
        const char *canonical;
    } rows[] = {
        {"1GiB", true, UINT64_C(1) << 30, "1GiB"},
        {"1Gi", true, UINT64_C(1) << 30, "1GiB"},
        {"64MiB", true, UINT64_C(64) << 20, "64MiB"},
        {"512KiB", true, UINT64_C(512) << 10, "512KiB"},
        {"1024KiB", true, UINT64_C(1) << 20, "1MiB"},
        {"4096", true, 4096, "4KiB"},
        {"4097B", true, 4097, "4097"},
        {"0", true, 0, "0"},
        {"15EiB", true, UINT64_C(15) << 60, "15EiB"},
        {"16EiB", false, 0, NULL},
        {"18446744073709551615", true, UINT64_MAX, "18446744073709551615"},
        {"18446744073709551616", false, 0, NULL},
        {"", false, 0, NULL},
        {"B", false, 0, NULL},
        {"GiB", false, 0, NULL},
        {"1GB", false, 0, NULL},
        {"1 GiB", false, 0, NULL},
        {"-1", false, 0, NULL},
        {"1.5GiB", false, 0, NULL},
    };
    char out[SIZE_TEXT];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t bytes = 7;
        harness_case("\"%s\"", rows[i].text);
        CHECK_INT(size_parse(str_of(rows[i].text), &bytes), rows[i].ok);
        CHECK_INT(bytes, rows[i].ok ? rows[i].bytes : 7);
        if (rows[i].ok)
            CHECK_TEXT(size_format(bytes, out), rows[i].canonical);
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_time_parse),
                                       TEST(test_time_parse_in_parts),
                                       TEST(test_time_format),
                                       TEST(test_duration_parse),
                                       TEST(test_duration_format),
                                       TEST(test_size),
                                       {0}});
}
