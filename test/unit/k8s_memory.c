/* The n-th allocation is refused, for n = 0, 1, 2, ...: credentials are never left out, neither when they are read nor from
 * a request. */
#include "k8s/client.h"
#include "k8s/creds_priv.h"
#include "k8s_server.h"
#include "memory.h"

/* Reads the credentials with each allocation refused. */
static void read_credentials(const struct k8s_config *config, const struct k8s_pod *pod)
{
    struct reports reports = {0};
    struct reporter reporter = reports_to(&reports);
    bool refused = true;
    long n = 0;

    for (; refused; n++) {
        char err[K8S_ERROR] = "";
        harness_case("allocation %ld", n);
        memory_before = n;
        struct k8s_creds *c = k8s_creds_new(config, pod, &reporter, err);
        refused = memory_again();
        CHECK_INT(c != NULL, !refused);
        CHECK_INT(err[0] != '\0', refused);
        if (c)
            CHECK_STR(k8s_creds_token(c, 0), STR("t"));
        k8s_creds_free(c);
    }
    CHECK(n > 3);
}

static void credentials_are_not_left_out(void)
{
    struct authority ca = authority_new("CA");
    authority_write(&ca, in_folder("ca.crt"));
    authority_free(&ca);
    write_file("token", "t");
    char token[256], ca_file[256];
    (void)snprintf(token, sizeof token, "%s", in_folder("token"));
    (void)snprintf(ca_file, sizeof ca_file, "%s", in_folder("ca.crt"));
    const struct k8s_config config = {.api = "https://127.0.0.1:1", .token_file = token, .ca_file = ca_file};
    const struct k8s_pod pod = {"127.0.0.1", "443", folder};

    read_credentials(&config, &pod);
    read_credentials(&(struct k8s_config){0}, &pod);
}

/* ---- requests ---- */

static int n_first, n_second, n_bare; /* requests that came with the first token, the second, none */

/* The token is another one when the first request arrives, which is refused for that. */
static void refuse_first_token(struct server *s, struct peer *p)
{
    bool first = strstr(s->head, "\r\nAuthorization: Bearer first\r\n") != NULL;
    bool second = strstr(s->head, "\r\nAuthorization: Bearer second\r\n") != NULL;

    n_first += first;
    n_second += second;
    n_bare += !first && !second;
    if (first)
        write_file("token", "second");
    peer_answer(p, second ? 200 : 401, "", "{}");
}

static int n_replies, status;

static void on_reply(void *arg, uint64_t token, const struct k8s_reply *reply)
{
    (void)arg, (void)token;
    n_replies++;
    status = reply->status;
}

/* One request with the n-th allocation refused. Returns whether there was one, and so it was. */
static bool ask_without_memory(struct event_base *base, const struct server *server, const char *changed_to,
                               long n)
{
    char url[64], err[K8S_ERROR] = "";
    struct reports reports = {0};
    struct reporter reporter = reports_to(&reports);
    const struct k8s_config config = {.api = url, .token_file = write_file("token", "first")};

    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", server->port);
    n_first = n_second = n_bare = n_replies = status = 0;
    struct k8s_client *client = k8s_client_new(base, &config, &reporter, err);
    if (!client)
        HARNESS_FAIL("no client: %s", err);
    if (changed_to)
        write_file("token", changed_to);
    memory_before = n;
    bool taken = k8s_request(client, K8S_GET, "/x", STR_NONE, true, on_reply, NULL, 0);
    WAIT_FOR(base, n_replies == taken, 5000);
    bool refused = memory_again();
    k8s_client_free(client);
    return refused;
}

/* A token that cannot be read, or not be written into a request, for want of memory: the request fails, or has the token
 * of before. Without one it would be refused, or taken for somebody else's. */
static void a_request_is_not_sent_without_its_token(void)
{
    static const struct {
        const char *name,
            *changed_to; /* before the request: it is read again for it; NULL: only when it is refused */
    } rows[] = {{"another token in the file", "second"}, {"the token is refused", NULL}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct event_base *base = event_base_new();
        struct server *server = server_new(base, NULL, refuse_first_token);
        int unsent = 0, old = 0;
        bool refused = true;
        long n = 0;
        server_listen(server, "127.0.0.1");
        for (; refused; n++) {
            harness_case("%s, allocation %ld", rows[i].name, n);
            refused = ask_without_memory(base, server, rows[i].changed_to, n);
            CHECK_INT(n_bare, 0);
            CHECK_INT(status == 200, n_second > 0);
            CHECK(refused || status == 200);
            unsent += n_first + n_second == 0;
            old += n_first > 0 && n_second == 0;
        }
        harness_case("%s", rows[i].name);
        CHECK(unsent >= 3); /* two allocations of the request, and the header's */
        CHECK_INT(old > 0, !rows[i].changed_to);
        server_free(server);
        event_base_loop(base, EVLOOP_NONBLOCK);
        event_base_free(base);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    int failed = harness_run((struct test[]){
        TEST(credentials_are_not_left_out), TEST(a_request_is_not_sent_without_its_token), {0}});
    remove_folder();
    return failed;
}
