/* flux-event-store: flags, log lines, wiring, and the turn of the loop.
 *
 * One libevent loop hosts the HTTP server, the store's completions and the watches on Runs, so that an event
 * reaches a waiting Run by function calls:
 *
 *   POST -> http/events -> store (queued) -> writer thread commits -> store_dispatch: answer, waiters marked
 *        -> end of turn: waiters_run -> verdict -> controller -> k8s client PATCH
 *   watch line -> k8s/watch -> controller_on_object -> waiter added -> end of turn: the same
 *
 * Each turn ends in turn_end(): questions are asked, due deadlines are served, and what was appended is
 * handed to the writer. Callbacks only queue. Only this file reads argv and signals and writes log lines. store/, k8s/ and
 * controller/ are given the time; connections, the loop's lag and the process's figures (http/) have clocks of their own.
 */
#include "controller/cluster.h"
#include "controller/controller.h"
#include "controller/flux_watch.h"
#include "http/auth.h"
#include "http/events.h"
#include "http/health.h"
#include "http/lag.h"
#include "http/metrics.h"
#include "http/process.h"
#include "http/runs.h"
#include "http/server.h"
#include "http/stream.h"
#include "http/wait.h"
#include "k8s/client.h"
#include "k8s/ping.h"
#include "store/sandbox.h"
#include "store/store.h"
#include "store/transfer.h"
#include "store/waiters.h"

#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NAME "flux-event-store"

enum { EXIT_CONFIG = 2 }; /* a bad flag or file */

#define SHUTDOWN_MS      4500 /* the contract: exit within 5 s */
#define ASKS_PER_TURN    256  /* questions asked before other work gets its turn */
#define ASK_AGAIN_MS     1000 /* those that could not be answered */
#define TURN_SECONDS_MAX 3600
#define LOADS_PER_TURN   1000 /* records read while the store opens: about a millisecond */

/* ---- configuration ---- */

struct main_config {
    const char *log_level;
    const char *log_format;
    bool check;
    bool no_sandbox;
    bool help;
    bool version;
};

static const struct flag main_flags[] = {
    {"--log-level", "LEVEL", FLAG_STRING, offsetof(struct main_config, log_level), "info",
     "debug, info, warn or error"},
    {"--log-format", "FORMAT", FLAG_STRING, offsetof(struct main_config, log_format), "json", "json or text"},
    {"--check", NULL, FLAG_BOOL, offsetof(struct main_config, check), NULL,
     "check flags, files and data directory, then exit"},
    {"--no-sandbox", NULL, FLAG_BOOL, offsetof(struct main_config, no_sandbox), NULL,
     "keep the rights given up after the start (files, ports, core dumps): for debuggers"},
    {"--help", NULL, FLAG_BOOL, offsetof(struct main_config, help), NULL, "show this help"},
    {"--version", NULL, FLAG_BOOL, offsetof(struct main_config, version), NULL, "show the version"},
    {0},
};

struct config {
    struct main_config main;
    struct store_config store;
    struct http_config http;
    struct auth_config auth;
    struct k8s_config k8s;
    struct controller_config controller;
    struct flux_watch_config flux;
    struct ping_config ping;
};

struct program {
    struct config config;
    const struct flag_section *sections; /* of config */
    size_t n_sections;
    struct reporter reporter;
    struct sandbox sandbox;
    struct event_base *base;
    struct auth *auth;
    struct http_server *server;
    struct events *events;
    struct stream *stream;
    struct health *health;
    struct wait *wait;
    struct runs *runs;
    struct metrics *metrics;
    struct lag *lag;
    struct process *process;
    struct store *store;
    struct waiters *waiters;
    struct cluster *cluster; /* NULL: --no-kube */
    struct event *store_event;
    struct event *cluster_event;
    struct event *again_event;
    struct event *signal_events[3];
    struct event *shutdown_event;
    bool opening; /* the store, which nobody may ask yet */
    bool stopping;
    bool shutdown_expired;
    bool questions_left;
};

