/* The encoding of records on disk. Version 1, little-endian:
 *
 *    0 u8  version            1 u8  class        2 u8  via         3 u8  flags (enum record_flag)
 *    4 u32 checksum of the head: of the sequence number (8 bytes), bytes 0-3, and bytes 8 up to the first body
 *    8 u32 checksum of the bodies: of the sequence number, the first body, the last body
 *   12 u32 count
 *   16 i64 first: effective, received (ms)
 *   32 i64 last: effective, received
 *   48 u64 digest of the message
 *   56 u64 digest of the first body, of the last body
 *   72 u32 length of the first body, of the last body (0: it is the first)
 *   80 u32 lengths of RECORD_STRINGS, in that order
 *  128     the strings, the first body, the last body
 *
 * Checksums are CRC-32C and cover the sequence number, so that a record that turns up under another's key is
 * seen. There are two, so that a pass over all heads (opening, filtering, answering a question) touches no
 * body.
 */
#ifndef FES_STORE_RECORD_PRIV_H
#define FES_STORE_RECORD_PRIV_H

#include "store/record.h"

#define RECORD_VERSION 1
#define RECORD_HEAD    128
/* Above every body that is accepted; LMDB's own limit is 4 GiB. */
#define RECORD_MAX_BYTES (UINT64_C(1) << 30)

#define RECORD_STRINGS(X) \
    X(cluster)            \
    X(kind)               \
    X(namespace)          \
    X(name)               \
    X(uid)                \
    X(severity)           \
    X(reason)             \
    X(revision)           \
    X(origin_revision)    \
    X(commit)             \
    X(oci_digest)         \
    X(message)

/* A record with what only the store needs to know of it. */
struct record_stored {
    struct record record;
    uint64_t body_first_digest; /* key_siphash of the body, under the store's seed */
    uint64_t body_last_digest;
};

/* One malloc'ed value without its sequence number; the caller frees it. NULL when out of memory or above
 * RECORD_MAX_BYTES. record_seal() must follow: until then its checksums are not valid. */
char *record_encode(const struct record_stored *stored, size_t *ret_len);
/* Writes the checksums for the sequence number under which the value will be stored. */
void record_seal(char *value, size_t len, uint64_t seq);

/* What a value that record_encode made says, without sequence number and checksum. */
void record_view(struct str value, struct record_stored *ret);

/* Reads a value; every length is checked. The slices of *ret point into the value. Returns NULL, or what is
 * wrong as the end of a sentence ("its checksum is wrong"). The bodies are not read: see
 * record_bodies_intact. */
const char *record_decode(uint64_t seq, struct str value, struct record_stored *ret);

#endif
