/* Disks and images of them (see image.h). */
#include "image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE   4096
#define SECTOR 512

static void *need(void *at)
{
    if (!at)
        abort();
    return at;
}

static void disk_reserve(struct disk *d, uint64_t size)
{
    if (size <= d->cap)
        return;
    uint64_t cap = size * 2;
    d->at = need(realloc(d->at, cap));
    memset(d->at + d->cap, 0, cap - d->cap);
    d->cap = cap;
}

static void make_durable(struct disk *d, const struct unsynced *w)
{
    memcpy(d->at + w->offset, w->bytes, w->len);
    if (w->offset + w->len > d->synced_size)
        d->synced_size = w->offset + w->len;
}

static void disk_drop(struct disk *d, size_t n)
{
    for (size_t i = 0; i < n; i++)
        make_durable(d, &d->writes[i]);
    d->n -= n;
    memmove(d->writes, d->writes + n, d->n * sizeof *d->writes);
}

static void on_write(struct disk *d, const struct io_entry *entry, const unsigned char *bytes)
{
    if (d->n == d->n_cap) {
        d->n_cap = d->n_cap * 2 + 64;
        d->writes = need(realloc(d->writes, d->n_cap * sizeof *d->writes));
    }
    d->writes[d->n++] = (struct unsynced){.offset = entry->offset, .len = entry->len, .bytes = bytes};
    if (entry->offset + entry->len > d->size)
        d->size = entry->offset + entry->len;
    disk_reserve(d, d->size);
}

/* An O_DSYNC write says nothing about older ones, so they stay, and it stays behind them. */
static bool on_dsync(struct disk *d, const struct io_entry *entry)
{
    size_t whole = 0;
    size_t i = d->n;

    while (i > 0 && !(d->writes[i - 1].offset == entry->offset && d->writes[i - 1].len == entry->len))
        i--;
    if (i == 0)
        return false; /* a short one */
    d->writes[i - 1].synced = true;
    while (whole < d->n && d->writes[whole].synced)
        whole++;
    disk_drop(d, whole);
    return true;
}

bool disk_apply(struct disk *d, const struct io_entry *entry, const unsigned char *bytes)
{
    switch ((enum io_kind)entry->kind) {
    case IO_WRITE: on_write(d, entry, bytes); return true;
    case IO_DSYNC_END: return on_dsync(d, entry);
    case IO_SYNC_BEGIN: d->syncing = d->n; return true;
    case IO_SYNC_END:
        disk_drop(d, d->syncing);
        d->syncing = 0;
        return true;
    case IO_ALLOC:
        if (entry->offset + entry->len > d->size)
            d->size = entry->offset + entry->len;
        disk_reserve(d, d->size);
        return true;
    case IO_CREATE:
        if (d->is == PLACE_NONE) /* a later process sees it for the first time, too */
            d->is = entry->offset ? PLACE_ASIDE : PLACE_DATA;
        return true;
    case IO_RENAME: d->is = PLACE_DATA; return true;
    case IO_DIR_SYNC: d->was = d->is; return true;
    case IO_ACK: return true;
    case IO_SIZE:
    case IO_UNKNOWN: return false;
    }
    return false;
}

bool disk_uncertain(const struct disk *d)
{
    return d->n > 0 || d->size != d->synced_size || d->was != d->is;
}

struct choice {
    enum image_kind kind;
    size_t one;      /* the page that the kind is about */
    unsigned in_256; /* how likely a page or sector is taken */
    unsigned *seed;
};

static bool chance(const struct choice *c)
{
    return (unsigned)rand_r(c->seed) % 256 < c->in_256;
}

static bool takes(const struct choice *c, size_t page)
{
    switch (c->kind) {
    case IMAGE_ALL: return true;
    case IMAGE_NONE: return false;
    case IMAGE_PREFIX: return page < c->one;
    case IMAGE_SUFFIX: return page >= c->one;
    case IMAGE_BUT_ONE: return page != c->one;
    case IMAGE_ONE: return page == c->one;
    case IMAGE_RANDOM:
    case IMAGE_TORN:
    case IMAGE_KINDS: return chance(c);
    }
    return false;
}

