/* Makes the images of a recording and opens each with the product's store, in a process of its own, because a damaged
 * database may crash its reader (see powerloss.h).
 *
 * The power is cut before each entry of the log that changes the disk, so after all acknowledgements that come before
 * it. More images are made where more is at stake: while a sync runs, while a meta page is being written, and most after
 * one that was written by a process that ended then, or whose sync failed.
 */
#include "powerloss.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS        2
#define HANG_S      10
#define META_BYTES  8192 /* LMDB's two meta pages come first */
#define APPEND_EACH 4    /* to every fourth image something is appended too */

struct job {
    pid_t pid;
    size_t cut;
    char dir[256];
    struct shared *shared;
};

/* What the process of an image has to say. */
struct shared {
    enum check_result result;
    enum image_kind kind;
    uint64_t gone, coalesced;
    char err[CHECK_ERROR];
};

struct run {
    struct images *im;
    struct disk disk;
    struct job jobs[JOBS];
    size_t at_cut;
    size_t started;
    uint64_t acked;
    uint32_t *unheard;  /* by id */
    struct judge judge; /* with what was acknowledged before the cut; of a recording that is retaining */
};

const struct io_entry *recording_next(const struct recording *r, size_t *at, const unsigned char **ret_bytes)
{
    static struct io_entry entry; /* entries in the log are not aligned */

    if (r->len - *at < sizeof entry)
        return NULL;
    memcpy(&entry, r->log + *at, sizeof entry);
    *at += sizeof entry;
    *ret_bytes = r->log + *at;
    if (entry.kind == IO_WRITE)
        *at += entry.len;
    return &entry;
}

static void judge_image(struct run *r, const struct job *job, bool append)
{
    struct judge *j = &r->judge;

    job->shared->result = judge_store(j, job->dir, append);
    job->shared->gone = j->gone;
    job->shared->coalesced = j->coalesced;
    (void)snprintf(job->shared->err, CHECK_ERROR, "%s", j->why);
}

static void open_image(struct run *r, const struct job *job, unsigned seed)
{
    struct check check = {
        .ledger = &r->im->recording->ledger, .acked_up_to = r->acked, .append = seed % APPEND_EACH == 0};
    uint64_t records;

    (void)alarm(HANG_S);
    scratch_clear(job->dir);
    if (!image_write(&r->disk, seed, job->dir, &job->shared->kind))
        _exit(2);
    if (!freopen("/dev/null", "w", stderr)) /* LMDB's assertions */
        _exit(2);
    if (r->im->recording->retaining)
        judge_image(r, job, check.append);
    else
        job->shared->result = check_store(job->dir, &check, job->shared->err, &records);
    _exit(0);
}

static bool count(struct images *im, const struct job *job, int status)
{
    const struct shared *s = job->shared;
    const char *why = s->err;
    char signal_text[64];

    im->made++;
    im->of_kind[s->kind]++;
    im->gone = s->gone > im->gone ? s->gone : im->gone;
    im->coalesced = s->coalesced > im->coalesced ? s->coalesced : im->coalesced;
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        (void)snprintf(im->first, sizeof im->first, "an image could not be written in %s", job->dir);
        return false;
    }
    if (WIFSIGNALED(status)) {
        (void)snprintf(signal_text, sizeof signal_text, "opening it ends in signal %d", WTERMSIG(status));
        why = signal_text;
        im->not_open++;
    } else {
        im->lost += s->result == CHECK_LOST;
        im->not_open += s->result == CHECK_NOT_OPEN;
        im->wrong += s->result == CHECK_WRONG;
        if (s->result == CHECK_OK)
            return true;
    }
    if (!im->first[0])
        (void)snprintf(im->first, sizeof im->first, "cut before entry %zu, %s kept: %s", job->cut,
                       image_kind_name(s->kind), why);
    return true;
}

static bool reap(struct run *r, struct job *job)
{
    int status;

    if (job->pid <= 0)
        return true;
    if (waitpid(job->pid, &status, 0) != job->pid)
        return false;
    job->pid = 0;
    return count(r->im, job, status);
}

static bool make_image(struct run *r, size_t number)
{
    struct job *job = &r->jobs[number % JOBS];

    if (!reap(r, job))
        return false;
    *job->shared = (struct shared){.result = CHECK_NOT_OPEN};
    job->cut = r->at_cut;
    job->pid = fork();
    if (job->pid == 0)
        open_image(r, job, r->im->seed + (unsigned)number);
    return job->pid > 0;
}

/* An acknowledgement in the log says only the id. Of the events with that id it is taken for the one whose turn it was
 * at the clients. Those that no client received, because the connection ended, are taken for the first ones. */
