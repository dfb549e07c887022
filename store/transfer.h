/* A store as text, and back: export, import, verify. For a data directory that no server holds.
 *
 * An export is one JSON object a line (application/x-ndjson), records by ascending id, then a trailer:
 *
 *   {"crc32c":"…","id":"7","via":"webhook","count":3,"first":[E,R,A],"last":[E,R,A],"cluster":"…","body":"…","lastBody":"…"}
 *   {"crc32c":"…","records":12,"lastId":"19","exportCrc32c":"…"}
 *
 * Members are always these, in this order. body and lastBody (empty while it is the first) are the bodies as they were
 * received, and cluster its name, all in base64 (RFC 4648 section 4), so that every byte comes back. first and last:
 * effective time and time of arrival in milliseconds since 1970, and 1 where the first is the second for want of a usable
 * timestamp. All else that a record holds is read from its bodies again. A line's crc32c (8 hexadecimal digits) covers
 * what follows its comma, up to and without the line feed; exportCrc32c covers all lines before the trailer, line feeds
 * included. lastId is the highest id that was ever given.
 */
#ifndef FES_STORE_TRANSFER_H
#define FES_STORE_TRANSFER_H

#include <stdio.h>

#include "store/event_json.h"
#include "store/store.h"

/* An export line by line, for who sends it elsewhere: zeroed, then export_record for each record (whose bodies are intact)
 * by ascending id, then the trailer. They append one line to *out. last_id: the highest that was ever given. False when
 * out of memory: then nothing was appended, and the call may be made again. */
struct export_lines {
    uint32_t checksum;
    uint64_t records;
};
bool export_record(struct export_lines *x, const struct record *r, struct json_out *out);
bool export_trailer(struct export_lines *x, uint64_t last_id, struct json_out *out);

/* All three: false with one sentence in err. *ret_records is how many there are. */
bool transfer_export(struct store *s, FILE *out, uint64_t *ret_records, char err[static STORE_ERROR]);

/* Into a store that has no record. The whole file is checked before the first record is written; a problem names its
 * line. One that comes later, or a kill, leaves a part, and a store that does not open any more. The file must be
 * seekable. name: for err. */
bool transfer_import(struct store *s, FILE *in, const char *name, uint64_t *ret_records,
                     char err[static STORE_ERROR]);

/* Reads every record of a data directory, bodies included, and writes a line to out for each that is damaged. */
bool transfer_verify(const struct store_config *config, FILE *out, uint64_t *ret_records,
                     char err[static STORE_ERROR]);

/* The command "export", "import" (of a file) or "verify" of the command line: results to stdout, a summary to stderr.
 * Only an import makes a data directory that is not there. */
bool transfer_run(const char *command, const char *file, const struct store_config *config,
                  const struct reporter *reporter, char err[static STORE_ERROR]);

#endif
