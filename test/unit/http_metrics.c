/* The text of metrics, byte by byte; the route; lag, process and tally as they count. */
#include "http_test.h"

#include "http/lag.h"
#include "http/metrics.h"
#include "http/process.h"
#include "http/tally_priv.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

struct numbers {
    uint64_t plain;
    uint64_t us;
    uint64_t fruits[2];
    uint64_t grid[2][2];
    const char *found[3];
    uint64_t by_found[2];
    struct histogram sizes;
    struct histogram times;
};

static const char *const fruits[] = {"apple", "pear", NULL};
static const char *const sides[] = {"left", "right", NULL};
static const uint64_t size_bounds[] = {1, 8, 0};
static const uint64_t time_bounds[] = {500, 1000000, 2500000, 0};

#define AT(field) offsetof(struct numbers, field)
static const struct metric table[] = {
    {.name = "a_total", .offset = AT(plain), .help = "A."},
    {.name = "b_seconds", .type = METRIC_GAUGE, .unit = METRIC_MICROSECONDS, .offset = AT(us), .help = "B."},
    {.name = "c_total", .offset = AT(fruits), .help = "C.", .labels = {{"fruit", fruits, 0}}},
    {.name = "d_total",
     .offset = AT(grid),
     .help = "D.",
     .labels = {{"fruit", fruits, 0}, {"side", sides, 0}},
     .is_sparse = true},
    {.name = "e",
     .type = METRIC_GAUGE,
     .offset = AT(by_found),
     .help = "E.",
     .labels = {{"at", NULL, AT(found)}}},
    {.name = "f", .type = METRIC_HISTOGRAM, .offset = AT(sizes), .help = "F.", .bounds = size_bounds},
    {.name = "g_seconds",
     .type = METRIC_HISTOGRAM,
     .unit = METRIC_MICROSECONDS,
     .offset = AT(times),
     .help = "G.",
     .bounds = time_bounds},
    {.name = NULL},
};

static int collected;

static const void *collect(void *arg)
{
    collected++;
    return arg;
}

static struct metric_source source_of(struct numbers *n)
{
    return (struct metric_source){table, collect, n};
}

static void test_the_text_byte_by_byte(void)
{
    struct numbers n = {.plain = UINT64_MAX,
                        .us = 1500,
                        .fruits = {1, 0},
                        .grid = {{0, 2}, {3, 0}},
                        .found = {"runs", "customruns", NULL},
                        .by_found = {1, 0},
                        .sizes = {.counts = {1, 2, 3}, .sum = 99},
                        .times = {.counts = {0, 1, 0, 4}, .sum = 12000005}};
    struct metrics *m = metrics_new(NULL);

    CHECK(metrics_add(m, source_of(&n)));
    char *text = metrics_text(m);
    CHECK_TEXT(text, "# HELP a_total A.\n# TYPE a_total counter\na_total 18446744073709551615\n"
                     "# HELP b_seconds B.\n# TYPE b_seconds gauge\nb_seconds 0.0015\n"
                     "# HELP c_total C.\n# TYPE c_total counter\n"
                     "c_total{fruit=\"apple\"} 1\nc_total{fruit=\"pear\"} 0\n"
                     "# HELP d_total D.\n# TYPE d_total counter\n"
                     "d_total{fruit=\"apple\",side=\"right\"} 2\nd_total{fruit=\"pear\",side=\"left\"} 3\n"
                     "# HELP e E.\n# TYPE e gauge\ne{at=\"runs\"} 1\ne{at=\"customruns\"} 0\n"
                     "# HELP f F.\n# TYPE f histogram\nf_bucket{le=\"1\"} 1\nf_bucket{le=\"8\"} 3\n"
                     "f_bucket{le=\"+Inf\"} 6\nf_sum 99\nf_count 6\n"
                     "# HELP g_seconds G.\n# TYPE g_seconds histogram\ng_seconds_bucket{le=\"0.0005\"} 0\n"
                     "g_seconds_bucket{le=\"1\"} 1\ng_seconds_bucket{le=\"2.5\"} 1\n"
                     "g_seconds_bucket{le=\"+Inf\"} 5\ng_seconds_sum 12.000005\ng_seconds_count 5\n");
    free(text);
    metrics_free(m);
}

