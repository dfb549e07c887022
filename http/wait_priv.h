/* Limits other than that of the contract: for tests. */
#ifndef FES_HTTP_WAIT_PRIV_H
#define FES_HTTP_WAIT_PRIV_H

#include "http/wait.h"

void wait_set_max_clients(struct wait *w, size_t n);

#endif
