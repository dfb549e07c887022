/* The sample events of test/golden, for tests that go over all of them. */
#ifndef FES_TEST_GOLDEN_H
#define FES_TEST_GOLDEN_H

#include <glob.h>

#include "harness.h"

/* Bytes of a file; the caller frees .at. A missing file fails the test. */
__attribute__((unused)) static struct str golden_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *at = NULL;
    long len = -1;

    if (f && fseek(f, 0, SEEK_END) == 0 && (len = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0)
        at = malloc((size_t)len + 1);
    if (at && fread(at, 1, (size_t)len, f) != (size_t)len) {
        free(at);
        at = NULL;
    }
    if (f)
        (void)fclose(f);
    if (!at)
        HARNESS_FAIL("cannot read %s; run from the top folder", path);
    return (struct str){at, (size_t)len};
}

/* Calls visit for each sample, in the order of their names; returns how many there are. */
__attribute__((unused)) static size_t golden_each(void (*visit)(const char *path, struct str body))
{
    glob_t found;

    if (glob("test/golden/*/*.json", 0, NULL, &found) != 0)
        HARNESS_FAIL("no samples in test/golden; run from the top folder");
    size_t n = found.gl_pathc;
    for (size_t i = 0; i < n; i++) {
        struct str body = golden_read(found.gl_pathv[i]);
        harness_case("%s", found.gl_pathv[i]);
        visit(found.gl_pathv[i], body);
        free((char *)body.at);
    }
    globfree(&found);
    harness_case("%s", "");
    return n;
}

#endif
