/* One gate per API server: who may send a request now.
 *
 * Open: everybody. Down (a request got no answer): one waiter at a time is let through as a probe, at most
 * two a second, until one is answered. Held (429 with Retry-After): nobody, until that time has passed.
 */
#ifndef FES_K8S_GATE_PRIV_H
#define FES_K8S_GATE_PRIV_H

#include <sys/queue.h>

#include "store/report.h"

struct event_base;
struct k8s_gate;

/* Owned by whoever waits; zero-initialised with on_turn and arg set. */
struct k8s_waiter {
    TAILQ_ENTRY(k8s_waiter) entry;
    bool waiting;
    /* Its turn: send one request and call one of k8s_gate_answered, _unanswered or _unused for it with k8s_gate_turn
     * of now, or ask again. Called from the loop, never from inside k8s_gate_wait. */
    void (*on_turn)(void *arg);
    void *arg;
};

/* url and reporter are borrowed for good. NULL when out of memory. */
struct k8s_gate *k8s_gate_new(struct event_base *base, const char *url, const struct reporter *reporter);
void k8s_gate_free(struct k8s_gate *g);

bool k8s_gate_is_open(const struct k8s_gate *g);
/* True while the server does not answer. */
bool k8s_gate_is_down(const struct k8s_gate *g);
/* Waits for a turn; a waiter that waits already keeps its place. */
void k8s_gate_wait(struct k8s_gate *g, struct k8s_waiter *w);
/* Waits no longer; nothing when it does not wait. */
void k8s_gate_leave(struct k8s_gate *g, struct k8s_waiter *w);

/* To be kept with a request that is sent now: which probe it is; 0: none. Only the end of the probe under way lets the next
 * one through; requests from before the outage may go on failing meanwhile. */
unsigned k8s_gate_turn(const struct k8s_gate *g);
/* A request was answered, whatever the status. */
void k8s_gate_answered(struct k8s_gate *g);
/* A request got no answer, and why. */
void k8s_gate_unanswered(struct k8s_gate *g, unsigned turn, const char *why);
/* A turn that was not used, or given up: the next waiter gets it. Nothing when it is over. */
void k8s_gate_unused(struct k8s_gate *g, unsigned turn);
/* The server asked for a pause. */
void k8s_gate_hold(struct k8s_gate *g, int64_t retry_after_ms);

/* False: why (borrowed until the next call on g). */
bool k8s_gate_reachable(const struct k8s_gate *g, const char **ret_why);

#endif
