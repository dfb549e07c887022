/* What the CRDs themselves refuse or drop, before any admission webhook is asked. */
#ifndef TEST_FAKE_SCHEMA_H
#define TEST_FAKE_SCHEMA_H

#include <stdbool.h>

#include "test/fake/objects.h"

struct schema_problem {
    char field[64];     /* "status.results[0].value" */
    const char *reason; /* FieldValueRequired or FieldValueTypeInvalid */
    char message[192];
};

/* Drops what the structural schema of the kind does not know from .status; then false if something has a wrong type. */
bool schema_apply(const struct resource *resource, json_t *object, struct schema_problem *ret_problem);
/* The first key of .status that Tekton's admission webhook for this kind does not know; NULL when none. */
const char *schema_denied_key(const struct resource *resource, const json_t *object);

#endif
