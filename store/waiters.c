/* Open questions and the keys that they depend on (see waiters.h).
 *
 * A hash table leads from a key to the waiters whose last answer looked under it. A record marks those that
 * it concerns; waiters_run asks the marked ones, in the order in which they were marked, and subscribes each
 * to what the new answer read.
 *
 * Invariants: a waiter that is not marked is subscribed to all that its last answer read. The callback may
 * drop any waiter: the one that is being answered is freed only after its callback has returned, any other
 * one at once, and nothing is kept across the call but the head of the marked list. Failure mode: a question
 * that cannot be answered stays marked, so that it is asked again and misses nothing.
 */
#include "store/waiters.h"

#include <stdlib.h>

#include "store/store_priv.h"

#define BUCKETS_FIRST 64

struct subscription {
    uint64_t key;
    struct waiter *waiter;
    struct subscription *next;  /* in its bucket */
    struct subscription **link; /* what points to it */
};

struct waiter {
    struct waiters *owner;
    struct question *question;
    waiter_on_answer *on_answer;
    void *arg;
    int64_t failures_from_ms;
    struct subscription *subscriptions; /* one block */
    size_t n_subscriptions;
    struct waiter *next; /* marked ones */
    struct waiter *previous;
    uint64_t asked_in; /* number of the waiters_run that asked it last */
    bool marked;
    bool dropped;
};

struct waiters {
    struct store *store;
    struct subscription **buckets;
    size_t n_buckets; /* a power of two */
    size_t n_subscriptions;
    struct waiter *first;
    struct waiter *last;
    struct waiter *answering;
    struct ask_keys keys; /* of the last answer */
    size_t n;
    uint64_t run;
};

static void mark(struct waiter *w)
{
    struct waiters *ws = w->owner;

    if (w->marked || w->dropped)
        return;
    w->marked = true;
    w->next = NULL;
    w->previous = ws->last;
    *(ws->last ? &ws->last->next : &ws->first) = w;
    ws->last = w;
}

static void unmark(struct waiter *w)
{
    struct waiters *ws = w->owner;

    if (!w->marked)
        return;
    w->marked = false;
    *(w->previous ? &w->previous->next : &ws->first) = w->next;
    *(w->next ? &w->next->previous : &ws->last) = w->previous;
}

/* Keys are SipHash values: their lower bits are as good as any. */
static struct subscription **bucket_of(const struct waiters *ws, uint64_t key)
{
    return &ws->buckets[key & (ws->n_buckets - 1)];
}

static void link_in(struct waiters *ws, struct subscription *sub)
{
    struct subscription **bucket = bucket_of(ws, sub->key);

    sub->next = *bucket;
    sub->link = bucket;
    if (sub->next)
        sub->next->link = &sub->next;
    *bucket = sub;
}

static void link_out(struct subscription *sub)
{
    *sub->link = sub->next;
    if (sub->next)
        sub->next->link = sub->link;
}

/* A table that cannot grow gets slower, no more. */
static void buckets_grow(struct waiters *ws)
{
    struct subscription **old = ws->buckets;
    size_t n_old = ws->n_buckets;
    struct subscription **grown = calloc(n_old * 2, sizeof *grown);

    if (!grown)
        return;
    ws->buckets = grown;
    ws->n_buckets = n_old * 2;
    for (size_t i = 0; i < n_old; i++)
        for (struct subscription *sub = old[i]; sub;) {
            struct subscription *next = sub->next;
            link_in(ws, sub);
            sub = next;
        }
    free(old);
}

static void unsubscribe(struct waiter *w)
{
    for (size_t i = 0; i < w->n_subscriptions; i++)
        link_out(&w->subscriptions[i]);
    w->owner->n_subscriptions -= w->n_subscriptions;
    free(w->subscriptions);
    w->subscriptions = NULL;
    w->n_subscriptions = 0;
}

/* Most answers read what the one before did. */
static bool is_subscribed(const struct waiter *w, const struct ask_keys *keys)
{
    if (w->n_subscriptions != keys->n)
        return false;
    for (size_t i = 0; i < keys->n; i++)
        if (w->subscriptions[i].key != keys->at[i])
            return false;
    return true;
}

