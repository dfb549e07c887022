/* A strict JSON scanner (see scan_priv.h).
 *
 * Invariants: no byte outside of the text is read; nothing is allocated; nesting beyond K8S_SCAN_DEPTH is
 * refused, so that whatever passes can be parsed; what passes is JSON by RFC 8259 with valid UTF-8. Every
 * skip_ function takes the first byte of its thing and returns one past its end, or NULL when it is not that
 * thing.
 */
#include "k8s/scan_priv.h"

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* RFC 3629, section 4. */
static const char *skip_utf8(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t len = (size_t)(end - p);
    size_t n = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
               : s[0] >= 0xE0 && s[0] <= 0xEF ? 3
               : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                              : 0;

    if (n == 0 || len < n)
        return NULL;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return NULL;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
        (s[0] == 0xF4 && s[1] > 0x8F))
        return NULL;
    return p + n;
}

static const char *skip_escape(const char *p, const char *end)
{
    if (end - p < 2)
        return NULL;
    if (p[1] != 'u')
        return memchr("\"\\/bfnrt", p[1], 8) ? p + 2 : NULL;
    if (end - p < 6)
        return NULL;
    for (int i = 2; i < 6; i++)
        if (str_hex_digit(p[i]) < 0)
            return NULL;
    return p + 6;
}

static const char *skip_string(const char *p, const char *end)
{
    if (p == end || *p != '"')
        return NULL;
    p++;
    while (p && p < end) {
        unsigned char c = (unsigned char)*p;
        if (c == '"')
            return p + 1;
        if (c == '\\')
            p = skip_escape(p, end);
        else if (c >= 0x80)
            p = skip_utf8(p, end);
        else if (c < 0x20)
            return NULL;
        else
            p++;
    }
    return NULL;
}

static const char *skip_digits(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p > start ? p : NULL;
}

static const char *skip_number(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    if (p < end && *p == '0')
        p++;
    else
        p = skip_digits(p, end);
    if (p && p < end && *p == '.')
        p = skip_digits(p + 1, end);
    if (p && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const char *skip_word(const char *p, const char *end, struct str word)
{
    return str_starts((struct str){p, (size_t)(end - p)}, word) ? p + word.len : NULL;
}

static const char *skip_scalar(const char *p, const char *end)
{
    switch (*p) {
    case '"': return skip_string(p, end);
    case 't': return skip_word(p, end, STR("true"));
    case 'f': return skip_word(p, end, STR("false"));
    case 'n': return skip_word(p, end, STR("null"));
    default: return skip_number(p, end);
    }
}

/* A member's name and its colon, up to the value. */
static const char *skip_name(const char *p, const char *end, struct str *ret_name)
{
    const char *stop = skip_string(p, end);

    if (!stop)
        return NULL;
    if (ret_name)
        *ret_name = (struct str){p + 1, (size_t)(stop - p) - 2};
    p = skip_space(stop, end);
    if (p == end || *p != ':')
        return NULL;
    return skip_space(p + 1, end);
}

/* Which of the open brackets are objects, innermost last: one bit each. */
struct nesting {
    unsigned char bits[K8S_SCAN_DEPTH / 8];
    size_t depth;
};

static bool nesting_is_object(const struct nesting *n)
{
    return n->bits[(n->depth - 1) / 8] >> ((n->depth - 1) % 8) & 1;
}

static bool nesting_push(struct nesting *n, bool object)
{
    if (n->depth == K8S_SCAN_DEPTH)
        return false;
    unsigned char bit = (unsigned char)(1u << (n->depth % 8));
    unsigned char *byte = &n->bits[n->depth / 8];
    *byte = (unsigned char)(object ? *byte | bit : *byte & ~bit);
    n->depth++;
    return true;
}

/* After a value inside brackets: closes what ends here, up to the next value or the end of the outermost. */
static const char *skip_to_next(const char *p, const char *end, struct nesting *n)
{
    while (n->depth > 0) {
        bool object = nesting_is_object(n);
        p = skip_space(p, end);
        if (p == end)
            return NULL;
        if (*p == ',') {
            p = skip_space(p + 1, end);
            return object ? skip_name(p, end, NULL) : p;
        }
        if (*p != (object ? '}' : ']'))
            return NULL;
        p++;
        n->depth--;
    }
    return p;
}

static const char *skip_value(const char *p, const char *end)
{
    struct nesting n;

    n.depth = 0;
    do {
        if (p == end)
            return NULL;
        if (*p == '{' || *p == '[') {
            bool object = *p == '{';
            if (!nesting_push(&n, object))
                return NULL;
            p = skip_space(p + 1, end);
            if (p == end)
                return NULL;
            if (*p != (object ? '}' : ']')) {
                p = object ? skip_name(p, end, NULL) : p;
                if (!p)
                    return NULL;
                continue;
            }
        } else {
            p = skip_scalar(p, end);
            if (!p)
                return NULL;
        }
        /* An empty object or array is closed by skip_to_next as well. */
        p = skip_to_next(p, end, &n);
        if (!p)
            return NULL;
    } while (n.depth > 0);
    return p;
}

static struct k8s_member *find_member(struct k8s_member *members, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(members[i].name, name))
            return &members[i];
    return NULL;
}

static void forget(struct k8s_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        members[i].value = STR_NONE;
        forget(members[i].inside, members[i].n_inside);
    }
}

