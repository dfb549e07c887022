/* Export and import (see transfer.h).
 *
 * Invariants: an import takes the very lines that an export writes and no others, so an export of what was imported is the
 * same file; nothing is written before the trailer was checked; what an import that did not end leaves is marked, and
 * never opened (META_IMPORTING). Failure modes: a record that is damaged, or whose body is
 * no event, ends either, naming it: half a copy is none.
 */
#include "store/transfer.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/crc32c_priv.h"
#include "store/event_json.h"
#include "store/store_priv.h"

#define CHECKSUM_HEAD 21 /* bytes of {"crc32c":"xxxxxxxx", */
/* No store gets that far. Behind the last number there would be no room for another event. */
#define MOST_ID UINT64_C(0x7FFFFFFFFFFFFFFF)
#define MOST_MS UINT64_C(253402300799999) /* the end of 9999, before or after 1970 */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool fail(char err[static STORE_ERROR], const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(char err[static STORE_ERROR], const char *format, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, format);
    (void)vsnprintf(err, STORE_ERROR, format, args);
    __builtin_va_end(args);
    return false;
}

/* ---- export ---- */

static bool put_base64(struct json_out *out, struct str s)
{
    char piece[1024]; /* a multiple of 4 */
    size_t n = 0;

    for (size_t i = 0; i < s.len; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < s.len ? (unsigned char)s.at[i + j] : 0);
        for (size_t j = 0; j < 4; j++)
            piece[n++] = (char)(i + j <= s.len ? digits[bits >> (18 - 6 * j) & 63] : '=');
        if (n == sizeof piece) {
            if (!json_out_add(out, (struct str){piece, n}))
                return false;
            n = 0;
        }
    }
    return json_out_add(out, (struct str){piece, n});
}

static void add_time(struct text *t, const char *name, struct record_time time)
{
    text_addf(t, "\"%s\":[%lld,%lld,%d],", name, (long long)time.effective_ms, (long long)time.received_ms,
              time.by_arrival);
}

/* A line is written with room for its checksum, which is filled in here. `from`: where it begins. */
static bool end_line(struct export_lines *x, struct json_out *out, size_t from)
{
    char head[CHECKSUM_HEAD + 1];
    struct str rest = {out->at + from + CHECKSUM_HEAD, out->len - from - CHECKSUM_HEAD};

    (void)snprintf(head, sizeof head, "{\"crc32c\":\"%08x\",", crc32c(0, rest));
    memcpy(out->at + from, head, CHECKSUM_HEAD);
    if (!json_out_add(out, STR("\n")))
        return false;
    x->checksum = crc32c(x->checksum, (struct str){out->at + from, out->len - from});
    return true;
}

static bool put_record(const struct record *r, struct json_out *out)
{
    char buffer[CHECKSUM_HEAD + 256];
    struct text t;

    text_init(&t, buffer, sizeof buffer);
    text_addf(&t, "%*s\"id\":\"%llu\",\"via\":\"%s\",\"count\":%u,", CHECKSUM_HEAD, "",
              (unsigned long long)r->seq, r->via == VIA_STATUS ? "status" : "webhook", r->count);
    add_time(&t, "first", r->first);
    add_time(&t, "last", r->last);
    text_add(&t, STR("\"cluster\":\""));
    struct str last = str_eq(r->body_first, r->body_last) ? STR_NONE : r->body_last;
    return json_out_add(out, text_str(&t)) && put_base64(out, r->cluster) &&
           json_out_add(out, STR("\",\"body\":\"")) && put_base64(out, r->body_first) &&
           json_out_add(out, STR("\",\"lastBody\":\"")) && put_base64(out, last) &&
           json_out_add(out, STR("\"}"));
}

bool export_record(struct export_lines *x, const struct record *r, struct json_out *out)
{
    size_t from = out->len;

    if (!put_record(r, out) || !end_line(x, out, from)) {
        out->len = from;
        return false;
    }
    x->records++;
    return true;
}

