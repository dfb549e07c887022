/* List, then watch one collection (see watch.h).
 *
 * One connection serves both: list pages, then the watch. A page is handed over in slices of SLICE_US, so
 * that 250 objects do not hold the loop; a watch event is handed over when its line is complete. step() is the
 * only place where states change; callbacks from inside evhttp only note what they saw, and wake it.
 *
 *     RESTING --timer--> WAITING --turn of the gate--> LISTING --page--> HANDING --last page--> WAITING
 *                                                  \-> WATCHING --end--> RESTING (to watch, or to list again)
 *
 * Invariants: resourceVersion moves only after the object that carries it was handed over; whatever breaks, watching
 * goes on from it, so nothing is lost or invented; on_synced is called only after every page of one list.
 */
#include "k8s/watch.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "k8s/backoff_priv.h"
#include "k8s/client_priv.h"
#include "k8s/clock_priv.h"
#include "k8s/collections_priv.h"
#include "k8s/frame_priv.h"
#include "k8s/pages_priv.h"
#include "k8s/scan_priv.h"

#define SLICE_US         500
#define FIRST_SILENCE_MS 180000 /* until a bookmark was seen */
#define SHORT_WATCH_MS   1000 /* a watch that ends sooner has failed if it was empty, or the second in a row */
#define MAX_COLLECTION   896
#define MAX_PATH         (3 * (K8S_MAX_VERSION + K8S_MAX_CONTINUE) + MAX_COLLECTION + 128)

enum step_state {
    STEP_RESTING,  /* until the timer */
    STEP_WAITING,  /* for a turn of the gate */
    STEP_LISTING,  /* a page is asked for */
    STEP_HANDING,  /* the items of a page are given out */
    STEP_WATCHING, /* the watch is asked for, or open */
};

enum step_input { INPUT_TIMER, INPUT_TURN, INPUT_ANSWER, INPUT_NOTE };

/* What the stream said that ends it. */
enum note { NOTE_NONE, NOTE_GARBAGE, NOTE_ERROR, NOTE_AGAIN };

struct k8s_watch {
    struct k8s_client *client;
    struct k8s_connection *connection;
    struct k8s_watch_callbacks callbacks;
    struct event *timer;
    struct event *wake;
    struct k8s_waiter waiter;
    struct k8s_collections collections;
    bool optional;
    enum step_state step;
    unsigned turn;  /* of the gate, which the request uses */
    bool to_watch;  /* what to do next: watch, or list */
    bool relisted;  /* a 410 was answered by a list since the last stream that was not brief */
    bool bookmarks; /* the server sends them */
    bool brief;     /* the last stream ended within SHORT_WATCH_MS */
    bool broken;    /* the last stream ended without an end: the next try is a short one */
    bool again;     /* somebody wants another list after this one */
    bool told;      /* that it is interrupted */
    struct k8s_backoff backoff;
    char version[K8S_MAX_VERSION];
    struct k8s_pages pages;
    struct k8s_frame frame;
    size_t events; /* of this stream */
    enum note note;
    int error_code; /* with NOTE_ERROR */
    struct k8s_seen seen;
    int absent_status;
    int64_t refused_ms; /* since when a collection that was readable answers 403 or 404; 0: it does not */
    bool was_synced;
    char why[K8S_MESSAGE_TEXT + 64];
    char path[MAX_PATH];
};

static void on_answer(void *arg, const struct k8s_answer *answer);
static void step(struct k8s_watch *w, enum step_input input, const struct k8s_answer *answer);

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    step(arg, INPUT_TIMER, NULL);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    step(arg, INPUT_NOTE, NULL);
}

static void on_turn(void *arg)
{
    step(arg, INPUT_TURN, NULL);
}

struct k8s_watch *k8s_watch_new(struct k8s_client *c, const struct k8s_watch_options *options,
                                const struct k8s_watch_callbacks *callbacks)
{
    struct k8s_watch *w = calloc(1, sizeof *w);
    struct k8s_connector *connector = k8s_client_connector(c);

    if (!w)
        return NULL;
    w->optional = options->optional;
    w->client = c;
    w->callbacks = *callbacks;
    w->waiter = (struct k8s_waiter){.on_turn = on_turn, .arg = w};
    k8s_frame_init(&w->frame, K8S_MAX_OBJECT);
    w->connection = k8s_connection_new(connector);
    w->timer = evtimer_new(connector->base, on_timer, w);
    w->wake = event_new(connector->base, -1, 0, on_wake, w);
    bool ready = k8s_pages_init(&w->pages) && w->connection && w->timer && w->wake;
    if (!k8s_collections_init(&w->collections, options, MAX_COLLECTION) || !ready) {
        k8s_watch_free(w);
        return NULL;
    }
    k8s_client_see(c, &w->seen, w->collections.path[0]);
    k8s_timer_set(w->timer, 0);
    return w;
}

