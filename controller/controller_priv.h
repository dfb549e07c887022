/* The parts of the shell: the table of Runs, the heap of wake-ups, requests under way. */
#ifndef FES_CONTROLLER_CONTROLLER_PRIV_H
#define FES_CONTROLLER_CONTROLLER_PRIV_H

#include "controller/run_body_priv.h"

#define BACKOFF_FIRST_MS   800 /* client-go's reflector: 0.8 s, doubled up to 30 s */
#define BACKOFF_MOST_MS    30000
#define PARKED_MS          30000  /* between tries of a write that the API server refuses: two a minute */
#define CONFLICTS_MOST     5      /* 409 in a row that are answered at once */
#define CONFLICT_MS        700    /* between two tries after that */
#define PROBE_MS           700    /* between two tries while nothing can be written */
#define EXPLAIN_RUN_MS     10000  /* between two explanations of one Run */
#define EXPLAIN_ALL_MS     200    /* between two explanations of any */
#define REPORT_INTERVAL_MS 300000 /* between two reports that permissions are missing */
#define LIST_AGAIN_MS      1000   /* after memory ran out for a Run */
#define SCOPES_MOST        1024   /* watches per kind */

enum request { REQUEST_NONE, REQUEST_PATCH, REQUEST_GET };

/* A Run of ours. One that has ended stays, without a waiter, until the watch has shown its end too: what the
 * watch delivers in between is older, and must not bring it back to life. */
struct tracked {
    struct run run; /* run.question is NULL while the waiter owns it */
    struct controller *c;
    struct waiter *waiter;
    struct tracked *next;       /* in its hash chain */
    uint64_t token;             /* of the request under way; 0: none */
    uint64_t said;              /* say_digest of what the message explains; 0: not known */
    int64_t due_mono_ms;        /* the heap's order: the next time that something may be due */
    int64_t ask_mono_ms;        /* the verdict may change by itself */
    int64_t not_before_mono_ms; /* no request before: backing off */
    int64_t explained_mono_ms;  /* last write of a message */
    int64_t explain_mono_ms;    /* turn to explain that was given; INT64_MAX: none */
    int64_t seen_wall_ms;       /* when this process saw it first */
    int64_t decided_wall_ms;    /* when the event was received that decides it, if that came since; 0: none */
    size_t heap_at;
    uint32_t slot;
    uint32_t epoch; /* the listing that showed it last */
    uint32_t scope;
    uint64_t failed_at; /* n_written + 1 at the last failure since its own last write; 0: none */
    bool taken;         /* the watch showed another version while the request was under way */
    uint8_t request;    /* enum request */
    uint8_t doing;      /* enum action_kind of the PATCH under way, or last tried */
    uint8_t failures;   /* in a row */
    uint8_t conflicts;  /* in a row */
    uint32_t attempt;   /* retries_done when `doing` was tried */
    bool owed;          /* something was or may have been decided and is not written */
    bool has_turn;      /* explain_mono_ms is a turn among all Runs, not the end of its own pause */
    bool must_get;      /* what the API has is not known */
    bool unsure;        /* the last PATCH got no answer: it may have been applied */
    bool held;          /* waits for the end of an outage, or for its turn to try */
    bool probing;       /* its turn */
    bool ended;
    bool parked;
    bool
        unseen; /* its collection cannot be read: dropped with the reply, unless a list shows it again before */
};

struct scope {
    uint32_t epoch;
    bool listing;
};

/* What controller_metrics says. The gauges are filled by controller_collect, but for parked. */
#define RUN_VERDICTS 6
struct controller_numbers {
    uint64_t finished[RUN_VERDICTS];
    struct histogram event_to_run_us;
    uint64_t parked;
    uint64_t waiting;
    uint64_t held;
    uint64_t conflicts;
    uint64_t malformed;
};

struct controller {
    int64_t default_timeout_ms;
    struct run_refs refs;
    struct waiters *waiters;
    struct controller_io io;
    struct reporter reporter;
    struct moment now;

    struct tracked **chains; /* by kind, namespace and name */
    size_t n_chains;         /* a power of two */
    size_t n_tracked;
    struct tracked **slots; /* by the low half of a token */
    uint32_t *free_slots;
    uint32_t n_slots;
    uint32_t n_free;
    struct tracked **heap;
    size_t n_heap;
    size_t heap_cap;
    struct scope *scopes[RUN_KINDS];
    unsigned n_scopes[RUN_KINDS];

