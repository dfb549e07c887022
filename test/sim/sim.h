/* The simulator: the real controller and store in a world that a seed makes up.
 *
 * Real: all of controller/, and of store/ the records, the index, the questions, the waiters and the writer. Made up:
 * the clocks, the API server with its watches, the client in between, Flux, and the people who create, cancel and
 * delete Runs. Nothing here knows a socket or waits for time to pass: the next due step is taken, the clock is set to
 * its time, and it is done. One seed always gives the same story.
 */
#ifndef FES_TEST_SIM_H
#define FES_TEST_SIM_H

#include <jansson.h>

#include "controller/controller.h"
#include "store/store.h"

#define SECOND  INT64_C(1000)
#define MINUTE  (60 * SECOND)
#define T0      INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define NO_TIME INT64_MIN

#define SLOTS        10   /* names of Runs */
#define LIVES_MOST   64   /* objects that ever were */
#define STATES_MOST  4096 /* versions of all of them */
#define REPORTERS    5    /* objects that Flux reports on */
#define REVISIONS    4
#define SAID_MOST    256
#define REQUESTS     256
#define WATCHES      4
#define IN_FLIGHT    16 /* the client's own bound */
#define PATH_MOST    768
#define FAILURE_TEXT 512

/* ---- what is done next ---- */

enum step_kind {
    STEP_LIFE,    /* somebody does something, or something breaks */
    STEP_HEAL,    /* whatever is broken for a while works again */
    STEP_START,   /* the process starts */
    STEP_DELIVER, /* an event reaches the process */
    STEP_COMMIT,  /* a commit returns */
    STEP_WAKE,    /* the time that the controller asked for */
    STEP_TURN,    /* the loop goes on */
    STEP_ARRIVE,  /* a request reaches the API server */
    STEP_ANSWER,  /* its answer reaches the process, or does not */
    STEP_WATCH,   /* a watch goes on */
};

struct step {
    int64_t due_ms;
    uint64_t order; /* steps of one time are done in the order in which they were planned */
    enum step_kind kind;
    uint32_t which;
    uint64_t life; /* of the process that it belongs to; 0: of none */
};

/* ---- what can go wrong ---- */

#define FAULTS(X)                                                                      \
    X(FAULT_SLOW, "slow answers")                                                      \
    X(FAULT_LOST_REQUEST, "a request got lost")                                        \
    X(FAULT_LOST_ANSWER, "a write was applied, its answer got lost")                   \
    X(FAULT_LATE_WRITE, "a write was applied after its client had given up")           \
    X(FAULT_GARBLED, "an answer came cut short")                                       \
    X(FAULT_BUSY, "429")                                                               \
    X(FAULT_BROKEN, "500 or 503")                                                      \
    X(FAULT_REFUSED, "422")                                                            \
    X(FAULT_FORBIDDEN, "401 or 403")                                                   \
    X(FAULT_QUEUE, "the client's queue was full")                                      \
    X(FAULT_DOWN, "the API server was down")                                           \
    X(FAULT_CUT, "a watch was cut")                                                    \
    X(FAULT_GONE, "410, a watch had to list again")                                    \
    X(FAULT_UNREADABLE, "a collection could not be read")                              \
    X(FAULT_REORDER, "changes of different objects came in another order, some twice") \
    X(FAULT_TOUCH, "somebody else changed a Run")                                      \
    X(FAULT_RESTART, "the process restarted")                                          \
    X(FAULT_JUMP, "the wall clock jumped")                                             \
    X(FAULT_LATE_EVENT, "an event came late")                                          \
    X(FAULT_REPEAT, "an event was delivered twice")
enum fault {
#define X(id, text) id,
    FAULTS(X)
#undef X
        N_FAULTS
};

/* Defects that are planted on purpose, to see that the checks find them. */
enum plant { PLANT_NONE, PLANT_LOST_MARK, PLANT_LOST_TIMER, PLANT_DOUBLE_FINISH };

