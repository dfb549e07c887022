/* The tests of /events, word for word, over TLS. */
#define RIG_TLS
#include "http_events.c"
