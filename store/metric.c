/* Counting into a histogram (see metric.h).
 *
 * The buckets are few and the values mostly small, so looking from the lowest one up is as cheap as it gets. Each value
 * is counted once; that Prometheus wants each bucket to hold all below it is the printer's affair.
 */
#include "store/metric.h"

void histogram_add(struct histogram *h, const uint64_t *bounds, uint64_t value)
{
    size_t i = 0;

    while (bounds[i] != 0 && value > bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}