/* ---- clocks ---- */

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

static struct moment moment_now(void)
{
    return (struct moment){.wall_ms = wall_ms(), .mono_ms = clock_ms(CLOCK_BOOTTIME)};
}

/* ---- log lines ---- */

struct logger {
    enum report_level least;
    bool json;
};

static void on_report(void *arg, const struct report *report)
{
    const struct logger *logger = arg;
    char seconds[TIME_TEXT];
    char time[TIME_TEXT + 8];
    char line[REPORT_LINE];
    int64_t now = wall_ms();

    if (report->level < logger->least)
        return;
    (void)snprintf(time, sizeof time, "%.19s.%03dZ", time_format(now, seconds), (int)(now % 1000));
    report_line(report, time, logger->json, line);
    (void)fprintf(stderr, "%s\n", line);
}

static bool logger_init(struct logger *logger, const struct main_config *config)
{
    if (!report_level_of(str_of(config->log_level), &logger->least)) {
        (void)fprintf(stderr, NAME ": --log-level: \"%s\" is none of debug, info, warn, error\n",
                      config->log_level);
        return false;
    }
    logger->json = strcmp(config->log_format, "json") == 0;
    if (!logger->json && strcmp(config->log_format, "text") != 0) {
        (void)fprintf(stderr, NAME ": --log-format: \"%s\" is neither json nor text\n", config->log_format);
        return false;
    }
    return true;
}

/* ---- the Kubernetes side ---- */

static void wake_at(struct event *timer, int64_t mono_ms)
{
    int64_t in_ms = mono_ms - moment_now().mono_ms;

    if (mono_ms == INT64_MAX) {
        event_del(timer);
        return;
    }
    if (in_ms < 0)
        in_ms = 0;
    if (in_ms > TURN_SECONDS_MAX * INT64_C(1000))
        in_ms = TURN_SECONDS_MAX * INT64_C(1000);
    event_add(timer, &(struct timeval){.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000});
}

static void cluster_wake_at(void *arg, int64_t mono_ms)
{
    wake_at(((struct program *)arg)->cluster_event, mono_ms);
}

/* What GET /runs shows. */
static char *runs_piece_now(void *arg, uint64_t *position, bool *ret_last)
{
    struct program *p = arg;

    if (p->cluster)
        return cluster_list(p->cluster, position, ret_last);
    *ret_last = true;
    return strdup("{\"waiting\":[],\"finished\":[]}\n");
}

/* ---- readiness ---- */

static bool store_part(void *arg, const char **ret_why)
{
    struct program *p = arg;

    *ret_why = "shutting down";
    return !p->stopping && store_ready(p->store, ret_why);
}

static bool runs_part(void *arg, const char **ret_why)
{
    struct program *p = arg;

    *ret_why = "begins when the store is open";
    return !p->opening && cluster_runs_ready(p->cluster, ret_why);
}

static bool flux_part(void *arg, const char **ret_why)
{
    struct program *p = arg;

    *ret_why = "begins when the store is open";
    return !p->opening && cluster_flux_ready(p->cluster, ret_why);
}

/* ---- the loop ---- */

static void on_store(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    store_dispatch(((struct program *)arg)->store);
}

