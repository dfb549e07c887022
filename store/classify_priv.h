/* What an event means for a wait on its revision: a pure table over kind, reason, severity and, for old
 * helm-controllers, message. The tables in classify.c are the whole rule. */
#ifndef FES_STORE_CLASSIFY_PRIV_H
#define FES_STORE_CLASSIFY_PRIV_H

#include "store/event.h"

/* kind: involvedObject.kind, may be empty; controller: reportingController, may be empty; message: as much of
 * it as is known, at least its first CLASSIFY_MESSAGE bytes. */
#define CLASSIFY_MESSAGE 64
enum event_class classify(struct str kind, struct str controller, struct str severity, struct str reason,
                          struct str message);

#endif
