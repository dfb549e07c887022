/* Revisions: parse, forms for the index, match (see revision_priv.h).
 *
 * The order of parsing is that of fluxcd/pkg git/utils.go and RFC-0005, with the older formats behind: what
 * stands behind the last '@' if it is a digest; a digest alone; a hash behind the last '/'; a bare hash; a
 * semantic version; else opaque.
 *
 * Invariant: if revision_match says anything but NONE, the two strings share a form. The forms are made of
 * the same parse, and test/unit/store_revision.c checks it over generated pairs.
 */
#include "store/revision_priv.h"

#define SHA1_HEX   40
#define SHA256_HEX 64

static unsigned char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : (unsigned char)c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.at[i]) && (lower(s.at[i]) < 'a' || lower(s.at[i]) > 'f'))
            return false;
    return s.len > 0;
}

static bool is_algo(struct str s)
{
    if (str_eq(s, STR("<unknown>")))
        return true;
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.at[i]) && (s.at[i] < 'a' || s.at[i] > 'z') && !memchr("+._-", s.at[i], 4))
            return false;
    return s.len > 0;
}

/* Hex digits of the whole hash; 0 for algorithms that are not known. source-controller writes "<unknown>" for
 * Git repositories with SHA-256. */
static size_t algo_hex(struct str algo)
{
    static const struct {
        struct str name;
        size_t hex;
    } known[] = {{{"sha1", 4}, SHA1_HEX}, {{"sha256", 6}, SHA256_HEX}, {{"<unknown>", 9}, SHA256_HEX},
                 {{"sha384", 6}, 96},     {{"sha512", 6}, 128},        {{"blake3", 6}, SHA256_HEX}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_eq(algo, known[i].name))
            return known[i].hex;
    return 0;
}

static bool is_git(struct str algo)
{
    return str_eq(algo, STR("sha1")) || str_eq(algo, STR("<unknown>"));
}

static struct str bare_pointer(struct str pointer)
{
    if (str_eq(pointer, STR("HEAD")))
        return STR_NONE;
    if (str_starts(pointer, STR("refs/heads/")))
        return str_from(pointer, strlen("refs/heads/"));
    if (str_starts(pointer, STR("refs/tags/")))
        return str_from(pointer, strlen("refs/tags/"));
    return pointer;
}

/* "algo:hex". A pointer stands only before a whole hash. */
static bool parse_digest(struct revision *r, struct str pointer, struct str digest)
{
    ptrdiff_t colon = str_find(digest, ':');

    if (colon < 0)
        return false;
    struct str algo = str_upto(digest, (size_t)colon);
    struct str hex = str_from(digest, (size_t)colon + 1);
    size_t whole = algo_hex(algo);
    if (!is_algo(algo) || !is_hex(hex))
        return false;
    if (hex.len == whole || (whole == 0 && hex.len >= SHA1_HEX))
        r->kind = REVISION_HASH;
    else if (hex.len < whole && hex.len >= REVISION_MIN_HEX && pointer.len == 0)
        r->kind = REVISION_SHORT;
    else
        return false;
    r->pointer = bare_pointer(pointer);
    r->algo = algo;
    r->hex = hex;
    r->git = is_git(algo);
    return true;
}

/* "main/<hash>" of old, "<hash>", or the beginning of one. */
static bool parse_bare(struct revision *r, struct str s)
{
    ptrdiff_t slash = str_find_last(s, '/');
    struct str hex = slash < 0 ? s : str_from(s, (size_t)slash + 1);

    if (!is_hex(hex))
        return false;
    if (hex.len == SHA1_HEX || hex.len == SHA256_HEX) {
        r->kind = REVISION_HASH;
        r->pointer = slash < 0 ? STR_NONE : bare_pointer(str_upto(s, (size_t)slash));
        r->algo = hex.len == SHA1_HEX ? STR("sha1") : STR("sha256");
        r->git = hex.len == SHA1_HEX;
    } else if (slash < 0 && hex.len >= REVISION_MIN_HEX && hex.len < SHA256_HEX) {
        r->kind = REVISION_SHORT;
        r->git = true;
    } else {
        return false;
    }
    r->hex = hex;
    return true;
}