static void note_ack(struct run *r, uint64_t id)
{
    const struct recording *rec = r->im->recording;
    size_t from = 0;
    size_t to = rec->n_by_id;

    r->acked = id > r->acked ? id : r->acked;
    if (r->unheard[id] > 0) {
        r->unheard[id]--;
        return;
    }
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (rec->by_id[middle].id < id)
            from = middle + 1;
        else
            to = middle;
    }
    if (id < r->judge.n_acked)
        from += r->judge.acked[id].events;
    if (from < rec->n_by_id && rec->by_id[from].id == id)
        judge_ack(&r->judge, rec->by_id[from].n, id, rec->by_id[from].at_bytes);
}

static bool disk_changes(const struct io_entry *entry)
{
    return entry->kind != IO_ACK && entry->kind != IO_DIR_SYNC;
}

/* A meta page was written, its sync did not end well, and it is not yet sure what the disk has of it. */
static bool meta_is_open(const struct disk *d)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->writes[i].offset < META_BYTES && !d->writes[i].synced)
            return true;
    return false;
}

static unsigned weight(const struct disk *d, const struct io_entry *next)
{
    if (next && !disk_changes(next))
        return 0;
    if (d->n == 0)
        return 1;
    if (next && next->kind == IO_DSYNC_END)
        return 8;
    if (meta_is_open(d))
        return 32;
    return next && next->kind == IO_SYNC_END ? 8 : 4;
}

/* How many acknowledgements of each id no client received. */
static uint32_t *count_unheard(const struct recording *rec)
{
    uint32_t *unheard = calloc(rec->last_acked + 1, sizeof *unheard);
    const struct io_entry *entry;
    const unsigned char *bytes;

    if (!unheard)
        abort();
    for (size_t at = 0; (entry = recording_next(rec, &at, &bytes)) != NULL;)
        if (entry->kind == IO_ACK)
            unheard[entry->offset]++;
    for (size_t i = 0; i < rec->n_by_id; i++)
        if (rec->by_id[i].id <= rec->last_acked && unheard[rec->by_id[i].id] > 0)
            unheard[rec->by_id[i].id]--;
    return unheard;
}

/* The sum of the weights of all cuts; 0 when the log cannot be followed. */
static uint64_t weigh(const struct recording *rec)
{
    struct disk d = {0};
    const struct io_entry *entry;
    const unsigned char *bytes;
    uint64_t sum = 0;

    for (size_t at = 0; (entry = recording_next(rec, &at, &bytes)) != NULL;) {
        sum += weight(&d, entry);
        if (!disk_apply(&d, entry, bytes)) {
            sum = 0;
            break;
        }
    }
    sum += sum ? weight(&d, NULL) : 0;
    disk_free(&d);
    return sum;
}

static bool cut(struct run *r, const struct io_entry *next, uint64_t weights, double *share)
{
    struct images *im = r->im;

    *share += (double)im->wanted * weight(&r->disk, next) / (double)weights;
    if (*share >= 1)
        im->cuts++;
    for (; *share >= 1; *share -= 1) {
        if (im->enough && im->lost + im->not_open + im->wrong >= im->enough)
            return true;
        if (!make_image(r, r->started++))
            return false;
    }
    return true;
}

static bool run_setup(struct run *r)
{
    for (size_t i = 0; i < JOBS; i++) {
        r->jobs[i].shared =
            mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (r->jobs[i].shared == MAP_FAILED || !scratch_make(r->jobs[i].dir, true))
            return false;
    }
    return true;
}

bool images_run(struct images *im)
{
    struct run r = {.im = im, .unheard = count_unheard(im->recording)};
    uint64_t weights = weigh(im->recording);
    const struct io_entry *entry;
    const unsigned char *bytes;
    double share = 0;
    int64_t start = now_us();
    bool good = weights > 0 && run_setup(&r);

    for (size_t at = 0; good && (entry = recording_next(im->recording, &at, &bytes)) != NULL; r.at_cut++) {
        struct io_entry now = *entry;
        good = cut(&r, &now, weights, &share) && disk_apply(&r.disk, &now, bytes);
        if (now.kind == IO_ACK)
            note_ack(&r, now.offset);
    }
    good = good && cut(&r, NULL, weights, &share);
    for (size_t i = 0; i < JOBS; i++) {
        good = reap(&r, &r.jobs[i]) && good;
        scratch_remove(r.jobs[i].dir);
    }
    disk_free(&r.disk);
    judge_free(&r.judge);
    free(r.unheard);
    im->us = now_us() - start;
    return good;
}
