/* What a disk can hold when the power fails: everything that was synced, and any part of what was not.
 *
 * A name that was not synced may be there or not, and the file may still be where it was renamed from.
 * Unsynced writes are taken or left page by page, or sector by sector, in their order; the size of the file is anything
 * between the end of what was synced and what it was. A sector of 512 bytes is written whole or not at all.
 */
#ifndef FES_TEST_IMAGE_H
#define FES_TEST_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io_log.h"

struct unsynced {
    uint64_t offset;
    uint64_t len;
    const unsigned char *bytes; /* in the log */
    bool synced;                /* by O_DSYNC; it waits here only for older ones that are not */
};

/* Under which name the file is found. */
enum place { PLACE_NONE, PLACE_ASIDE, PLACE_DATA };

struct disk {
    enum place was, is; /* what is synced of the directory, and what is not */
    unsigned char *at;  /* what is synced */
    uint64_t cap;
    uint64_t synced_size;
    uint64_t size;
    struct unsynced *writes;
    size_t n, n_cap;
    size_t syncing; /* that many are covered by a sync that runs */
};

/* False for what cannot be followed. `bytes` must outlive the disk. */
bool disk_apply(struct disk *d, const struct io_entry *entry, const unsigned char *bytes);
/* Whether more than one content is possible now. */
bool disk_uncertain(const struct disk *d);

enum image_kind {
    IMAGE_ALL,     /* as if the power had held */
    IMAGE_NONE,    /* only what is synced */
    IMAGE_PREFIX,  /* pages up to one */
    IMAGE_SUFFIX,  /* pages from one on: the disk wrote the later ones first */
    IMAGE_BUT_ONE, /* all pages but one */
    IMAGE_ONE,     /* one page alone */
    IMAGE_RANDOM,  /* any subset of pages */
    IMAGE_TORN,    /* any subset of sectors */
    IMAGE_KINDS
};
/* Writes the image that `seed` picks to the empty directory dir. False when it cannot be written. */
bool image_write(const struct disk *d, unsigned seed, const char *dir, enum image_kind *ret_kind);
/* The content when nothing is lost; *ret_size its size. The caller frees it. */
unsigned char *image_whole(const struct disk *d, uint64_t *ret_size);
const char *image_kind_name(enum image_kind kind);
void disk_free(struct disk *d);

#endif
