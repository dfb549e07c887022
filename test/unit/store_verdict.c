/* The verdict: a table of stories, and properties over generated ones.
 *
 * A story is a text of records, "seq object class revision time" and options, with ';' between them:
 *
 * - object: K/ns/name, H (HelmRelease), G (GitRepository), O (OCIRepository); "-" none; "cluster:" in front
 * - class: S F P O
 * - revision: A B C D are Git revisions on main, "." is none, others as they are
 * - time: seconds; "10-40": first and last statement
 * - options: a ranked by arrival; e severity error; o=... originRevision; d=... oci-digest; c=... commit
 * - and r=...: when it was last received
 */
#include "harness.h"

#include "store/units.h"
#include "store/verdict.h"

#define BASE   INT64_C(1785578400000) /* 2026-08-01T10:00:00Z */
#define AT(s)  (BASE + INT64_C(1000) * (s))
#define NEVER  INT64_MAX
#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HASH_C "cccccccccccccccccccccccccccccccccccccccc"
#define HASH_D "aaaaaaaddddddddddddddddddddddddddddddddd" /* begins like A */
#define DIGEST "6f132a51cacdd080a2efc97cdc20b1807c025b6464c58a530f3803373d5f12cf"

#define MAX_RECORDS 40
struct story {
    char text[2048];
    struct record records[MAX_RECORDS];
    size_t n;
};

static const char *revision_named(const char *word)
{
    static const struct {
        const char *name, *text;
    } names[] = {{"A", "main@sha1:" HASH_A},
                 {"B", "main@sha1:" HASH_B},
                 {"C", "main@sha1:" HASH_C},
                 {"D", "main@sha1:" HASH_D},
                 {".", ""}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(word, names[i].name) == 0)
            return names[i].text;
    return word;
}

static void read_object(struct record *r, struct str word)
{
    static const struct {
        char letter;
        const char *kind;
    } kinds[] = {
        {'K', "Kustomization"}, {'H', "HelmRelease"}, {'G', "GitRepository"}, {'O', "OCIRepository"}};

    if (str_find(word, ':') >= 0)
        r->cluster = str_split(&word, ':');
    if (str_eq(word, STR("-")))
        return;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (word.at[0] == kinds[i].letter)
            r->kind = str_of(kinds[i].kind);
    (void)str_split(&word, '/');
    r->namespace = str_split(&word, '/');
    r->name = word;
}

static void read_option(struct record *r, char *word)
{
    struct str value = str_of(revision_named(strlen(word) > 2 ? word + 2 : ""));

    switch (word[0]) {
    case 'a': r->first.by_arrival = r->last.by_arrival = true; break;
    case 'e': r->severity = STR("error"); break;
    case 'o': r->origin_revision = value; break;
    case 'd': r->oci_digest = value; break;
    case 'c': r->commit = value; break;
    case 'r': r->last.received_ms = AT(atoll(word + 2)); break;
    default: HARNESS_FAIL("no such option: %s", word);
    }
}

static struct record read_record(char *line)
{
    static const char letters[] = "OPSF", *const reasons[] = {"Other", "Progressing", "Succeeded", "Failed"};
    char *save = NULL, *words[12] = {NULL};
    size_t n = 0;

    for (char *w = strtok_r(line, " ", &save); w && n < 12; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    if (n < 5)
        HARNESS_FAIL("too few words in a record of the story");
    char *dash = strchr(words[4], '-');
    int64_t first = AT(atoll(words[4])), last = dash ? AT(atoll(dash + 1)) : first;
    struct record r = {.seq = (uint64_t)atoll(words[0]),
                       .class = (enum event_class)(strchr(letters, words[2][0]) - letters),
                       .count = dash ? 2 : 1,
                       .first = {.effective_ms = first, .received_ms = first},
                       .last = {.effective_ms = last, .received_ms = last},
                       .revision = str_of(revision_named(words[3])),
                       .message = STR("the message")};
    r.reason = str_of(reasons[r.class]);
    read_object(&r, str_of(words[1]));
    for (size_t i = 5; i < n; i++)
        read_option(&r, words[i]);
    return r;
}

static void read_story(struct story *s, const char *text)
{
    char *save = NULL;

    (void)snprintf(s->text, sizeof s->text, "%s", text);
    s->n = 0;
    for (char *line = strtok_r(s->text, ";", &save); line; line = strtok_r(NULL, ";", &save)) {
        if (s->n == MAX_RECORDS)
            HARNESS_FAIL("too many records in the story");
        s->records[s->n++] = read_record(line);
    }
}

/* "revision=A expect=2" */
static struct question *read_question(const char *text)
{
    char copy[1024], err[QUESTION_ERROR], *save = NULL;
    struct question_param params[8];
    struct str values[8];
    size_t n = 0;

    (void)snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        struct str value = str_of(word);
        params[n].name = str_split(&value, '=');
        values[n] = str_eq(params[n].name, STR("revision")) ? str_of(revision_named(value.at)) : value;
        params[n] = (struct question_param){.name = params[n].name, .values = &values[n], .n_values = 1};
        n++;
    }
    struct question *q = question_new(params, n, AT(1000), err);
    if (!q)
        HARNESS_FAIL("bad question %s: %s", text, err);
    return q;
}

struct row {
    const char *name, *question, *story;
    enum verdict_state state;
    int64_t decided;     /* seconds; 0 while waiting */
    int64_t wake;        /* seconds, or NEVER */
    const char *decider; /* name of the object */
    const char *says;    /* part of the explanation */
};

