/* Waiting times (see backoff_priv.h).
 *
 * The numbers are those of client-go's reflector: start 0.8 s, factor 2, jitter of up to +100 %, cap 30 s,
 * afresh after two healthy minutes. One thing differs: the cap holds with the jitter, so that 30 s is the
 * longest wait there is.
 */
#include "k8s/backoff_priv.h"

int64_t k8s_backoff_next(struct k8s_backoff *b, int64_t now_ms, uint32_t random)
{
    if (b->next_ms == 0 || now_ms - b->failed_ms >= K8S_BACKOFF_RESET_MS)
        b->next_ms = K8S_BACKOFF_FIRST_MS;

    int64_t wait = b->next_ms + (int64_t)((uint64_t)b->next_ms * random >> 32);

    b->failed_ms = now_ms;
    b->next_ms *= 2;
    if (b->next_ms > K8S_BACKOFF_MOST_MS)
        b->next_ms = K8S_BACKOFF_MOST_MS;
    return wait < K8S_BACKOFF_MOST_MS ? wait : K8S_BACKOFF_MOST_MS;
}

int64_t k8s_backoff_retry(uint32_t random)
{
    return K8S_RETRY_LEAST_MS + (int64_t)((uint64_t)(K8S_RETRY_MOST_MS - K8S_RETRY_LEAST_MS) * random >> 32);
}

int64_t k8s_backoff_refused(struct k8s_backoff *b, int status, int64_t retry_after_ms, int64_t now_ms,
                            uint32_t random)
{
    if (retry_after_ms > 0)
        return retry_after_ms < K8S_HOLD_MOST_MS ? retry_after_ms : K8S_HOLD_MOST_MS;
    switch (status) {
    case 503: return 0; /* the gate sets the pace */
    case 502:
    case 504: return k8s_backoff_retry(random);
    default: return k8s_backoff_next(b, now_ms, random);
    }
}