/* The turn's end does the work; waking up is all that is needed. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void on_shutdown_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    ((struct program *)arg)->shutdown_expired = true;
}

static void on_stop_signal(evutil_socket_t number, short what, void *arg)
{
    struct program *p = arg;
    (void)what;

    if (p->stopping)
        return;
    p->stopping = true;
    REPORT(&p->reporter, REPORT_INFO, "stopping", FIELD_INT("signal", number));
    http_server_stop_accepting(p->server);
    wait_shutdown(p->wait);
    stream_shutdown(p->stream);
    event_add(p->shutdown_event,
              &(struct timeval){.tv_sec = SHUTDOWN_MS / 1000, .tv_usec = SHUTDOWN_MS % 1000 * 1000});
}

static void on_reload_signal(evutil_socket_t number, short what, void *arg)
{
    struct program *p = arg;
    (void)number;
    (void)what;

    auth_reload(p->auth, clock_ms(CLOCK_MONOTONIC));
    http_server_reload(p->server);
    if (p->cluster)
        cluster_reload(p->cluster);
    REPORT(&p->reporter, REPORT_INFO, "files read again", FIELD_TEXT("signal", "SIGHUP"));
}

static void turn_end(struct program *p)
{
    struct moment now = moment_now();

    if (p->opening)
        return;
    if (p->cluster)
        cluster_set_moment(p->cluster, now);
    enum waiters_left left = waiters_run(p->waiters, now.wall_ms, ASKS_PER_TURN);
    p->questions_left = left == WAITERS_MORE;
    if (p->cluster)
        cluster_tick(p->cluster, now);
    int64_t again_ms = p->stopping ? INT64_MAX : store_tick(p->store, now.wall_ms);
    if (left == WAITERS_LATER && again_ms > now.wall_ms + ASK_AGAIN_MS)
        again_ms = now.wall_ms + ASK_AGAIN_MS;
    wake_at(p->again_event, again_ms == INT64_MAX ? INT64_MAX : again_ms - now.wall_ms + now.mono_ms);
    store_flush(p->store);
    lag_turn(p->lag);
}

static bool drained(const struct program *p)
{
    return http_server_pending(p->server) == 0 && !store_pending(p->store) &&
           (!p->cluster || cluster_pending(p->cluster) == 0) && http_server_unanswered(p->server) == 0;
}

static int config_error(const char *sentence)
{
    (void)fprintf(stderr, NAME ": %s\n", sentence);
    return EXIT_CONFIG;
}

/* Now it can be asked, and Runs can be matched against what is stored: all else begins. */
static int opened(struct program *p)
{
    struct store_stats stats;

    p->opening = false;
    p->store_event = event_new(p->base, store_fd(p->store), EV_READ | EV_PERSIST, on_store, p);
    if (!p->store_event || event_add(p->store_event, NULL) != 0 || (p->cluster && !cluster_start(p->cluster)))
        return config_error("out of memory");
    events_set_store(p->events, p->store);
    stream_set_store(p->stream, p->store);
    wait_set_store(p->wait, p->store, p->waiters);
    store_get_stats(p->store, &stats);
    REPORT(&p->reporter, REPORT_INFO, "started", FIELD_TEXT("version", FES_VERSION),
           FIELD_TEXT("dataDir", p->config.store.dir), FIELD_INT("records", stats.records),
           FIELD_TEXT("runs", p->cluster ? "watched" : "off (--no-kube)"),
           FIELD_TEXT("fluxObjects", !p->cluster               ? "off (--no-kube)"
                                     : p->config.flux.disabled ? "off (--no-flux-watch)"
                                                               : "watched"));
    return EXIT_SUCCESS;
}

/* One slice. */
static int open_more(struct program *p)
{
    char err[STORE_ERROR];

    switch (store_load(p->store, LOADS_PER_TURN, err)) {
    case STORE_LOADING: return EXIT_SUCCESS;
    case STORE_LOADED: return opened(p);
    case STORE_LOAD_FAILED: break;
    }
    return config_error(err);
}

/* The writer may be in a call that returns when the disk does, and closing the store would wait for it. What it has in
 * hand was acknowledged to nobody, and a store opens after kill -9. */
static _Noreturn void end_unwritten(const struct program *p)
{
    REPORT(&p->reporter, REPORT_ERROR,
           "the disk does not answer; ending without the events that wait for it, none of which was "
           "acknowledged",
           FIELD_TEXT("dataDir", p->config.store.dir),
           FIELD_INT("unanswered", http_server_unanswered(p->server)));
    _exit(EXIT_FAILURE);
}

