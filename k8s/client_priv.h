/* What a watch shares with the client that it belongs to. */
#ifndef FES_K8S_CLIENT_PRIV_H
#define FES_K8S_CLIENT_PRIV_H

#include "k8s/connection_priv.h"
#include "k8s/gate_priv.h"
#include "k8s/metrics_priv.h"

/* While the server is down it gets less time to accept a connection: the next try may find it back. Every
 * K8S_PATIENT_PROBE-th probe waits in full, for a server that is only slow. */
#define K8S_PROBE_CONNECT_MS 1000
#define K8S_PATIENT_PROBE    4

/* Borrowed for the life of the client. */
struct k8s_connector *k8s_client_connector(struct k8s_client *c);
struct k8s_gate *k8s_client_gate(struct k8s_client *c);
const struct reporter *k8s_client_reporter(const struct k8s_client *c);

/* A request is sent now: returns how long it may take to connect. *ret_turn is kept with it. */
int64_t k8s_client_begin(struct k8s_client *c, unsigned *ret_turn);
/* Tells gate and metrics how it ended; to be called once for each answer. */
void k8s_client_note(struct k8s_client *c, enum k8s_count verb, unsigned turn,
                     const struct k8s_answer *answer);
/* From now on the watch is counted, as one of its collection's resource. path is borrowed until k8s_client_unsee, which
 * does nothing to one that was never seen. */
void k8s_client_see(struct k8s_client *c, struct k8s_seen *seen, const char *path);
void k8s_client_unsee(struct k8s_client *c, struct k8s_seen *seen);

/* The message of a metav1.Status, or what stands for it: one line, NUL-terminated. Returns out. */
#define K8S_MESSAGE_TEXT 512
const char *k8s_status_message(int status, struct str body, char out[static K8S_MESSAGE_TEXT]);

#endif
