/* Two servers of the same trivial route, to be driven by wrk: bare evhttp, and evhttp behind the guard, the routes and
 * the table of pending answers. `http_bench bare` or `http_bench guarded` prints its port and serves until killed. */
#include "http/server.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>

static void on_report(void *arg, const struct report *report)
{
    (void)arg;
    fprintf(stderr, "%s\n", report->sentence);
}

static void on_request(void *arg, struct http_request *r)
{
    struct http_reply reply = {.status = 200, .body = STR("{\"id\":\"1\"}")};
    (void)http_request_body(r);
    http_reply(arg, http_request_id(r), &reply);
}

static void on_bare(struct evhttp_request *req, void *arg)
{
    struct evbuffer *out = evhttp_request_get_output_buffer(req);
    (void)arg;
    (void)evbuffer_pullup(evhttp_request_get_input_buffer(req), -1);
    evbuffer_add(out, "{\"id\":\"1\"}", 10);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", "application/json");
    evhttp_send_reply(req, 200, "OK", NULL);
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    char err[HTTP_ERROR];

    (void)signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && str_eq(str_of(argv[1]), STR("bare"))) {
        struct evhttp *http = evhttp_new(base);
        struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
        struct sockaddr_in address;
        socklen_t len = sizeof address;
        evhttp_set_gencb(http, on_bare, NULL);
        getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
        printf("127.0.0.1:%u\n", ntohs(address.sin_port));
        return event_base_dispatch(base);
    }
    struct reporter reporter = {on_report, NULL};
    struct http_config config = {.listen = {.values = {"127.0.0.1:0"}, .n = 1}};
    struct http_server *server = http_server_new(base, &config, &reporter, err);
    if (!server || !http_route(server, HTTP_POST, "/events", on_request, server)) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    printf("%s\n", http_server_address(server, 0));
    return event_base_dispatch(base);
}
