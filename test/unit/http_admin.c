/* Who is served what, and where: tokens and keys in front of the routes, --admin-listen, the flags' values, the limits.
 */
#include "http_test.h"

#include "http/auth.h"
#include "http/tally_priv.h"

#include <sys/resource.h>

struct app {
    struct rig rig;
    struct auth *auth;
    char files[2][32];
    uint16_t admin_port;
};

static void on_any(void *arg, struct http_request *r)
{
    struct app *app = arg;
    struct http_reply reply = {.status = 200, .type = "text/plain", .body = STR("served")};
    http_reply(app->rig.server, http_request_id(r), &reply);
}

static const char *file_of(char path[static 32], const char *content)
{
    (void)snprintf(path, 32, "/tmp/http-admin-XXXXXX");
    int fd = mkstemp(path);

    CHECK(fd >= 0);
    CHECK_INT(write(fd, content, strlen(content)), strlen(content));
    (void)close(fd);
    return path;
}

static uint16_t port_of(const char *address)
{
    return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

/* A server with one guarded route for each method, a probe, and one that is the operator's. */
static void start(struct app *app, bool has_admin)
{
    struct http_config config = {.listen = {.values = {"127.0.0.1:0"}, .n = 1},
                                 .admin_listen = {.values = {"127.0.0.1:0"}, .n = has_admin}};
    char err[HTTP_ERROR];

    signal(SIGPIPE, SIG_IGN);
    memset(app, 0, sizeof *app);
    app->rig.reporter = (struct reporter){rig_report, &app->rig};
    app->rig.base = rig_base();
    app->rig.server = http_server_new(app->rig.base, &config, &app->rig.reporter, err);
    if (!app->rig.server)
        HARNESS_FAIL("%s", err);
    app->rig.port = port_of(http_server_address(app->rig.server, 0));
    if (has_admin)
        app->admin_port = port_of(http_server_address(app->rig.server, 1));
    CHECK(http_route(app->rig.server, HTTP_GET, "/kept", on_any, app));
    CHECK(http_route(app->rig.server, HTTP_POST, "/kept", on_any, app));
    CHECK(http_route_open(app->rig.server, HTTP_GET, "/probe", on_any, app));
    CHECK(http_route_admin(app->rig.server, HTTP_GET, "/numbers", on_any, app));
}

static void guard(struct app *app)
{
    const struct auth_config config = {
        .hmac_key_files = {.values = {file_of(app->files[0], "key")}, .n = 1},
        .read_token_file = file_of(app->files[1], "reader"),
    };
    char err[AUTH_ERROR];

    app->auth = auth_new(&config, &app->rig.reporter, err);
    if (!app->auth)
        HARNESS_FAIL("%s", err);
    http_server_set_auth(app->rig.server, app->auth);
}

static void stop(struct app *app)
{
    rig_stop(&app->rig);
    auth_free(app->auth);
    for (int i = 0; i < 2; i++)
        if (app->files[i][0])
            (void)unlink(app->files[i]);
}

/* The status of one request; its whole answer is in *c. */
static int ask(struct app *app, struct client *c, uint16_t port, const char *request)
{
    struct rig *rig = &app->rig;
    uint16_t kept = rig->port;

    rig->port = port;
    client_open(c, rig);
    rig->port = kept;
    client_text(c, request);
    return client_answer(c, NULL);
}

#define REQUEST(line, headers) line " HTTP/1.1\r\nHost: x\r\n" headers "\r\n"
#define POST(headers)          REQUEST("POST /kept", "Content-Length: 5\r\n" headers) "Hello"
/* HMAC-SHA256 of "Hello" under "key". */
#define FITS "c70b9f4d665bd62974afc83582de810e72a41a58db82c538a9d734c9266d321e"

static void test_credentials(void)
{
    static const struct {
        const char *request;
        int status;
        enum http_cause cause; /* of a refusal */
        const char *report;
    } rows[] = {
        {REQUEST("GET /probe", ""), 200, 0, ""}, /* to everybody */
        {REQUEST("GET /numbers", ""), 200, 0, ""},
        {REQUEST("GET /kept", "Authorization: Bearer reader\r\n"), 200, 0, ""},
        {REQUEST("GET /kept", ""), 401, CAUSE_NO_CREDENTIALS, "a signature or bearer token is required"},
        {REQUEST("GET /kept", "Authorization: Bearer other\r\n"), 401, CAUSE_WRONG_TOKEN,
         "the bearer token is wrong"},
        {POST("X-Signature: sha256=" FITS "\r\n"), 200, 0, ""},
        {POST(""), 401, CAUSE_NO_CREDENTIALS, "a signature or bearer token is required"},
        {POST("X-Signature: sha256=12\r\n"), 401, CAUSE_BAD_SIGNATURE, "64 hexadecimal digits"},
        {POST("X-Signature: sha256=0" FITS "\r\n"), 401, CAUSE_BAD_SIGNATURE, "64 hexadecimal digits"},
        {REQUEST("POST /kept", "Content-Length: 5\r\nX-Signature: sha256=" FITS "\r\n") "hello", 401,
         CAUSE_WRONG_SIGNATURE, "does not fit the body"},
        {REQUEST("GET /none", ""), 404, CAUSE_NOT_FOUND, "nothing at this path"}, /* it is no secret */
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct app app;
        struct client c;
        harness_case("%s", rows[i].request);
        start(&app, false);
        guard(&app);
        CHECK_INT(ask(&app, &c, app.rig.port, rows[i].request), rows[i].status);
        CHECK_INT(str_has(client_in(&c), STR("\r\nWWW-Authenticate: Bearer realm=")), rows[i].status == 401);
        if (rows[i].status == 401) { /* the sender learns no more than that */
            CHECK_HAS(client_in(&c), STR("{\"error\":\"unauthorized\"}"));
            CHECK_TEXT(app.rig.last_report, "request denied");
        }
        if (rows[i].status != 200) {
            CHECK_INT(rig_refused(&app.rig, rows[i].cause), 1);
            CHECK_HAS(str_of(app.rig.last_error), str_of(rows[i].report));
        }
        client_close(&c);
        stop(&app);
    }
}

static bool accepts(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0);
    bool accepted = connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return accepted;
}

