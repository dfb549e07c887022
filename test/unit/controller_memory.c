/* The n-th allocation is refused, for n = 0, 1, 2, ...: a Run that is read then is refused, too, and never taken for
 * something else. */
#include "controller/run_json_priv.h"
#include "harness.h"
#include "memory.h"

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
        memory_before = n;
        parsed = run_parse(KIND_CUSTOMRUN, str_of(json), &options, &run);
        refused = memory_again();
        CHECK_INT(parsed, refused ? RUN_NO_MEMORY : RUN_OURS);
        CHECK_INT(run.kind, KIND_CUSTOMRUN);
        CHECK_STR(run.namespace, STR("ci"));
        CHECK_STR(run.name, STR("w"));
        run_release(&run);
    }
    CHECK(n > 5);
}

int main(void)
{
    return harness_run((struct test[]){TEST(a_run_is_not_taken_for_one_with_bad_params), {0}});
}
