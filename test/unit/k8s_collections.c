/* Which version of a resource is asked for next. */
#include "k8s/collections_priv.h"

#include "harness.h"

static const struct k8s_watch_options three = {{"/v3", "/v2", "/v1"}, 3, true};

/* Answers 404 until a round ends; what was asked for, as one text. */
static void round_of_404(struct k8s_collections *c, const char *want)
{
    char out[64] = "";
    struct text asked;
    bool more = true;

    text_init(&asked, out, sizeof out);
    while (more) {
        text_addf(&asked, "%s ", k8s_collections_now(c));
        more = k8s_collections_next(c, 404, false);
    }
    CHECK_TEXT(out, want);
}

static void test_rounds(void)
{
    struct k8s_collections c;

    CHECK(k8s_collections_init(&c, &three, 100));
    for (int i = 0; i < 3 * K8S_WATCH_ROUNDS; i++) {
        harness_case("round %d", i);
        round_of_404(&c, i % K8S_WATCH_ROUNDS == 0 ? "/v3 /v2 /v1 " : "/v3 ");
    }
    k8s_collections_free(&c);
}

static void test_what_worked_and_is_gone(void)
{
    struct k8s_collections c;

    CHECK(k8s_collections_init(&c, &three, 100));
    CHECK(k8s_collections_next(&c, 404, false));
    CHECK_TEXT(k8s_collections_now(&c), "/v2");
    CHECK(k8s_collections_next(&c, 404, true)); /* it was watched: a newer one may be there */
    round_of_404(&c, "/v3 /v2 /v1 ");
    CHECK(!k8s_collections_next(&c, 404, true)); /* the preferred one: nothing to begin with anew */
    CHECK_TEXT(k8s_collections_now(&c), "/v3");
    k8s_collections_free(&c);
}

static void test_forbidden(void)
{
    struct k8s_collections c;

    CHECK(k8s_collections_init(&c, &three, 100));
    CHECK(!k8s_collections_next(&c, 403, false));
    CHECK_TEXT(k8s_collections_now(&c), "/v3");
    k8s_collections_free(&c);
}

static void test_too_long(void)
{
    struct k8s_collections c;

    CHECK(!k8s_collections_init(&c, &three, 2));
    k8s_collections_free(&c);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_rounds),
                                       TEST(test_what_worked_and_is_gone),
                                       TEST(test_forbidden),
                                       TEST(test_too_long),
                                       {0}});
}
