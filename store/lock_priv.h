/* One process per data directory. */
#ifndef FES_STORE_LOCK_PRIV_H
#define FES_STORE_LOCK_PRIV_H

#include "store/store.h"

#define LOCK_FILE  "store.lock"
#define HOLDER_MAX 320

/* Takes the lock of the directory and writes into its file who holds it. Never waits. Returns a descriptor to
 * be kept open as long as the store is (closing it gives the lock back), or -1 with one line in err. */
int lock_take(const char *dir, char err[static STORE_ERROR]);

/* Whether another process holds the lock now; then who. Creates nothing and takes nothing. */
bool lock_is_held(const char *dir, char ret_holder[static HOLDER_MAX]);

/* Refuses file systems on which a sync or a lock of another machine does not mean what it should: NFS, SMB,
 * FUSE, 9P, Ceph, Lustre. False with one line in err. The name of such a file system, or NULL, is
 * lock_network_fs. */
bool lock_check_fs(const char *dir, char err[static STORE_ERROR]);
const char *lock_network_fs(long type);

#endif
