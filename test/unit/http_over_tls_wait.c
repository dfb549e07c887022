/* The tests of GET /wait, word for word, over TLS. */
#define RIG_TLS
#include "http_wait.c"