void k8s_watch_free(struct k8s_watch *w)
{
    if (!w)
        return;
    k8s_gate_leave(k8s_client_gate(w->client), &w->waiter);
    k8s_connection_free(w->connection);
    k8s_gate_unused(k8s_client_gate(w->client), w->turn);
    if (w->timer)
        event_free(w->timer);
    if (w->wake)
        event_free(w->wake);
    k8s_pages_free(&w->pages);
    k8s_client_unsee(w->client, &w->seen);
    k8s_frame_free(&w->frame);
    k8s_collections_free(&w->collections);
    free(w);
}

enum k8s_watch_state k8s_watch_state(const struct k8s_watch *w, const char **ret_why)
{
    *ret_why = w->why;
    return w->seen.state;
}

static void rest(struct k8s_watch *w, int64_t ms)
{
    w->step = STEP_RESTING;
    w->seen.opened_ms = 0;
    k8s_timer_set(w->timer, ms);
}

/* What to do next: the first page. */
static void begin_list(struct k8s_watch *w)
{
    w->to_watch = false;
    k8s_pages_restart(&w->pages);
}

static void list_again(struct k8s_watch *w, int64_t after_ms)
{
    begin_list(w);
    rest(w, after_ms);
}

static int64_t next_backoff(struct k8s_watch *w)
{
    return k8s_backoff_next(&w->backoff, k8s_now_ms(), k8s_random());
}

static void set_failing(struct k8s_watch *w, const char *why, bool report)
{
    struct text t;

    text_init(&t, w->why, sizeof w->why);
    text_add_clean(&t, str_of(why));
    if (report && !w->told) {
        REPORT(k8s_client_reporter(w->client), REPORT_WARN, "watch interrupted",
               FIELD_TEXT("resource", k8s_collections_now(&w->collections)),
               FIELD_TEXT("verb", w->to_watch ? "watch" : "list"), FIELD_STR("cause", text_str(&t)));
        w->told = true;
    }
    w->seen.state = K8S_WATCH_FAILING;
}

static void set_synced(struct k8s_watch *w)
{
    if (w->told)
        REPORT(k8s_client_reporter(w->client), REPORT_INFO, "watch works again",
               FIELD_TEXT("resource", k8s_collections_now(&w->collections)));
    w->told = false;
    w->seen.state = K8S_WATCH_SYNCED;
    w->absent_status = 0;
    w->was_synced = true;
    w->refused_ms = 0;
    w->why[0] = '\0';
}

/* The collection is not served, or we may not read it: ask again later, for ever. */
static void set_absent(struct k8s_watch *w, int status, const char *message)
{
    bool known = w->seen.state == K8S_WATCH_ABSENT;

    if (w->absent_status != status && status == 403)
        REPORT(k8s_client_reporter(w->client), w->optional ? REPORT_INFO : REPORT_ERROR,
               "API server forbids reading a resource",
               FIELD_TEXT("resource", k8s_collections_now(&w->collections)),
               FIELD_TEXT("verb", w->to_watch ? "watch" : "list"), FIELD_TEXT("cause", message));
    else if (w->absent_status != status)
        REPORT(k8s_client_reporter(w->client), REPORT_INFO, "resource not served by the API server",
               FIELD_TEXT("resource", k8s_collections_now(&w->collections)));
    (void)snprintf(w->why, sizeof w->why, "%s", message);
    w->absent_status = status;
    w->seen.state = K8S_WATCH_ABSENT;
    list_again(w, K8S_ABSENT_SECONDS * 1000 - (int64_t)(k8s_random() % 3000));
    if (!known)
        w->callbacks.on_absent(w->callbacks.arg);
}

/* ---- the stream ---- */

static void take_note(struct k8s_watch *w, enum note note, int code)
{
    w->note = note;
    w->error_code = code;
    event_active(w->wake, 0, 0);
}

