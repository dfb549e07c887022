/* The socket of a connection to the API server: plain or TLS. */
#ifndef FES_K8S_SOCKET_PRIV_H
#define FES_K8S_SOCKET_PRIV_H

#include "k8s/client.h"
#include "k8s/creds_priv.h"

struct bufferevent;
struct event_base;

/* Not connected yet. *ret_ssl: its TLS, which it owns; NULL: plain. NULL when out of memory. */
struct bufferevent *k8s_socket_new(struct event_base *base, struct k8s_creds *creds, SSL **ret_ssl);
/* To be called when there is a descriptor, so when connecting has begun. */
void k8s_socket_set_options(int fd);
/* What an error of OpenSSL says about the server; not of its certificate. */
enum k8s_fault k8s_socket_fault(unsigned long error);

#endif