static int loop(struct program *p)
{
    turn_end(p); /* what is due at the start must not wait for an event */
    while (!p->stopping || (!drained(p) && !p->shutdown_expired)) {
        bool opening = p->opening && !p->stopping;
        if (event_base_loop(p->base, EVLOOP_ONCE | (p->questions_left || opening ? EVLOOP_NONBLOCK : 0)) <
            0) {
            REPORT(&p->reporter, REPORT_ERROR, "the event loop failed", FIELD_TEXT("error", strerror(errno)));
            return EXIT_FAILURE;
        }
        int status = opening ? open_more(p) : EXIT_SUCCESS;
        if (status != EXIT_SUCCESS)
            return status;
        turn_end(p);
        if (store_dead(p->store)) {
            REPORT(&p->reporter, REPORT_ERROR, "the store failed; ending, so that a restart opens it afresh",
                   FIELD_TEXT("error", store_errmsg(p->store)));
            return EXIT_FAILURE;
        }
    }
    http_server_tell_rest(p->server);
    if (store_pending(p->store))
        end_unwritten(p);
    REPORT(&p->reporter, REPORT_INFO, "stopped", FIELD_INT("unanswered", http_server_unanswered(p->server)));
    return EXIT_SUCCESS;
}

/* ---- setting up and taking down ---- */

/* evhttp stops and starts reading and writing with each request. Between two waits such changes are gathered, which
 * saves one system call in four of a POST. That needs descriptors that are nowhere duplicated: none of ours is. */
static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config && event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return base;
}

static bool events_init(struct program *p)
{
    static const int stop_signals[] = {SIGTERM, SIGINT};

    p->base = new_base();
    if (!p->base)
        return false;
    for (size_t i = 0; i < 2; i++)
        p->signal_events[i] = evsignal_new(p->base, stop_signals[i], on_stop_signal, p);
    p->signal_events[2] = evsignal_new(p->base, SIGHUP, on_reload_signal, p);
    p->cluster_event = evtimer_new(p->base, on_wake, p);
    p->again_event = evtimer_new(p->base, on_wake, p);
    p->shutdown_event = evtimer_new(p->base, on_shutdown_time, p);
    for (size_t i = 0; i < 3; i++)
        if (!p->signal_events[i] || event_add(p->signal_events[i], NULL) != 0)
            return false;
    return p->cluster_event && p->again_event && p->shutdown_event;
}

static int auth_init(struct program *p)
{
    char err[AUTH_ERROR];

    p->auth = auth_new(&p->config.auth, &p->reporter, err);
    return p->auth ? 0 : config_error(err);
}

static int http_init(struct program *p)
{
    char err[HTTP_ERROR];

    p->server = http_server_new(p->base, &p->config.http, &p->reporter, err);
    if (!p->server)
        return config_error(err);
    http_server_set_auth(p->server, p->auth);
    p->events = events_new(p->server, wall_ms, &p->reporter);
    p->stream = stream_new(p->server, moment_now, &p->reporter);
    p->health = health_new(p->server);
    p->wait = wait_new(p->server, p->base, moment_now);
    p->runs = runs_new(p->server, p->base, runs_piece_now, p);
    p->metrics = metrics_new(p->server);
    p->lag = lag_new(p->base);
    p->process = process_new();
    if (!p->events || !p->stream || !p->health || !p->wait || !p->runs || !p->metrics || !p->lag ||
        !p->process || !health_add(p->health, "store", true, store_part, p))
        return config_error("out of memory");
    events_set_stream(p->events, p->stream);
    return 0;
}

