/* Run and CustomRun objects of the API <-> struct run. Pure.
 */
#ifndef FES_CONTROLLER_RUN_JSON_PRIV_H
#define FES_CONTROLLER_RUN_JSON_PRIV_H

#include "controller/controller.h"

/* Limits on what an object may say. */
#define RUN_MAX_NAME \
    253                /* a DNS-1123 subdomain; nothing longer, and no other characters, goes into a path \
                        */
#define RUN_MAX_ID 256 /* uid, resourceVersion */
#define RUN_MAX_RETRIES \
    100 /* bounds retriesStatus: 100 entries of at most ~9 KiB stay below etcd's 1.5 MB \
         */
#define RUN_MAX_PARAMS  1024
#define RUN_MAX_CARRIED (64u << 10) /* annotations or extraFields copied into an entry of retriesStatus */
#define RUN_NO_TIME     INT64_MIN

/* Why a Run can never be waited for. In this order when several apply. */
enum run_fault { FAULT_NONE, FAULT_SPEC, FAULT_NAME, FAULT_PARAMS, FAULT_TIMEOUT };

/* Status of the condition of type Succeeded. Absent, "" and unknown words are one: there is none yet. */
enum run_succeeded { SUCCEEDED_ABSENT, SUCCEEDED_UNKNOWN, SUCCEEDED_TRUE, SUCCEEDED_FALSE };

/* Text of a run: slices of one block that the run owns. */
#define RUN_TEXTS(X)                                                        \
    X(uid)                                                                  \
    X(namespace)                                                            \
    X(name)                                                                 \
    X(resource_version)                                                     \
    X(revision) /* as asked; of a faulty Run, as far as it could be read */ \
    X(reason)   /* of the Succeeded condition */

/* Texts that hardly any Run has. Thousands wait at once, and these would be a tenth of what each of them costs. */
#define RUN_RARE_TEXTS(X)                                                                    \
    X(status_message) /* spec.statusMessage, kept while cancelled */                         \
    X(fault_message)                                                                         \
    X(foreign_conditions) /* JSON array of the conditions of other types; empty: none */     \
    X(retries_status)     /* JSON array, kept while another entry may follow; empty: none */ \
    X(annotations)        /* status.annotations and status.extraFields as JSON, likewise: */ \
    X(extra_fields)       /* an entry of retriesStatus is a copy of the status */

struct run_rare {
#define X(field) struct str field;
    RUN_RARE_TEXTS(X)
#undef X
};

struct run {
    enum run_kind kind;
    enum run_fault fault;
    enum run_succeeded succeeded;
    bool first_version;  /* ref github.com/janakerman/flux-event-store/v0: its success reason is misspelt */
    bool deleting;       /* metadata.deletionTimestamp */
    bool cancelled;      /* spec.status RunCancelled */
    bool has_start;      /* status.startTime is in the API; start_ms may be known before */
    bool has_completion; /* keys that a new attempt must remove */
    bool has_results;
    uint32_t retries;      /* spec.retries, bounded */
    uint32_t retries_done; /* attempts that ended */
    int64_t created_ms;
    int64_t generation; /* 0: none */
    int64_t observed_generation;
    int64_t
        start_ms; /* of this attempt; RUN_NO_TIME: none. More exact than the API's whole seconds if known */
    int64_t attempt_ms;    /* failures received before do not count; RUN_NO_TIME: first attempt, all count */
    int64_t timeout_ms;    /* of an attempt; 0: none */
    int64_t fail_after_ms; /* the question's */
    int64_t transition_ms; /* lastTransitionTime of Succeeded; RUN_NO_TIME: none */
    int64_t deadline_mono_ms; /* see run_anchor; INT64_MAX: none */
    uint64_t message_hash;    /* run_hash of the Succeeded condition's message */
#define X(field) struct str field;
    RUN_TEXTS(X)
#undef X
    struct str message;          /* of the Succeeded condition: memory of its own, see run_drop_message */
    struct question *question;   /* owned; NULL when faulty, or taken by the holder */
    const struct run_rare *rare; /* in the block; NULL: all are empty. See run_rare. */
    void *block;
};

/* Never NULL. */
const struct run_rare *run_rare(const struct run *r);

/* Which apiVersion/kind are ours. Built in: the first version's and flux-event-store.dev/v1. */
struct run_refs {
    struct {
        struct str api_version;
        struct str kind;
    } more[FLAG_LIST_MAX];
    size_t n;
};
/* Splits at the last '/'. False: `entry` lacks a part. entry is borrowed for the life of refs. */
bool run_refs_add(struct run_refs *refs, const char *entry);
bool run_refs_match(const struct run_refs *refs, struct str api_version, struct str kind,
                    bool *ret_first_version);

enum run_parsed {
    RUN_OURS,
    RUN_FOREIGN,   /* another task's; identity is filled, so that the holder can forget it */
    RUN_MALFORMED, /* not JSON, or without uid, name, namespace or resourceVersion that can be one */
    RUN_NO_MEMORY, /* kind, namespace and name are filled, the texts where there is memory for so little */
};

struct run_parse_options {
    const struct run_refs *refs;
    int64_t default_timeout_ms;
};

/* Reads one object. ret is filled, but on RUN_MALFORMED; release with run_release.
 *
 * Choices the API leaves open: ref.bundle, resolver and ref.params are ignored. With ref and an embedded spec
 * the ref says whose it is. A parameter that is a number is taken by its JSON text when it is an integer, and
 * is "not a string" otherwise, because 1.10 has become 1.1 before anyone can read it. A repeated parameter
 * fails. Conditions that are not objects with a type are not kept. */
enum run_parsed run_parse(enum run_kind kind, struct str json, const struct run_parse_options *options,
                          struct run *ret);
void run_release(struct run *r);
/* Frees the message, which only a Kubernetes Event needs: a Run that waits need not hold it. */
void run_drop_message(struct run *r);
/* True when both are in the same second, as the API writes times. */
bool run_same_second(int64_t a_ms, int64_t b_ms);

/* The message of a Status object, for people; empty when there is none. */
void run_status_message(struct str json, struct text *out);

uint64_t run_hash(struct str s);
/* True when a is known to be older than b: both are decimal and a is smaller. */
bool run_version_older(struct str a, struct str b);

#endif
