/* Asks the store a question: gathers the records that bear on it and gives them to verdict_new(). */
#ifndef FES_STORE_ASK_H
#define FES_STORE_ASK_H

#include "store/store.h"
#include "store/verdict.h"

/* The keys under which ask() looked. A later record can change the answer only if it carries one of them. */
struct ask_keys {
    uint64_t *at;
    size_t n;
    size_t cap;
};
void ask_keys_free(struct ask_keys *keys);

/* Answers from what is stored now. Fills ret_keys (its old content is replaced; may be NULL). Returns NULL
 * when out of memory or when the store cannot be read (reported); free with verdict_free. */
struct verdict *ask(struct store *s, const struct question *q, struct verdict_now now,
                    struct ask_keys *ret_keys);

#endif
