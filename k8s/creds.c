/* Credentials of the API client (see creds_priv.h).
 *
 * A pod's token and CA are projected files: the kubelet swaps a symbolic link when it rotates them, so they
 * are opened by path each time and never kept open. They are looked at when a connection or a request is made
 * and a minute has passed: no timer, and an idle process stays idle.
 *
 * Invariants: a file that cannot be read later never replaces what worked before; a broken one is reported
 * once per state of the file; no token and no key is ever reported. TLS never goes without verification:
 * there is no flag that switches it off.
 */
#include "k8s/creds_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const struct flag k8s_flags[] = {
    {"--kube-api", "URL", FLAG_STRING, offsetof(struct k8s_config, api), NULL,
     "API server, https:// or http:// (default: the pod's own)"},
    {"--kube-token-file", "FILE", FLAG_STRING, offsetof(struct k8s_config, token_file), NULL,
     "bearer token for it (default in a pod: the service account's)"},
    {"--kube-ca-file", "FILE", FLAG_STRING, offsetof(struct k8s_config, ca_file), NULL,
     "certificates it is verified with (default in a pod: the service account's; elsewhere: the system's)"},
    {"--kube-client-cert-file", "FILE", FLAG_STRING, offsetof(struct k8s_config, client_cert_file), NULL,
     "client certificate, PEM"},
    {"--kube-client-key-file", "FILE", FLAG_STRING, offsetof(struct k8s_config, client_key_file), NULL,
     "key of the client certificate, PEM"},
    {"--no-kube", NULL, FLAG_BOOL, offsetof(struct k8s_config, disabled), NULL,
     "leave the Kubernetes role out: events, /verdict and /wait only"},
    {"--namespace", "NAME", FLAG_LIST, offsetof(struct k8s_config, namespaces), NULL,
     "watch Runs in this namespace only; repeatable (default: all)"},
    {0},
};

/* What a file was when it was read. */
struct stamp {
    struct timespec mtime;
    ino_t inode;
    off_t size;
};

struct k8s_creds {
    struct k8s_url url;
    const struct reporter *reporter;
    char *token_file, *ca_file, *cert_file, *key_file; /* NULL: none */
    char *token;
    struct stamp token_stamp;
    int64_t token_looked_ms;
    SSL_CTX *tls; /* NULL for http:// */
    struct stamp tls_stamps[3];
    int64_t tls_looked_ms;
    uint64_t token_number;
    bool refused; /* reported */
};

static bool stamp_of(const char *file, struct stamp *ret)
{
    struct stat st;

    *ret = (struct stamp){0};
    if (!file)
        return true;
    if (stat(file, &st) != 0)
        return false;
    *ret = (struct stamp){st.st_mtim, st.st_ino, st.st_size};
    return true;
}

static bool stamp_eq(const struct stamp *a, const struct stamp *b)
{
    return a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
           a->inode == b->inode && a->size == b->size;
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] <= 0x20 || s.at[i] >= 0x7F)
            return false;
    return s.len > 0;
}

/* The token in a file, to be freed; NULL with a line in err. */
static char *read_token(const char *file, char err[static K8S_ERROR])
{
    char *token = NULL;
    ssize_t n = -1;
    char *buffer = malloc(K8S_MAX_TOKEN + 1);
    int fd = buffer ? open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

    if (fd >= 0)
        n = read(fd, buffer, K8S_MAX_TOKEN + 1);
    if (n < 0) {
        (void)snprintf(err, K8S_ERROR, "--kube-token-file %s: %s", file, strerror(errno));
    } else {
        struct str text = str_trim((struct str){buffer, (size_t)n});
        if (n <= K8S_MAX_TOKEN && is_token(text))
            token = str_dup(text);
        if (!token)
            (void)snprintf(err, K8S_ERROR, "--kube-token-file %s: holds no token", file);
    }
    if (fd >= 0)
        close(fd);
    if (buffer)
        OPENSSL_cleanse(buffer, K8S_MAX_TOKEN + 1);
    free(buffer);
    return token;
}

static void free_token(char *token)
{
    if (token)
        OPENSSL_cleanse(token, strlen(token));
    free(token);
}

