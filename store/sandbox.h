/* What the process may still do once it serves (Linux 5.13 and later: Landlock).
 *
 * Whoever finds a hole in a parser of ours should not get the machine with it. So before the first byte from outside is
 * read, the process gives up what it will not need: new privileges, core dumps and debuggers of the same user (memory
 * holds keys), every file but those named here, and TCP but to the ports named here. None of it can be taken back.
 *
 *   begin -> read, write, connect: what stays allowed -> enter -> report
 *
 * A rule belongs to the file or folder that the path names at that moment. Threads inherit: enter before making one.
 */
#ifndef FES_STORE_SANDBOX_H
#define FES_STORE_SANDBOX_H

#include "store/report.h"

struct sandbox {
    int ruleset; /* -1: this kernel has none */
    int abi;     /* Landlock's version */
    int error;   /* errno of the first step that failed */
    uint16_t port;
};

/* With what libc, libevent and OpenSSL read while the process runs, and what it reads about itself in /proc/self. */
void sandbox_begin(struct sandbox *s);

/* Files beneath this folder are read, written, made and removed. */
void sandbox_write_beneath(struct sandbox *s, const char *dir);
/* A file, or all beneath a folder. What is absent is skipped, here and below. */
void sandbox_read(struct sandbox *s, const char *path);
/* A file that is read again when it changed: it may be replaced by another one beside it, as editors do, or a symbolic
 * link may be turned, as the kubelet does. So the folder that holds it stays readable, and the folder of what it leads
 * to; except for the root folder, where it is only the file itself. The signature is that of a flag_visit. */
void sandbox_read_beside(void *sandbox, const char *file);
/* TCP connections to this port, of any host. */
void sandbox_connect(struct sandbox *s, uint16_t port);

/* Gives the rest up. Never fails: a service on an old kernel is better than none. Once; no rule can be added then. */
void sandbox_enter(struct sandbox *s);
/* What came of it, in one line: info, or a warning that says what the kernel lacks. */
void sandbox_report(const struct sandbox *s, const struct reporter *reporter);

#endif
