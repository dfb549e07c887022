/* When the log has a line about something that may happen a thousand times a second: at once, but at most once a second,
 * and what had none is told when no more comes. Pure: who uses it counts, writes the lines and holds the timer. One of
 * these is for one kind of line; all zero, it has none yet.
 */
#ifndef FES_HTTP_TALLY_LINE_PRIV_H
#define FES_HTTP_TALLY_LINE_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#define TALLY_REPORT_MS 1000 /* between two lines */
#define TALLY_REST_MS   2000 /* after the last one: then what came since is told without waiting for another */

struct tally_line {
    int64_t reported_ms; /* of the last line, plus 1; 0: none */
    uint64_t since;      /* how many that no line has told */
};

/* now_ms: on a clock that only goes forward. */

/* It has happened. True: write a line. False: arm a timer, and ask tally_line_rest when it fires. */
bool tally_line_add(struct tally_line *line, int64_t now_ms);

enum tally_rest {
    TALLY_REST_NONE,  /* each has been told */
    TALLY_REST_LATER, /* another may still come, with a line of its own: arm the timer again */
    TALLY_REST_NOW,   /* write a line */
};
/* now_ms is INT64_MAX at the end: nothing is left for later. */
enum tally_rest tally_line_rest(struct tally_line *line, int64_t now_ms);

/* For the line that is being written: how many it tells. They are counted no more. */
uint64_t tally_line_take(struct tally_line *line);

#endif
