/* What a text that matches nothing may have meant: recent revisions whose branch or tag it is, or whose hash it begins.
 *
 * Such a text is looked up exactly and only exactly, so there is nothing to be found under it in the index. Instead the
 * newest HINTS_MOST branches, and as many hashes, are remembered with the record that named them last: enough for an
 * explanation, bounded in memory and time whatever is stored.
 *
 * Invariant: a hint never decides anything. Failure modes: out of memory, and then there is no hint.
 */
#include "store/hints_priv.h"

#include <stdlib.h>

#include "store/question.h"

/* A branch that can be asked for, and behind it the name of an algorithm and a hash. What is longer is not remembered. */
#define HINT_TEXT_MAX (QUESTION_MAX_REVISION + 128)

static void entry_free(struct hint *h)
{
    free(h->text);
}

void hints_free(struct hints *h)
{
    for (size_t i = 0; i < h->pointers.n; i++)
        entry_free(&h->pointers.at[i]);
    for (size_t i = 0; i < h->hashes.n; i++)
        entry_free(&h->hashes.at[i]);
    *h = (struct hints){0};
}

/* Puts it at the front; what was said longest ago goes when there is no room. `name` is part of `text`. */
static void note(struct hint_list *list, struct str text, struct str name, uint64_t seq)
{
    size_t i = 0;

    while (i < list->n && !str_eq_nocase(list->at[i].name, name))
        i++;
    if (i == list->n || !str_eq(str_of(list->at[i].text), text)) {
        char *copy = str_dup(text);
        if (!copy)
            return;
        if (i == HINTS_MOST)
            i--;
        if (i < list->n)
            entry_free(&list->at[i]);
        else
            list->n++;
        list->at[i] = (struct hint){.text = copy, .name = {copy + (name.at - text.at), name.len}};
    }
    struct hint moved = list->at[i];
    moved.seq = seq;
    memmove(list->at + 1, list->at, i * sizeof *list->at);
    list->at[0] = moved;
}

void hints_note(struct hints *h, const struct record *r)
{
    struct revision_set set = revision_set_of(r);

    for (int m = 0; m < REVISION_MEMBERS; m++) {
        struct revision revision = revision_parse(set.member[m]);
        if (revision.kind != REVISION_HASH || set.member[m].len > HINT_TEXT_MAX)
            continue;
        if (revision.pointer.len > 0)
            note(&h->pointers, set.member[m], revision.pointer, r->seq);
        note(&h->hashes, set.member[m], revision.hex, r->seq);
    }
}

uint64_t hints_find(const struct hints *h, const struct revision *asked)
{
    const struct hint_list *lists[] = {&h->pointers, &h->hashes};

    for (size_t l = 0; asked->kind == REVISION_OPAQUE && l < 2; l++)
        for (size_t i = 0; i < lists[l]->n; i++)
            if (revision_hint(asked, str_of(lists[l]->at[i].text)) != HINT_NONE)
                return lists[l]->at[i].seq;
    return 0;
}