/* Each listener serves its own routes, and each names what it does not serve. */
static void test_admin_listener(void)
{
    static const struct {
        const char *request;
        int status, admin_status;
    } rows[] = {
        {REQUEST("GET /probe", ""), 200, 200},
        {REQUEST("GET /numbers", ""), 404, 200},
        {REQUEST("GET /kept", ""), 401, 404}, /* guarded, whatever the token: not there */
        {REQUEST("GET /kept", "Authorization: Bearer reader\r\n"), 200, 404},
        {REQUEST("DELETE /probe", ""), 405, 405},
        {REQUEST("DELETE /kept", ""), 405, 404},
        {REQUEST("DELETE /numbers", ""), 404, 405},
    };
    struct app app;
    struct client c;

    start(&app, true);
    guard(&app);
    CHECK_TEXT(http_server_protocol(app.rig.server, 0), "http");
    CHECK_TEXT(http_server_protocol(app.rig.server, 1), "http, probes and metrics");
    CHECK(http_server_address(app.rig.server, 2) == NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].request);
        CHECK_INT(ask(&app, &c, app.rig.port, rows[i].request), rows[i].status);
        client_close(&c);
        CHECK_INT(ask(&app, &c, app.admin_port, rows[i].request), rows[i].admin_status);
        client_close(&c);
    }
    harness_case("what a 404 names");
    (void)ask(&app, &c, app.admin_port, REQUEST("GET /none", ""));
    CHECK_HAS(client_in(&c), STR("served are /probe, /numbers\"}"));
    client_close(&c);
    (void)ask(&app, &c, app.rig.port, REQUEST("GET /none", ""));
    CHECK_HAS(client_in(&c), STR("served are /kept, /probe\"}"));
    client_close(&c);
    harness_case("neither accepts when the process stops");
    http_server_stop_accepting(app.rig.server);
    CHECK(!accepts(app.rig.port) && !accepts(app.admin_port));
    stop(&app);
}

