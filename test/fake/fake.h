/*
 * What the parts of the fake API server share: the server itself, and one request on its way (a call).
 *
 *   main.c     flags, signals, the loop          call.c     answers, metav1.Status
 *   api.c      a request: fault, auth, route     verbs.c    get, create, patch, delete
 *   list.c     lists in pages                    watch.c    watch streams
 *   faults.c   the fault table                   control.c  /_control/
 *   log.c      request log, log of writes        views.c    what people and shell scripts read
 */
#ifndef TEST_FAKE_FAKE_H
#define TEST_FAKE_FAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <jansson.h>

#include "test/fake/http.h"
#include "test/fake/identity.h"
#include "test/fake/objects.h"

struct faults;
struct log;
struct watch;
struct snapshots;

LIST_HEAD(watch_list, watch);

struct settings {
    int bookmark_ms;          /* between two bookmarks of a watch; 60 s as a kube-apiserver */
    bool gone_as_status;      /* a too old resourceVersion: HTTP 410 instead of an ERROR in the stream */
    size_t watch_chunk_bytes; /* 0: one chunk per watch event; else at most so many bytes per chunk */
};

struct fake {
    struct event_base *base;
    struct http_server *http;
    struct identity *identity;
    bool needs_token; /* not behind a "kubectl proxy" */
    struct objects *objects;
    struct watch_list watches;
    struct snapshots *snapshots;
    struct faults *faults;
    struct log *log;
    struct settings settings;
    unsigned in_flight; /* requests without an answer; watches do not count */
    unsigned in_flight_peak;
};

/* One request, from its last byte to the end of its answer. */
struct call {
    struct fake *fake;
    struct http_conn *conn;
    const struct http_request *request;
    struct event *delay;
    struct fault_case *fault; /* waiting out its delay */
    struct watch *watch;
    uint64_t log_number; /* 0: not logged */
    bool in_flight;
    /* Where it goes, once routed. The strings are part of `segments`. */
    char *segments;
    const struct resource *resource;
    const char *namespace; /* NULL: all */
    const char *name;      /* NULL: the collection */
    bool status_only;      /* the status subresource */
    bool unknown_part;     /* another subresource */
};

double fake_now_ms(void); /* Unix milliseconds, with microseconds behind the point */

/* call.c. Each answers the call, which the caller may not touch afterwards. */
void call_reply_json(struct call *call, int status, json_t *body); /* takes over body */
void call_reply_text(struct call *call, int status, const char *text);
void call_fail(struct call *call, int status, const char *reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void call_fail_with(struct call *call, int status, const char *reason, json_t *details,
                    int retry_after_seconds, const char *message); /* takes over details, may be NULL */
/* The message: before, then `customruns.tekton.dev "name"`, then after. */
void call_fail_object(struct call *call, int status, const char *reason, const char *before,
                      const char *after);
/* 422 for a field; kind: "CustomRun" (the schema) or "customruns" (the registry), as the real server has it. */
void call_fail_field(struct call *call, const char *kind, const char *field, const char *reason,
                     const char *problem);
json_t *status_failure(int status, const char *reason, const char *message, json_t *details);
const char *status_reason(int status);  /* the reason that goes with a code */
const char *status_message(int status); /* a sentence a kube-apiserver says with it */
/* The request's body as a new object of this kind; answers 400 or 415 and returns NULL when it is none. */
json_t *call_body(struct call *call);
bool call_has_type(const struct call *call, const char *content_type);

/* api.c */
void api_on_request(struct http_conn *conn, struct http_request *request, void *arg);

/* verbs.c, list.c, watch.c: the call is routed. */
void verb_get(struct call *call);
void verb_create(struct call *call);
void verb_patch(struct call *call);
void verb_delete(struct call *call);
void verb_list(struct call *call);
void verb_watch(struct call *call);

/* "": no version. False: not a number. */
bool parse_version(const char *text, uint64_t *ret_version);

struct snapshots *snapshots_new(void);
void snapshots_free(struct snapshots *snapshots);

void watch_on_change(const struct change *change, void *arg);
void watch_free(struct watch *watch);
void watch_rearm_bookmarks(struct fake *fake);
unsigned watch_count(const struct fake *fake, const struct resource *resource); /* NULL: of all */
void watch_end(struct fake *fake, const struct resource *resource); /* clean final chunk; NULL: of all */
void watch_inject(struct fake *fake, const struct resource *resource, const char *raw, size_t bytes);

/* control.c, views.c */
void control_handle(struct call *call);
void view_table(struct call *call, const struct resource *resource);

#endif