void k8s_watch_list_again(struct k8s_watch *w)
{
    w->again = w->step == STEP_LISTING || w->step == STEP_HANDING;
    if (w->step == STEP_WATCHING)
        take_note(w, NOTE_AGAIN, 0);
    if (w->step == STEP_RESTING || w->step == STEP_WAITING)
        begin_list(w);
}

static void on_error_event(struct k8s_watch *w, const struct k8s_event *e)
{
    uint64_t code = 0;
    char message[2 * K8S_MESSAGE_TEXT];

    (void)str_to_u64(e->code, &code);
    if (!k8s_scan_text(e->message, message, sizeof message))
        (void)snprintf(message, sizeof message, "error %d in the stream", (int)(code % 1000));
    (void)snprintf(w->why, sizeof w->why, "%.*s", K8S_MESSAGE_TEXT - 1, message);
    take_note(w, NOTE_ERROR, (int)(code % 1000));
}

static void on_line(struct k8s_watch *w, struct str line)
{
    struct k8s_event e;
    char next[K8S_MAX_VERSION] = "";

    if (!k8s_scan_event(line, &e) || (e.version.at && !k8s_scan_text(e.version, next, sizeof next))) {
        take_note(w, NOTE_GARBAGE, 0);
        return;
    }
    if (e.type == K8S_EVENT_OTHER)
        return;
    if (e.type == K8S_EVENT_ERROR) {
        on_error_event(w, &e);
        return;
    }
    w->events++;
    if (e.type == K8S_EVENT_BOOKMARK) {
        if (!w->bookmarks)
            k8s_connection_set_silence(w->connection, K8S_SILENCE_SECONDS * 1000);
        w->bookmarks = true;
    } else {
        w->callbacks.on_object(w->callbacks.arg, e.type == K8S_EVENT_DELETED ? K8S_DELETED : K8S_UPSERT,
                               e.object);
    }
    if (next[0])
        memcpy(w->version, next, sizeof next);
}

static void on_data(void *arg, struct evbuffer *data)
{
    struct k8s_watch *w = arg;
    struct str line;
    size_t n;

    while (w->note == NOTE_NONE && (n = evbuffer_get_contiguous_space(data)) > 0) {
        struct str bytes = {(const char *)evbuffer_pullup(data, (ev_ssize_t)n), n};
        (void)k8s_frame_add(&w->frame, bytes);
        while (w->note == NOTE_NONE && k8s_frame_next(&w->frame, &line))
            on_line(w, line);
        if (w->frame.failed)
            take_note(w, NOTE_GARBAGE, 0);
        (void)evbuffer_drain(data, n);
    }
}

static void on_head(void *arg, int status)
{
    struct k8s_watch *w = arg;

    if (w->step != STEP_WATCHING || status != 200)
        return;
    w->seen.opened_ms = k8s_now_ms();
    w->seen.streams++;
    k8s_client_note(w->client, K8S_COUNT_WATCH, w->turn,
                    &(struct k8s_answer){.status = status, .retry_after_ms = -1});
    k8s_connection_set_silence(w->connection, w->bookmarks ? K8S_SILENCE_SECONDS * 1000 : FIRST_SILENCE_MS);
    set_synced(w);
}

/* ---- asking ---- */

static void send_list(struct k8s_watch *w)
{
    struct text path;

    text_init(&path, w->path, sizeof w->path);
    text_add(&path, str_of(k8s_collections_now(&w->collections)));
    k8s_pages_query(&w->pages, &path);
    if (!w->pages.more[0]) {
        w->seen.lists++;
        w->callbacks.on_list(w->callbacks.arg);
    }
    w->step = STEP_LISTING;
    k8s_connection_send(w->connection, &(struct k8s_exchange){
                                           .method = EVHTTP_REQ_GET,
                                           .path = w->path,
                                           .connect_ms = k8s_client_begin(w->client, &w->turn),
                                           .deadline_ms = K8S_REQUEST_SECONDS * 1000,
                                           .most = K8S_MAX_ANSWER,
                                           .on_answer = on_answer,
                                           .arg = w,
                                       });
}

