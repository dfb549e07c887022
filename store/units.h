/* Times, durations and sizes as people and Kubernetes write them. Pure; no clock is read here. */
#ifndef FES_STORE_UNITS_H
#define FES_STORE_UNITS_H

#include "store/str.h"

/* What time it is, as an argument: wall_ms since 1970-01-01T00:00:00Z (may jump either way), mono_ms on a
 * clock that only goes forward and counts suspended time (CLOCK_BOOTTIME). Deadlines are kept in mono_ms. */
struct moment {
    int64_t wall_ms;
    int64_t mono_ms;
};

/* 2000-01-01T00:00:00Z: an event's timestamp before this is a placeholder, no time. */
#define YEAR_2000_MS INT64_C(946684800000)

/* RFC 3339 date-time: any offset, any fraction, 'T' or 't' or a space; years 0000-9999; second 60 is read
 * as 59. False leaves *ret_ms untouched. */
bool time_parse(struct str s, int64_t *ret_ms);

/* "2006-01-02T15:04:05Z": UTC, whole seconds (rounded down), as Kubernetes writes metav1.Time. Years outside
 * 0000-9999 are clamped. Returns `out`. */
#define TIME_TEXT 21
const char *time_format(int64_t ms, char out[static TIME_TEXT]);

/* Go's duration grammar (time.ParseDuration): "1h30m", "1.5h", "500ms", "0", with sign; units ns us µs ms s m
 * h. The result is in ms, rounded away from zero so that a positive duration never becomes 0; what does not
 * fit int64 nanoseconds is false, as in Go. */
bool duration_parse_go(struct str s, int64_t *ret_ms);

/* For flags and parameters: Go's grammar, not negative, and also days: "30d", "1d12h". */
bool duration_parse(struct str s, int64_t *ret_ms);

/* Shortest exact form: "30d", "1h30m", "1500ms", "0s". */
#define DURATION_TEXT 48
const char *duration_format(int64_t ms, char out[static DURATION_TEXT]);

/* "1GiB", "64MiB", "512KiB", "4096", also "1Gi" as Kubernetes writes it. Bytes. */
bool size_parse(struct str s, uint64_t *ret_bytes);
#define SIZE_TEXT 32
const char *size_format(uint64_t bytes, char out[static SIZE_TEXT]);

#endif
