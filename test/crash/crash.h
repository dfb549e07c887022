/* What the crash proofs share: events that can be told apart, the ledger of what was acknowledged, a server that
 * can be killed, clients that load it, and the check of what a store holds against the ledger.
 */
#ifndef FES_TEST_CRASH_H
#define FES_TEST_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- events.c: event n has a body that only n determines, with a revision of its own (but see event_statements), so that
 * none is a repeat of another and none is coalesced onto another. Most are as large as Flux's; some span several pages. ---- */

#define EVENT_BODY_MAX 49152
size_t event_body(uint64_t n, char body[static EVENT_BODY_MAX]);
/* About which object event n is. The first events are about objects that are never heard of again. */
#define EVENT_OBJECTS 194
uint64_t event_object(uint64_t n);
/* How many events of an object, one after another, say the same and can be coalesced. 1: none; set it before the first
 * event is made. */
extern unsigned event_statements;
/* What event n says: equal only for events that say the same. */
uint64_t event_statement(uint64_t n);
/* The n of a body made by event_body; 0 when it is none. */
uint64_t event_number(const char *body, size_t len);

/* ---- events.c: which event got which id ---- */

struct ledger {
    uint64_t *ids; /* by n; 0: never acknowledged */
    uint64_t *at;  /* by n: acked_bytes when it was */
    size_t cap;
    uint64_t last; /* greatest n that was ever sent */
    uint64_t acked;
    uint64_t acked_bytes; /* of bodies */
    char wrong[256];      /* the first contradiction: two ids for one event */
};
void ledger_ack(struct ledger *l, uint64_t n, uint64_t id);
uint64_t ledger_id(const struct ledger *l, uint64_t n);
/* Memory of its own. */
void ledger_copy(struct ledger *to, const struct ledger *from);
void ledger_free(struct ledger *l);

/* ---- check.c ---- */

#define CHECK_ERROR 512
struct check {
    const struct ledger *ledger;
    bool all;             /* every acknowledged event must be present */
    uint64_t acked_up_to; /* ids up to this one must be present */
    bool append;          /* also append an event to the store and see it committed */
};
enum check_result { CHECK_OK, CHECK_NOT_OPEN, CHECK_LOST, CHECK_WRONG };
/* Opens the store in dir with the product's code and compares: ids 1..m without a gap, each body byte-equal to what
 * was sent, no event twice, every acknowledged id present and holding the event that was acknowledged with it. */
enum check_result check_store(const char *dir, const struct check *check, char err[static CHECK_ERROR],
                              uint64_t *ret_records);

/* Appends to an open store whose last id is `last`, and sees it committed. gap_free: with the next ids. */
struct store;
enum check_result check_append(struct store *s, uint64_t last, bool gap_free, char err[static CHECK_ERROR]);

/* ---- judge.c: the check of a store with --max-size JUDGE_MAX_SIZE that coalesces and deletes. Ids have gaps, and an
 * acknowledged event may be gone, if it was allowed to go (the contract: the longest-unchanged first, the newest success
 * or failure of an object last):
 * - of each object, the newest record that was ever acknowledged, or is stored, is there;
 * - so is each record whose last acknowledgement has less than RECENT_BYTES of others behind it, which is a part of what
 *   JUDGE_MAX_SIZE leaves for records;
 * - a record that is there says what the events acknowledged with its id said, and counts at least as many. ---- */

#define JUDGE_MAX_SIZE "4MiB"
#define RECENT_BYTES   (UINT64_C(700) << 10)

/* By id. */
struct acked {
    uint64_t n; /* one of them */
    uint64_t at_bytes;
    uint32_t events;
};
/* A record that is there. */
struct kept {
    uint64_t id;
    uint64_t n; /* of its first body */
    uint32_t count;
};
struct judge {
    struct acked *acked;
    size_t n_acked;
    uint64_t last_id;
    uint64_t acked_bytes;
    struct kept *kept;
    size_t n_kept, cap_kept;
    uint64_t gone;      /* acknowledged events whose record is */
    uint64_t coalesced; /* acknowledged events beside the first of a record that is there */
    enum check_result result;
    char why[512];
};
/* Event n was acknowledged with that id, as the at_bytes-th byte of all that were. */
void judge_ack(struct judge *j, uint64_t n, uint64_t id, uint64_t at_bytes);
/* Begins anew, with all that the ledger holds. */
void judge_ledger(struct judge *j, const struct ledger *l);
/* append: see check_append. */
enum check_result judge_store(struct judge *j, const char *dir, bool append);
void judge_free(struct judge *j);

/* ---- process.c ---- */

struct server {
    pid_t pid;
    int out; /* its stderr */
    int port;
    char log[65536]; /* what it said so far, cut at the end */
    size_t log_len;
};
/* Starts `binary` on dir and a free port. max_size: --max-size, NULL for the preset. env: further NAME=VALUE, ended by
 * NULL; may be NULL. */
bool server_start(struct server *s, const char *binary, const char *dir, const char *max_size,
                  const char *const *env);
/* Waits until it answers 200 on /readyz. False when it has ended or the deadline (CLOCK_MONOTONIC, us) is over. */
bool server_ready(struct server *s, int64_t deadline_us);
/* Reads what it wrote. False at the end of the file. */
bool server_read(struct server *s);
/* Waits for its end. False when the deadline came first; then it is killed and reaped all the same. */
bool server_wait(struct server *s, int64_t deadline_us, int *ret_status);
void server_kill(struct server *s);

int64_t now_us(void);
/* Makes a new directory below the one named by FES_CRASH_DIR, or /dev/shm, or TMPDIR, or /tmp. */
bool scratch_make(char path[static 256], bool memory);
void scratch_remove(const char *path);
void scratch_clear(const char *path);

/* ---- client.c ---- */

#define SENDERS_MAX 64
struct sender {
    int fd;
    int64_t not_before_us;
    uint64_t
        n; /* the event in flight; 0: none. It stays until it is acknowledged, over connections and restarts */
    char *out;
    size_t out_len, out_at;
    char in[EVENT_BODY_MAX + 1024];
    size_t in_len;
};
struct client {
    int port; /* 0: nobody to connect to */
    size_t senders;
    uint64_t most; /* no event beyond this n */
    bool verify;   /* GET each acknowledged event from verify_from on instead of sending */
    uint64_t verify_from;
    struct ledger *ledger;
    uint64_t refused; /* answers other than 200 */
    uint64_t verified;
    char wrong[256]; /* an answer that contradicts the ledger */
    struct sender *sender;
};
bool client_init(struct client *c, size_t senders, struct ledger *ledger);
/* One round of poll: sends, receives. False when there is nothing more to do: all of `most` is acknowledged. */
bool client_step(struct client *c, int timeout_ms);
/* Takes what the server sent before it died, then closes all connections. */
void client_drain(struct client *c);
void client_free(struct client *c);

/* ---- bystander.c ---- */

#define BYSTANDERS 4
struct bystanders {
    int fd[BYSTANDERS];
};
void bystanders_come(struct bystanders *b, int port);
/* Takes what they were sent by now; returns how much. */
size_t bystanders_read(struct bystanders *b);
void bystanders_go(struct bystanders *b);

#endif