static void send_watch(struct k8s_watch *w)
{
    unsigned seconds =
        K8S_WATCH_SECONDS_FROM + k8s_random() % (K8S_WATCH_SECONDS_TO - K8S_WATCH_SECONDS_FROM + 1);
    struct text path;

    text_init(&path, w->path, sizeof w->path);
    text_addf(&path, "%s?watch=1&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=",
              k8s_collections_now(&w->collections), seconds);
    k8s_url_escape(&path, str_of(w->version));
    k8s_frame_reset(&w->frame);
    w->events = 0;
    w->note = NOTE_NONE;
    w->step = STEP_WATCHING;
    int64_t connect_ms = k8s_client_begin(w->client, &w->turn);
    if (w->broken && connect_ms > K8S_PROBE_CONNECT_MS)
        connect_ms = K8S_PROBE_CONNECT_MS;
    w->broken = false;
    k8s_connection_send(w->connection, &(struct k8s_exchange){
                                           .method = EVHTTP_REQ_GET,
                                           .path = w->path,
                                           .connect_ms = connect_ms,
                                           .silence_ms = K8S_REQUEST_SECONDS * 1000,
                                           .most = K8S_MAX_OBJECT,
                                           .on_head = on_head,
                                           .on_data = on_data,
                                           .on_answer = on_answer,
                                           .arg = w,
                                       });
}

static void ask(struct k8s_watch *w)
{
    if (!k8s_gate_is_open(k8s_client_gate(w->client))) {
        w->step = STEP_WAITING;
        k8s_gate_wait(k8s_client_gate(w->client), &w->waiter);
    } else if (w->to_watch) {
        send_watch(w);
    } else {
        send_list(w);
    }
}

/* ---- answers ---- */

static void end_invalid(struct k8s_watch *w)
{
    set_failing(w, "the list is not valid", true);
    list_again(w, next_backoff(w));
}

static void end_page(struct k8s_watch *w)
{
    if (!k8s_pages_end(&w->pages, w->version)) {
        end_invalid(w);
        return;
    }
    if (!w->pages.more[0]) {
        set_synced(w);
        w->to_watch = !w->again;
        w->again = false;
        w->callbacks.on_synced(w->callbacks.arg);
    }
    ask(w);
}

static void hand_over(struct k8s_watch *w)
{
    int64_t until_us = k8s_now_us() + SLICE_US;
    struct str item;

    do {
        switch (k8s_pages_next(&w->pages, &item)) {
        case K8S_PAGE_ITEM: w->callbacks.on_object(w->callbacks.arg, K8S_UPSERT, item); break;
        case K8S_PAGE_END: end_page(w); return;
        case K8S_PAGE_BAD: end_invalid(w); return;
        }
    } while (k8s_now_us() < until_us);
    k8s_timer_set(w->timer, 0);
}

/* What we know of is too old to go on from (410), or what came of it cannot be read. At once the first time, so that a
 * compaction costs nothing. */
static void gone(struct k8s_watch *w)
{
    int64_t after_ms = w->relisted ? next_backoff(w) : 0;

    w->relisted = true;
    list_again(w, after_ms);
}

/* An API server that has just started answers 403 until its RBAC rules are loaded, and 404 until its CRDs are. A
 * collection that was readable is therefore believed to be so again soon, for as long as the pace of asking for an
 * absent one; what is known of it stays. */
static bool may_be_starting(struct k8s_watch *w)
{
    int64_t now_ms = k8s_now_ms();

    if (!w->was_synced)
        return false;
    if (w->refused_ms == 0)
        w->refused_ms = now_ms;
    return now_ms - w->refused_ms < K8S_ABSENT_SECONDS * 1000;
}

/* An answer that is none of the expected. What to do next stays the same, but for a watch that is refused for
 * good. */
static void refused(struct k8s_watch *w, const struct k8s_answer *answer)
{
    char message[K8S_MESSAGE_TEXT];
    size_t len = evbuffer_get_length(answer->body);
    const char *bytes = len ? (const char *)evbuffer_pullup(answer->body, -1) : NULL;

    k8s_status_message(answer->status, (struct str){bytes, bytes ? len : 0}, message);
    if ((answer->status == 404 || answer->status == 403) && !may_be_starting(w)) {
        if (k8s_collections_next(&w->collections, answer->status, w->was_synced))
            list_again(w, 0);
        else
            set_absent(w, answer->status, message);
        w->was_synced = false;
        return;
    }
    set_failing(w, message, answer->status != 401);
    int64_t after_ms =
        k8s_backoff_refused(&w->backoff, answer->status, answer->retry_after_ms, k8s_now_ms(), k8s_random());
    if (w->to_watch && answer->status >= 400 && answer->status < 500 && answer->status != 401 &&
        answer->status != 429)
        list_again(w, after_ms);
    else
        rest(w, after_ms);
}