static void test_seconds_are_exact(void)
{
    static const struct {
        uint64_t us;
        const char *text;
    } rows[] = {
        {0, "0"},          {1, "0.000001"},
        {10, "0.00001"},   {500, "0.0005"},
        {100000, "0.1"},   {999999, "0.999999"},
        {1000000, "1"},    {1000001, "1.000001"},
        {1010000, "1.01"}, {UINT64_C(1795427036940844), "1795427036.940844"},
    };
    char want[64];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct numbers n = {.us = rows[i].us};
        struct metrics *m = metrics_new(NULL);
        harness_case("%s", rows[i].text);
        metrics_add(m, source_of(&n));
        char *text = metrics_text(m);
        snprintf(want, sizeof want, "\nb_seconds %s\n", rows[i].text);
        CHECK_HAS(str_of(text), str_of(want));
        free(text);
        metrics_free(m);
    }
}

static void test_sources_are_printed_in_order_and_asked_each_time(void)
{
    static const struct metric first[] = {{.name = "z", .type = METRIC_GAUGE, .help = "Z."}, {.name = NULL}};
    uint64_t one = 1;
    struct numbers n = {0};
    struct metrics *m = metrics_new(NULL);

    collected = 0;
    CHECK(metrics_add(m, (struct metric_source){first, collect, &one}));
    CHECK(metrics_add(m, source_of(&n)));
    free(metrics_text(m));
    one = 2;
    n.plain = 7;
    char *text = metrics_text(m);
    CHECK(str_starts(str_of(text), STR("# HELP z Z.\n# TYPE z gauge\nz 2\n# HELP a_total")));
    CHECK_HAS(str_of(text), STR("\na_total 7\n"));
    CHECK_INT(collected, 4);
    free(text);
    for (int i = 2; i < METRICS_MAX_SOURCES; i++)
        CHECK(metrics_add(m, source_of(&n)));
    CHECK(!metrics_add(m, source_of(&n)));
    metrics_free(m);
}

