/* The tests of the server, word for word, over TLS. */
#define RIG_TLS
#include "http_server.c"