/* Pieces end where pages, or sectors, of the file end. */
static uint64_t piece_len(uint64_t offset, uint64_t left, uint64_t unit)
{
    uint64_t len = unit - offset % unit;
    return len < left ? len : left;
}

static size_t count_pages(const struct disk *d)
{
    size_t pages = 0;

    for (size_t i = 0; i < d->n; i++)
        for (uint64_t at = 0; at < d->writes[i].len; pages++)
            at += piece_len(d->writes[i].offset + at, d->writes[i].len - at, PAGE);
    return pages;
}

static void lay(const struct disk *d, const struct choice *c, unsigned char *image)
{
    uint64_t unit = c->kind == IMAGE_TORN ? SECTOR : PAGE;
    size_t piece = 0;

    for (size_t i = 0; i < d->n; i++) {
        const struct unsynced *w = &d->writes[i];
        for (uint64_t at = 0; at < w->len; piece++) {
            uint64_t len = piece_len(w->offset + at, w->len - at, unit);
            if (w->synced || takes(c, piece))
                memcpy(image + w->offset + at, w->bytes + at, len);
            at += len;
        }
    }
}

static uint64_t pick_size(const struct disk *d, unsigned *seed)
{
    uint64_t least = d->synced_size;

    for (size_t i = 0; i < d->n; i++)
        if (d->writes[i].synced && d->writes[i].offset + d->writes[i].len > least)
            least = d->writes[i].offset + d->writes[i].len;
    switch (rand_r(seed) % 4) {
    case 0: return least;
    case 1: return least + (uint64_t)rand_r(seed) % (d->size - least + 1) / SECTOR * SECTOR;
    case 2: return least + (uint64_t)rand_r(seed) % (d->size - least + 1);
    default: return d->size;
    }
}

static bool file_write(const char *dir, enum place place, const unsigned char *bytes, uint64_t size)
{
    char aside[300];
    char path[320];

    (void)snprintf(aside, sizeof aside, "%.280s/new", dir);
    (void)snprintf(path, sizeof path, "%.290s/data.mdb", place == PLACE_ASIDE ? aside : dir);
    if (place == PLACE_ASIDE && mkdir(aside, 0700) < 0)
        return false;
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size;
    if (fd >= 0)
        (void)close(fd);
    return good;
}

bool image_write(const struct disk *d, unsigned seed, const char *dir, enum image_kind *ret_kind)
{
    size_t pages = count_pages(d);
    struct choice c = {.seed = &seed};
    unsigned char *image = need(malloc(d->size + 1));
    enum place place = rand_r(&seed) % 4 == 0 ? d->was : d->is;

    c.kind = (enum image_kind)(rand_r(&seed) % (IMAGE_KINDS + 2));
    if (c.kind >= IMAGE_KINDS) /* twice as often as the others */
        c.kind = c.kind == IMAGE_KINDS ? IMAGE_RANDOM : IMAGE_TORN;
    c.one = pages ? (size_t)rand_r(&seed) % pages : 0;
    c.in_256 = 8 + (unsigned)rand_r(&seed) % 240;
    if (d->size > 0)
        memcpy(image, d->at, d->size);
    lay(d, &c, image);
    uint64_t size = pick_size(d, &seed);
    bool good = place == PLACE_NONE || file_write(dir, place, image, size);
    free(image);
    *ret_kind = c.kind;
    return good;
}

unsigned char *image_whole(const struct disk *d, uint64_t *ret_size)
{
    struct choice c = {.kind = IMAGE_ALL};
    unsigned char *image = need(malloc(d->size + 1));

    memcpy(image, d->at, d->size);
    lay(d, &c, image);
    *ret_size = d->size;
    return image;
}

const char *image_kind_name(enum image_kind kind)
{
    static const char *const names[] = {"all",         "nothing",  "first pages",    "last pages",
                                        "all but one", "one page", "a set of pages", "torn sectors"};
    return names[kind];
}

void disk_free(struct disk *d)
{
    free(d->at);
    free(d->writes);
    *d = (struct disk){0};
}