/* ---- Flux ---- */

struct said {
    unsigned reporter;
    enum event_class class;
    int revision; /* -1: none */
    unsigned number;
    bool has_timestamp;
    int64_t timestamp_ms;
    int64_t effective_ms;
    int64_t received_ms;
    bool by_arrival;
    bool repeat;   /* has no effect of its own */
    bool appended; /* the process has it */
    bool acknowledged;
    bool presumed; /* by the oracle, for a moment */
    uint64_t arrival;
    unsigned record; /* that it begins, becomes part of or repeats */
    char body[256];
};

/* A record, as the store must keep it: statements that were coalesced, and what is known of them. */
struct kept {
    unsigned reporter;
    unsigned first; /* said, by time */
    unsigned last;
    int64_t last_ms;
    int64_t heard_ms; /* received last */
    uint64_t seq;     /* 0: not known yet */
};

/* ---- Runs ---- */

/* What a Run asks for. */
struct asked {
    enum run_kind kind;
    unsigned namespace;
    bool foreign; /* another task's */
    bool first_version;
    unsigned revision;
    unsigned form; /* how it is written */
    unsigned retries;
    int64_t timeout_ms; /* 0: none */
    int64_t fail_after_ms;
    int on_superseded; /* enum question_superseded */
    unsigned expect;
    unsigned objects; /* bits: reporters asked for by name */
};

enum outcome { OUTCOME_NONE, OUTCOME_UNKNOWN, OUTCOME_TRUE, OUTCOME_FALSE };

/* One version of one object, as the API server had it. */
struct state {
    unsigned life;
    uint64_t version; /* resourceVersion */
    bool deleted;
    bool deleting;
    bool cancelled;
    enum outcome outcome;
    char reason[64];
    char start[32];
    int64_t start_ms;   /* NO_TIME: none */
    int64_t attempt_ms; /* begin of the attempt under way when it is not the first */
    unsigned retries_done;
    char *json;
};

/* An object from its creation to its removal: one UID. */
struct life {
    struct asked asked;
    unsigned slot;
    int64_t created_ms;
    json_t *object;
    unsigned current; /* state */
    bool gone;
    unsigned ends;       /* terminal writes that were accepted */
    uint64_t ended_by;   /* the process that wrote it; 0: one that did not know the Run any more */
    unsigned end_events; /* Kubernetes Events about an end */
    uint64_t known;      /* newest version that this process was shown */
    bool out_of_sight;   /* its collection could not be read, and no list has shown it again */
    int64_t tried_ms;    /* start that this process tried to write; NO_TIME: none */
    int64_t paused_ms;   /* after a failure no request is owed before */
    int64_t overdue_ms;  /* since when something is owed; NO_TIME: nothing is */
    int64_t written_ms;  /* last PATCH of this process */
    int64_t looked_ms;   /* the oracle was asked then, about this: */
    unsigned looked_state;
    unsigned looked_said;
    unsigned allowed;   /* and it said */
    unsigned under_way; /* PATCHes handed in and not answered */
    unsigned asking;    /* requests handed in and not answered */
    int64_t minute_ms;  /* requests are counted per minute */
    unsigned in_minute;
};

enum request_kind { A_PATCH, A_GET };
enum request_state { REQUEST_FREE, REQUEST_QUEUED, REQUEST_SENT, REQUEST_GIVEN_UP };

struct request {
    enum request_state state;
    enum request_kind kind;
    uint64_t process; /* that handed it in */
    uint64_t order;
    uint64_t token;
    bool urgent;
    bool arrived;
    int life; /* whom it is about; -1: nobody that is known */
    char path[PATH_MOST];
    char *body;
    int status; /* of the answer */
    int64_t retry_after_ms;
    char *answer;
    uint64_t answer_version; /* of the object in it; 0: none */
};

enum watch_state { WATCH_LIST, WATCH_LISTING, WATCH_RESUME, WATCH_OPEN };