/* Never asks on a terminal: an encrypted key is an error. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool tls_fail(const char *flag, const char *file, char err[static K8S_ERROR])
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    if (access(file, R_OK) != 0)
        why = strerror(errno);
    (void)snprintf(err, K8S_ERROR, "%s %s: %s", flag, file, why ? why : "no valid PEM");
    ERR_clear_error();
    return false;
}

static bool tls_files(const struct k8s_creds *c, SSL_CTX *tls, char err[static K8S_ERROR])
{
    ERR_clear_error();
    if (c->ca_file && SSL_CTX_load_verify_locations(tls, c->ca_file, NULL) != 1)
        return tls_fail("--kube-ca-file", c->ca_file, err);
    if (!c->ca_file && SSL_CTX_set_default_verify_paths(tls) != 1)
        return tls_fail("--kube-ca-file", "(the system's)", err);
    if (c->cert_file && SSL_CTX_use_certificate_chain_file(tls, c->cert_file) != 1)
        return tls_fail("--kube-client-cert-file", c->cert_file, err);
    if (c->key_file && SSL_CTX_use_PrivateKey_file(tls, c->key_file, SSL_FILETYPE_PEM) != 1)
        return tls_fail("--kube-client-key-file", c->key_file, err);
    if (c->key_file && SSL_CTX_check_private_key(tls) != 1)
        return tls_fail("--kube-client-key-file", c->key_file, err);
    return true;
}

/* A TLS context from the files as they are now; NULL with a line in err. */
static SSL_CTX *make_tls(const struct k8s_creds *c, char err[static K8S_ERROR])
{
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

    if (!tls || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) {
        (void)snprintf(err, K8S_ERROR, "out of memory");
        SSL_CTX_free(tls);
        return NULL;
    }
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(tls, no_passphrase);
    if (!tls_files(c, tls, err)) {
        SSL_CTX_free(tls);
        return NULL;
    }
    return tls;
}

static bool tls_changed(struct k8s_creds *c)
{
    const char *files[] = {c->ca_file, c->cert_file, c->key_file};
    bool changed = false;

    for (size_t i = 0; i < 3; i++) {
        struct stamp now;
        if (stamp_of(files[i], &now) && !stamp_eq(&now, &c->tls_stamps[i])) {
            c->tls_stamps[i] = now;
            changed = true;
        }
    }
    return changed;
}

static void reload_tls(struct k8s_creds *c)
{
    char err[K8S_ERROR];
    SSL_CTX *tls = make_tls(c, err);

    if (!tls) {
        REPORT(c->reporter, REPORT_WARN, "API server credentials cannot be read again",
               FIELD_TEXT("cause", err));
        return;
    }
    SSL_CTX_free(c->tls);
    c->tls = tls;
}

/* True when the token is another one now. */
static bool reload_token(struct k8s_creds *c)
{
    char err[K8S_ERROR];
    char *token = read_token(c->token_file, err);

    if (!token) {
        REPORT(c->reporter, REPORT_WARN, "API server credentials cannot be read again",
               FIELD_TEXT("cause", err));
        return false;
    }
    bool other = !c->token || strcmp(token, c->token) != 0;
    free_token(c->token);
    c->token = token;
    c->token_number += other;
    return other;
}

/* False when out of memory: that is not the same as no file. */
static bool copy_path(char **ret, const char *path, const struct k8s_pod *defaults, const char *name)
{
    char *made = NULL;

    if (path)
        made = strdup(path);
    else if (defaults && asprintf(&made, "%s/%s", defaults->files, name) < 0)
        made = NULL;
    *ret = made;
    return made || (!path && !defaults);
}

static bool find_server(struct k8s_creds *c, const struct k8s_config *config, const struct k8s_pod *pod,
                        char err[static K8S_ERROR])
{
    if (config->api) {
        if (k8s_url_parse(str_of(config->api), &c->url))
            return true;
        (void)snprintf(err, K8S_ERROR, "--kube-api %s: not of the form http(s)://host[:port]", config->api);
        return false;
    }
    if (!pod->host || !pod->host[0] || !pod->port || !pod->port[0]) {
        (void)snprintf(err, K8S_ERROR,
                       "not in a pod: give --kube-api URL (e.g. http://127.0.0.1:8001 with kubectl proxy), "
                       "or --no-kube");
        return false;
    }
    if (k8s_url_make(pod->host, pod->port, &c->url))
        return true;
    (void)snprintf(err, K8S_ERROR,
                   "KUBERNETES_SERVICE_HOST %s and KUBERNETES_SERVICE_PORT %s: not an address", pod->host,
                   pod->port);
    return false;
}

bool k8s_namespaces_check(const char *flag, const struct flag_list *names, char err[static K8S_ERROR])
{
    for (size_t i = 0; i < names->n; i++) {
        const char *name = names->values[i];
        size_t len = strlen(name);
        if (len > 0 && len <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len &&
            name[0] != '-' && name[len - 1] != '-')
            continue;
        (void)snprintf(err, K8S_ERROR, "%s \"%.200s\": not the name of a namespace", flag, name);
        return false;
    }
    return true;
}