bool export_trailer(struct export_lines *x, uint64_t last_id, struct json_out *out)
{
    char buffer[CHECKSUM_HEAD + 128];
    size_t from = out->len;
    struct text t;

    text_init(&t, buffer, sizeof buffer);
    text_addf(&t, "%*s\"records\":%llu,\"lastId\":\"%llu\",\"exportCrc32c\":\"%08x\"}", CHECKSUM_HEAD, "",
              (unsigned long long)x->records, (unsigned long long)last_id, x->checksum);
    if (json_out_add(out, text_str(&t)) && end_line(x, out, from))
        return true;
    out->len = from;
    return false;
}

struct export
{
    struct export_lines lines;
    struct json_out line;
    FILE *out;
    uint64_t damaged; /* the first; 0: none */
    bool failed;
};

static bool write_out(struct export *x)
{
    x->failed = x->failed || fwrite(x->line.at, 1, x->line.len, x->out) != x->line.len;
    x->line.len = 0;
    return !x->failed;
}

static bool on_export(void *arg, const struct record *r)
{
    struct export *x = arg;

    if (!record_bodies_intact(r)) {
        x->damaged = r->seq;
        return false;
    }
    x->failed = !export_record(&x->lines, r, &x->line);
    return write_out(x);
}

static bool export_all(struct store *s, struct export *x, char err[static STORE_ERROR])
{
    struct store_stats stats;
    struct store_missed missed;

    for (uint64_t after = 0; (after = store_scan(s, after, false, 1000, on_export, x, &missed)) != 0;)
        if (x->failed || x->damaged || missed.unread)
            break;
    store_get_stats(s, &stats);
    if (x->damaged)
        return fail(err, "record %llu is damaged", (unsigned long long)x->damaged);
    if (!x->failed && x->lines.records != stats.records)
        return fail(err, "%llu of %llu records could be read", (unsigned long long)x->lines.records,
                    (unsigned long long)stats.records);
    x->failed = x->failed || !export_trailer(&x->lines, stats.last_seq, &x->line);
    return (write_out(x) && fflush(x->out) == 0) || fail(err, "the export cannot be written");
}

bool transfer_export(struct store *s, FILE *out, uint64_t *ret_records, char err[static STORE_ERROR])
{
    struct export x = {.out = out};
    bool done = export_all(s, &x, err);

    json_out_free(&x.line);
    *ret_records = x.lines.records;
    return done;
}

/* ---- import ---- */

/* A line as it is read from left to right; what does not fit makes it bad for good. */
struct line {
    struct str rest;
    bool bad;
};

static void take(struct line *l, struct str literal)
{
    l->bad = l->bad || !str_starts(l->rest, literal);
    if (!l->bad)
        l->rest = str_from(l->rest, literal.len);
}

static struct str take_until(struct line *l, char c)
{
    ptrdiff_t at = l->bad ? -1 : str_find(l->rest, c);
    struct str text = STR_NONE;

    l->bad = at < 0;
    if (!l->bad) {
        text = str_upto(l->rest, (size_t)at);
        l->rest = str_from(l->rest, (size_t)at + 1);
    }
    return text;
}

static uint64_t take_number(struct line *l, char end)
{
    uint64_t n = 0;

    l->bad = !str_to_u64(take_until(l, end), &n) || l->bad;
    return n;
}

static int64_t take_time_ms(struct line *l)
{
    bool negative = !l->bad && str_starts(l->rest, STR("-"));

    if (negative)
        take(l, STR("-"));
    uint64_t ms = take_number(l, ',');
    l->bad = l->bad || ms > MOST_MS;
    return l->bad ? 0 : negative ? -(int64_t)ms : (int64_t)ms;
}

static struct record_time take_time(struct line *l, struct str name)
{
    struct record_time t = {0};

