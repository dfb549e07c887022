/* Runs a fuzz target over stored inputs: the file or folder arguments or, without any, test/fuzz/corpus/NAME,
 * where NAME is this program's own name. Prints one TAP line; a crash or a failed check of the target ends
 * the process. A corpus without files is a failure: nothing would have been tested.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* False when the file cannot be read. */
static bool run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    bool ok = false;

    if (!f)
        return false;
    if (fstat(fileno(f), &st) == 0) {
        size_t size = (size_t)st.st_size;
        uint8_t *data = malloc(size + 1); /* its own block, so that a read past the end is seen */
        uint8_t *exact = data ? malloc(size ? size : 1) : NULL;
        if (exact && fread(data, 1, size, f) == size) {
            memcpy(exact, data, size);
            (void)LLVMFuzzerTestOneInput(exact, size);
            ok = true;
        }
        free(exact);
        free(data);
    }
    (void)fclose(f);
    return ok;
}

static int run_path(const char *path, size_t *ret_n)
{
    DIR *dir = opendir(path);
    int failed = 0;

    if (!dir) {
        ++*ret_n;
        if (run_file(path))
            return 0;
        printf("# cannot read %s\n", path);
        return 1;
    }
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char file[4096];
        if (e->d_name[0] == '.')
            continue;
        int len = snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        failed += len < 0 || (size_t)len >= sizeof file ? 1 : run_path(file, ret_n);
    }
    (void)closedir(dir);
    return failed;
}

int main(int argc, char *argv[])
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    char folder[4096];
    size_t n = 0;
    int failed = 0;

    (void)snprintf(folder, sizeof folder, "test/fuzz/corpus/%s", name);
    if (argc < 2)
        failed = run_path(folder, &n);
    for (int i = 1; i < argc; i++)
        failed += run_path(argv[i], &n);
    failed += n == 0;
    printf("%sok 1 - %s: %zu inputs\n1..1\n", failed ? "not " : "", name, n);
    return failed ? 1 : 0;
}