/* What GET /metrics shows, in this order. */
static bool metrics_init(struct program *p)
{
    struct metric_source of_cluster[CLUSTER_METRICS];
    size_t n = p->cluster ? cluster_metrics(p->cluster, of_cluster) : 0;
    bool added = metrics_add(p->metrics, process_metrics(p->process)) &&
                 metrics_add(p->metrics, store_metrics(p->store)) &&
                 metrics_add(p->metrics, http_server_metrics(p->server)) &&
                 metrics_add(p->metrics, wait_metrics(p->wait)) &&
                 metrics_add(p->metrics, stream_metrics(p->stream)) &&
                 metrics_add(p->metrics, lag_metrics(p->lag));

    for (size_t i = 0; i < n; i++)
        added = added && metrics_add(p->metrics, of_cluster[i]);
    return added;
}

/* The last moment at which the process has one thread, and everything but the API server's files is open. */
static void confine(void *arg)
{
    struct program *p = arg;

    sandbox_begin(&p->sandbox);
    sandbox_write_beneath(&p->sandbox, p->config.store.dir);
    flags_each_file(p->sections, p->n_sections, sandbox_read_beside, &p->sandbox);
    k8s_confine(&p->config.k8s, &p->sandbox);
    sandbox_enter(&p->sandbox);
}

static int store_init(struct program *p)
{
    char err[STORE_ERROR];

    if (!p->config.main.no_sandbox) {
        p->config.store.before_writer = confine;
        p->config.store.before_writer_arg = p;
    }
    p->store = store_begin(&p->config.store, &p->reporter, err);
    if (!p->store)
        return config_error(err);
    p->opening = true;
    p->waiters = waiters_new(p->store);
    return p->waiters ? 0 : config_error("out of memory");
}

static int cluster_init(struct program *p)
{
    const struct cluster_config config = {&p->config.k8s, &p->config.controller, &p->config.flux};
    const struct cluster_io io = {p, moment_now, cluster_wake_at};
    char err[CLUSTER_ERROR];

    if (p->config.k8s.disabled) /* its flags are checked all the same */
        return cluster_config_check(&config, err) ? 0 : config_error(err);
    p->cluster = cluster_new(p->base, &config, p->store, p->waiters, &io, &p->reporter, err);
    if (!p->cluster)
        return config_error(err);
    if (!health_add(p->health, "runs", false, runs_part, p) ||
        (!p->config.flux.disabled && !health_add(p->health, "fluxObjects", false, flux_part, p)))
        return config_error("out of memory");
    return 0;
}

/* The handlers go with the loop. A second signal would then end at once what is ending already, and not with exit code 0.
 * The writer's thread takes none. */
static void hold_signals(void)
{
    sigset_t held;

    (void)sigemptyset(&held);
    (void)sigaddset(&held, SIGTERM);
    (void)sigaddset(&held, SIGINT);
    (void)sigaddset(&held, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &held, NULL);
}

/* What reports to another part goes first; the store before those that its close still completes. */
static void program_free(struct program *p)
{
    cluster_stop(p->cluster);
    if (p->store_event)
        event_free(p->store_event);
    runs_free(p->runs);
    wait_free(p->wait);
    stream_free(p->stream);
    waiters_free(p->waiters);
    store_close(p->store);
    cluster_free(p->cluster);
    metrics_free(p->metrics);
    lag_free(p->lag);
    process_free(p->process);
    events_free(p->events);
    health_free(p->health);
    http_server_free(p->server);
    auth_free(p->auth);
    for (size_t i = 0; i < 3; i++)
        if (p->signal_events[i])
            event_free(p->signal_events[i]);
    if (p->cluster_event)
        event_free(p->cluster_event);
    if (p->again_event)
        event_free(p->again_event);
    if (p->shutdown_event)
        event_free(p->shutdown_event);
    if (p->base)
        event_base_free(p->base);
}

/* Connections are descriptors: take what the hard limit allows. Failing leaves the soft limit, which is no
 * error. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* No library survives a failed allocation: libevent uses what it did not get, or forgets an event and with it a
 * connection; jansson's lexer reads past its text; OpenSSL leaves out a digest at its start, and verifies no server
 * from then on. A process that ends is started again within milliseconds and has lost nothing that it acknowledged. */
