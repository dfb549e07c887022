/* Revisions: what a string means, under which forms it is found, and whether a stored one is the one asked
 * for.
 *
 * Formats (fluxcd RFC-0005 and before it): "main@sha1:<40>", "main/<40>", "HEAD/<40>", "sha1:<40>", "<40>",
 * "main@<unknown>:<64>" (Git with SHA-256), "latest@sha256:<64>", "latest/<64>", "sha256:<64>", "<64>", a
 * chart version "1.2.3", "1.2.3+2", "1.2.3+<12 hex>", "1.2.3+<12 hex>.4", and any other text, which stands
 * only for itself.
 *
 * Pure; nothing is allocated and every slice points into the strings that were given.
 */
#ifndef FES_STORE_REVISION_PRIV_H
#define FES_STORE_REVISION_PRIV_H

#include "store/record.h"

/* Where an event can name a revision. */
enum revision_member {
    MEMBER_REVISION,
    MEMBER_ORIGIN,     /* originRevision: the Git revision that an OCI artifact was made of */
    MEMBER_COMMIT,     /* commit: a user's annotation */
    MEMBER_OCI_DIGEST, /* oci-digest: of a HelmRelease's chart */
    REVISION_MEMBERS,
};

enum revision_kind {
    REVISION_OPAQUE, /* stands only for itself */
    REVISION_HASH,   /* all digits of a hash */
    REVISION_SHORT,  /* at least REVISION_MIN_HEX of its digits: a prefix, in a question */
    REVISION_CHART,  /* a semantic version */
};

/* Fewer hex digits are no short SHA but a text like any other. */
#define REVISION_MIN_HEX 7
/* Hex digits of a hash that Flux writes into a chart version's build metadata. */
#define REVISION_BUILD_HEX 12

struct revision {
    enum revision_kind kind;
    struct str text;    /* the whole, without white space around it; never changed in case */
    struct str pointer; /* branch, tag or ref, without refs/heads/ and refs/tags/; HEAD is none */
    struct str
        algo; /* "sha1", "sha256", "<unknown>" ...; of bare digits by their number; empty: a bare SHORT */
    struct str hex;  /* HASH, SHORT: the digits. CHART: the build's REVISION_BUILD_HEX digits, or empty */
    struct str core; /* CHART: the version without build metadata */
    bool git;        /* HASH, SHORT: a commit, as far as the text tells; else an artifact's digest */
};
struct revision revision_parse(struct str text);

/* What a revision is indexed under. Two revisions can match only if they share a form: same kind, same bytes
 * (revision_form_text). Sharing one is necessary, not sufficient: ask revision_match. */
enum revision_form_kind {
    FORM_EXACT, /* the trimmed text */
    FORM_HEX,   /* the first REVISION_MIN_HEX digits in lower case: of full hashes, short ones, digests, chart
                   builds */
    FORM_CHART, /* a chart version without build metadata */
};
struct revision_form {
    enum revision_form_kind kind;
    struct str text; /* FORM_EXACT, FORM_CHART */
    char hex[REVISION_MIN_HEX];
};
#define REVISION_MAX_FORMS 3 /* of one string */
/* The bytes of a form; valid as long as the form and the string it was made of. */
struct str revision_form_text(const struct revision_form *form);

/* Forms of a stored value and of a question; the number written to out. An empty value has none. */
size_t revision_forms(struct str value, enum revision_member member,
                      struct revision_form out[static REVISION_MAX_FORMS]);
size_t question_forms(struct str revision, struct revision_form out[static REVISION_MAX_FORMS]);

/* All that one record says about its revision. */
struct revision_set {
    struct str member[REVISION_MEMBERS];
    struct str kind; /* of the object: chart versions belong to HelmRelease and HelmChart only */
};
static inline struct revision_set revision_set_of(const struct record *r)
{
    return (struct revision_set){.member = {[MEMBER_REVISION] = r->revision,
                                            [MEMBER_ORIGIN] = r->origin_revision,
                                            [MEMBER_COMMIT] = r->commit,
                                            [MEMBER_OCI_DIGEST] = r->oci_digest},
                                 .kind = r->kind};
}

enum revision_level {
    MATCH_NONE,
    MATCH_PREFIX, /* a short SHA, or "sha256:" and a prefix: counts only where nothing matches exactly */
    MATCH_EXACT,  /* the same text, hash, digest or chart version */
};
struct revision_match {
    enum revision_level level;
    struct str
        candidates[REVISION_MEMBERS]; /* MATCH_PREFIX: the full hashes that begin so, different ones once */
    size_t n_candidates;
};
struct revision_match revision_match(const struct revision *asked, const struct revision_set *stored);

/* Why a text that matches nothing looks as if it should. */
enum revision_hint {
    HINT_NONE,
    HINT_POINTER, /* it is the branch, tag or ref of the stored value */
    HINT_BEGINS,  /* it is the beginning of the stored value's hash */
};
enum revision_hint revision_hint(const struct revision *asked, struct str stored);

#endif
