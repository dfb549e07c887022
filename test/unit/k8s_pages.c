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

/* A list without a version that a watch could begin at is no list, and no list goes on at a token that was cut. */
static void test_ends(void)
{
    static char long_text[4 * K8S_MAX_VERSION + 4096];
    const struct {
        const char *page;
        bool good;
        const char *more;
    } rows[] = {
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":\"7\"}}", true, ""},
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"x\"}}", true, "&continue=x"},
        {"{\"items\":[]}", false, ""},
        {"{\"items\":[],\"metadata\":{}}", false, ""},
        {"{\"items\":[],\"metadata\":null}", false, ""},
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":7}}", false, ""},
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":\"7\",\"continue\":7}}", false, ""},
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":\"%s\"}}", false, ""},
        {"{\"items\":[],\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"%s\"}}", false, ""},
    };

    memset(long_text, 'x', sizeof long_text - 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct evbuffer *body = evbuffer_new();
        char query[256], want[64];
        struct str item;

        harness_case("%s", rows[i].page);
        CHECK(k8s_pages_init(&pages));
        const char *hole = strstr(rows[i].page, "%s");
        evbuffer_add(body, rows[i].page, hole ? (size_t)(hole - rows[i].page) : strlen(rows[i].page));
        if (hole)
            evbuffer_add_printf(body, "%s%s", long_text, hole + 2);
        k8s_pages_begin(&pages, body);
        evbuffer_free(body);
        (void)k8s_pages_next(&pages, &item);
        CHECK_INT(k8s_pages_end(&pages, version), rows[i].good);
        struct text t;
        text_init(&t, query, sizeof query);
        if (rows[i].good) {
            k8s_pages_query(&pages, &t);
            snprintf(want, sizeof want, "?limit=%d%s", K8S_LIST_LIMIT, rows[i].more);
            CHECK_TEXT(query, want);
        }
        k8s_pages_free(&pages);
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_limit), TEST(test_ends), {0}});
}
