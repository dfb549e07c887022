/*
 * fake-apiserver: a small Kubernetes API server for the tests and the demo of this project.
 *
 * It serves Tekton's Run and CustomRun (and Events, and when asked Flux's Kustomization and HelmRelease),
 * over TLS with a bearer token, as a kube-apiserver shows them on the wire, and it misbehaves to order. It
 * runs in the foreground until SIGTERM or SIGINT, frees everything, and exits 0. A bad flag is exit 2 with
 * one line.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/fake/fake.h"
#include "test/fake/faults.h"
#include "test/fake/log.h"

#define BOOKMARK_MS 60000
#define IDLE_MS     90000

static const char usage[] =
    "usage: fake-apiserver --dir DIR [--listen 127.0.0.1:0] [--plain] [--off RESOURCE]...\n"
    "                      [--wrong-san] [--expired] [--bookmark-ms N]\n"
    "  --dir DIR        writes ca.crt, other-ca.crt, token, info and, last, ready into DIR\n"
    "  --listen A:P     numeric IPv4 address and port; port 0 lets the kernel choose\n"
    "  --plain          no TLS and no token, as kubectl proxy\n"
    "  --off RESOURCE   runs, customruns: as if the CRD did not exist\n"
    "  --on RESOURCE    kustomizations, helmreleases: off by default\n"
    "  --wrong-san      a certificate for another address\n"
    "  --expired        a certificate that ended yesterday\n"
    "  --bookmark-ms N  between two bookmarks of a watch (60000)\n";

struct options {
    const char *dir;
    char address[64];
    uint16_t port;
    bool plain;
    struct identity_cert cert;
};

static int complain(const char *what, const char *problem)
{
    fprintf(stderr, "fake-apiserver: %s: %s\n", what, problem);
    return 2;
}

static bool parse_listen(const char *text, struct options *options)
{
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    size_t length = colon == NULL ? 0 : (size_t)(colon - text);
    if (length == 0 || length >= sizeof(options->address) || !parse_version(colon + 1, &port) ||
        port > 65535) {
        return false;
    }
    memcpy(options->address, text, length);
    options->address[length] = '\0';
    options->port = (uint16_t)port;
    return true;
}

static bool switch_resource(struct fake *fake, const char *plural, bool served)
{
    const struct resource *resource = objects_find(fake->objects, NULL, NULL, plural);
    if (resource != NULL) {
        objects_serve(fake->objects, resource, served);
    }
    return resource != NULL;
}

/* 0, or the exit code. */
static int parse_flags(int argc, char **argv, struct options *options, struct fake *fake)
{
    static const struct option flags[] = {
        {"dir", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"plain", no_argument, NULL, 'p'},
        {"off", required_argument, NULL, 'o'},
        {"on", required_argument, NULL, 'n'},
        {"wrong-san", no_argument, NULL, 'w'},
        {"expired", no_argument, NULL, 'e'},
        {"bookmark-ms", required_argument, NULL, 'b'},
        {0},
    };
    uint64_t number = 0;
    for (int flag = 0; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        switch (flag) {
        case 'd': options->dir = optarg; break;
        case 'l':
            if (!parse_listen(optarg, options)) {
                return complain(optarg, "not ADDRESS:PORT");
            }
            break;
        case 'p': options->plain = true; break;
        case 'o':
        case 'n':
            if (!switch_resource(fake, optarg, flag == 'n')) {
                return complain(optarg, "no such resource");
            }
            break;
        case 'w': options->cert.wrong_san = true; break;
        case 'e': options->cert.expired = true; break;
        case 'b':
            if (!parse_version(optarg, &number) || number < 1 || number > 1000000) {
                return complain(optarg, "not a number of milliseconds");
            }
            fake->settings.bookmark_ms = (int)number;
            break;
        default: fputs(usage, stderr); return 2;
        }
    }
    if (options->dir == NULL || optind != argc) {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}

static int open_server(struct fake *fake, const struct options *options)
{
    const char *problem = NULL;
    if (mkdir(options->dir, 0700) != 0 && access(options->dir, W_OK) != 0) {
        return complain(options->dir, "cannot make this directory");
    }
    fake->identity = identity_new(options->dir, &options->cert, &problem);
    if (fake->identity == NULL) {
        return complain(options->dir, problem);
    }
    fake->needs_token = !options->plain;
    struct http_server_config config = {
        .address = options->address,
        .port = options->port,
        .ssl_ctx = options->plain ? NULL : identity_ssl_ctx(fake->identity),
        .idle_ms = IDLE_MS,
        .on_request = api_on_request,
        .arg = fake,
    };
    fake->http = http_server_new(fake->base, &config, &problem);
    if (fake->http == NULL) {
        return complain(options->address, problem);
    }
    if (!identity_write(fake->identity, !options->plain, http_server_port(fake->http)) ||
        !identity_ready(fake->identity)) {
        return complain(options->dir, "cannot write into this directory");
    }
    return 0;
}

/* A delay is at least as long as it was ordered to be: the usual clock is up to 4 ms behind. */
static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;
    if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0) {
        base = event_base_new_with_config(config);
    }
    if (config != NULL) {
        event_config_free(config);
    }
    return base;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(arg);
}

static void run(struct event_base *base)
{
    struct event *terminate = evsignal_new(base, SIGTERM, on_signal, base);
    struct event *interrupt = evsignal_new(base, SIGINT, on_signal, base);
    event_add(terminate, NULL);
    event_add(interrupt, NULL);
    event_base_dispatch(base);
    event_free(terminate);
    event_free(interrupt);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options options = {.address = "127.0.0.1"};
    struct fake fake = {.settings = {.bookmark_ms = BOOKMARK_MS}};
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    LIST_INIT(&fake.watches);
    fake.base = new_base();
    fake.objects = objects_new(watch_on_change, &fake);
    fake.snapshots = snapshots_new();
    fake.faults = faults_new();
    fake.log = log_new();
    int code = 1;
    if (fake.base != NULL && fake.snapshots != NULL && fake.faults != NULL && fake.log != NULL) {
        code = parse_flags(argc, argv, &options, &fake);
        code = code == 0 ? open_server(&fake, &options) : code;
    }
    if (code == 0) {
        run(fake.base);
    }
    http_server_free(fake.http);
    identity_free(fake.identity);
    log_free(fake.log);
    faults_free(fake.faults);
    snapshots_free(fake.snapshots);
    objects_free(fake.objects);
    if (fake.base != NULL) {
        event_base_free(fake.base);
    }
    return code;
}
