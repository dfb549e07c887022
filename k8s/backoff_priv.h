/* How long to wait before trying again. Pure: time and chance are arguments. */
#ifndef FES_K8S_BACKOFF_PRIV_H
#define FES_K8S_BACKOFF_PRIV_H

#include <stdint.h>

#define K8S_BACKOFF_FIRST_MS 800
#define K8S_BACKOFF_MOST_MS  30000
#define K8S_BACKOFF_RESET_MS 120000 /* this long without a failure starts afresh */
#define K8S_RETRY_LEAST_MS   500    /* while a server cannot be reached: at most two tries a second, */
#define K8S_RETRY_MOST_MS    800    /* and back within one second of its return */
#define K8S_HOLD_MOST_MS     60000  /* a longer Retry-After is not waited for in full */

struct k8s_backoff {
    int64_t next_ms; /* 0: no failure yet */
    int64_t failed_ms;
};

/* Milliseconds to wait after a failure at now_ms, as client-go's reflector waits: 0.8 s, doubling, up to
 * twice as long by chance, never above 30 s. */
int64_t k8s_backoff_next(struct k8s_backoff *b, int64_t now_ms, uint32_t random);
/* Milliseconds to wait after an answer with that status, of 400 or above: as long as it asks for (-1: nothing asked for;
 * 0 sets no pace either), within K8S_HOLD_MOST_MS; else by what the status says of the server. */
int64_t k8s_backoff_refused(struct k8s_backoff *b, int status, int64_t retry_after_ms, int64_t now_ms,
                            uint32_t random);
/* Milliseconds between two tries to reach a server that does not answer at all. */
int64_t k8s_backoff_retry(uint32_t random);

#endif
