/* powerloss BINARY RECORDER EARLY_ACK IMAGES [SEED]: what is left when the power fails.
 *
 * The server runs under record_io.so and takes events. Meanwhile it is stopped, is killed, ends in the middle of writing a
 * meta page, ends because such a write fails, and has no room for a while. From the recording thousands of disks are made that the power cut could
 * have left (image.h), and each is opened with the product's store (images.c): it must open, hold every event acknowledged
 * before the cut, and go on counting where it ended. The same again with events that are coalesced and a --max-size that
 * is reached, where what is gone must have been allowed to go (judge.c).
 *
 * Tests of the test: the same with syncs left out, with the meta page's left out, and with acknowledgements before the
 * commit must find losses; and the recording must add up to the file that the server left.
 */
#include "powerloss.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SENDERS               16
#define EVENTS                1500
#define RETAIN_EVENTS         9000
#define STATEMENTS            5
#define CONTROL_EVENTS        250
#define CONTROL_RETAIN_EVENTS 3500
#define CONTROL_IMAGES        400
#define CONTROL_ENOUGH        40
#define HANG_US               20000000

static const char *const usage = "usage: powerloss BINARY RECORDER EARLY_ACK IMAGES [SEED]\n";

struct world {
    const char *binary, *recorder, *early_ack;
    unsigned seed;
    int n, failed;
};

static void result(struct world *w, bool good, const char *name, const char *why)
{
    if (!good)
        printf("# %s\n", why);
    printf("%sok %d - power loss: %s\n", good ? "" : "not ", ++w->n, name);
    w->failed += !good;
}

