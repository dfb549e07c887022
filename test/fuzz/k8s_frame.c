/* Watch frames: the lines do not depend on where the stream was cut, and the scanner accepts what jansson
 * accepts.
 *
 * The first two bytes say where to cut; the rest is the stream. Each line is also read as a list page.
 */
#include <jansson.h>
#include <stdlib.h>

#include "k8s/frame_priv.h"
#include "k8s/scan_priv.h"

#define MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* jansson refuses numbers that are out of range, names that hold a NUL, and escapes for halves of surrogate
 * pairs, all of which are JSON. */
static bool differs_legally(struct str line, const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           str_has(line, STR("\\ud")) || str_has(line, STR("\\uD"));
}

static void scan_line(struct str line)
{
    struct k8s_member version = {.name = STR("resourceVersion")};
    struct k8s_member metadata = {.name = STR("metadata"), .inside = &version, .n_inside = 1};
    struct k8s_member m[] = {{.name = STR("type")},
                             {.name = STR("object"), .inside = &metadata, .n_inside = 1}};
    json_error_t error;
    json_t *tree = json_loadb(line.at, line.len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    bool valid = k8s_scan_object(line, m, 2);

    /* jansson overlooks a NUL after true, false and null. */
    if (str_find(line, '\0') >= 0)
        must(!valid);
    else if (json_is_object(tree))
        must(valid);
    else if (valid)
        must(!tree && differs_legally(line, &error));
    if (valid && json_is_object(tree) && m[0].value.at) {
        char text[MOST + 1];
        json_t *type = json_object_get(tree, "type");
        /* Another member may be named "type" by way of escapes, and then the last one counts for jansson. */
        if (k8s_scan_text(m[0].value, text, sizeof text) && !str_has(line, STR("\\")))
            must(json_is_string(type) && str_eq(str_of(text), str_of(json_string_value(type))));
    }
    json_decref(tree);
}

static void scan_page(struct str line)
{
    struct k8s_page page;
    struct str item;
    enum k8s_page_part part;
    struct k8s_member none = {.name = STR("")};

    k8s_page_init(&page, line);
    while ((part = k8s_page_next(&page, &item)) == K8S_PAGE_ITEM)
        must(k8s_scan_object(item, NULL, 0));
    if (part == K8S_PAGE_END)
        must(k8s_scan_object(line, &none, 1));
}

/* Returns the number of lines; `out` gets them one after the other. */
static size_t run(struct str stream, size_t a, size_t b, char *out, size_t *ret_len)
{
    struct k8s_frame f;
    struct str pieces[] = {str_upto(stream, a), str_upto(str_from(stream, a), b - a), str_from(stream, b)},
               line;
    size_t n = 0;

    *ret_len = 0;
    k8s_frame_init(&f, MOST);
    for (size_t i = 0; i < 3; i++) {
        (void)k8s_frame_add(&f, pieces[i]);
        while (k8s_frame_next(&f, &line)) {
            memcpy(out + *ret_len, line.at, line.len);
            *ret_len += line.len;
            out[(*ret_len)++] = '\n';
            n++;
        }
    }
    n = 2 * n + f.failed;
    k8s_frame_free(&f);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str stream = {(const char *)data + 2, size - 2};
    size_t a = stream.len ? data[0] % (stream.len + 1) : 0;
    size_t b = a + data[1] % (stream.len - a + 1);
    char *whole = malloc(stream.len + 1), *cut = malloc(stream.len + 1);
    size_t whole_len, cut_len;

    if (whole && cut) {
        size_t n = run(stream, stream.len, stream.len, whole, &whole_len);
        must(run(stream, a, b, cut, &cut_len) == n);
        must(whole_len == cut_len && memcmp(whole, cut, whole_len) == 0);
        struct str rest = {whole, whole_len};
        while (rest.len) {
            struct str line = str_split(&rest, '\n');
            scan_line(line);
            scan_page(line);
        }
    }
    free(whole);
    free(cut);
    return 0;
}