    uint32_t next_token;
    uint64_t n_events;
    int64_t armed_mono_ms;
    int64_t next_explain_mono_ms;
    int64_t hold_mono_ms;       /* 429: no request before */
    int64_t forbidden_mono_ms;  /* last report of a 403; INT64_MIN: none */
    int64_t list_again_mono_ms; /* INT64_MAX: no need */
    bool failing;               /* an outage: see outage.c */
    uint32_t n_held;
    uint32_t last_try;     /* the slot that had the last turn */
    int64_t tried_mono_ms; /* last failure or try of the outage */
    uint64_t n_written;    /* PATCHes that were accepted */
    bool poked;            /* a waiter was marked since the last waiters_run: the loop must turn once more */
    struct controller_stats stats;
    struct controller_numbers numbers;
    char *finished[CONTROLLER_FINISHED]; /* JSON; a ring: the oldest is at n_finished % CONTROLLER_FINISHED */
    uint64_t n_finished;
};

/* ---- runs.c: the table ---- */

struct tracked *runs_find(const struct controller *c, enum run_kind kind, struct str namespace,
                          struct str name);
/* Takes over *run. NULL when out of memory; then it stays the caller's. */
struct tracked *runs_add(struct controller *c, struct run *run);
/* Drops the waiter, forgets requests under way, frees. */
void runs_drop(struct tracked *t);
struct tracked *runs_by_token(const struct controller *c, uint64_t token);
uint64_t runs_new_token(struct tracked *t);
void runs_free_all(struct controller *c);

/* ---- deadline.c: a min-heap of wake-ups ---- */

bool deadline_add(struct tracked *t); /* false: out of memory */
void deadline_move(struct tracked *t, int64_t due_mono_ms);
void deadline_remove(struct tracked *t);
int64_t deadline_first(const struct controller *c); /* INT64_MAX: none */

/* ---- flight.c: requests and their replies ---- */

/* Writes what was decided, unless it has to wait; then t's due time says until when. */
void flight_patch(struct tracked *t, const struct action *a, const struct verdict *v);
void flight_get(struct tracked *t);
/* What a reply means for t. May drop it. */
void flight_reply(struct tracked *t, int status, int64_t retry_after_ms, struct str body);

/* Announces the transition of a PATCH that got no answer, when t's state shows that it was applied. */
void flight_settle(struct tracked *t);

/* ---- outage.c: when nothing can be written ---- */

/* Whether t may send now. False: it is held, and owed a decision. */
bool outage_lets(struct tracked *t);
/* t's request got a 5xx or no answer. False: t's own affair, others were written meanwhile; the caller has it back off.
 * True: t is held. */
bool outage_begins(struct tracked *t);
/* A write was answered in earnest. May drop any Run that is held. */
void outage_ends(struct controller *c);
/* When the next Run may try; INT64_MAX: nobody waits for that. */
int64_t outage_next(const struct controller *c);
/* Lets the next one try, when it is time. */
void outage_try(struct controller *c);
void outage_unhold(struct tracked *t);

/* ---- metrics.c: what is measured ---- */

/* Before a PATCH that writes a: notes whether, and since when, an event that came while the Run waited decides it. */
void measure_decision(struct tracked *t, const struct action *a, const struct verdict *v);
/* t's end is in the API. */
void measure_finished(struct tracked *t);
/* The PATCH with which t ends was acknowledged. */
void measure_acknowledged(struct tracked *t);

/* ---- list.c: what GET /runs shows ---- */

/* t has ended with `doing`. written: the object as the API has it. */
void list_finished(struct tracked *t, const struct run *written);
void list_free(struct controller *c);

/* ---- tracked.c: one Run ---- */

/* There is no memory for this Run, whose namespace and name may be empty: says so, and has the Runs listed again, soon. */
void controller_lose(struct controller *c, const struct run *run);
/* Tells the loop when to come back. */
void controller_rearm(struct controller *c);
/* Begins with a Run that is not tracked. Takes over *run. */
void track(struct controller *c, struct run *run, uint32_t scope, uint32_t epoch);
/* Takes over *run, which the API has, as t's state, and acts on it. May drop t. */
void tracked_adopt(struct tracked *t, struct run *run);
/* Acts on t's state, after the request under way has come to its end. May drop t. */
void tracked_settle(struct tracked *t);
/* Has t decided on again: through its waiter where it has one. May drop t. */
void tracked_reconsider(struct tracked *t);
/* Puts t where its next wake-up belongs. */
void tracked_schedule(struct tracked *t);
/* t ended by our own write: frees what only waiting needs. version: of that write. Takes over *written. */
void tracked_end(struct tracked *t, struct run *written);

#endif
