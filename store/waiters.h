/* Open questions, each asked again when a commit may have changed its answer.
 *
 * A waiter is subscribed to exactly the keys that its last answer read, so the cost of an event depends on
 * how many waiters it concerns, not on how many there are. Level-triggered: an answer is always computed from
 * all stored records, so the order of arrival and a lost wake-up cannot matter.
 *
 * So a repository's new revision has all asked again who wait for one that it reported before, not only those whom the new
 * one is about. No state can change by it, but the explanation can: it says that the repository fails, until its newest
 * record is no error. Also, which record of an object is its newest is settled by times, not by arrival. What an answer
 * said of an object is not kept, so who could be left out is not known without asking.
 */
#ifndef FES_STORE_WAITERS_H
#define FES_STORE_WAITERS_H

#include "store/ask.h"

struct waiters;
struct waiter;

/* Subscribes to the store, which must outlive it. NULL when out of memory. */
struct waiters *waiters_new(struct store *s);
/* All waiters must have been dropped. Accepts NULL. */
void waiters_free(struct waiters *ws);

/* v is borrowed for the call. The callback may drop this waiter and any other, and add new ones. */
typedef void waiter_on_answer(void *arg, const struct verdict *v);

/* Takes over q, also on failure. The first answer comes in the next waiters_run. NULL when out of memory. */
struct waiter *waiter_add(struct waiters *ws, struct question *q, waiter_on_answer *on_answer, void *arg);
void waiter_drop(struct waiter *w);
const struct question *waiter_question(const struct waiter *w);
/* Marks it to be asked in the next waiters_run: wake_at has come, or the asker wants to know. */
void waiter_poke(struct waiter *w);
/* Pokes those whose last answer read what is stored of the object: something else became known of it. */
void waiters_poke_object(struct waiters *ws, struct str kind, struct str namespace, struct str name);
/* The answer now, for a look at it; nothing else changes. NULL when it cannot be had (see ask); free with
 * verdict_free. */
struct verdict *waiter_ask(const struct waiter *w, int64_t now_ms);
/* From now on failures last received before this count no more (see struct verdict_now). Pokes. */
void waiter_new_attempt(struct waiter *w, int64_t failures_from_ms);

enum waiters_left {
    WAITERS_NONE,
    WAITERS_MORE,  /* go on in the next turn */
    WAITERS_LATER, /* what is left could not be answered (see ask): go on in a while */
};
/* Asks every marked waiter once and reports the answer, changed or not, until none is marked or `most` have
 * been asked (fairness). Returns what is left. */
enum waiters_left waiters_run(struct waiters *ws, int64_t now_ms, size_t most);
size_t waiters_count(const struct waiters *ws);

#endif