static size_t count_digits(struct str s)
{
    size_t n = 0;

    while (n < s.len && is_digit(s.at[n]))
        n++;
    return n;
}

/* Letters, digits, '-' and '.', as in a pre-release or build metadata (semver.org, 2.0.0). */
static bool is_identifiers(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.at[i]) && (lower(s.at[i]) < 'a' || lower(s.at[i]) > 'z') && s.at[i] != '-' &&
            s.at[i] != '.')
            return false;
    return s.len > 0;
}

/* "1.2.3", with an optional v, pre-release and build metadata. */
static bool parse_chart(struct revision *r, struct str s)
{
    ptrdiff_t plus = str_find(s, '+');
    struct str core = plus < 0 ? s : str_upto(s, (size_t)plus);
    struct str build = plus < 0 ? STR_NONE : str_from(s, (size_t)plus + 1);
    struct str rest = core;

    if (rest.len > 0 && rest.at[0] == 'v')
        rest = str_from(rest, 1);
    for (int part = 0; part < 3; part++) {
        size_t digits = count_digits(rest);
        if (digits == 0)
            return false;
        rest = str_from(rest, digits);
        if (part < 2) {
            if (rest.len == 0 || rest.at[0] != '.')
                return false;
            rest = str_from(rest, 1);
        }
    }
    if (rest.len > 0 && (rest.at[0] != '-' || !is_identifiers(str_from(rest, 1))))
        return false;
    if (plus >= 0 && !is_identifiers(build))
        return false;
    r->kind = REVISION_CHART;
    r->core = core;
    /* Of a commit, or of a chart's OCI digest; "+<generation>" alone has fewer digits. */
    struct str first = str_split(&build, '.');
    if (first.len == REVISION_BUILD_HEX && is_hex(first))
        r->hex = first;
    return true;
}

struct revision revision_parse(struct str text)
{
    struct revision r = {.kind = REVISION_OPAQUE, .text = str_trim(text)};
    ptrdiff_t at = str_find_last(r.text, '@');

    if (at >= 0 && parse_digest(&r, str_upto(r.text, (size_t)at), str_from(r.text, (size_t)at + 1)))
        return r;
    if (parse_digest(&r, STR_NONE, r.text) || parse_bare(&r, r.text) || parse_chart(&r, r.text))
        return r;
    return r;
}

struct str revision_form_text(const struct revision_form *form)
{
    return form->kind == FORM_HEX ? (struct str){form->hex, REVISION_MIN_HEX} : form->text;
}

static size_t add_text(struct revision_form *out, size_t n, enum revision_form_kind kind, struct str text)
{
    out[n] = (struct revision_form){.kind = kind, .text = text};
    return n + 1;
}

static size_t add_hex(struct revision_form *out, size_t n, struct str hex)
{
    out[n] = (struct revision_form){.kind = FORM_HEX};
    for (size_t i = 0; i < REVISION_MIN_HEX; i++)
        out[n].hex[i] = (char)lower(hex.at[i]);
    return n + 1;
}

size_t revision_forms(struct str value, enum revision_member member,
                      struct revision_form out[static REVISION_MAX_FORMS])
{
    struct revision r = revision_parse(value);

    if (r.text.len == 0)
        return 0;
    size_t n = add_text(out, 0, FORM_EXACT, r.text);
    if (r.kind == REVISION_HASH)
        n = add_hex(out, n, r.hex);
    if (r.kind == REVISION_CHART && member == MEMBER_REVISION) {
        n = add_text(out, n, FORM_CHART, r.core);
        if (r.hex.len > 0)
            n = add_hex(out, n, r.hex);
    }
    return n;
}

