/*
 * The fault table: which requests shall go wrong, how, and how often. README.md beside this file has the JSON
 * form.
 */
#ifndef TEST_FAKE_FAULTS_H
#define TEST_FAKE_FAULTS_H

#include <stdbool.h>

#include <jansson.h>

#include "test/fake/http.h"

#define FAULTS_MAX 64u

enum fault_action {
    FAULT_DELAY,  /* nothing but delay_ms */
    FAULT_STATUS, /* answered with a status; the request is not applied */
    FAULT_END,    /* never answered: the connection ends in the manner of damage.end */
    FAULT_DAMAGE, /* applied and answered; the answer is damaged on its way */
};

/* What happens to one request: a copy, so that the table may change meanwhile. Free with fault_case_free. */
struct fault_case {
    enum fault_action action;
    int delay_ms; /* before the request is looked at */
    int status;
    int retry_after_seconds;
    char *body; /* FAULT_STATUS: sent as it is; NULL: the usual metav1.Status */
    struct http_damage damage;
};

struct faults;

struct faults *faults_new(void);
void faults_free(struct faults *faults);
/* False with *ret_problem (static, or valid until the next call) when the rule is malformed or the table is
 * full. */
bool faults_add(struct faults *faults, json_t *rule, const char **ret_problem);
void faults_clear(struct faults *faults);
/* Array of {action, hits, left}, in the order of the table. */
json_t *faults_to_json(const struct faults *faults);
/* The first rule that matches and has a time left; NULL when none does. */
struct fault_case *faults_take(struct faults *faults, const struct http_request *request);
void fault_case_free(struct fault_case *fault);

#endif