    take(l, name);
    t.effective_ms = take_time_ms(l);
    t.received_ms = take_time_ms(l);
    uint64_t by_arrival = take_number(l, ']');
    take(l, STR(","));
    t.by_arrival = by_arrival == 1;
    l->bad = l->bad || by_arrival > 1;
    return t;
}

/* In place: the text shrinks. */
static struct str take_base64(struct line *l, char *base)
{
    struct str text = take_until(l, '"');
    char *out = base ? base + (text.at ? text.at - base : 0) : NULL;
    size_t n = 0;

    l->bad = l->bad || text.len % 4;
    for (size_t i = 0; !l->bad && i < text.len; i += 4) {
        uint32_t bits = 0;
        size_t pads = 0;
        for (size_t j = 0; j < 4; j++) {
            const char *at = text.at[i + j] ? strchr(digits, text.at[i + j]) : NULL;
            pads += !at;
            l->bad = l->bad || (!at && (text.at[i + j] != '=' || i + 4 != text.len || j < 2)) || (at && pads);
            bits = bits << 6 | (at ? (uint32_t)(at - digits) : 0);
        }
        for (size_t j = 0; j < 3 - pads && !l->bad; j++)
            out[n++] = (char)(bits >> (16 - 8 * j));
        if (pads && !l->bad && bits & ((1u << (8 * pads)) - 1))
            l->bad = true; /* bits that no export writes */
    }
    return l->bad ? STR_NONE : (struct str){out, n};
}

/* What a line says; slices of its memory. */
struct import_record {
    uint64_t seq;
    enum event_via via;
    uint32_t count;
    struct record_time first, last;
    struct str cluster, body, last_body;
};

static bool parse_record(struct str text, char *base, struct import_record *ret)
{
    struct line l = {.rest = text};

    take(&l, STR("\"id\":\""));
    ret->seq = take_number(&l, '"');
    take(&l, STR(",\"via\":\""));
    struct str via = take_until(&l, '"');
    ret->via = str_eq(via, STR("status")) ? VIA_STATUS : VIA_WEBHOOK;
    l.bad = l.bad || (ret->via == VIA_WEBHOOK && !str_eq(via, STR("webhook")));
    take(&l, STR(",\"count\":"));
    uint64_t count = take_number(&l, ',');
    ret->count = (uint32_t)count;
    ret->first = take_time(&l, STR("\"first\":["));
    ret->last = take_time(&l, STR("\"last\":["));
    take(&l, STR("\"cluster\":\""));
    ret->cluster = take_base64(&l, base);
    take(&l, STR(",\"body\":\""));
    ret->body = take_base64(&l, base);
    take(&l, STR(",\"lastBody\":\""));
    ret->last_body = take_base64(&l, base);
    return !l.bad && str_eq(l.rest, STR("}")) && ret->seq > 0 && ret->seq <= MOST_ID && count > 0 &&
           count <= UINT32_MAX;
}

struct import {
    struct store *s;
    FILE *in;
    const char *name;
    char *err;
    bool writing; /* the second pass */
    uint64_t line;
    uint64_t last_seq;
    uint64_t records;
    uint32_t checksum; /* of all lines so far */
    bool ended;        /* the trailer was read */
    uint64_t last_id;
    int64_t last_received_ms;
    struct commit_op *ops;
    size_t n_ops;
    uint64_t n_bytes; /* of the values of ops */
    bool begun;       /* something was committed */
};

static bool bad_line(struct import *x, const char *why)
{
    return fail(x->err, "%s, line %llu: %s", x->name, (unsigned long long)x->line, why);
}

static void ops_free(struct import *x)
{
    for (size_t i = 0; i < x->n_ops; i++) {
        union {
            const char *from;
            void *to;
        } value = {.from = x->ops[i].value.at};
        free(value.to);
    }
    x->n_ops = 0;
    x->n_bytes = 0;
}