struct watch {
    enum run_kind kind;
    int namespace; /* -1: all */
    enum watch_state state;
    unsigned position;    /* states before it have been delivered */
    unsigned listed;      /* states before it were in the list */
    unsigned list[SLOTS]; /* states to give out */
    unsigned n_list;
    unsigned at;
    bool ahead[STATES_MOST]; /* delivered before their turn */
    bool planned;            /* a step is due */
    uint32_t number;         /* of that step; others are void */
    bool unreadable;
};

/* ---- the whole ---- */

struct counts {
    uint64_t steps;
    uint64_t events;
    uint64_t runs;
    uint64_t requests;
    uint64_t starts;
    uint64_t retries;
    uint64_t faults[N_FAULTS];
    uint64_t ends[16]; /* by action, see check.c */
};

struct sim {
    uint64_t seed;
    uint64_t random;
    enum plant plant;
    bool tracing;
    bool may[N_FAULTS]; /* what this seed plays with */
    bool calm;          /* faults have stopped */
    bool namespaced;
    bool many_turns; /* one question per turn of the loop */
    char failure[FAILURE_TEXT];
    struct counts *counts;

    int64_t now_ms;    /* true time since the begin of the story */
    int64_t offset_ms; /* error of the wall clock */
    int64_t offset_least_ms;
    int64_t offset_most_ms; /* of this process's life */
    struct step *steps;
    size_t n_steps;
    size_t cap_steps;
    uint64_t order;
    uint64_t in_moment; /* steps at now_ms */

    /* the process */
    const char *dir;
    uint64_t process; /* counts the lives */
    bool up;
    int64_t base_ms; /* its monotonic clock */
    struct store *store;
    struct waiters *waiters;
    struct controller *controller;
    bool committing;
    bool turning;
    int64_t asked_wake_ms; /* on its clock */
    int64_t wake_ms;       /* on the true clock; INT64_MAX: none */
    uint32_t wake_number;
    bool down; /* API server */
    bool broken, refusing, forbidding;
    int64_t hold_ms;       /* the client's, after a 429 */
    int64_t asked_hold_ms; /* what the controller was told */
    bool outage;           /* nothing could be written, and nothing has been since: the Runs try one by one */
    int64_t minute_ms;
    unsigned in_minute;
    int64_t explained_ms;

    struct said said[SAID_MOST];
    unsigned n_said;
    struct kept kept[SAID_MOST];
    unsigned n_kept;
    uint64_t n_arrived;
    uint64_t n_flushed; /* of them, given to the writer */
    unsigned n_acknowledged;
    int64_t last_received_ms;
    uint64_t last_seq;
    unsigned marks; /* records that were told to the waiters */
    unsigned timers;
    int64_t lost_timer_ms; /* on the process's clock; 0: none */
    bool planted;

    struct life lives[LIVES_MOST];
    unsigned n_lives;
    int slots[SLOTS]; /* life; -1: none */
    struct state states[STATES_MOST];
    unsigned n_states;
    struct request requests[REQUESTS];
    struct watch watches[WATCHES];
    unsigned n_watches;
    unsigned compacted; /* states before it cannot be watched from */
};

/* ---- sim.c, world.c ---- */

uint64_t sim_random(struct sim *s);
/* 0 .. n-1 */
unsigned sim_pick(struct sim *s, unsigned n);
bool sim_chance(struct sim *s, unsigned percent);
/* Whether this seed plays with the fault, it is not calm, and it happens now; counts it. */
bool sim_strikes(struct sim *s, enum fault fault, unsigned percent);
void sim_note(struct sim *s, enum fault fault);
__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *s, const char *format, ...);
__attribute__((format(printf, 2, 3))) void sim_trace(struct sim *s, const char *format, ...);

void plan(struct sim *s, int64_t in_ms, enum step_kind kind, uint32_t which);
int64_t wall_now(const struct sim *s);
struct moment moment_of(const struct sim *s);
/* Runs one story to its end. False: it failed, and s->failure says how. */
bool world_run(struct sim *s);