static void *library_memory(void *at, size_t len)
{
    static const char line[] = NAME ": out of memory; ending, so that a restart begins afresh\n";

    if (!at && len > 0) {
        (void)!write(STDERR_FILENO, line, sizeof line - 1);
        _exit(EXIT_FAILURE);
    }
    return at;
}

static void *library_malloc(size_t len)
{
    return library_memory(malloc(len), len);
}

static void *openssl_malloc(size_t len, const char *file, int line)
{
    (void)file, (void)line;
    return library_malloc(len);
}

static void *openssl_realloc(void *at, size_t len, const char *file, int line)
{
    (void)file, (void)line;
    return library_memory(realloc(at, len), len);
}

static void openssl_free(void *at, const char *file, int line)
{
    (void)file, (void)line;
    free(at);
}

static void *library_realloc(void *at, size_t len)
{
    return library_memory(realloc(at, len), len);
}

/* Binds nothing and takes nothing: port and data directory may be in use by the server that is to be replaced. */
static int check(struct program *p)
{
    const struct flux_watch_config no_flux = {.disabled = true}; /* it would need the store */
    const struct cluster_config config = {&p->config.k8s, &p->config.controller, &p->config.flux};
    const struct cluster_config made = {&p->config.k8s, &p->config.controller, &no_flux};
    const struct cluster_io io = {p, moment_now, cluster_wake_at};
    char http_err[HTTP_ERROR], store_err[STORE_ERROR], cluster_err[CLUSTER_ERROR];
    int status = auth_init(p);

    if (status != 0)
        return status;
    if (!http_config_check(&p->config.http, &p->reporter, http_err))
        return config_error(http_err);
    if (!cluster_config_check(&config, cluster_err))
        return config_error(cluster_err);
    if (!p->config.k8s.disabled)
        p->cluster = cluster_new(p->base, &made, NULL, NULL, &io, &p->reporter, cluster_err);
    if (!p->config.k8s.disabled && !p->cluster)
        return config_error(cluster_err);
    if (!store_check(&p->config.store, &p->reporter, store_err))
        return config_error(store_err);
    (void)puts("ok");
    return EXIT_SUCCESS;
}

static int serve(struct program *p)
{
    int status;

    raise_descriptor_limit();
    signal(SIGPIPE, SIG_IGN);
    event_set_mem_functions(library_malloc, library_realloc, free);
    json_set_alloc_funcs(library_malloc, free);
    (void)CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
    if (!events_init(p))
        return config_error("the event loop could not be set up");
    if (p->config.main.check)
        return check(p);
    /* The socket first: a client that comes while the store opens is told so instead of being refused. */
    if ((status = auth_init(p)) != 0 || (status = http_init(p)) != 0 || (status = store_init(p)) != 0 ||
        (status = cluster_init(p)) != 0)
        return status;
    if (!metrics_init(p))
        return config_error("out of memory");
    if (!p->config.main.no_sandbox)
        sandbox_report(&p->sandbox, &p->reporter);
    /* A small store is open before the first request is read. */
    if ((status = open_more(p)) != EXIT_SUCCESS)
        return status;
    for (size_t i = 0; http_server_address(p->server, i); i++)
        REPORT(&p->reporter, REPORT_INFO, "listening",
               FIELD_TEXT("address", http_server_address(p->server, i)),
               FIELD_TEXT("serves", http_server_protocol(p->server, i)));
    return loop(p);
}

static int ping_server(const char *url, const struct config *config)
{
    char err[PING_ERROR], id[PING_ID];

    signal(SIGPIPE, SIG_IGN);
    enum ping_result result = ping_run(url, &config->ping, config->auth.post_token_file,
                                       config->auth.read_token_file, wall_ms(), id, err);
    if (result != PING_DONE) {
        (void)fprintf(stderr, NAME ": ping %s: %s\n", url, err);
        return result == PING_UNUSABLE ? EXIT_CONFIG : EXIT_FAILURE;
    }
    (void)printf("%s stored an event and gives it back: id %s\n", url, id);
    return EXIT_SUCCESS;
}

