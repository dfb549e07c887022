/* The tests of the guard, word for word, over TLS. */
#define RIG_TLS
#include "http_guard.c"