static unsigned char *read_file(const char *path, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    unsigned char *bytes = NULL;

    if (fd >= 0 && fstat(fd, &st) == 0 && (bytes = malloc((size_t)st.st_size + 1)) != NULL) {
        *ret_len = (size_t)st.st_size;
        for (size_t at = 0; at < *ret_len;) {
            ssize_t n = read(fd, bytes + at, *ret_len - at);
            if (n <= 0)
                break;
            at += (size_t)n;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return bytes;
}

/* What the whole log adds up to must be what is in the file: otherwise something was not seen. */
static void read_recording(struct recording *r, const char *log, const char *data)
{
    struct disk d = {0};
    const struct io_entry *entry;
    const unsigned char *bytes;
    uint64_t size;
    size_t len = 0;

    r->log = read_file(log, &r->len);
    for (size_t at = 0; r->log && (entry = recording_next(r, &at, &bytes)) != NULL;) {
        if (!disk_apply(&d, entry, bytes) && !r->wrong[0])
            (void)snprintf(r->wrong, sizeof r->wrong, "an entry of kind %u cannot be followed", entry->kind);
        r->dir_synced |= entry->kind == IO_DIR_SYNC && r->acks == 0;
        r->commits += entry->kind == IO_SYNC_BEGIN;
        r->acks += entry->kind == IO_ACK;
        if (entry->kind == IO_ACK && entry->offset > r->last_acked)
            r->last_acked = entry->offset;
    }
    unsigned char *file = read_file(data, &len);
    unsigned char *whole = d.at ? image_whole(&d, &size) : NULL;
    if (!r->wrong[0] && (!file || !whole || size != len || memcmp(file, whole, len) != 0))
        (void)snprintf(r->wrong, sizeof r->wrong, "the recording does not add up to the file");
    free(file);
    free(whole);
    disk_free(&d);
}

struct env {
    char preload[512], data[512], log[512], drop[64], fault[64];
    const char *all[6];
};

static void env_make(struct env *e, const struct world *w, const char *dir, const char *drop)
{
    char here[256] = "";

    if (w->recorder[0] != '/' && !getcwd(here, sizeof here))
        abort();
    (void)snprintf(e->preload, sizeof e->preload, "LD_PRELOAD=%s/%.200s", here, w->recorder);
    (void)snprintf(e->data, sizeof e->data, "FES_RECORD_DATA=%s/store/data.mdb", dir);
    (void)snprintf(e->log, sizeof e->log, "FES_RECORD_LOG=%s/log", dir);
    (void)snprintf(e->drop, sizeof e->drop, "FES_RECORD_DROP=%s", drop);
    memcpy(e->all, (const char *[]){e->preload, e->data, e->log, e->drop, e->fault, NULL}, sizeof e->all);
    (void)snprintf(e->fault, sizeof e->fault, "FES_RECORD_FAULT=");
}

/* How a server of a recording ends. */
struct life {
    int with;          /* a signal; 0: by itself, because of */
    const char *fault; /* what FES_RECORD_FAULT says */
};
static const struct life lives[] = {
    {SIGTERM, ""}, {SIGKILL, ""}, {0, "die:5"},        {0, "fail:7"}, {0, "die:8"},
    {0, "fail:3"}, {0, "die:3"},  {SIGTERM, "full:4"}, {0, "fail:8"}, {SIGTERM, ""},
};
#define LIVES (sizeof lives / sizeof lives[0])

/* Lets one server take the events up to `most`, then sends it the signal, unless it ends before. */
static bool run_server(const struct world *w, struct env *env, const char *store, struct client *c,
                       uint64_t most, const struct life *life, bool retaining, char *err)
{
    static struct server server;
    int64_t deadline = now_us() + HANG_US;
    int status = 0;

    (void)snprintf(env->fault, sizeof env->fault, "FES_RECORD_FAULT=%s", life->fault);
    if (!server_start(&server, w->binary, store, retaining ? JUDGE_MAX_SIZE : NULL, env->all) ||
        !server_ready(&server, deadline)) {
        (void)snprintf(err, 256, "the server is not ready: %.200s", server.log);
        server_kill(&server);
        return false;
    }
    c->port = server.port;
    c->most = most;
    while (client_step(c, 20) && server_read(&server) && now_us() < deadline)
        ;
    if (life->with)
        (void)kill(server.pid, life->with);
    bool ended = server_wait(&server, deadline, &status);
    client_drain(c);
    if (!ended || (life->with && c->ledger->acked < most) || c->wrong[0] || c->ledger->wrong[0])
        (void)snprintf(err, 256, "the load failed: %llu of %llu acknowledged; %.100s %.80s",
                       (unsigned long long)c->ledger->acked, (unsigned long long)most, c->wrong,
                       c->ledger->wrong);
    return !err[0];
}

static int by_id_then_time(const void *a, const void *b)
{
    const struct event_acked *x = a;
    const struct event_acked *y = b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->at_bytes < y->at_bytes ? -1 : x->at_bytes > y->at_bytes;
}

static void sort_acks(struct recording *r)
{
    const struct ledger *l = &r->ledger;

    r->by_id = calloc(l->last + 1, sizeof *r->by_id);
    for (uint64_t n = 1; r->by_id && n <= l->last; n++)
        if (ledger_id(l, n))
            r->by_id[r->n_by_id++] =
                (struct event_acked){.id = ledger_id(l, n), .n = n, .at_bytes = l->at[n]};
    if (!r->by_id)
        abort();
    qsort(r->by_id, r->n_by_id, sizeof *r->by_id, by_id_then_time);
}

/* A recording with a drop is of one life: losses are to be found that have to do with nothing else. */
static void record_server(const struct world *w, uint64_t events, bool retaining, const char *drop,
                          struct recording *r)
{
    size_t first = drop[0] ? LIVES - 1 : 0;
    char dir[256];
    char store[300];
    char data[320];
    char log[300];
    struct env env;
    struct client c;

    *r = (struct recording){.retaining = retaining};
    event_statements = retaining ? STATEMENTS : 1;
    if (!scratch_make(dir, true) || !client_init(&c, SENDERS, &r->ledger))
        abort();
    (void)snprintf(store, sizeof store, "%s/store", dir);
    (void)snprintf(data, sizeof data, "%s/data.mdb", store);
    (void)snprintf(log, sizeof log, "%s/log", dir);
    env_make(&env, w, dir, drop);
    for (size_t i = first; i < LIVES && !r->wrong[0]; i++)
        (void)run_server(w, &env, store, &c, events * (i - first + 1) / (LIVES - first), &lives[i], retaining,
                         r->wrong);
    if (!r->wrong[0])
        read_recording(r, log, data);
    sort_acks(r);
    client_free(&c);
    scratch_remove(dir);
}

static void record_harness(const struct world *w, const char *when, struct recording *r)
{
    char dir[256];
    char store[300];
    char data[320];
    char log[300];
    char events[32];
    struct env env;
    int status = 1;

    *r = (struct recording){0};
    if (!scratch_make(dir, true))
        abort();
    (void)snprintf(store, sizeof store, "%s/store", dir);
    (void)snprintf(data, sizeof data, "%s/data.mdb", store);
    (void)snprintf(log, sizeof log, "%s/log", dir);
    (void)snprintf(events, sizeof events, "%d", CONTROL_EVENTS);
    env_make(&env, w, dir, "");
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; env.all[i]; i++)
            (void)putenv((char *)(uintptr_t)env.all[i]);
        (void)execl(w->early_ack, w->early_ack, when, store, events, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        (void)snprintf(r->wrong, sizeof r->wrong, "%s %s failed", w->early_ack, when);
    for (uint64_t n = 1; n <= CONTROL_EVENTS; n++)
        ledger_ack(&r->ledger, n, n);
    if (!r->wrong[0])
        read_recording(r, log, data);
    scratch_remove(dir);
}

static void recording_free(struct recording *r)
{
    free(r->log);
    free(r->by_id);
    ledger_free(&r->ledger);
}

static void report_images(const struct world *w, const struct images *im)
{
    printf("# power loss: %zu images from %zu cuts of %llu commits, %llu acknowledgements; seed %u; %.0f "
           "images/s\n",
           im->made, im->cuts, (unsigned long long)im->recording->commits,
           (unsigned long long)im->recording->acks, w->seed,
           im->us ? (double)im->made * 1e6 / (double)im->us : 0);
    printf("#");
    for (int kind = 0; kind < IMAGE_KINDS; kind++)
        printf(" %s %zu%s", image_kind_name((enum image_kind)kind), im->of_kind[kind],
               kind + 1 < IMAGE_KINDS ? "," : "\n");
}

static void prove(struct world *w, size_t wanted)
{
    struct recording r;
    struct images im = {.recording = &r, .wanted = wanted, .seed = w->seed};

    record_server(w, EVENTS, false, "", &r);
    result(w, !r.wrong[0] && r.acks >= EVENTS && r.last_acked == EVENTS,
           "a recording of the server, complete to the byte",
           r.wrong[0] ? r.wrong : "acknowledgements are missing");
    result(w, r.dir_synced, "the directory entry of the store is synced before the first acknowledgement",
           "no fsync of the directory");
    bool ran = !r.wrong[0] && images_run(&im);
    result(w, ran && im.made >= wanted * 9 / 10, "the images could be made", im.first);
    result(w, ran && im.not_open == 0, "every image opens", im.first);
    result(w, ran && im.lost == 0, "no image lacks an acknowledged event", im.first);
    result(w, ran && im.wrong == 0, "every image is whole: ids gap-free, bodies intact, appends go on",
           im.first);
    report_images(w, &im);
    recording_free(&r);
}

/* Updates and deletions. */
static void prove_retaining(struct world *w, size_t wanted)
{
    struct recording r;
    struct images im = {.recording = &r, .wanted = wanted, .seed = w->seed};

    record_server(w, RETAIN_EVENTS, true, "", &r);
    result(w, !r.wrong[0] && r.acks >= RETAIN_EVENTS,
           "a recording with coalescing and retention, complete to the byte",
           r.wrong[0] ? r.wrong : "acknowledgements are missing");
    bool ran = !r.wrong[0] && images_run(&im);
    result(w, ran && im.made >= wanted * 9 / 10, "with them, the images could be made", im.first);
    result(w, ran && im.gone > 1000 && im.coalesced > 100, "in the images records are deleted and coalesced",
           "too few");
    result(w, ran && im.not_open == 0, "with them, every image opens", im.first);
    result(w, ran && im.lost == 0, "with them, what was acknowledged is there, or was allowed to go",
           im.first);
    result(w, ran && im.wrong == 0, "with them, every image is whole", im.first);
    report_images(w, &im);
    printf("#   at most %llu events gone with their records, %llu in the records of others\n",
           (unsigned long long)im.gone, (unsigned long long)im.coalesced);
    recording_free(&r);
}

/* The recording must be sound, so that what is found is found in the images. */
static void control(struct world *w, struct recording *r, bool must_find, const char *name)
{
    struct images im = {
        .recording = r, .wanted = CONTROL_IMAGES, .seed = w->seed, .enough = must_find ? CONTROL_ENOUGH : 0};
    bool ran = !r->wrong[0] && images_run(&im);
    bool found = im.lost + im.not_open + im.wrong > 0;

    result(w, ran && found == must_find, name,
           r->wrong[0]   ? r->wrong
           : im.first[0] ? im.first
                         : "nothing was found");
    printf("#   %zu images: %zu lost an event, %zu did not open, %zu were damaged\n", im.made, im.lost,
           im.not_open, im.wrong);
    recording_free(r);
}

static const struct {
    const char *what, *name, *name_retaining;
} drops[] = {
    {"all", "without any sync, losses are found", "and with coalescing and retention"},
    {"fdatasync", "without the sync of the data pages, losses are found",
     "and with coalescing and retention"},
    {"dsync", "without the sync of the meta page, losses are found", "and with coalescing and retention"},
};

int main(int argc, char **argv)
{
    struct recording r;

    if (argc < 5) {
        (void)fputs(usage, stderr);
        return 2;
    }
    struct world w = {.binary = argv[1],
                      .recorder = argv[2],
                      .early_ack = argv[3],
                      .seed = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : (unsigned)now_us()};
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    size_t wanted = strtoul(argv[4], NULL, 10);
    prove(&w, wanted);
    prove_retaining(&w, wanted / 4);
    for (size_t i = 0; i < sizeof drops / sizeof drops[0]; i++) {
        record_server(&w, CONTROL_EVENTS, false, drops[i].what, &r);
        control(&w, &r, true, drops[i].name);
        record_server(&w, CONTROL_RETAIN_EVENTS, true, drops[i].what, &r);
        control(&w, &r, true, drops[i].name_retaining);
    }
    event_statements = 1;
    record_harness(&w, "early", &r);
    control(&w, &r, true, "with acknowledgements before the commit, losses are found");
    record_harness(&w, "late", &r);
    control(&w, &r, false, "with acknowledgements after it, none");
    return w.failed ? 1 : 0;
}
