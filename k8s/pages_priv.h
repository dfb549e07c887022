/* A list in pages: what to ask for next, and the page that is being read. */
#ifndef FES_K8S_PAGES_PRIV_H
#define FES_K8S_PAGES_PRIV_H

#include "k8s/scan_priv.h"

struct evbuffer;

#define K8S_MAX_VERSION  256
#define K8S_MAX_CONTINUE 4096

struct k8s_pages {
    char more[K8S_MAX_CONTINUE]; /* continue token; "" for the first page */
    unsigned limit;              /* objects per page */
    struct evbuffer *body;
    struct k8s_page page;
};

/* False: out of memory. */
bool k8s_pages_init(struct k8s_pages *p);
void k8s_pages_free(struct k8s_pages *p);

/* Begins with the first page again; the one that is being read is gone. */
void k8s_pages_restart(struct k8s_pages *p);
/* Adds the query behind the collection's path. */
void k8s_pages_query(const struct k8s_pages *p, struct text *path);
/* The page that was asked for is longer than K8S_MAX_ANSWER: half as many objects, from the same place. */
void k8s_pages_halve(struct k8s_pages *p);

/* Takes what is in body; its items are then given by k8s_pages_next. */
void k8s_pages_begin(struct k8s_pages *p, struct evbuffer *body);
/* As k8s_page_next. */
enum k8s_page_part k8s_pages_next(struct k8s_pages *p, struct str *ret_item);
/* After K8S_PAGE_END: the version of the list, and in p->more whether there is another page. False, with both
 * undefined: the list is not valid. The items are gone. */
bool k8s_pages_end(struct k8s_pages *p, char ret_version[static K8S_MAX_VERSION]);

#endif
