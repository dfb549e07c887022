/* The log that record_io.so writes and powerloss reads: entries in the order in which things happened, each a header
 * and, for IO_WRITE, the bytes. */
#ifndef FES_TEST_IO_LOG_H
#define FES_TEST_IO_LOG_H

#include <stdint.h>

enum io_kind {
    IO_WRITE = 1,  /* about to write len bytes at offset; they follow */
    IO_DSYNC_END,  /* the O_DSYNC write of len bytes at offset has returned */
    IO_SYNC_BEGIN, /* fdatasync, fsync or msync is about to be called */
    IO_SYNC_END,   /* and has returned without an error */
    IO_SIZE,       /* ftruncate to offset */
    IO_ALLOC,      /* fallocate of len bytes at offset */
    IO_CREATE,     /* the file is seen for the first time; offset 1: in another directory than its own */
    IO_RENAME,     /* about to get its name */
    IO_DIR_SYNC,   /* fsync of the directory has returned */
    IO_ACK,        /* about to send the answer that acknowledges the event with id `offset` */
    IO_UNKNOWN,    /* something that the recorder cannot follow: the recording is void */
};

struct io_entry {
    uint32_t kind;
    uint32_t padding;
    uint64_t offset;
    uint64_t len;
};

#endif