static bool subscribe(struct waiter *w, const struct ask_keys *keys)
{
    struct waiters *ws = w->owner;

    if (is_subscribed(w, keys))
        return true;
    struct subscription *subs = calloc(keys->n, sizeof *subs);
    if (!subs && keys->n)
        return false;
    unsubscribe(w);
    w->subscriptions = subs;
    w->n_subscriptions = keys->n;
    ws->n_subscriptions += keys->n;
    while (ws->n_subscriptions > ws->n_buckets) {
        size_t before = ws->n_buckets;
        buckets_grow(ws);
        if (ws->n_buckets == before)
            break;
    }
    for (size_t i = 0; i < keys->n; i++) {
        subs[i] = (struct subscription){.key = keys->at[i], .waiter = w};
        link_in(ws, &subs[i]);
    }
    return true;
}

static void mark_all(struct waiters *ws, uint64_t key)
{
    for (struct subscription *sub = *bucket_of(ws, key); sub; sub = sub->next)
        if (sub->key == key)
            mark(sub->waiter);
}

static void on_record(void *arg, const struct record *r, struct record_keys keys, bool fresh)
{
    (void)r;
    (void)fresh;
    for (size_t i = 0; i < keys.n; i++)
        mark_all(arg, keys.at[i]);
}

void waiters_poke_object(struct waiters *ws, struct str kind, struct str namespace, struct str name)
{
    mark_all(ws, key_of_object(ws->store->seed, kind, namespace, name));
}

struct waiters *waiters_new(struct store *s)
{
    struct waiters *ws = calloc(1, sizeof *ws);

    if (!ws)
        return NULL;
    ws->store = s;
    ws->n_buckets = BUCKETS_FIRST;
    ws->buckets = calloc(BUCKETS_FIRST, sizeof *ws->buckets);
    if (!ws->buckets) {
        free(ws);
        return NULL;
    }
    store_subscribe(s, on_record, ws);
    return ws;
}

void waiters_free(struct waiters *ws)
{
    if (!ws)
        return;
    store_unsubscribe(ws->store, ws);
    ask_keys_free(&ws->keys);
    free(ws->buckets);
    free(ws);
}

struct waiter *waiter_add(struct waiters *ws, struct question *q, waiter_on_answer *on_answer, void *arg)
{
    struct waiter *w = calloc(1, sizeof *w);

    if (!w) {
        question_free(q);
        return NULL;
    }
    w->owner = ws;
    w->question = q;
    w->on_answer = on_answer;
    w->arg = arg;
    w->failures_from_ms = INT64_MIN;
    ws->n++;
    mark(w);
    return w;
}

static void waiter_free(struct waiter *w)
{
    question_free(w->question);
    free(w);
}

void waiter_drop(struct waiter *w)
{
    struct waiters *ws = w->owner;

    unmark(w);
    unsubscribe(w);
    w->dropped = true;
    ws->n--;
    if (ws->answering != w)
        waiter_free(w);
}

const struct question *waiter_question(const struct waiter *w)
{
    return w->question;
}

void waiter_poke(struct waiter *w)
{
    mark(w);
}

void waiter_new_attempt(struct waiter *w, int64_t failures_from_ms)
{
    w->failures_from_ms = failures_from_ms;
    mark(w);
}

static struct verdict *ask_for(const struct waiter *w, int64_t now_ms, struct ask_keys *ret_keys)
{
    struct verdict_now now = {.wall_ms = now_ms, .failures_from_ms = w->failures_from_ms};

    return ask(w->owner->store, w->question, now, ret_keys);
}

struct verdict *waiter_ask(const struct waiter *w, int64_t now_ms)
{
    return ask_for(w, now_ms, NULL);
}

/* False: it is to be asked again. */
static bool answer(struct waiter *w, int64_t now_ms)
{
    struct waiters *ws = w->owner;
    struct verdict *v = ask_for(w, now_ms, &ws->keys);

    if (!v || !subscribe(w, &ws->keys)) {
        verdict_free(v);
        mark(w);
        return false;
    }
    ws->answering = w;
    w->on_answer(w->arg, v);
    ws->answering = NULL;
    verdict_free(v);
    if (w->dropped)
        waiter_free(w);
    return true;
}

enum waiters_left waiters_run(struct waiters *ws, int64_t now_ms, size_t most)
{
    bool answered = true;

    ws->run++;
    for (size_t i = 0; i < most && ws->first && ws->first->asked_in != ws->run; i++) {
        struct waiter *w = ws->first;
        unmark(w);
        w->asked_in = ws->run;
        answered = answer(w, now_ms) && answered;
    }
    if (!ws->first)
        return WAITERS_NONE;
    return answered || ws->first->asked_in != ws->run ? WAITERS_MORE : WAITERS_LATER;
}

size_t waiters_count(const struct waiters *ws)
{
    return ws->n;
}