/* Recursion is as deep as the caller's members are nested, not as the text is. */
static const char *scan_members(const char *p, const char *end, struct k8s_member *members, size_t n)
{
    struct str name;

    if (p == end || *p != '{')
        return NULL;
    p = skip_space(p + 1, end);
    if (p < end && *p == '}')
        return p + 1;
    for (;;) {
        p = skip_name(p, end, &name);
        if (!p)
            return NULL;
        struct k8s_member *m = find_member(members, n, name);
        const char *start = p;
        if (m)
            forget(m->inside, m->n_inside);
        if (m && m->n_inside && p < end && *p == '{')
            p = scan_members(p, end, m->inside, m->n_inside);
        else
            p = skip_value(p, end);
        if (!p)
            return NULL;
        if (m)
            m->value = (struct str){start, (size_t)(p - start)};
        p = skip_space(p, end);
        if (p == end || (*p != ',' && *p != '}'))
            return NULL;
        if (*p == '}')
            return p + 1;
        p = skip_space(p + 1, end);
    }
}

bool k8s_scan_object(struct str json, struct k8s_member *members, size_t n)
{
    if (json.len == 0)
        return false;
    const char *end = json.at + json.len;

    forget(members, n);
    const char *p = scan_members(skip_space(json.at, end), end, members, n);
    return p && skip_space(p, end) == end;
}

static uint32_t hex4(const char *p)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | (uint32_t)str_hex_digit(p[i]);
    return code;
}

static size_t encode_utf8(uint32_t code, char out[static 4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Decodes one character of a string that skip_string accepted; half a surrogate pair becomes U+FFFD. */
static size_t decode(const char **p, const char *end, char out[static 4])
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *s = *p;

    if (*s != '\\') {
        out[0] = *s;
        *p = s + 1;
        return 1;
    }
    if (s[1] != 'u') {
        out[0] = values[(const char *)memchr(names, s[1], 8) - names];
        *p = s + 2;
        return 1;
    }
    uint32_t code = hex4(s + 2);
    *p = s + 6;
    if (code >= 0xD800 && code <= 0xDBFF && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        uint32_t low = hex4(*p + 2);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *p += 6;
            return encode_utf8(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), out);
        }
    }
    return encode_utf8(code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : code, out);
}

bool k8s_scan_text(struct str value, char *out, size_t cap)
{
    size_t len = 0;

    if (value.len == 0 || skip_string(value.at, value.at + value.len) != value.at + value.len)
        return false;
    const char *p = value.at + 1, *end = value.at + value.len - 1;
    while (p < end) {
        char piece[4];
        size_t n = decode(&p, end, piece);
        if (n > cap - 1 - len || piece[0] == '\0')
            return false;
        memcpy(out + len, piece, n);
        len += n;
    }
    out[len] = '\0';
    return true;
}