/* The page that is asked for is the same, so that the list goes on where it was. */
static void page_too_long(struct k8s_watch *w, const struct k8s_answer *answer)
{
    set_failing(w, answer->error, true);
    k8s_pages_halve(&w->pages);
    rest(w, next_backoff(w));
}

static void on_listed(struct k8s_watch *w, const struct k8s_answer *answer)
{
    k8s_client_note(w->client, K8S_COUNT_LIST, w->turn, answer);
    if (answer->status == 200) {
        k8s_pages_begin(&w->pages, answer->body);
        w->step = STEP_HANDING;
        k8s_timer_set(w->timer, 0);
    } else if (answer->too_long) {
        page_too_long(w, answer);
    } else if (answer->status == 0) {
        set_failing(w, answer->error, false);
        rest(w, 0);
    } else if (answer->status == 410 && w->pages.more[0]) {
        gone(w);
    } else {
        refused(w, answer);
    }
}

/* A stream has ended. True: so soon that the next one must wait, lest a proxy that breaks each after its first event
 * be asked without a pause. */
static bool ended_too_soon(struct k8s_watch *w)
{
    bool again = w->brief;

    w->brief = k8s_now_ms() - w->seen.opened_ms < SHORT_WATCH_MS;
    if (!w->brief)
        w->relisted = false;
    return w->brief && (again || w->events == 0);
}

static void on_stream_end(struct k8s_watch *w, const struct k8s_answer *answer)
{
    bool too_soon = ended_too_soon(w);

    w->broken = answer->status == 0;
    if (too_soon)
        set_failing(w, answer->error ? answer->error : "the watch ends at once", true);
    rest(w, too_soon ? k8s_backoff_retry(k8s_random()) : 0);
}

static void on_watched(struct k8s_watch *w, const struct k8s_answer *answer)
{
    if (w->seen.opened_ms) {
        on_stream_end(w, answer);
        return;
    }
    k8s_client_note(w->client, K8S_COUNT_WATCH, w->turn, answer);
    if (answer->status == 0) {
        set_failing(w, answer->error, false);
        rest(w, 0);
    } else if (answer->status == 410) {
        gone(w);
    } else {
        refused(w, answer);
    }
}

/* The stream said something that ends it. */
static void on_noted(struct k8s_watch *w)
{
    char why[sizeof w->why];

    k8s_connection_close(w->connection);
    if (w->seen.opened_ms)
        (void)ended_too_soon(w); /* what was said sets the pace */
    k8s_gate_unused(k8s_client_gate(w->client), w->turn);
    (void)snprintf(why, sizeof why, "%s", w->note == NOTE_GARBAGE ? "the stream is not valid" : w->why);
    if (w->note == NOTE_AGAIN || (w->note == NOTE_ERROR && w->error_code == 410)) {
        gone(w);
        return;
    }
    set_failing(w, why, true);
    if (w->note == NOTE_GARBAGE)
        gone(w);
    else if (w->error_code == 429 || w->error_code >= 500)
        rest(w, next_backoff(w));
    else
        list_again(w, next_backoff(w));
}

static void step(struct k8s_watch *w, enum step_input input, const struct k8s_answer *answer)
{
    switch (w->step) {
    case STEP_RESTING:
        if (input == INPUT_TIMER)
            ask(w);
        break;
    case STEP_WAITING:
        if (input == INPUT_TURN && w->to_watch)
            send_watch(w);
        else if (input == INPUT_TURN)
            send_list(w);
        break;
    case STEP_LISTING:
        if (input == INPUT_ANSWER)
            on_listed(w, answer);
        break;
    case STEP_HANDING:
        if (input == INPUT_TIMER)
            hand_over(w);
        break;
    case STEP_WATCHING:
        if (w->note != NOTE_NONE)
            on_noted(w);
        else if (input == INPUT_ANSWER)
            on_watched(w, answer);
        break;
    }
}

static void on_answer(void *arg, const struct k8s_answer *answer)
{
    step(arg, INPUT_ANSWER, answer);
}
