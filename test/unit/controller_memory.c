/* The n-th allocation is refused, for n = 1, 2, 3, ...: what is read then is refused, too, and never taken for something
 * else. Those that the archives make for themselves come by here (test/Makefile wraps them).
 */
#include "controller/run_json_priv.h"
#include "k8s/creds_priv.h"
#include "k8s_server.h"

#include <stdarg.h>

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **at, const char *format, ...) __attribute__((format(printf, 2, 3)));

static long before; /* that succeed before one is refused; below 0: all do */

static bool is_refused(void)
{
    return before >= 0 && before-- == 0;
}

void *__wrap_malloc(size_t len)
{
    return is_refused() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
    return is_refused() ? NULL : __real_calloc(n, len);
}

char *__wrap_strdup(const char *text)
{
    return is_refused() ? NULL : __real_strdup(text);
}

int __wrap_asprintf(char **at, const char *format, ...)
{
    va_list args;
    int len = -1;

    va_start(args, format);
    if (!is_refused())
        len = vasprintf(at, format, args);
    va_end(args);
    return len;
}

static void a_run_is_not_taken_for_one_with_bad_params(void)
{
    static const char json[] = "{\"metadata\":{\"name\":\"w\",\"namespace\":\"ci\",\"uid\":\"u\","
                               "\"resourceVersion\":\"7\"},\"spec\":{"
                               "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/"
                               "v1\",\"kind\":\"FluxDeploymentWait\"},\"params\":["
                               "{\"name\":\"revision\",\"value\":\"abc\"},{\"name\":\"expect\",\"value\":2},"
                               "{\"name\":\"objects\",\"value\":[\"Kustomization/a/b\"]}]}}";
    struct run_refs refs = {0};
    const struct run_parse_options options = {&refs, 1000};
    enum run_parsed parsed = RUN_NO_MEMORY;
    bool refused = true;
    long n = 0;

    for (; refused; n++) {
        struct run run;
        harness_case("allocation %ld", n);
        before = n;
        parsed = run_parse(KIND_CUSTOMRUN, str_of(json), &options, &run);
        refused = before < 0;
        before = -1;
        CHECK_INT(parsed, refused ? RUN_NO_MEMORY : RUN_OURS);
        if (!refused)
            run_release(&run);
    }
    CHECK(n > 5);
}

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
        before = n;
        struct k8s_creds *c = k8s_creds_new(config, pod, &reporter, err);
        refused = before < 0;
        before = -1;
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

int main(void)
{
    int failed = harness_run((struct test[]){
        TEST(a_run_is_not_taken_for_one_with_bad_params), TEST(credentials_are_not_left_out), {0}});
    remove_folder();
    return failed;
}
