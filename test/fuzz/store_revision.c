/* Revisions: two lines, what is asked and what is stored. A match must share a form, and no slice may leave
 * its text. */
#include <stdlib.h>

#include "store/revision_priv.h"

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_inside(struct str part, struct str whole)
{
    require(part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len) ||
            part.len == 4 || part.len == 6); /* the names of algorithms are constants */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str stored = {(const char *)data, size};
    struct str asked_text = str_split(&stored, '\n');
    struct revision asked = revision_parse(asked_text);
    struct revision_form mine[REVISION_MAX_FORMS], theirs[REVISION_MAX_FORMS];
    size_t n_mine = question_forms(asked_text, mine);

    require_inside(asked.hex, asked_text);
    require_inside(asked.core, asked_text);
    require_inside(asked.pointer, asked_text);
    for (int m = 0; m < REVISION_MEMBERS; m++) {
        struct revision_set set = {.kind = STR("HelmRelease")};
        bool shared = false;
        set.member[m] = stored;
        size_t n_theirs = revision_forms(stored, (enum revision_member)m, theirs);
        for (size_t i = 0; i < n_mine; i++)
            for (size_t j = 0; j < n_theirs; j++)
                shared = shared || (mine[i].kind == theirs[j].kind &&
                                    str_eq(revision_form_text(&mine[i]), revision_form_text(&theirs[j])));
        require(shared || revision_match(&asked, &set).level == MATCH_NONE);
    }
    (void)revision_hint(&asked, stored);
    return 0;
}
