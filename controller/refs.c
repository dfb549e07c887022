/* Names: the two kinds of the API, and the refs that make an object of theirs ours.
 *
 * A ref is ours when its apiVersion and kind are exactly one of the pairs; another case or a trailing space
 * is another controller's. The first version's apiVersion has four parts; Tekton 1.9.0 and later refuse it in
 * Pipelines, so flux-event-store.dev/v1 is the one to use.
 */
#include "controller/run_json_priv.h"

static const char kind_wait[] = "FluxDeploymentWait";
static const char api_first[] = "github.com/janakerman/flux-event-store/v0";
static const char api_v1[] = "flux-event-store.dev/v1";

const struct run_kind_name *run_kind_name(enum run_kind kind)
{
    static const struct run_kind_name names[RUN_KINDS] = {
        [KIND_RUN] = {"Run", "tekton.dev/v1alpha1", "/apis/tekton.dev/v1alpha1", "runs"},
        [KIND_CUSTOMRUN] = {"CustomRun", "tekton.dev/v1beta1", "/apis/tekton.dev/v1beta1", "customruns"},
    };
    return &names[kind];
}

bool run_refs_add(struct run_refs *refs, const char *entry)
{
    struct str text = str_of(entry);
    ptrdiff_t slash = str_find_last(text, '/');

    if (refs->n == FLAG_LIST_MAX || slash <= 0 || (size_t)slash + 1 == text.len)
        return false;
    refs->more[refs->n].api_version = str_upto(text, (size_t)slash);
    refs->more[refs->n].kind = str_from(text, (size_t)slash + 1);
    refs->n++;
    return true;
}

bool run_refs_match(const struct run_refs *refs, struct str api_version, struct str kind,
                    bool *ret_first_version)
{
    bool named = str_eq(kind, str_of(kind_wait));

    *ret_first_version = named && str_eq(api_version, str_of(api_first));
    if (*ret_first_version || (named && str_eq(api_version, str_of(api_v1))))
        return true;
    for (size_t i = 0; i < refs->n; i++)
        if (str_eq(api_version, refs->more[i].api_version) && str_eq(kind, refs->more[i].kind))
            return true;
    return false;
}