static enum k8s_event_type event_type(struct str value)
{
    static const char *const names[] = {
        [K8S_EVENT_OTHER] = "",          [K8S_EVENT_ADDED] = "ADDED",       [K8S_EVENT_MODIFIED] = "MODIFIED",
        [K8S_EVENT_DELETED] = "DELETED", [K8S_EVENT_BOOKMARK] = "BOOKMARK", [K8S_EVENT_ERROR] = "ERROR",
    };
    char type[16];

    for (size_t i = 1; k8s_scan_text(value, type, sizeof type) && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(type, names[i]) == 0)
            return (enum k8s_event_type)i;
    return K8S_EVENT_OTHER;
}

enum object_member { OBJECT_METADATA, OBJECT_CODE, OBJECT_MESSAGE, OBJECT_MEMBERS };

bool k8s_scan_event(struct str line, struct k8s_event *ret)
{
    struct k8s_member version = {.name = STR("resourceVersion")};
    struct k8s_member object[OBJECT_MEMBERS] = {
        [OBJECT_METADATA] = {.name = STR("metadata"), .inside = &version, .n_inside = 1},
        [OBJECT_CODE] = {.name = STR("code")},
        [OBJECT_MESSAGE] = {.name = STR("message")},
    };
    struct k8s_member event[] = {
        {.name = STR("type")},
        {.name = STR("object"), .inside = object, .n_inside = OBJECT_MEMBERS},
    };

    if (!k8s_scan_object(line, event, 2) || !event[0].value.at || !str_starts(event[1].value, STR("{")))
        return false;
    *ret = (struct k8s_event){
        .type = event_type(event[0].value),
        .object = event[1].value,
        .version = version.value,
        .code = object[OBJECT_CODE].value,
        .message = object[OBJECT_MESSAGE].value,
    };
    return true;
}

void k8s_page_init(struct k8s_page *p, struct str json)
{
    *p = (struct k8s_page){.at = json.at, .end = json.at + json.len};
}

static enum k8s_page_part page_bad(struct k8s_page *p)
{
    p->at = p->end;
    return K8S_PAGE_BAD;
}

/* Before each thing of a comma-separated sequence. 1: there is one; 0: the sequence ended with `close`; -1:
 * neither. */
static int next_of(struct k8s_page *p, char close)
{
    p->at = skip_space(p->at, p->end);
    if (p->at == p->end)
        return -1;
    if (*p->at == close) {
        p->at++;
        return 0;
    }
    if (!p->first) {
        if (*p->at != ',')
            return -1;
        p->at = skip_space(p->at + 1, p->end);
    }
    p->first = false;
    return 1;
}

static bool page_member(struct k8s_page *p)
{
    struct str name;
    const char *value = skip_name(p->at, p->end, &name);

    if (!value || value == p->end)
        return false;
    if (str_eq(name, STR("items")) && *value == '[') {
        p->in_items = p->first = true;
        p->at = value + 1;
        return true;
    }
    p->at = skip_value(value, p->end);
    if (!p->at)
        return false;
    if (str_eq(name, STR("metadata")))
        p->metadata = (struct str){value, (size_t)(p->at - value)};
    return true;
}

enum k8s_page_part k8s_page_next(struct k8s_page *p, struct str *ret_item)
{
    if (!p->begun) {
        p->at = skip_space(p->at, p->end);
        if (p->at == p->end || *p->at != '{')
            return page_bad(p);
        p->at++;
        p->begun = p->first = true;
    }
    for (;;) {
        int more = next_of(p, p->in_items ? ']' : '}');
        if (more < 0)
            return page_bad(p);
        if (p->in_items && more) {
            const char *start = p->at;
            const char *stop = start < p->end && *start == '{' ? skip_value(start, p->end) : NULL;
            if (!stop)
                return page_bad(p);
            p->at = stop;
            *ret_item = (struct str){start, (size_t)(stop - start)};
            return K8S_PAGE_ITEM;
        }
        if (p->in_items) {
            p->in_items = p->first = false;
        } else if (!more) {
            return skip_space(p->at, p->end) == p->end ? K8S_PAGE_END : page_bad(p);
        } else if (!page_member(p)) {
            return page_bad(p);
        }
    }
}
