/* A list in pages: how many objects a page is asked to have, and where it goes on. */
#include "k8s/pages_priv.h"

#include <event2/buffer.h>

#include "harness.h"
#include "k8s/watch.h"

static struct k8s_pages pages;
static char version[K8S_MAX_VERSION];

static void check_query(const char *want)
{
    char out[256];
    struct text t;

    text_init(&t, out, sizeof out);
    k8s_pages_query(&pages, &t);
    CHECK_TEXT(out, want);
}

/* One page of about len bytes; more: its continue token. */
static bool read_page(size_t len, const char *more)
{
    struct evbuffer *body = evbuffer_new();
    char *padding = malloc(len + 1);
    struct str item;

    memset(padding, ' ', len);
    padding[len] = '\0';
    evbuffer_add_printf(body, "{%s\"items\":[],\"metadata\":{\"continue\":\"%s\",\"resourceVersion\":\"7\"}}",
                        padding, more);
    free(padding);
    k8s_pages_begin(&pages, body);
    evbuffer_free(body);
    CHECK_INT(k8s_pages_next(&pages, &item), K8S_PAGE_END);
    return k8s_pages_end(&pages, version);
}

static void test_limit(void)
{
    CHECK(k8s_pages_init(&pages));
    check_query("?limit=250");
    for (int i = 0; i < 10; i++)
        k8s_pages_halve(&pages);
    check_query("?limit=1");
    k8s_pages_halve(&pages);
    check_query("?limit=1");
    CHECK(read_page(0, "a+b"));
    CHECK_TEXT(version, "7");
    check_query("?limit=2&continue=a%2Bb");
    harness_case("a page that is not small");
    CHECK(read_page(K8S_MAX_ANSWER / 4, "c"));
    check_query("?limit=2&continue=c");
    harness_case("the last page is not full");
    CHECK(read_page(0, ""));
    check_query("?limit=2");
    for (int i = 0; i < 10; i++)
        CHECK(read_page(0, "d"));
    check_query("?limit=250&continue=d");
    k8s_pages_restart(&pages);
    check_query("?limit=250");
    k8s_pages_free(&pages);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_limit), {0}});
}
