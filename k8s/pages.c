/* A list in pages (see pages_priv.h).
 *
 * A page that was too long is asked for again in halves. Pages grow again once one shows that twice as many objects
 * would fit: what libevent calls too long may have been malformed only.
 */
#include "k8s/pages_priv.h"

#include <event2/buffer.h>

#include "k8s/url_priv.h"
#include "k8s/watch.h"

bool k8s_pages_init(struct k8s_pages *p)
{
    *p = (struct k8s_pages){.limit = K8S_LIST_LIMIT, .body = evbuffer_new()};
    return p->body != NULL;
}

void k8s_pages_free(struct k8s_pages *p)
{
    if (p->body)
        evbuffer_free(p->body);
    p->body = NULL;
}

void k8s_pages_restart(struct k8s_pages *p)
{
    p->more[0] = '\0';
    (void)evbuffer_drain(p->body, evbuffer_get_length(p->body));
}

void k8s_pages_query(const struct k8s_pages *p, struct text *path)
{
    text_addf(path, "?limit=%u", p->limit);
    if (!p->more[0])
        return;
    text_add(path, STR("&continue="));
    k8s_url_escape(path, str_of(p->more));
}

void k8s_pages_halve(struct k8s_pages *p)
{
    if (p->limit > 1)
        p->limit /= 2;
}

static void widen(struct k8s_pages *p, size_t len)
{
    if (len < K8S_MAX_ANSWER / 4 && p->limit < K8S_LIST_LIMIT)
        p->limit = p->limit < K8S_LIST_LIMIT / 2 ? 2 * p->limit : K8S_LIST_LIMIT;
}

void k8s_pages_begin(struct k8s_pages *p, struct evbuffer *body)
{
    (void)evbuffer_drain(p->body, evbuffer_get_length(p->body));
    (void)evbuffer_add_buffer(p->body, body);
    size_t len = evbuffer_get_length(p->body);
    const char *bytes = (const char *)evbuffer_pullup(p->body, -1);
    k8s_page_init(&p->page, (struct str){bytes, bytes ? len : 0});
}

enum k8s_page_part k8s_pages_next(struct k8s_pages *p, struct str *ret_item)
{
    return k8s_page_next(&p->page, ret_item);
}

bool k8s_pages_end(struct k8s_pages *p, char ret_version[static K8S_MAX_VERSION])
{
    struct k8s_member m[] = {{.name = STR("resourceVersion")}, {.name = STR("continue")}};
    size_t len = evbuffer_get_length(p->body);
    bool valid = p->page.metadata.at && k8s_scan_object(p->page.metadata, m, 2) &&
                 k8s_scan_text(m[0].value, ret_version, K8S_MAX_VERSION);

    p->more[0] = '\0';
    if (valid && m[1].value.at)
        valid = k8s_scan_text(m[1].value, p->more, sizeof p->more);
    (void)evbuffer_drain(p->body, len);
    if (valid && p->more[0]) /* a full page, so its length says something */
        widen(p, len);
    return valid;
}