/* False: it has been said what is wrong. */
static bool command_check(const char *const words[], size_t n_words)
{
    static const struct {
        const char *name, *argument;
    } commands[] = {{"serve", NULL}, {"export", NULL}, {"import", "FILE"}, {"verify", NULL}, {"ping", "URL"}};
    size_t i = 0;

    while (i < sizeof commands / sizeof *commands && strcmp(words[0], commands[i].name) != 0)
        i++;
    if (i == sizeof commands / sizeof *commands)
        (void)fprintf(
            stderr,
            NAME ": %s: no such command; use serve, export, import FILE, verify or ping URL; see --help\n",
            words[0]);
    else if (commands[i].argument && n_words < 2)
        (void)fprintf(stderr, NAME ": %s needs a %s: %s %s; see --help\n", words[0], commands[i].argument,
                      words[0], commands[i].argument);
    else if (!commands[i].argument && n_words > 1)
        (void)fprintf(stderr, NAME ": %s: one word too many after %s; see --help\n", words[1], words[0]);
    else
        return true;
    return false;
}

static void help(const struct flag_section *sections, size_t n)
{
    (void)puts("Usage: " NAME " [serve] [flags]\n"
               "       " NAME " export | import FILE | verify [--data-dir DIR]   (no server may hold it)\n"
               "       " NAME
               " ping URL [--post-token-file FILE] [--read-token-file FILE] [--server-ca-file FILE]\n"
               "           (posts an event and reads it back)\n\n"
               "Keeps what Flux says, durably, and finishes the Tekton Runs and CustomRuns of kind\n"
               "FluxDeploymentWait that wait for a revision.\n\n"
               "In a pod no flag is needed. Outside: kubectl proxy, and --kube-api http://127.0.0.1:8001,\n"
               "or --no-kube for the event store alone.\n\n"
               "A DURATION is written as 90s, 1h30m or 30d, a SIZE as 64MiB or 1GiB.\n");
    for (size_t i = 0; i < n; i++)
        flags_print(sections[i].flags, stdout);
}

int main(int argc, char *argv[])
{
    static struct program program; /* zeroed; too large for comfort on a stack */
    struct config *config = &program.config;
    const struct flag_section sections[] = {
        {http_flags, &config->http},
        {auth_flags, &config->auth},
        {store_flags, &config->store},
        {k8s_flags, &config->k8s},
        {controller_flags, &config->controller},
        {flux_watch_flags, &config->flux},
        {ping_flags, &config->ping},
        {main_flags, &config->main},
    };
    const size_t n_sections = sizeof sections / sizeof *sections;
    const char *words[2] = {"serve", NULL};
    size_t n_words = 0;
    char err[STORE_ERROR > FLAG_ERROR ? STORE_ERROR : FLAG_ERROR];
    struct logger logger = {.least = REPORT_DEBUG};

    if (!flags_parse(sections, n_sections, argc, argv, words, 2, &n_words, err))
        return config_error(err);
    if (config->main.help) {
        help(sections, n_sections);
        return EXIT_SUCCESS;
    }
    if (config->main.version) {
        (void)puts(NAME " " FES_VERSION);
        return EXIT_SUCCESS;
    }
    if (!command_check(words, n_words))
        return EXIT_CONFIG;
    if (strcmp(words[0], "ping") == 0)
        return ping_server(words[1], config);
    if (!logger_init(&logger, &config->main))
        return EXIT_CONFIG;
    program.reporter = (struct reporter){on_report, &logger};
    program.sections = sections;
    program.n_sections = n_sections;
    if (strcmp(words[0], "serve") != 0)
        return transfer_run(words[0], words[1], &config->store, &program.reporter, err) ? EXIT_SUCCESS
                                                                                        : config_error(err);
    int status = serve(&program);
    hold_signals();
    program_free(&program);
    return status;
}
