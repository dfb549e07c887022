/*
 * What happened at the fake API server: requests, and writes to objects. Both are rings; the oldest goes
 * first.
 */
#ifndef TEST_FAKE_LOG_H
#define TEST_FAKE_LOG_H

#include <stdint.h>

#include <jansson.h>

#include "test/fake/http.h"
#include "test/fake/objects.h"

#define LOG_MAX_REQUESTS 50000u
#define LOG_MAX_WRITES   50000u

struct log;

struct log *log_new(void);
void log_free(struct log *log);

/* Returns the entry's number, never 0. */
uint64_t log_request(struct log *log, const struct http_request *request);
/* The status of its answer; 0 for number is ignored. */
void log_set_status(struct log *log, uint64_t number, int status);
/* Since the last log_clear. */
uint64_t log_requests(const struct log *log);
void log_clear(struct log *log);
/* Array of {number, ms, method, target, userAgent, status}, oldest first; NULL filters match all. */
json_t *log_to_json(const struct log *log, const char *method, const char *path_contains);

void log_write(struct log *log, const struct change *change);
/*
 * "<unix ms> <namespace>/<name> <resourceVersion> <ADDED|MODIFIED|DELETED> <Succeeded or -> <reason or ->"
 * per line, oldest first; prefix "" or "namespace/" or "namespace/name". Caller frees.
 */
char *log_writes(const struct log *log, const struct resource *resource, const char *prefix, bool whole);

#endif
