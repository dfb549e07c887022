/* The two halves of powerloss: a recording of what was done to the disk, and images made from it. */
#ifndef FES_TEST_POWERLOSS_H
#define FES_TEST_POWERLOSS_H

#include "crash.h"
#include "image.h"

/* That an event was acknowledged. */
struct event_acked {
    uint64_t id, n, at_bytes;
};

/* A log of io_log.h in memory, and what its clients saw. */
struct recording {
    unsigned char *log;
    size_t len;
    struct ledger ledger;
    uint64_t acks;
    uint64_t last_acked;
    uint64_t commits;
    bool dir_synced; /* before the first acknowledgement */
    bool retaining;  /* with --max-size JUDGE_MAX_SIZE, and events that are coalesced */
    struct event_acked
        *by_id; /* what the ledger holds, in order of the ids and, for one id, of the acknowledgements */
    size_t n_by_id;
    char wrong[512]; /* why it is void */
};

struct images {
    const struct recording *recording;
    size_t wanted;
    unsigned seed;
    size_t enough; /* stop after that many bad ones; 0: never */
    /* results */
    size_t made, cuts;
    size_t of_kind[IMAGE_KINDS];
    size_t lost;              /* an acknowledged event is missing */
    size_t not_open;          /* the store does not open, or opening it crashes */
    size_t wrong;             /* it opens, and holds something else, or cannot be written */
    uint64_t gone, coalesced; /* see struct judge; the most of an image */
    int64_t us;
    char first[1024]; /* the first bad one */
};

/* Next entry of the log, or NULL at its end; *at moves on. *ret_bytes: what an IO_WRITE writes. */
const struct io_entry *recording_next(const struct recording *r, size_t *at, const unsigned char **ret_bytes);
/* Makes images at cuts all over the recording, opens each, and counts. */
bool images_run(struct images *im);

#endif