/* ---- process.c: the store and the controller ---- */

void process_start(struct sim *s);
void process_stop(struct sim *s);
void process_turn(struct sim *s);
void process_commit(struct sim *s);
void process_receive(struct sim *s, unsigned said);

/* ---- kept.c: what the store must make of each event ---- */

const char *said_reason(const struct said *e);
/* Whether e, before it is received, has no effect of its own: then which record it repeats. */
bool kept_repeats(const struct sim *s, const struct said *e, unsigned *ret_record);
/* A received event that is no repeat begins a record or becomes part of one. */
void kept_add(struct sim *s, unsigned which);
/* The store has given e this id. */
void kept_stored(struct sim *s, const struct said *e, uint64_t seq);
/* When the newest of all records was received; 0: there are none. */
int64_t kept_heard_ms(const struct sim *s);

/* ---- api.c: the API server ---- */

void api_create(struct sim *s, unsigned slot, const struct asked *asked);
/* JSON is merged into the object. spec: somebody changes what is wanted, so that its generation moves. */
void api_change(struct sim *s, unsigned life, json_t *patch, bool spec);
void api_remove(struct sim *s, unsigned life);
/* Returns the HTTP status; fills the answer. */
int api_patch(struct sim *s, struct request *r);
int api_get(struct sim *s, struct request *r);
int api_find(const struct sim *s, const char *path);
void api_path(const struct sim *s, unsigned life, char out[static PATH_MOST]);
const struct state *api_state(const struct sim *s, unsigned life);
const char *namespace_name(unsigned namespace);

/* ---- client.c ---- */

bool client_patch(void *arg, uint64_t token, const char *path, struct str body, bool urgent);
bool client_get(void *arg, uint64_t token, const char *path);
void client_arrive(struct sim *s, uint32_t which);
void client_answer(struct sim *s, uint32_t which);
void client_go_on(struct sim *s);
/* Those that were not sent, or all. */
void client_forget(struct sim *s, bool all);

/* ---- watch.c ---- */

void watches_start(struct sim *s);
void watch_step(struct sim *s, uint32_t which);
void watch_cut(struct sim *s, unsigned watch, bool gone);
void watches_poke(struct sim *s);

/* ---- people.c: Flux, users, and what breaks ---- */

void people_begin(struct sim *s);
void people_act(struct sim *s, uint32_t which);
void people_heal(struct sim *s, uint32_t which);
void people_calm(struct sim *s);
/* A success of every revision on every object: whatever still waits must end. */
void people_decide_all(struct sim *s);
extern const char *const reporter_names[REPORTERS][3]; /* kind, namespace, name */
extern const char *const revision_texts[REVISIONS][3]; /* as Flux says it, and how else it may be asked for */
bool reporter_is_source(unsigned reporter);

/* ---- oracle.c ---- */

/* Bits of what may be done with a Run now. */
enum {
    MAY_WAIT = 1, /* nothing, or another message */
    MAY_START = 2,
    MAY_SUCCEED = 4,
    MAY_FAIL = 8,
    MAY_SUPERSEDE = 16,
    MAY_EXPIRE = 32,
    MAY_CANCEL = 64,
    MAY_RETRY_FAILED = 128,
    MAY_RETRY_EXPIRED = 256,
};
unsigned oracle(struct sim *s, const struct state *at);

/* ---- check.c ---- */

void check_handed_in(struct sim *s, struct request *r, const json_t *body);
void check_accepted(struct sim *s, const struct request *r, const struct state *before,
                    const struct state *after);
void check_event(struct sim *s, const char *path, struct str body);
/* Whether something is owed; looked at before and after each step. */
void check_owed(struct sim *s, bool settled);
/* All is calm and has been for a while. */
void check_quiet(struct sim *s);
void check_ended(struct sim *s);

#endif
