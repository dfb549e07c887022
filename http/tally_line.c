/* When there is a line (see tally_line_priv.h). */
#include "http/tally_line_priv.h"

bool tally_line_add(struct tally_line *line, int64_t now_ms)
{
    line->since++;
    if (line->reported_ms && now_ms + 1 - line->reported_ms < TALLY_REPORT_MS)
        return false;
    line->reported_ms = now_ms + 1;
    return true;
}

enum tally_rest tally_line_rest(struct tally_line *line, int64_t now_ms)
{
    if (line->since == 0)
        return TALLY_REST_NONE;
    if (now_ms < line->reported_ms - 1 + TALLY_REST_MS)
        return TALLY_REST_LATER;
    if (now_ms != INT64_MAX)
        line->reported_ms = now_ms + 1;
    return TALLY_REST_NOW;
}

uint64_t tally_line_take(struct tally_line *line)
{
    uint64_t since = line->since;

    line->since = 0;
    return since;
}
