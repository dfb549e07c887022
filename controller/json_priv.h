/* Objects of the API as JSON trees. */
#ifndef FES_CONTROLLER_JSON_PRIV_H
#define FES_CONTROLLER_JSON_PRIV_H

#include <jansson.h>
#include <stdint.h>

#include "store/str.h"

/* An array or object; the caller frees with json_decref. NULL: neither, or out of memory.
 *
 * An integer beyond 64 bits, anywhere in the text, makes every integer a real: so read them with json_int64. Go's encoder
 * writes a double below 1e21 as such an integer. A number beyond a double cannot be read; no API server has any, for it
 * reads numbers as we do. */
json_t *json_read(struct str text);

/* A number without a fraction, the nearest there is when it is beyond 64 bits; 0 for anything else, or NULL. */
int64_t json_int64(const json_t *value);

#endif
