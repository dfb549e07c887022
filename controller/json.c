/* Objects of the API as JSON trees (see json_priv.h).
 *
 * jansson refuses all of a text for one number that it cannot hold, but can be told to hold integers as doubles. */
#include "controller/json_priv.h"

json_t *json_read(struct str text)
{
    const char *at = text.len ? text.at : "";
    json_error_t error;
    json_t *root = json_loadb(at, text.len, JSON_ALLOW_NUL, &error);

    if (!root && json_error_code(&error) == json_error_numeric_overflow)
        root = json_loadb(at, text.len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    return root;
}

int64_t json_int64(const json_t *value)
{
    double real = json_real_value(value);

    if (!json_is_real(value))
        return json_integer_value(value);
    if (real >= 0x1p63)
        return INT64_MAX;
    if (real < -0x1p63)
        return INT64_MIN;
    return real == (double)(int64_t)real ? (int64_t)real : 0;
}
