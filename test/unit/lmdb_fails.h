/* LMDB that fails or is damaged when a test says so: stands in front of the library's reading functions.
 *
 * Those of records only: what is read under another key length is left alone.
 */
#ifndef FES_TEST_LMDB_FAILS_H
#define FES_TEST_LMDB_FAILS_H

#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum lmdb_call { LMDB_NONE, LMDB_RENEW, LMDB_OPEN, LMDB_WALK, LMDB_GET };
/* Of the test's own thread: the store's writer is left alone. */
static _Thread_local enum lmdb_call lmdb_fails; /* which call does */
static _Thread_local int lmdb_fails_after;      /* so many calls that work */
static _Thread_local bool lmdb_fails_once;      /* and works again after that */
static _Thread_local uint64_t lmdb_damaged;     /* the record that cannot be decoded; 0: none */

#define LMDB_REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static bool lmdb_fails_now(enum lmdb_call call)
{
    if (lmdb_fails != call || lmdb_fails_after-- > 0)
        return false;
    if (lmdb_fails_once)
        lmdb_fails = LMDB_NONE;
    return true;
}

static int lmdb_damage(int status, const MDB_val *key, MDB_val *value)
{
    uint64_t seq;

    if (status == 0 && lmdb_damaged && key->mv_size == sizeof seq) {
        memcpy(&seq, key->mv_data, sizeof seq);
        if (be64toh(seq) == lmdb_damaged)
            value->mv_size = 1;
    }
    return status;
}

int mdb_txn_renew(MDB_txn *txn)
{
    return lmdb_fails_now(LMDB_RENEW) ? ENOMEM : LMDB_REAL(mdb_txn_renew)(txn);
}

int mdb_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
{
    return lmdb_fails_now(LMDB_OPEN) ? ENOMEM : LMDB_REAL(mdb_cursor_open)(txn, dbi, cursor);
}

int mdb_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
    if (lmdb_fails_now(LMDB_WALK))
        return MDB_CORRUPTED;
    return lmdb_damage(LMDB_REAL(mdb_cursor_get)(cursor, key, value, op), key, value);
}

int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value)
{
    if (lmdb_fails_now(LMDB_GET))
        return MDB_CORRUPTED;
    return lmdb_damage(LMDB_REAL(mdb_get)(txn, dbi, key, value), key, value);
}

#endif