/* Commits what was gathered. Blocks. */
static bool import_commit(struct import *x, enum commit_import import)
{
    uint64_t high_water[2] = {htole64(x->last_id), htole64((uint64_t)x->last_received_ms)};
    struct commit_batch batch = {.ops = x->ops,
                                 .n = x->n_ops,
                                 .high_water = {(const char *)high_water, sizeof high_water},
                                 .import = import};
    struct commit_result result = {0};

    commit_give(x->s->committer, &batch);
    commit_wait(x->s->committer);
    (void)commit_take(x->s->committer, &result);
    ops_free(x);
    x->begun = x->begun || result.status == 0;
    return result.status == 0 || bad_line(x, mdb_strerror(result.status));
}

static bool import_write(struct import *x, const struct import_record *in, const struct flux_event *first,
                         const struct flux_event *last)
{
    struct str last_body = in->last_body.len ? in->last_body : in->body;
    struct record_stored stored = store_statement(x->s, first, in->body, in->via, in->first.received_ms);
    struct record_stored newest = store_statement(x->s, last, last_body, in->via, in->last.received_ms);
    struct record *r = &stored.record;
    size_t len;

    r->count = in->count;
    r->first = in->first;
    r->last = in->last;
    r->cluster = in->cluster;
    r->message = newest.record.message;
    r->message_digest = newest.record.message_digest;
    r->body_last = last_body;
    stored.body_last_digest = newest.body_last_digest;
    char *value = record_encode(&stored, &len);
    if (!value)
        return bad_line(x, "out of memory");
    record_seal(value, len, in->seq);
    x->ops[x->n_ops++] = (struct commit_op){.kind = COMMIT_APPEND, .seq = in->seq, .value = {value, len}};
    x->n_bytes += len;
    return (x->n_ops < STORE_BATCH_EVENTS && x->n_bytes < STORE_BATCH_BYTES) ||
           import_commit(x, COMMIT_IMPORT_GOES_ON);
}

static bool import_record(struct import *x, struct str rest, char *base)
{
    struct import_record in;
    char why[EVENT_ERROR] = "";

    if (!parse_record(rest, base, &in))
        return bad_line(x, "not a record of an export");
    if (in.seq <= x->last_seq)
        return bad_line(x, "its id does not ascend");
    struct flux_event *first = event_from_json(in.body, why);
    struct flux_event *last = first && in.last_body.len ? event_from_json(in.last_body, why) : first;
    bool ok = first && last ? !x->writing || import_write(x, &in, first, last) : bad_line(x, why);
    if (last != first)
        event_json_free(last);
    if (first)
        event_json_free(first);
    x->last_seq = in.seq;
    if (in.last.received_ms > x->last_received_ms)
        x->last_received_ms = in.last.received_ms;
    x->records++;
    return ok;
}

static bool import_trailer(struct import *x, struct str rest)
{
    struct line l = {.rest = rest};
    char checksum[16];

    take(&l, STR("\"records\":"));
    uint64_t records = take_number(&l, ',');
    take(&l, STR("\"lastId\":\""));
    x->last_id = take_number(&l, '"');
    take(&l, STR(",\"exportCrc32c\":\""));
    (void)snprintf(checksum, sizeof checksum, "%08x\"}", x->checksum);
    if (l.bad || !str_eq(l.rest, str_of(checksum)) || records != x->records || x->last_id < x->last_seq ||
        x->last_id > MOST_ID)
        return bad_line(x, "the trailer does not fit what is above it");
    x->ended = true;
    return true;
}