static bool read_files(struct k8s_creds *c, char err[static K8S_ERROR])
{
    if (!c->cert_file != !c->key_file) {
        (void)snprintf(err, K8S_ERROR,
                       "--kube-client-cert-file and --kube-client-key-file: give both or neither");
        return false;
    }
    if (c->token_file) {
        (void)stamp_of(c->token_file, &c->token_stamp);
        c->token = read_token(c->token_file, err);
        if (!c->token)
            return false;
    }
    if (c->url.tls) {
        (void)tls_changed(c);
        c->tls = make_tls(c, err);
        if (!c->tls)
            return false;
    }
    return true;
}

struct k8s_creds *k8s_creds_new(const struct k8s_config *config, const struct k8s_pod *pod,
                                const struct reporter *reporter, char err[static K8S_ERROR])
{
    struct k8s_creds *c = calloc(1, sizeof *c);

    if (!c) {
        (void)snprintf(err, K8S_ERROR, "out of memory");
        return NULL;
    }
    c->reporter = reporter;
    c->token_looked_ms = c->tls_looked_ms = INT64_MIN / 2;
    if (!k8s_namespaces_check("--namespace", &config->namespaces, err) || !find_server(c, config, pod, err))
        goto fail;
    /* The service account belongs to the pod's own API server: it is offered to no other unless a flag says
     * so. */
    const struct k8s_pod *defaults = config->api ? NULL : pod;
    if (!copy_path(&c->token_file, config->token_file, defaults, "token") ||
        !copy_path(&c->ca_file, config->ca_file, defaults, "ca.crt") ||
        !copy_path(&c->cert_file, config->client_cert_file, NULL, NULL) ||
        !copy_path(&c->key_file, config->client_key_file, NULL, NULL)) {
        (void)snprintf(err, K8S_ERROR, "out of memory");
        goto fail;
    }
    if (!read_files(c, err))
        goto fail;
    return c;
fail:
    k8s_creds_free(c);
    return NULL;
}

void k8s_creds_free(struct k8s_creds *c)
{
    if (!c)
        return;
    SSL_CTX_free(c->tls);
    free_token(c->token);
    free(c->token_file);
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    free(c);
}

const struct k8s_url *k8s_creds_url(const struct k8s_creds *c)
{
    return &c->url;
}

struct str k8s_creds_token(struct k8s_creds *c, int64_t now_ms)
{
    struct stamp now;

    if (c->token_file && now_ms - c->token_looked_ms >= K8S_FILES_MS) {
        c->token_looked_ms = now_ms;
        if (stamp_of(c->token_file, &now) && !stamp_eq(&now, &c->token_stamp)) {
            c->token_stamp = now;
            (void)reload_token(c);
        }
    }
    return str_of(c->token);
}

SSL *k8s_creds_ssl(struct k8s_creds *c, int64_t now_ms)
{
    if (now_ms - c->tls_looked_ms >= K8S_FILES_MS) {
        c->tls_looked_ms = now_ms;
        if (tls_changed(c))
            reload_tls(c);
    }

    SSL *ssl = SSL_new(c->tls);
    if (!ssl)
        return NULL;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool ready;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (c->url.literal)
        ready = X509_VERIFY_PARAM_set1_ip_asc(param, c->url.host) == 1;
    else
        ready = SSL_set1_host(ssl, c->url.host) == 1 && SSL_set_tlsext_host_name(ssl, c->url.host) == 1;
    if (!ready) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

uint64_t k8s_creds_token_number(const struct k8s_creds *c)
{
    return c->token_number;
}

bool k8s_creds_refused(struct k8s_creds *c, uint64_t sent)
{
    /* Requests over several connections are refused together; the first to be told has read the new token. */
    if (sent != c->token_number)
        return true;
    if (c->token_file) {
        (void)stamp_of(c->token_file, &c->token_stamp);
        if (reload_token(c))
            return true;
    }
    if (!c->refused) {
        REPORT(c->reporter, REPORT_ERROR, "API server refuses the credentials",
               FIELD_TEXT("url", c->url.text),
               FIELD_TEXT("tokenFile", c->token_file ? c->token_file : "none given (--kube-token-file)"));
        c->refused = true;
    }
    return false;
}

void k8s_creds_accepted(struct k8s_creds *c)
{
    if (c->refused)
        REPORT(c->reporter, REPORT_INFO, "API server accepts the credentials again",
               FIELD_TEXT("url", c->url.text));
    c->refused = false;
}

const char *k8s_creds_unverified(struct k8s_creds *c)
{
    c->tls_looked_ms = INT64_MIN / 2;
    return c->ca_file ? c->ca_file : "the system's certificates";
}

void k8s_creds_reload(struct k8s_creds *c)
{
    if (c->token_file) {
        (void)stamp_of(c->token_file, &c->token_stamp);
        (void)reload_token(c);
    }
    if (c->url.tls) {
        (void)tls_changed(c);
        reload_tls(c);
    }
}
