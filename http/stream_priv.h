/* What stream.c (requests, clients, time), stream_pump.c (records) and list.c share. */
#ifndef FES_HTTP_STREAM_PRIV_H
#define FES_HTTP_STREAM_PRIV_H

#include "http/due_priv.h"
#include "http/long_priv.h"
#include "http/stream.h"
#include "store/filter.h"
#include "store/transfer.h"

#include <sys/queue.h>

struct event;

enum stream_kind { STREAM_EVENTS, STREAM_EXPORT };

/* Which list a client is in. */
enum reader_state {
    READER_LIVE,   /* has got everything up to stream->live_at, or began behind that */
    READER_BEHIND, /* has room, and is read for by a cursor of its own */
    READER_FULL,   /* has no room */
    READER_STATES,
};

struct reader {
    struct due due; /* first: what the heap holds is a reader */
    struct stream *stream;
    struct long_answer *answer;
    struct filter *filter;
    enum stream_kind kind;
    enum reader_state state;
    uint64_t cursor; /* all up to here is sent or passed over; while READER_LIVE: where it became so */
    uint64_t told;   /* the position that the client knows; UINT64_MAX: none */
    bool gapless;    /* nothing may be missing after its cursor */
    uint64_t end;    /* of an export: the last to send */
    struct export_lines lines;
    uint64_t wants; /* of the live records just encoded: one bit each */
    int64_t beat_mono_ms;
    int64_t progress_mono_ms; /* of the last byte that the socket took, or since when one waits */
    TAILQ_ENTRY(reader) entry;
};
TAILQ_HEAD(readers, reader);

struct stream {
    struct http_server *server;
    struct store *store; /* NULL while it opens */
    struct moment (*now)(void);
    const struct reporter *reporter;
    struct readers readers[READER_STATES];
    size_t n;
    size_t max_readers;
    uint64_t live_at;
    struct piece_pool *pool;
    struct event *live;   /* something new is stored */
    struct event *behind; /* readers are behind; or the end of a rest */
    size_t row_bytes;     /* sent to those behind since the last rest */
    bool resting;
    int64_t stored_mono_ms; /* when something was stored */
    struct due_timer timer;
    struct due_heap heap; /* of all readers */
    int64_t cut_told_mono_ms;
    uint64_t cut; /* readers, since that was last reported */
    struct stream_numbers {
        uint64_t clients;
        uint64_t cut;
    } numbers;
    bool stopping;
};

/* The handler of GET /events for what accepts one of the two. */
void stream_serve(struct stream *s, struct http_request *r, enum stream_kind kind);

/* Sends bytes of a piece. False when out of memory: then the reader was cut and is gone. */
bool reader_send(struct reader *r, struct piece *p, size_t from, size_t to);
void reader_move(struct reader *r, enum reader_state state);
/* Its position. */
uint64_t reader_cursor(const struct reader *r);
/* Ends or breaks the answer, and forgets the reader. */
void reader_end(struct reader *r);
void reader_cut(struct reader *r);

/* Has those behind served: in this turn of the loop, unless they are resting. */
void stream_wake(struct stream *s);
/* Read and send, to live readers and to those behind. arg: struct stream. */
void stream_on_live(int fd, short what, void *arg);
void stream_on_behind(int fd, short what, void *arg);

/* Limits other than that of the contract: for tests. */
void stream_set_max_clients(struct stream *s, size_t n);

#endif