static bool import_line(struct import *x, char *at, size_t len)
{
    char head[CHECKSUM_HEAD + 1];

    x->line++;
    if (x->ended)
        return bad_line(x, "something follows the trailer");
    if (len < CHECKSUM_HEAD + 1 || at[len - 1] != '\n')
        return bad_line(x, "it is cut short");
    struct str rest = {at + CHECKSUM_HEAD, len - CHECKSUM_HEAD - 1};
    (void)snprintf(head, sizeof head, "{\"crc32c\":\"%08x\",", crc32c(0, rest));
    if (memcmp(at, head, CHECKSUM_HEAD) != 0)
        return bad_line(x, "its checksum is wrong");
    uint32_t checksum = crc32c(x->checksum, (struct str){at, len});
    bool ok = str_starts(rest, STR("\"records\":")) ? import_trailer(x, rest) : import_record(x, rest, at);
    x->checksum = checksum;
    return ok;
}

static bool import_pass(struct import *x)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len = 0;
    bool ok = fseek(x->in, 0, SEEK_SET) == 0 || fail(x->err, "%s: it must be a file", x->name);

    while (ok && (len = getline(&line, &cap, x->in)) > 0)
        ok = import_line(x, line, (size_t)len);
    free(line);
    x->line++;
    return ok && (x->ended || bad_line(x, "the trailer is missing: the file is cut short"));
}

/* Behind what went wrong. */
static void say_a_part(const struct store *s, char err[static STORE_ERROR])
{
    size_t len = strlen(err);

    (void)snprintf(err + len, STORE_ERROR - len,
                   "; the data directory %s holds a part and cannot be used: remove it, and import again",
                   s->dir);
}

bool transfer_import(struct store *s, FILE *in, const char *name, uint64_t *ret_records,
                     char err[static STORE_ERROR])
{
    struct import x = {.s = s, .in = in, .name = name, .err = err};
    struct store_stats stats;

    store_get_stats(s, &stats);
    if (stats.last_seq > 0)
        return fail(err, "the data directory %s holds events already; import into a new one", s->dir);
    if (!import_pass(&x))
        return false;
    struct import second = {
        .s = s, .in = in, .name = name, .err = err, .writing = true, .last_id = x.last_id};
    second.ops = calloc(STORE_BATCH_EVENTS, sizeof *second.ops);
    if (!second.ops)
        return fail(err, "out of memory");
    bool ok = import_pass(&second) && import_commit(&second, COMMIT_IMPORT_ENDS);
    if (!ok && second.begun)
        say_a_part(s, err);
    ops_free(&second);
    free(second.ops);
    *ret_records = second.records;
    return ok;
}

static bool import_file(struct store *s, const char *file, uint64_t *ret_records,
                        char err[static STORE_ERROR])
{
    FILE *in = fopen(file, "r");

    if (!in)
        return fail(err, "%s: %s", file, strerror(errno));
    bool done = transfer_import(s, in, file, ret_records, err);
    (void)fclose(in);
    return done;
}

/* Opening would make it, and an export of nothing, from a path that was misspelt, looks like a backup. */
static bool data_exist(const struct store_config *config, char err[static STORE_ERROR])
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/data.mdb", config->dir) >= (int)sizeof path)
        return fail(err, "%s: %s", config->dir, strerror(ENAMETOOLONG));
    return access(path, R_OK) == 0 || fail(err, "%s: %s", path, strerror(errno));
}

bool transfer_run(const char *command, const char *file, const struct store_config *config,
                  const struct reporter *reporter, char err[static STORE_ERROR])
{
    bool verify = strcmp(command, "verify") == 0, import = strcmp(command, "import") == 0;

    if (!import && !data_exist(config, err))
        return false;
    if (import && access(file, R_OK) != 0) /* before a data directory is made for it */
        return fail(err, "%s: %s", file, strerror(errno));

    struct store *s = verify ? NULL : store_open(config, reporter, err);
    uint64_t records = 0;
    bool done = verify;

    if (verify)
        done = transfer_verify(config, stdout, &records, err);
    else if (s)
        done = import ? import_file(s, file, &records, err) : transfer_export(s, stdout, &records, err);
    store_close(s);
    if (done)
        (void)fprintf(stderr, "%s: %llu records\n", command, (unsigned long long)records);
    return done;
}