static const struct row rows[] = {
    /* nothing, success, failure */
    {"nothing stored", "revision=A", "", VERDICT_WAITING, 0, NEVER, NULL,
     "no event of revision main@sha1:" HASH_A " was received"},
    {"success", "revision=A", "1 K/fs/apps S A 10", VERDICT_SUCCEEDED, 10, NEVER, "apps",
     "revision main@sha1:" HASH_A
     " was reconciled: Kustomization/fs/apps said Succeeded at 2026-08-01T10:00:10Z (\"the "
     "message\")"},
    {"failure", "revision=A", "1 K/fs/apps F A 10", VERDICT_FAILED, 10, NEVER, "apps",
     "failed: Kustomization/fs/apps said Failed at 2026-08-01T10:00:10Z (\"the message\")"},
    {"progress", "revision=A", "1 K/fs/apps P A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "waiting for revision main@sha1:" HASH_A
     ": Kustomization/fs/apps said Progressing at 2026-08-01T10:00:10Z"},
    {"other", "revision=A", "1 H/fs/apps O A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "HelmRelease/fs/apps said Other at"},
    {"curl, the two stories: a", "revision=a", "1 - F a 10 a", VERDICT_FAILED, 10, NEVER, "",
     "an event without object"},
    {"failure, and the wall clock stepped back since", "revision=A", "1 K/fs/apps F A 2000", VERDICT_FAILED,
     2000, NEVER, "apps", ""},
    {"curl, the two stories: b", "revision=b", "1 - F a 10 a;2 - S b 11 a", VERDICT_SUCCEEDED, 11, NEVER, "",
     ""},
    {"another revision only", "revision=A", "1 K/fs/apps S B 10", VERDICT_WAITING, 0, NEVER, NULL,
     "no event of revision"},
    {"no revision at all", "revision=A", "1 K/fs/apps F . 10", VERDICT_WAITING, 0, NEVER, NULL,
     "no event of revision"},
    /* order */
    {"success then failure", "revision=A", "1 K/fs/apps S A 10;2 K/fs/apps F A 20", VERDICT_FAILED, 20, NEVER,
     "apps", ""},
    {"failure then success", "revision=A", "1 K/fs/apps F A 10;2 K/fs/apps S A 20", VERDICT_SUCCEEDED, 20,
     NEVER, "apps", ""},
    {"an older failure arrives late", "revision=A", "1 K/fs/apps S A 20;2 K/fs/apps F A 10",
     VERDICT_SUCCEEDED, 20, NEVER, "apps", ""},
    {"same second: failure rules", "revision=A", "1 K/fs/apps F A 10;2 K/fs/apps S A 10", VERDICT_FAILED, 10,
     NEVER, "apps", ""},
    {"same second by arrival: the last rules", "revision=A", "1 K/fs/apps F A 10 a;2 K/fs/apps S A 10 a",
     VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"fail, succeed, fail by arrival", "revision=a", "1 - F a 10 a;2 - S a 10 a;3 - F a 10 a", VERDICT_FAILED,
     10, NEVER, "", ""},
    {"progress after success changes nothing", "revision=A", "1 K/fs/apps S A 10;2 K/fs/apps P A 20",
     VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"progress after failure changes nothing", "revision=A", "1 K/fs/apps F A 10;2 K/fs/apps P A 20",
     VERDICT_FAILED, 10, NEVER, "apps", ""},
    {"decided by the first of repeated successes", "revision=A", "1 K/fs/apps S A 10-500", VERDICT_SUCCEEDED,
     10, NEVER, "apps", "has said Succeeded since 2026-08-01T10:00:10Z"},
    {"a failure between repeated successes, late", "revision=A", "1 K/fs/apps S A 10-500;2 K/fs/apps F A 100",
     VERDICT_SUCCEEDED, 500, NEVER, "apps", ""},
    {"fails from the earliest after the success", "revision=A",
     "1 K/fs/apps F A 5;2 K/fs/apps S A 10;3 K/fs/apps F A 20;4 K/fs/apps F A 30", VERDICT_FAILED, 20, NEVER,
     "apps", ""},
    /* a rollback is nothing */
    {"upgrade failed, rolled back", "revision=6.5.2", "1 H/a/p F 6.5.2 10;2 H/a/p O 6.5.1 20", VERDICT_FAILED,
     10, NEVER, "p", ""},
    {"rolled back to it", "revision=6.5.1", "1 H/a/p F 6.5.2 10;2 H/a/p O 6.5.1 20", VERDICT_WAITING, 0,
     NEVER, NULL, "said Other"},
    /* failAfter */
    {"failAfter not yet", "revision=A failAfter=1h", "1 K/fs/apps F A 10", VERDICT_WAITING, 0, 3610, NULL,
     "fails since 2026-08-01T10:00:10Z and counts as failed from 2026-08-01T11:00:10Z"},
    {"failAfter over", "revision=A failAfter=5m", "1 K/fs/apps F A 10", VERDICT_FAILED, 310, NEVER, "apps",
     "failing since 2026-08-01T10:00:10Z, which is 5m or longer"},
    {"failAfter at the moment", "revision=A failAfter=990s", "1 K/fs/apps F A 10", VERDICT_FAILED, 1000,
     NEVER, "apps", ""},
    {"failAfter a second before", "revision=A failAfter=991s", "1 K/fs/apps F A 10", VERDICT_WAITING, 0, 1001,
     NULL, ""},
    {"failAfter counts from the first failure", "revision=A failAfter=5m", "1 K/fs/apps F A 10-990",
     VERDICT_FAILED, 310, NEVER, "apps", ""},
    {"failAfter begins anew after a success", "revision=A failAfter=5m",
     "1 K/fs/apps F A 10;2 K/fs/apps S A 800;3 K/fs/apps F A 900", VERDICT_WAITING, 0, 1200, NULL, ""},
    {"failAfter healed", "revision=A failAfter=5m", "1 K/fs/apps F A 10;2 K/fs/apps S A 100",
     VERDICT_SUCCEEDED, 100, NEVER, "apps", ""},
    {"two fail: the next to count wakes", "revision=A failAfter=1h", "1 K/fs/apps F A 50;2 K/fs/infra F A 20",
     VERDICT_WAITING, 0, 3620, NULL, ""},
    /* expect */
    {"expect 2 of 1", "revision=A expect=2", "1 K/fs/apps S A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "1 of 2 objects succeeded"},
    {"expect 2 of 2", "revision=A expect=2", "1 K/fs/apps S A 30;2 K/fs/infra S A 20", VERDICT_SUCCEEDED, 30,
     NEVER, "apps", "; Kustomization/fs/infra said"},
    {"expect 1 of 2: the first", "revision=A", "1 K/fs/apps S A 30;2 K/fs/infra S A 20", VERDICT_SUCCEEDED,
     20, NEVER, "infra", ""},
    {"any failure fails", "revision=A", "1 K/fs/apps S A 10;2 K/fs/infra F A 20", VERDICT_FAILED, 20, NEVER,
     "infra", ""},
    {"two clusters are two objects", "revision=A expect=2", "1 c1:K/fs/apps S A 10;2 c2:K/fs/apps S A 20",
     VERDICT_SUCCEEDED, 20, NEVER, "apps", "Kustomization/fs/apps of cluster c2"},
    {"only a source saw it", "revision=A", "1 G/fs/fleet P A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "GitRepository/fs/fleet said Progressing at 2026-08-01T10:00:10Z (\"the message\"); no Kustomization or "
     "HelmRelease "
     "has reported it"},
    {"the source fails since", "revision=A objects=Kustomization/fs/apps",
     "1 G/fs/fleet P A 10;2 G/fs/fleet O . 20 e", VERDICT_WAITING, 0, NEVER, NULL,
     "has not reported it; since then GitRepository/fs/fleet said Other at 2026-08-01T10:00:20Z (\"the "
     "message\")"},
    /* objects */
    {"the object asked for", "revision=A objects=Kustomization/fs/apps", "1 K/fs/apps S A 10",
     VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"another object does not count", "revision=A objects=Kustomization/fs/apps", "1 K/fs/infra S A 10",
     VERDICT_WAITING, 0, NEVER, NULL, "Kustomization/fs/apps has not reported it"},
    {"another object's failure does not count", "revision=A objects=Kustomization/fs/apps",
     "1 K/fs/infra F A 10;2 K/fs/apps S A 10", VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"all of them", "revision=A objects=Kustomization/fs/apps,HelmRelease/a/p", "1 K/fs/apps S A 10",
     VERDICT_WAITING, 0, NEVER, NULL, "1 of 2 objects succeeded: HelmRelease/a/p has not reported it"},
    {"all of them there", "revision=A objects=Kustomization/fs/apps,HelmRelease/a/p",
     "1 K/fs/apps S A 10;2 H/a/p S 1.2.3+aaaaaaaaaaaa 40", VERDICT_SUCCEEDED, 40, NEVER, "p", ""},
    {"none heard of", "revision=A objects=Kustomization/fs/apps,HelmRelease/a/p", "", VERDICT_WAITING, 0,
     NEVER, NULL, "was received, awaited from Kustomization/fs/apps, HelmRelease/a/p"},
    {"one cluster is enough", "revision=A objects=Kustomization/fs/apps",
     "1 c1:K/fs/apps S A 10;2 c2:K/fs/apps P A 20", VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"but none may fail", "revision=A objects=Kustomization/fs/apps",
     "1 c1:K/fs/apps S A 10;2 c2:K/fs/apps F A 20", VERDICT_FAILED, 20, NEVER, "apps", ""},
    {"a cluster that failed for another revision is none of it", "revision=A objects=Kustomization/fs/apps",
     "1 c1:K/fs/apps S A 10;2 c2:K/fs/apps F B 20", VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"only this cluster", "revision=A cluster=c1", "1 c1:K/fs/apps S A 10;2 c2:K/fs/apps F A 20",
     VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"nobody of this cluster", "revision=A cluster=c3", "1 c1:K/fs/apps S A 10", VERDICT_WAITING, 0, NEVER,
     NULL, "no event of revision main@sha1:" HASH_A " from cluster c3 was received"},
    {"nobody without a cluster", "revision=A cluster=", "1 c1:K/fs/apps S A 10", VERDICT_WAITING, 0, NEVER,
     NULL, "no event of revision main@sha1:" HASH_A " from an unnamed cluster was received"},
    {"the kind in another case", "revision=A objects=kustomization/fs/apps", "1 K/fs/apps S A 10",
     VERDICT_WAITING, 0, NEVER, NULL,
     "kustomization/fs/apps has not reported it, but Kustomization/fs/apps has: case matters"},
    {"another kind of that name", "revision=A objects=HelmRelease/fs/apps,Kustomization/fs/x",
     "1 K/fs/apps S A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "HelmRelease/fs/apps has not reported it; Kustomization/fs/x has not reported it"},
    /* since */
    {"since: before", "revision=A since=2026-08-01T10:00:11Z", "1 K/fs/apps S A 10", VERDICT_WAITING, 0,
     NEVER, NULL, "was received since 2026-08-01T10:00:11Z"},
    {"since: at", "revision=A since=2026-08-01T10:00:10Z", "1 K/fs/apps S A 10", VERDICT_SUCCEEDED, 10, NEVER,
     "apps", ""},
    {"since: updated", "revision=A since=2026-08-01T10:00:11Z", "1 K/fs/apps S A 10-20", VERDICT_SUCCEEDED,
     10, NEVER, "apps", ""},
    /* superseded */
    {"superseded: both on the object", "revision=A", "1 K/fs/apps P A 10;2 K/fs/apps S B 20",
     VERDICT_SUPERSEDED, 20, NEVER, "apps",
     "was superseded: Kustomization/fs/apps succeeded for main@sha1:" HASH_B
     " at 2026-08-01T10:00:20Z, and for this revision it last said Progressing at 2026-08-01T10:00:10Z"},
    {"superseded: by a source", "revision=A objects=Kustomization/fs/apps",
     "1 G/fs/fleet P A 10;2 G/fs/fleet P B 20;3 K/fs/apps S B 30", VERDICT_SUPERSEDED, 30, NEVER, "apps",
     "and never reported this revision"},
    {"superseded after a failure", "revision=A", "1 K/fs/apps F A 10;2 K/fs/apps S B 20", VERDICT_SUPERSEDED,
     20, NEVER, "apps", ""},
    {"a success is never superseded", "revision=A", "1 K/fs/apps S A 10;2 K/fs/apps S B 20",
     VERDICT_SUCCEEDED, 10, NEVER, "apps", ", replaced by main@sha1:" HASH_B " at 2026-08-01T10:00:20Z"},
    {"not by progress", "revision=A", "1 K/fs/apps P A 10;2 K/fs/apps P B 20", VERDICT_WAITING, 0, NEVER,
     NULL, ""},
    {"not by a failure", "revision=A", "1 K/fs/apps P A 10;2 K/fs/apps S B 20;3 K/fs/apps F C 30",
     VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not by the previous revision's periodic success", "revision=B",
     "1 K/fs/apps S A 10-40;2 K/fs/apps P B 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not by it on the source's word either", "revision=B objects=Kustomization/fs/apps",
     "1 G/fs/fleet P A 5;2 K/fs/apps S A 10-40;3 G/fs/fleet P B 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not when retention took what was before", "revision=B objects=Kustomization/fs/apps",
     "2 K/fs/apps S A 40;3 G/fs/fleet P B 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not by a revert to an older one", "revision=B",
     "1 K/fs/apps S A 10;2 K/fs/apps P B 20;3 K/fs/apps S A 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not on equal times", "revision=A", "1 K/fs/apps P A 10;2 K/fs/apps S B 10", VERDICT_WAITING, 0, NEVER,
     NULL, ""},
    {"not by another object", "revision=A objects=Kustomization/fs/apps",
     "1 K/fs/apps P A 10;2 K/fs/infra S B 20", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not by two sources", "revision=A objects=Kustomization/fs/apps",
     "1 G/fs/fleet P A 10;2 G/fs/other P B 20;3 K/fs/apps S B 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not by another cluster's source", "revision=A objects=Kustomization/fs/apps",
     "1 c2:G/fs/fleet P A 10;2 c2:G/fs/fleet P B 20;3 c1:K/fs/apps S B 30", VERDICT_WAITING, 0, NEVER, NULL,
     ""},
    {"not by another Kustomization's word", "revision=A objects=Kustomization/fs/apps",
     "1 K/fs/infra P A 10;2 K/fs/infra S B 20;3 K/fs/apps S B 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"not by a chart that has nothing to do with it", "revision=A objects=HelmRelease/a/p",
     "1 G/fs/fleet P A 10;2 G/fs/fleet P B 20;3 H/a/p S 1.2.4 30", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"by a chart of the later commit", "revision=A objects=HelmRelease/a/p",
     "1 G/fs/fleet P A 10;2 G/fs/fleet P B 20;3 H/a/p S 1.2.3+bbbbbbbbbbbb 30", VERDICT_SUPERSEDED, 30, NEVER,
     "p", ""},
    {"not across since", "revision=A since=2026-08-01T10:01:00Z",
     "1 K/fs/apps P A 10-70;2 K/fs/apps S B 20-80", VERDICT_WAITING, 0, NEVER, NULL, ""},
    {"superseded: wait", "revision=A onSuperseded=wait", "1 K/fs/apps P A 10;2 K/fs/apps S B 20",
     VERDICT_WAITING, 0, NEVER, NULL,
     "Kustomization/fs/apps went on to main@sha1:" HASH_B " at 2026-08-01T10:00:20Z"},
    {"superseded: succeed", "revision=A onSuperseded=succeed", "1 K/fs/apps P A 10;2 K/fs/apps S B 20",
     VERDICT_SUCCEEDED, 20, NEVER, "apps", "Kustomization/fs/apps went on to"},
    {"superseded and failed", "revision=A", "1 K/fs/apps P A 10;2 K/fs/apps S B 20;3 K/fs/infra F A 30",
     VERDICT_FAILED, 30, NEVER, "infra", ""},
    {"superseded by arrival", "revision=a", "1 - P a 10 a;2 - S b 11 a", VERDICT_SUPERSEDED, 11, NEVER, "",
     ""},
    /* forms */
    {"short SHA", "revision=bbbbbbb", "1 K/fs/apps S B 10", VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"ambiguous", "revision=aaaaaaa", "1 K/fs/apps S A 10;2 K/fs/infra P D 20", VERDICT_AMBIGUOUS, 20, NEVER,
     "apps", "revision aaaaaaa is ambiguous, it begins " HASH_A " and " HASH_D ": write more digits"},
    {"one digit more", "revision=aaaaaaad", "1 K/fs/apps S A 10;2 K/fs/infra S D 20", VERDICT_SUCCEEDED, 20,
     NEVER, "infra", ""},
    {"exact beats prefix", "revision=aaaaaaa", "1 K/fs/apps S A 10;2 K/fs/infra F D 20;3 - S aaaaaaa 30",
     VERDICT_SUCCEEDED, 30, NEVER, "", ""},
    {"through originRevision", "revision=A", "1 K/fs/apps S latest@sha256:" DIGEST " 10 o=A",
     VERDICT_SUCCEEDED, 10, NEVER, "apps", ""},
    {"through oci-digest", "revision=sha256:" DIGEST, "1 H/a/p S 6.5.1 10 d=sha256:" DIGEST,
     VERDICT_SUCCEEDED, 10, NEVER, "p", ""},
    {"through commit", "revision=" HASH_A, "1 H/a/p S 6.5.1 10 c=" HASH_A, VERDICT_SUCCEEDED, 10, NEVER, "p",
     ""},
    {"a branch", "revision=main", "1 K/fs/apps S A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "no event of revision main was received, but it is the branch, tag or ref of main@sha1:" HASH_A
     ", and a name stands only for itself: wait for " HASH_A},
    {"a tag of an artifact", "revision=latest", "1 K/fs/apps S latest@sha256:" DIGEST " 10", VERDICT_WAITING,
     0, NEVER, NULL, "wait for sha256:" DIGEST},
    {"too short", "revision=aaaaaa", "1 K/fs/apps S A 10", VERDICT_WAITING, 0, NEVER, NULL,
     "but it begins main@sha1:" HASH_A ": write aaaaaaa or more digits"},
    {"an artifact's digits", "revision=6f132a51", "1 K/fs/apps S latest@sha256:" DIGEST " 10",
     VERDICT_WAITING, 0, NEVER, NULL, "write sha256:6f132a5 or more digits"},
};

static const struct verdict_now at_1000 = {.wall_ms = BASE + 1000000, .failures_from_ms = INT64_MIN};

static void check_row(const struct row *row, const struct verdict *v)
{
    CHECK(v != NULL);
    CHECK_TEXT(verdict_state_text(v->state), verdict_state_text(row->state));
    CHECK_HAS(v->explanation, str_of(row->says));
    CHECK(str_find(v->explanation, '\n') < 0);
    CHECK_INT(v->decided_ms, row->state == VERDICT_WAITING ? 0 : AT(row->decided));
    CHECK_INT(v->wake_at_ms, row->wake == NEVER ? NEVER : AT(row->wake));
    CHECK_INT(v->decider != NULL, row->decider != NULL);
    if (row->decider)
        CHECK_STR(v->decider->name, str_of(row->decider));
    for (size_t i = 0; i < v->n_objects; i++) /* nothing is replaced by itself */
        CHECK(v->objects[i].state != VERDICT_SUCCEEDED || v->objects[i].superseded_by.len == 0 ||
              !str_eq(v->objects[i].superseded_by, v->objects[i].revision));
}

static void test_stories(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct story story;
        harness_case("%s", rows[i].name);
        read_story(&story, rows[i].story);
        struct question *q = read_question(rows[i].question);
        struct verdict *v = verdict_new(q, story.records, story.n, at_1000);
        check_row(&rows[i], v);
        verdict_free(v);
        question_free(q);
    }
}

/* Says all of a verdict, to compare two. */
static void describe(struct text *t, const struct verdict *v)
{
    text_addf(t, "%s %lld %lld decider %td\n", verdict_state_text(v->state), (long long)v->decided_ms,
              (long long)v->wake_at_ms, v->decider ? v->decider - v->objects : -1);
    text_add(t, v->explanation);
    for (size_t i = 0; i < v->n_objects; i++) {
        const struct verdict_object *o = &v->objects[i];
        text_addf(t, "\n%.*s %.*s/%.*s/%.*s %s %d %llu %.*s %.*s %.*s %lld %lld %lld %.*s %lld",
                  STR_ARG(o->cluster), STR_ARG(o->kind), STR_ARG(o->namespace), STR_ARG(o->name),
                  verdict_state_text(o->state), o->reported, (unsigned long long)o->seq, STR_ARG(o->reason),
                  STR_ARG(o->message), STR_ARG(o->revision), (long long)o->effective_ms,
                  (long long)o->received_ms, (long long)o->failing_since_ms, STR_ARG(o->superseded_by),
                  (long long)o->superseded_ms);
    }
}

static void describe_answer(char *out, size_t size, const struct question *q, const struct record *records,
                            size_t n, struct verdict_now now)
{
    struct verdict *v = verdict_new(q, records, n, now);
    struct text t;

    CHECK(v != NULL);
    text_init(&t, out, size);
    describe(&t, v);
    verdict_free(v);
    CHECK(!t.cut);
}

#define DESCRIPTION 16384
static void check_same(const char *what, const struct question *q, const struct record *a, size_t n_a,
                       const struct record *b, size_t n_b, struct verdict_now now)
{
    static char one[DESCRIPTION], two[DESCRIPTION];

    describe_answer(one, sizeof one, q, a, n_a, now);
    describe_answer(two, sizeof two, q, b, n_b, now);
    if (strcmp(one, two) != 0)
        HARNESS_FAIL("%s:\n%s\nbut was\n%s", what, two, one);
}

static void shuffle(unsigned *seed, struct record *records, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rand_r(seed) % i;
        struct record r = records[i - 1];
        records[i - 1] = records[j];
        records[j] = r;
    }
}

/* A random world of few objects, revisions and times, so that all rules are met. */
static size_t generate(unsigned *seed, struct record *records, bool by_arrival)
{
    static const char *const objects[] = {"K/fs/apps",  "K/fs/infra",   "H/a/p",
                                          "G/fs/fleet", "c2:K/fs/apps", "-"};
    static const char *const revisions[] = {"A", "B", "C", "D", "a", "6.5.1", "6.5.1+aaaaaaaaaaaa", "."};
    size_t n = (size_t)rand_r(seed) % 12;

    for (size_t i = 0; i < n; i++) {
        int64_t first = AT(rand_r(seed) % 30), last = first + rand_r(seed) % 3 * 10000;
        struct record *r = &records[i];
        *r = (struct record){.seq = i + 1,
                             .count = first == last ? 1 : 2,
                             .first = {.effective_ms = first, .received_ms = first},
                             .last = {.effective_ms = last, .received_ms = last},
                             .reason = STR("Reason"),
                             .message = STR("m")};
        read_object(r, str_of(objects[(size_t)rand_r(seed) % 6]));
        r->class =
            str_eq(r->kind, STR("GitRepository")) ? CLASS_PROGRESS : (enum event_class)(rand_r(seed) % 4);
        r->revision = str_of(revision_named(revisions[(size_t)rand_r(seed) % 8]));
        if (rand_r(seed) % 8 == 0)
            r->origin_revision = str_of(revision_named(revisions[(size_t)rand_r(seed) % 4]));
        if (by_arrival && rand_r(seed) % 2)
            r->first.by_arrival = r->last.by_arrival = true;
    }
    return n;
}

static const char *const questions[] = {
    "revision=A",
    "revision=aaaaaaa",
    "revision=B expect=2 onSuperseded=succeed",
    "revision=C failAfter=995s onSuperseded=wait",
    "revision=A objects=Kustomization/fs/apps,HelmRelease/a/p",
    "revision=6.5.1",
    "revision=a",
    "revision=A cluster= since=2026-08-01T10:00:10Z",
    "revision=main",
};
#define N_QUESTIONS (sizeof questions / sizeof questions[0])

static void each_world(unsigned seed, bool by_arrival,
                       void (*check)(unsigned *seed, const struct question *q, struct record *records,
                                     size_t n))
{
    struct record records[MAX_RECORDS];
    unsigned state = seed;

    printf("# seed %u\n", seed);
    for (int i = 0; i < 40000; i++) {
        const char *text = questions[(size_t)i % N_QUESTIONS];
        size_t n = generate(&state, records, by_arrival);
        struct question *q = read_question(text);
        harness_case("seed %u, world %d, %s", seed, i, text);
        check(&state, q, records, n);
        question_free(q);
    }
    harness_case("%s", "");
}

static void any_order(unsigned *seed, const struct question *q, struct record *records, size_t n)
{
    struct record other[MAX_RECORDS];

    memcpy(other, records, n * sizeof *records);
    shuffle(seed, other, n);
    check_same("another order of the array", q, records, n, other, n, at_1000);
}

static void duplicates(unsigned *seed, const struct question *q, struct record *records, size_t n)
{
    struct record other[MAX_RECORDS];
    size_t m = n;

    memcpy(other, records, n * sizeof *records);
    for (size_t i = 0; i < n; i++)
        if (rand_r(seed) % 2)
            other[m++] = records[i];
    shuffle(seed, other, m);
    check_same("records given twice", q, records, n, other, m, at_1000);
}

static enum verdict_state state_of(const struct question *q, const struct record *records, size_t n)
{
    struct verdict *v = verdict_new(q, records, n, at_1000);

    CHECK(v != NULL);
    enum verdict_state state = v->state;
    verdict_free(v);
    return state;
}

/* Arrival in another order (other sequence numbers), for events with usable timestamps. */
static void any_arrival(unsigned *seed, const struct question *q, struct record *records, size_t n)
{
    struct record other[MAX_RECORDS];

    memcpy(other, records, n * sizeof *records);
    shuffle(seed, other, n);
    for (size_t i = 0; i < n; i++)
        other[i].seq = i + 1;
    CHECK_TEXT(verdict_state_text(state_of(q, other, n)), verdict_state_text(state_of(q, records, n)));
}

/* Progress and rollbacks, whenever they come, make no success and no failure: the same worlds without them.
 * What they may do is show which revision came first. */
static void only_decisive(unsigned *seed, const struct question *q, struct record *records, size_t n)
{
    enum verdict_state all = state_of(q, records, n);
    struct record other[MAX_RECORDS];
    size_t m = 0;

    (void)seed;
    for (size_t i = 0; i < n; i++)
        if (records[i].class == CLASS_SUCCESS || records[i].class == CLASS_FAILURE)
            other[m++] = records[i];
    enum verdict_state decisive = state_of(q, other, m);
    if (all == VERDICT_FAILED)
        CHECK(decisive == VERDICT_FAILED || decisive == VERDICT_SUPERSEDED);
    if (all == VERDICT_SUCCEEDED && q->on_superseded != SUPERSEDED_SUCCEED)
        CHECK(decisive == VERDICT_SUCCEEDED || decisive == VERDICT_SUPERSEDED);
    if (m == 0)
        CHECK(all == VERDICT_WAITING || all == VERDICT_AMBIGUOUS);
}

/* A Progressing for the same revision by an object that has succeeded changes nothing but, at most, the last
 * word. */
static void progress_after_success(unsigned *seed, const struct question *q, struct record *records, size_t n)
{
    enum verdict_state before = state_of(q, records, n);

    (void)seed;
    for (size_t i = 0; i < n; i++) {
        if (records[i].class != CLASS_SUCCESS)
            continue;
        records[n] = records[i];
        records[n].seq = n + 1;
        records[n].class = CLASS_PROGRESS;
        records[n].first.effective_ms = records[n].last.effective_ms = AT(900);
        CHECK_TEXT(verdict_state_text(state_of(q, records, n + 1)), verdict_state_text(before));
    }
}

static void test_any_order(void)
{
    each_world(1, false, any_order);
    each_world(2, true, any_order);
}

static void test_duplicates(void)
{
    each_world(3, true, duplicates);
}

static void test_any_arrival(void)
{
    each_world(4, false, any_arrival);
}

static void test_only_decisive_records_decide(void)
{
    each_world(5, false, only_decisive);
}

static void test_progress_after_success(void)
{
    each_world(6, false, progress_after_success);
}

/* A retry's attempt began at 50: failures that were received before are the old attempt's. */
static void test_failures_from(void)
{
    static const struct {
        const char *name, *story;
        enum verdict_state state;
    } cases[] = {
        {"an old failure", "1 K/fs/apps F A 10", VERDICT_WAITING},
        {"a new failure", "1 K/fs/apps F A 10;2 K/fs/apps F A 60", VERDICT_FAILED},
        {"a repeat of the old one", "1 K/fs/apps F A 10-60", VERDICT_FAILED},
        {"an old one received late", "1 K/fs/apps F A 10 r=50", VERDICT_FAILED},
        {"an old success", "1 K/fs/apps S A 10", VERDICT_SUCCEEDED},
        {"an old success under an old failure", "1 K/fs/apps S A 10;2 K/fs/apps F A 20", VERDICT_SUCCEEDED},
        {"a new success", "1 K/fs/apps F A 10;2 K/fs/apps S A 60", VERDICT_SUCCEEDED},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct story story;
        struct question *q = read_question("revision=A");
        harness_case("%s", cases[i].name);
        read_story(&story, cases[i].story);
        struct verdict *v = verdict_new(
            q, story.records, story.n, (struct verdict_now){.wall_ms = AT(1000), .failures_from_ms = AT(50)});
        CHECK_TEXT(verdict_state_text(v->state), verdict_state_text(cases[i].state));
        verdict_free(v);
        question_free(q);
    }
}

static void test_heard_last(void)
{
    static const struct {
        const char *name, *story;
        int64_t heard_ms;
    } cases[] = {
        {"nothing", "1 K/fs/apps F B 10", INT64_MIN},
        {"neither the latest nor what counts",
         "1 K/fs/apps F A 30 r=40;2 K/fs/apps F A 20 r=45;3 K/fs/apps F B 60", AT(45)},
        {"another object's", "1 K/fs/apps F A 10;2 H/a/p S A 20", AT(20)},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct story story;
        struct question *q = read_question("revision=A");
        harness_case("%s", cases[i].name);
        read_story(&story, cases[i].story);
        struct verdict *v = verdict_new(
            q, story.records, story.n, (struct verdict_now){.wall_ms = AT(1000), .failures_from_ms = AT(50)});
        CHECK_INT(v->heard_ms, cases[i].heard_ms);
        verdict_free(v);
        question_free(q);
    }
}

static void test_objects(void)
{
    struct story story;
    struct question *q = read_question("revision=A objects=HelmRelease/a/p,Kustomization/fs/apps");

    read_story(&story, "1 K/fs/apps S A 10;2 K/fs/apps S B 20;3 K/fs/infra F A 30 r=31");
    struct verdict *v = verdict_new(q, story.records, story.n, at_1000);
    memset(&story, 'x', sizeof story); /* the verdict has its own text */
    CHECK_INT(v->n_objects, 3);
    CHECK_STR(v->objects[0].name, STR("p"));
    CHECK(!v->objects[0].reported);
    CHECK_INT(v->objects[0].seq, 0);
    CHECK_STR(v->objects[1].name, STR("apps"));
    CHECK_STR(v->objects[1].kind, STR("Kustomization"));
    CHECK_INT(v->objects[1].state, VERDICT_SUCCEEDED);
    CHECK_INT(v->objects[1].seq, 1);
    CHECK_STR(v->objects[1].reason, STR("Succeeded"));
    CHECK_STR(v->objects[1].message, STR("the message"));
    CHECK_STR(v->objects[1].revision, STR("main@sha1:" HASH_A));
    CHECK_STR(v->objects[1].superseded_by, STR("main@sha1:" HASH_B));
    CHECK_INT(v->objects[1].superseded_ms, AT(20));
    CHECK_STR(v->objects[2].name, STR("infra"));
    CHECK_INT(v->objects[2].state, VERDICT_FAILED);
    CHECK_INT(v->objects[2].failing_since_ms, AT(30));
    CHECK_INT(v->objects[2].received_ms, AT(31));
    verdict_free(v);
    question_free(q);
}

/* What strangers wrote cannot break the line, and much of it cannot break the bound. */
static void test_strangers_text(void)
{
    static char message[RECORD_MESSAGE_MAX], name[2000];
    struct record records[20];
    struct question *q = read_question("revision=A expect=30");

    memset(message, '\n', sizeof message);
    memset(name, '\xff', sizeof name);
    for (size_t i = 0; i < 20; i++) {
        records[i] = (struct record){.seq = i + 1,
                                     .class = CLASS_PROGRESS,
                                     .count = 1,
                                     .kind = STR("K\nind"),
                                     .namespace = str_upto((struct str){name, sizeof name}, i),
                                     .name = {name, sizeof name},
                                     .reason = STR("a\0b\x1b[31m"),
                                     .revision = STR("main@sha1:" HASH_A),
                                     .message = {message, sizeof message}};
        message[sizeof message - 1] = 'x';
    }
    struct verdict *v = verdict_new(q, records, 20, at_1000);
    CHECK(v->explanation.len < VERDICT_EXPLANATION);
    for (size_t i = 0; i < v->explanation.len; i++)
        CHECK((unsigned char)v->explanation.at[i] >= 0x20 && (unsigned char)v->explanation.at[i] < 0x7f);
    CHECK_STR(v->objects[0].reason, STR("a b [31m"));
    CHECK_INT(v->objects[0].message.len, RECORD_MESSAGE_MAX);
    CHECK(str_find(v->objects[0].message, '\n') < 0);
    verdict_free(v);
    question_free(q);
}

/* How often the part occurs. */
static size_t count_of(struct str text, const char *part)
{
    size_t n = 0;

    for (size_t i = 0; i + strlen(part) <= text.len; i++)
        n += str_starts(str_from(text, i), str_of(part));
    return n;
}

/* What twenty objects say: the explanation names twelve, and says how many it leaves out where they are awaited. */
static void test_many_objects(void)
{
    static const struct {
        const char *name;
        enum event_class class;
        size_t reported, awaited; /* objects */
        enum verdict_state state;
        size_t shown;
        const char *says, *silent; /* NULL: nothing */
    } cases[] = {
        {"unseen, all are named", CLASS_OTHER, 0, 12, VERDICT_WAITING, 12, "/app-11", " more"},
        {"unseen, one is not", CLASS_OTHER, 0, 13, VERDICT_WAITING, 12, "/app-11 and 1 more", "app-12"},
        {"waiting, all are named", CLASS_PROGRESS, 12, 12, VERDICT_WAITING, 12, "/app-11 said", " more"},
        {"waiting, eight are not", CLASS_PROGRESS, 20, 20, VERDICT_WAITING, 12, "; and 8 more", "app-12"},
        {"waiting for those that said nothing", CLASS_PROGRESS, 1, 3, VERDICT_WAITING, 3,
         "app-1 has not reported it", " more"},
        {"succeeded", CLASS_SUCCESS, 20, 20, VERDICT_SUCCEEDED, 12, " was reconciled: ", NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char names[20][8], question[1024];
        struct record records[20];
        struct text t;
        text_init(&t, question, sizeof question);
        text_add(&t, STR("revision=A objects="));
        for (size_t n = 0; n < 20; n++) {
            (void)snprintf(names[n], sizeof names[n], "app-%zu", n);
            records[n] = (struct record){.seq = n + 1,
                                         .class = cases[i].class,
                                         .count = 1,
                                         .first = {.effective_ms = AT(10), .received_ms = AT(10)},
                                         .last = {.effective_ms = AT(10), .received_ms = AT(10)},
                                         .kind = STR("Kustomization"),
                                         .namespace = STR("fs"),
                                         .name = str_of(names[n]),
                                         .reason = STR("Word"),
                                         .revision = STR("main@sha1:" HASH_A)};
            if (n < cases[i].awaited)
                text_addf(&t, "%sKustomization/fs/%s", n ? "," : "", names[n]);
        }
        harness_case("%s", cases[i].name);
        struct question *q = read_question(question);
        struct verdict *v = verdict_new(q, records, cases[i].reported, at_1000);
        CHECK_TEXT(verdict_state_text(v->state), verdict_state_text(cases[i].state));
        CHECK_INT(count_of(v->explanation, "Kustomization/fs/app-"), cases[i].shown);
        CHECK_HAS(v->explanation, str_of(cases[i].says));
        CHECK(!cases[i].silent || !str_has(v->explanation, str_of(cases[i].silent)));
        CHECK_INT(v->n_objects, cases[i].awaited); /* the verdict names all */
        verdict_free(v);
        question_free(q);
    }
}

/* Candidates are named once each, four of them. A digit or letter stands for the hash that ends in it. */
static void test_many_candidates(void)
{
    static const struct {
        const char *stored, *named, *end;
    } cases[] = {
        {"121", "12", ": write more digits"},
        {"eEf", "ef", ": write more digits"}, /* one hash, written in two ways */
        {"1234", "1234", ": write more digits"},
        {"123425", "1234", " and others: write more digits"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char revisions[6][64], want[512];
        struct record records[6];
        size_t n = strlen(cases[i].stored), named = strlen(cases[i].named);
        struct text t;
        for (size_t k = 0; k < n; k++) {
            (void)snprintf(revisions[k], sizeof revisions[k], "main@sha1:%.39s%c", HASH_A,
                           cases[i].stored[k]);
            records[k] =
                (struct record){.seq = k + 1, .class = CLASS_PROGRESS, .revision = str_of(revisions[k])};
        }
        text_init(&t, want, sizeof want);
        for (size_t k = 0; k < named; k++) {
            bool is_last = k + 1 == named && named == 2;
            text_addf(&t, "%s%.39s%c",
                      k == 0                          ? " begins "
                      : is_last || (k == 3 && n == 4) ? " and "
                                                      : ", ",
                      HASH_A, cases[i].named[k]);
        }
        text_add(&t, str_of(cases[i].end));
        harness_case("%s", cases[i].stored);
        struct question *q = read_question("revision=aaaaaaa");
        struct verdict *v = verdict_new(q, records, n, at_1000);
        CHECK_TEXT(verdict_state_text(v->state), verdict_state_text(VERDICT_AMBIGUOUS));
        CHECK_HAS(v->explanation, text_str(&t));
        verdict_free(v);
        question_free(q);
    }
}

/* Whom a suspended object belongs to: the process knows those of its own cluster alone. */
static bool on_suspended(void *arg, struct str kind, struct str namespace, struct str name)
{
    (void)arg;
    return str_eq(kind, STR("Kustomization")) && str_eq(namespace, STR("fs")) && str_eq(name, STR("apps"));
}

static void test_suspended(void)
{
    static const struct {
        const char *question, *story;
        bool said;
    } cases[] = {
        {"revision=A objects=Kustomization/fs/apps", "", true},
        {"revision=A objects=Kustomization/fs/other", "", false},
        {"revision=A objects=Kustomization/fs/apps cluster=c1", "", true},
        {"revision=A objects=Kustomization/fs/apps cluster=c2", "", false},
        {"revision=A objects=Kustomization/fs/apps", "1 c1:K/fs/apps P A 10", true},
        {"revision=A objects=Kustomization/fs/apps", "1 c2:K/fs/apps P A 10", false},
        {"revision=A", "1 c1:K/fs/apps P A 10", true},
        {"revision=A", "1 c2:K/fs/apps P A 10", false},
    };
    const struct verdict_facts facts = {.is_suspended = on_suspended, .cluster = STR("c1")};
    const struct verdict_facts unknown = {.cluster = STR("c1")};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int known = 0; known < 2; known++) {
            struct story story;
            struct verdict_now now = at_1000;
            now.facts = known ? &facts : &unknown;
            harness_case("%s; %s; known: %d", cases[i].question, cases[i].story, known);
            read_story(&story, cases[i].story);
            struct question *q = read_question(cases[i].question);
            struct verdict *v = verdict_new(q, story.records, story.n, now);
            CHECK_INT(str_has(v->explanation, STR("suspended")), known && cases[i].said);
            verdict_free(v);
            question_free(q);
        }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_stories),
                                       TEST(test_any_order),
                                       TEST(test_duplicates),
                                       TEST(test_any_arrival),
                                       TEST(test_only_decisive_records_decide),
                                       TEST(test_progress_after_success),
                                       TEST(test_failures_from),
                                       TEST(test_heard_last),
                                       TEST(test_objects),
                                       TEST(test_strangers_text),
                                       TEST(test_many_objects),
                                       TEST(test_many_candidates),
                                       TEST(test_suspended),
                                       {0}});
}