size_t question_forms(struct str revision, struct revision_form out[static REVISION_MAX_FORMS])
{
    struct revision r = revision_parse(revision);

    if (r.text.len == 0)
        return 0;
    size_t n = add_text(out, 0, FORM_EXACT, r.text);
    if (r.kind == REVISION_HASH || r.kind == REVISION_SHORT)
        n = add_hex(out, n, r.hex);
    if (r.kind == REVISION_CHART && r.core.len == r.text.len)
        n = add_text(out, n, FORM_CHART, r.core);
    return n;
}

/* A commit on two branches is two revisions, unless one side does not say which; an artifact's digest is one
 * artifact, whatever it is tagged. */
static bool pointers_agree(const struct revision *a, const struct revision *b)
{
    return !a->git || !b->git || a->pointer.len == 0 || b->pointer.len == 0 || str_eq(a->pointer, b->pointer);
}

static bool is_chart_kind(struct str kind)
{
    return str_eq(kind, STR("HelmRelease")) || str_eq(kind, STR("HelmChart"));
}

static bool match_exact(const struct revision *asked, const struct revision *stored, bool chart)
{
    if (str_eq(asked->text, stored->text))
        return true;
    if (asked->kind == REVISION_HASH && stored->kind == REVISION_HASH)
        return str_eq_nocase(asked->hex, stored->hex) && pointers_agree(asked, stored);
    if (!chart || stored->kind != REVISION_CHART)
        return false;
    if (asked->kind == REVISION_HASH)
        return stored->hex.len > 0 && str_eq_nocase(str_upto(asked->hex, REVISION_BUILD_HEX), stored->hex);
    return asked->kind == REVISION_CHART && asked->core.len == asked->text.len &&
           str_eq(asked->core, stored->core);
}

static bool begins(struct str hex, struct str whole)
{
    return hex.len <= whole.len && str_eq_nocase(hex, str_upto(whole, hex.len));
}

/* Short digits are a commit's; an artifact's must be written with its algorithm. */
static bool match_prefix(const struct revision *asked, const struct revision *stored)
{
    if (asked->kind != REVISION_SHORT || stored->kind != REVISION_HASH || !begins(asked->hex, stored->hex))
        return false;
    return asked->algo.len == 0 ? stored->git : str_eq(asked->algo, stored->algo);
}

static void add_candidate(struct revision_match *m, struct str hex)
{
    for (size_t i = 0; i < m->n_candidates; i++)
        if (str_eq_nocase(m->candidates[i], hex))
            return;
    m->candidates[m->n_candidates++] = hex;
}

struct revision_match revision_match(const struct revision *asked, const struct revision_set *stored)
{
    struct revision_match m = {.level = MATCH_NONE};

    for (int i = 0; asked->text.len > 0 && i < REVISION_MEMBERS; i++) {
        struct revision r = revision_parse(stored->member[i]);
        if (r.text.len == 0)
            continue;
        if (match_exact(asked, &r, i == MEMBER_REVISION && is_chart_kind(stored->kind)))
            return (struct revision_match){.level = MATCH_EXACT};
        if (match_prefix(asked, &r)) {
            m.level = MATCH_PREFIX;
            add_candidate(&m, r.hex);
        }
    }
    return m;
}

enum revision_hint revision_hint(const struct revision *asked, struct str stored)
{
    struct revision r = revision_parse(stored);

    if (asked->text.len == 0 || r.kind != REVISION_HASH)
        return HINT_NONE;
    if (r.pointer.len > 0 && str_eq(bare_pointer(asked->text), r.pointer))
        return HINT_POINTER;
    struct str hex = asked->kind == REVISION_SHORT ? asked->hex : asked->text;
    return is_hex(hex) && hex.len < r.hex.len && begins(hex, r.hex) ? HINT_BEGINS : HINT_NONE;
}
