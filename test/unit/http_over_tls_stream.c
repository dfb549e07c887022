/* The tests of streams, word for word, over TLS. */
#define RIG_TLS
#include "http_stream.c"
