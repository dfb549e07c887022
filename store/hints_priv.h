/* What a text that matches nothing may have meant (see hints.c). */
#ifndef FES_STORE_HINTS_PRIV_H
#define FES_STORE_HINTS_PRIV_H

#include "store/revision_priv.h"

#define HINTS_MOST 64

struct hint {
    char *text;      /* the revision as it was stored */
    struct str name; /* its part that tells it from others in its list */
    uint64_t seq;
};
struct hint_list {
    struct hint at[HINTS_MOST]; /* different ones, the latest first */
    size_t n;
};
struct hints {
    struct hint_list pointers; /* by branch, tag or ref */
    struct hint_list hashes;   /* by hash */
};

/* Zero-initialised is empty. */
void hints_free(struct hints *h);
void hints_note(struct hints *h, const struct record *r);
/* The newest record that names a revision which `asked`, that matches none, may have meant; 0: none. */
uint64_t hints_find(const struct hints *h, const struct revision *asked);

#endif