/* An address that is taken, or is none, is named with its flag, and nothing is left behind. */
static void test_admin_address_is_taken(void)
{
    struct app app;
    char err[HTTP_ERROR];

    start(&app, true);
    struct http_config config = {
        .listen = {.values = {"127.0.0.1:0"}, .n = 1},
        .admin_listen = {.values = {http_server_address(app.rig.server, 1)}, .n = 1}};
    CHECK(http_server_new(app.rig.base, &config, &app.rig.reporter, err) == NULL);
    CHECK(str_starts(str_of(err), STR("--admin-listen 127.0.0.1:")));
    CHECK_HAS(str_of(err), STR(": Address already in use"));
    stop(&app);
}

static void test_config_check(void)
{
    static const struct {
        struct http_config config;
        const char *err; /* NULL: it is good */
    } rows[] = {
        {{.listen = {.values = {":8080", "[::1]:0", "127.0.0.1:65535"}, .n = 3}}, NULL},
        {{.listen = {.values = {"10.255.255.1:80"}, .n = 1}}, NULL}, /* nothing is bound */
        {{.listen = {.values = {":8080", "x"}, .n = 2}}, "--listen x: write it as"},
        {{.listen = {.values = {"[127.0.0.1]:80"}, .n = 1}}, "--listen [127.0.0.1]:80: write it as"},
        {{.listen = {.values = {"[]:80"}, .n = 1}}, "--listen []:80: write it as"},
        {{.listen = {.values = {"[::1:80"}, .n = 1}}, "--listen [::1:80: write it as"},
        {{.listen = {.values = {"1111111111111111111111111111111111111111111111111:80"}, .n = 1}},
         "--listen 1111"},
        {{.admin_listen = {.values = {":65536"}, .n = 1}}, "--admin-listen :65536: write it as"},
        {{.admin_listen = {.values = {":0"}, .n = 1}}, NULL},
        {{.tls = {.cert_file = "/nonexistent/cert"}}, "--tls-"},
        {{.tls = {.cert_file = "/nonexistent/cert", .key_file = "/nonexistent/key"}}, "/nonexistent/cert"},
        {{.tls = {.client_ca_file = "/nonexistent/ca"}}, "--tls-"},
    };
    struct rig rig;
    const struct reporter reporter = {rig_report, &rig};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char err[HTTP_ERROR] = "";
        harness_case("row %zu", i);
        CHECK_INT(http_config_check(&rows[i].config, &reporter, err), rows[i].err == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].err));
    }
}

/* Connections leave 256 descriptors to everything else; where there are few, they leave half of them. */
static void test_limits_by_descriptors(void)
{
    static const struct {
        rlim_t fds;
        size_t connections, idle;
    } rows[] = {
        {HTTP_MAX_CONNECTIONS + 256, HTTP_MAX_CONNECTIONS, HTTP_MAX_IDLE},
        {HTTP_MAX_CONNECTIONS + 255, HTTP_MAX_CONNECTIONS - 1, HTTP_MAX_IDLE},
        {4096, 3840, HTTP_MAX_IDLE},
        {1024, 768, 384},
        {513, 257, 128},
        {512, 256, 128},
        {100, 50, 25},
        {4, 2, 1},
    };
    struct rlimit old;

    CHECK_INT(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rlimit fds = {.rlim_cur = rows[i].fds, .rlim_max = old.rlim_max};
        struct guard_limits limits;
        if (fds.rlim_cur > old.rlim_max)
            continue;
        harness_case("%zu descriptors", (size_t)rows[i].fds);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &fds), 0);
        http_default_limits(&limits);
        CHECK_INT(setrlimit(RLIMIT_NOFILE, &old), 0);
        CHECK_INT(limits.connections, rows[i].connections);
        CHECK_INT(limits.idle, rows[i].idle);
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_credentials),
                                       TEST(test_admin_listener),
                                       TEST(test_admin_address_is_taken),
                                       TEST(test_config_check),
                                       TEST(test_limits_by_descriptors),
                                       {0}});
}