static void test_the_route(void)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {{GET("/metrics"), 200},
                {GET("/metrics?x=1"), 400},
                {"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405}};
    struct rig rig;
    struct numbers n = {.plain = 5};

    rig_start(&rig, NULL);
    struct metrics *m = metrics_new(rig.server);
    metrics_add(m, source_of(&n));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client c;
        struct str body;
        harness_case("%s", rows[i].request);
        client_open(&c, &rig);
        client_text(&c, rows[i].request);
        CHECK_INT(client_answer(&c, &body), rows[i].status);
        if (rows[i].status == 200) {
            CHECK_HAS(client_in(&c), STR("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
            CHECK_HAS(body, STR("\na_total 5\n"));
        }
        client_close(&c);
    }
    metrics_free(m);
    rig_stop(&rig);
}

static void test_head_has_the_length_and_no_body(void)
{
    struct rig rig;
    struct client c;
    struct numbers n = {0};
    char length[64];

    rig_start(&rig, NULL);
    struct metrics *m = metrics_new(rig.server);
    metrics_add(m, source_of(&n));
    char *text = metrics_text(m);
    snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", strlen(text));
    free(text);
    client_open(&c, &rig);
    client_text(&c, "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client_wait_closed(&c);
    CHECK_HAS(client_in(&c), STR("HTTP/1.1 200 OK\r\n"));
    CHECK_HAS(client_in(&c), str_of(length));
    CHECK(str_ends(client_in(&c), STR("\r\n\r\n")));
    client_close(&c);
    metrics_free(m);
    rig_stop(&rig);
}

/* ---- tally ---- */

struct said {
    int n;
    long long requests; /* of the last line */
    char cause[64];
    char path[64];
    enum report_level level;
};

static void on_report(void *arg, const struct report *report)
{
    struct said *said = arg;

    said->n++;
    said->level = report->level;
    said->path[0] = '\0';
    for (const struct report_field *f = report->fields; f->name; f++) {
        if (strcmp(f->name, "requests") == 0 || strcmp(f->name, "bodies") == 0)
            said->requests = f->number;
        if (strcmp(f->name, "cause") == 0)
            snprintf(said->cause, sizeof said->cause, "%.*s", STR_ARG(f->text));
        if (strcmp(f->name, "path") == 0)
            snprintf(said->path, sizeof said->path, "%.*s", STR_ARG(f->text));
    }
}

static void test_one_line_a_second_for_each_cause(void)
{
    struct said said = {0};
    struct reporter reporter = {on_report, &said};
    struct tally t = {.reporter = &reporter};

    for (int64_t ms = 0; ms < 10 * TALLY_REPORT_MS; ms += 10)
        tally_refused(&t, CAUSE_BAD_EVENT, 400, (struct tally_from){.client = "::1"}, STR("no"), ms);
    CHECK_INT(said.n, 10);
    CHECK_INT(said.requests, 100);
    CHECK_TEXT(said.cause, "bad_event");
    CHECK_TEXT(said.path, "");
    CHECK_INT(said.level, REPORT_INFO);
    CHECK_INT(t.numbers.rejected[CAUSE_BAD_EVENT], 1000);
    CHECK_INT(t.numbers.lines_dropped, 990);
    /* Another cause is not hidden by a flood of the first. */
    tally_refused(&t, CAUSE_WRONG_TOKEN, 401, (struct tally_from){"::1", STR("/events")}, STR("no"),
                  10 * TALLY_REPORT_MS - 1);
    CHECK_INT(said.n, 11);
    CHECK_INT(said.requests, 1);
    CHECK_TEXT(said.cause, "wrong_token");
    CHECK_TEXT(said.path, "/events");
    CHECK_INT(said.level, REPORT_WARN);
    CHECK_INT(t.numbers.lines_dropped, 990);
}

static void test_the_rest_is_told(void)
{
    struct said said = {0};
    struct reporter reporter = {on_report, &said};
    struct tally t = {.reporter = &reporter};

    for (int64_t ms = 0; ms < 50; ms += 10) {
        tally_refused(&t, CAUSE_WRONG_TOKEN, 401, (struct tally_from){"::1", STR("/events")}, STR("no"), ms);
        tally_damaged(&t, 7, ms);
    }
    CHECK_INT(said.n, 2);
    tally_tell_rest(&t, TALLY_REST_MS - 1); /* another may still come, with a line of its own */
    CHECK_INT(said.n, 2);
    tally_tell_rest(&t, TALLY_REST_MS);
    CHECK_INT(said.n, 4);
    CHECK_INT(said.requests, 4);
    CHECK_TEXT(said.cause, "wrong_token");
    CHECK_TEXT(said.path, "");
    tally_tell_rest(&t, 2 * TALLY_REST_MS); /* there is no more */
    CHECK_INT(said.n, 4);
    tally_refused(&t, CAUSE_WRONG_TOKEN, 401, (struct tally_from){"::1", STR("/events")}, STR("no"),
                  TALLY_REST_MS + 10);
    CHECK_INT(said.n, 4); /* that was a line, too */
    tally_tell_rest(&t, INT64_MAX);
    CHECK_INT(said.n, 5);
    CHECK_INT(said.requests, 1);
    CHECK_INT(t.numbers.lines_dropped, 5);
}

static void test_one_line_a_second_for_damaged_bodies(void)
{
    struct said said = {0};
    struct reporter reporter = {on_report, &said};
    struct tally t = {.reporter = &reporter};

    for (int64_t ms = 0; ms < 10 * TALLY_REPORT_MS; ms += 10)
        tally_damaged(&t, 7, ms);
    CHECK_INT(said.n, 10);
    CHECK_INT(said.requests, 100);
    CHECK_INT(said.level, REPORT_ERROR);
}

static void test_every_cause_has_its_own_label_and_status(void)
{
    const struct metric *m = tally_metrics;

    while (strcmp(m->name, "flux_event_store_http_rejected_total") != 0)
        m++;
    for (int i = 0; i < N_CAUSES; i++) {
        harness_case("cause %d", i);
        CHECK(m->labels[0].values[i]);
        CHECK(cause_status((enum http_cause)i) >= 400);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(m->labels[0].values[i], m->labels[0].values[j]) != 0);
    }
    CHECK(!m->labels[0].values[N_CAUSES]);
    for (int cause = CAUSE_BAD_HEAD; cause <= CAUSE_VERSION; cause++)
        CHECK_INT(cause_of_head(cause_status((enum http_cause)cause)), cause);
    CHECK_INT(cause_of_head(500), CAUSE_OTHER);
    CHECK_INT(cause_of_status(409), CAUSE_OTHER);
}

static void test_answers_by_status(void)
{
    struct tally t = {0};
    const struct metric *m = tally_metrics;
    uint64_t ok = 0;
    uint64_t others = 0;

    tally_answered(&t, 200);
    tally_answered(&t, 200);
    tally_answered(&t, 299);
    for (size_t i = 0; m->labels[0].values[i]; i++) {
        if (strcmp(m->labels[0].values[i], "200") == 0)
            ok = t.numbers.requests[i];
        if (strcmp(m->labels[0].values[i], "other") == 0)
            others = t.numbers.requests[i];
    }
    CHECK_INT(ok, 2);
    CHECK_INT(others, 1);
}

/* ---- lag and process ---- */

static char *text_of(struct metric_source source)
{
    struct metrics *m = metrics_new(NULL);

    metrics_add(m, source);
    char *text = metrics_text(m);
    metrics_free(m);
    return text;
}

/* The number that follows. */
static double value_of(const char *text, const char *series)
{
    char line[128];

    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(text, line);
    if (!at)
        HARNESS_FAIL("no %s in %s", series, text);
    return strtod(at + strlen(line), NULL);
}

static double measured(struct metric_source source, const char *series)
{
    char *text = text_of(source);
    double value = value_of(text, series);
    free(text);
    return value;
}

static void test_lag_is_seen_and_an_idle_loop_is_left_alone(void)
{
    struct event_base *base = event_base_new();
    struct lag *l = lag_new(base);
    int64_t start = clock_ms();

    lag_turn(l);
    while (clock_ms() < start + LAG_SAMPLE_MS + 150) /* a long callback */
        ;
    event_base_loop(base, EVLOOP_ONCE);
    CHECK_INT(measured(lag_metrics(l), "flux_event_store_loop_lag_seconds_count"), 1);
    double late = measured(lag_metrics(l), "flux_event_store_loop_lag_seconds_sum");
    CHECK(late >= 0.149 && late < 10);
    CHECK_INT(measured(lag_metrics(l), "flux_event_store_loop_lag_seconds_bucket{le=\"0.1\"}"), 0);
    /* The turn that it caused itself does not set it again; the next one does. */
    lag_turn(l);
    struct timeval idle = {.tv_usec = 3 * LAG_SAMPLE_MS * 1000};
    event_base_loopexit(base, &idle);
    event_base_loop(base, 0);
    CHECK_INT(measured(lag_metrics(l), "flux_event_store_loop_lag_seconds_count"), 1);
    lag_turn(l);
    event_base_loop(base, EVLOOP_ONCE);
    CHECK_INT(measured(lag_metrics(l), "flux_event_store_loop_lag_seconds_count"), 2);
    lag_free(l);
    event_base_free(base);
}

static void test_the_process(void)
{
    struct process *p = process_new();
    struct metric_source source = process_metrics(p);
    double fds = measured(source, "process_open_fds");
    int fd = dup(0);
    double began = measured(source, "process_start_time_seconds");
    double now = (double)time(NULL);

    CHECK_INT(measured(source, "process_open_fds"), fds + 1);
    close(fd);
    CHECK_INT(measured(source, "process_open_fds"), fds);
    CHECK(began > now - 300 && began <= now + 1);
    CHECK(measured(source, "process_resident_memory_bytes") > 1e6);
    CHECK(measured(source, "process_virtual_memory_bytes") >
          measured(source, "process_resident_memory_bytes"));
    CHECK(measured(source, "process_cpu_seconds_total") > 0);
    CHECK(measured(source, "process_max_fds") >= fds);
    char *text = text_of(source);
    CHECK_HAS(str_of(text), STR("\nflux_event_store_build_info{version=\""));
    free(text);
    process_free(p);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_the_text_byte_by_byte),
                                       TEST(test_seconds_are_exact),
                                       TEST(test_sources_are_printed_in_order_and_asked_each_time),
                                       TEST(test_the_route),
                                       TEST(test_head_has_the_length_and_no_body),
                                       TEST(test_one_line_a_second_for_each_cause),
                                       TEST(test_the_rest_is_told),
                                       TEST(test_one_line_a_second_for_damaged_bodies),
                                       TEST(test_every_cause_has_its_own_label_and_status),
                                       TEST(test_answers_by_status),
                                       TEST(test_lag_is_seen_and_an_idle_loop_is_left_alone),
                                       TEST(test_the_process),
                                       {0}});
}
