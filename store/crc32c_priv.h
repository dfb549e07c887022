/* CRC-32C (Castagnoli, the polynomial of iSCSI: RFC 3720 appendix B.4), for records on disk. */
#ifndef FES_STORE_CRC32C_PRIV_H
#define FES_STORE_CRC32C_PRIV_H

#include "store/str.h"

/* Continues a checksum: crc32c(crc32c(0, a), b) is that of a and b together. Uses the processor's instruction
 * where it has one. */
uint32_t crc32c(uint32_t crc, struct str bytes);
/* The same without the instruction, for processors that lack it and for tests. */
uint32_t crc32c_portable(uint32_t crc, struct str bytes);

#endif
