/* Does the time of a refusal tell how much of a signature was right? Welch's t-test on a million comparisons: a
 * signature that is wrong in its first byte against one that is wrong in its last, in random order. |t| below 4.5 is what
 * dudect calls no evidence of a leak (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017); as there,
 * the slowest samples are left out, because they are interrupts. A comparison that leaks, made here on purpose, must be
 * found by the same measurement. */
#include "harness.h"

#include "http/auth.h"

#include <math.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 1000000
#define MOST_T  4.5

/* HMAC-SHA256 of "body" with "key-a" ends in ...da95 and begins with 7ada...; both classes of byte stay digits. */
#define MAC_MIDDLE "adda7dee0330c94443c5b42ef1efeb84c8e2a2c3503088ad353512c83aeda9"
static const char wrong_first[80] __attribute__((aligned(64))) = "sha256=8" MAC_MIDDLE "5";
static const char wrong_last[80] __attribute__((aligned(64))) = "sha256=7" MAC_MIDDLE "6";
static const char right[80] = "sha256=7" MAC_MIDDLE "5";

typedef bool checker(const void *arg, const char *signature);

static bool check(const void *auth, const char *signature)
{
    return auth_check(auth, AUTH_POST, str_of(signature), STR_NONE, STR("body")) == AUTH_GRANTED;
}

/* Stops at the first digit that differs, as memcmp() may. */
static bool check_with_leak(const void *arg, const char *signature)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    (void)arg;
    CHECK(HMAC(EVP_sha256(), "key-a", 5, (const unsigned char *)"body", 4, mac, &len) != NULL);
    signature += strlen("sha256=");
    for (unsigned i = 0; i < len; i++)
        if (signature[2 * i] != digits[mac[i] >> 4] || signature[2 * i + 1] != digits[mac[i] & 15])
            return false;
    return true;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

struct sums {
    double n, sum, squares;
};

static double variance(const struct sums *s)
{
    return (s->squares - s->sum * s->sum / s->n) / (s->n - 1);
}

/* Welch's t of the two kinds, without the slowest tenth of all. */
static double measure(checker *is_right, const void *arg)
{
    static uint32_t took[SAMPLES], sorted[SAMPLES];
    static bool is_first[SAMPLES];
    struct sums sums[2] = {0};
    uint32_t random = 20260801;

    for (int i = 0; i < SAMPLES; i++) {
        random = random * 1664525u + 1013904223u;
        is_first[i] = random >> 31;
        const char *signature = is_first[i] ? wrong_first : wrong_last;
        int64_t start = now_ns();
        bool granted = is_right(arg, signature);
        int64_t end = now_ns();
        CHECK(!granted);
        took[i] = end - start < UINT32_MAX ? (uint32_t)(end - start) : UINT32_MAX;
    }
    memcpy(sorted, took, sizeof took);
    qsort(sorted, SAMPLES, sizeof sorted[0], by_size);
    for (int i = 0; i < SAMPLES; i++) {
        struct sums *s = &sums[is_first[i]];
        if (took[i] > sorted[SAMPLES / 10 * 9])
            continue;
        s->n++;
        s->sum += took[i];
        s->squares += (double)took[i] * took[i];
    }
    double first = sums[1].sum / sums[1].n, last = sums[0].sum / sums[0].n;
    double t = (last - first) / sqrt(variance(&sums[1]) / sums[1].n + variance(&sums[0]) / sums[0].n);
    printf("# first byte wrong: %.1f ns, last byte wrong: %.1f ns, t = %.2f\n", first, last, t);
    return fabs(t);
}

static void test_the_time_of_a_refusal_tells_nothing(void)
{
    char file[] = "/tmp/fes-auth-timing-XXXXXX", err[AUTH_ERROR];
    struct auth_config config = {.hmac_key_files = {.values = {file}, .n = 1}};
    int fd = mkstemp(file);

    CHECK(fd >= 0 && write(fd, "key-a", 5) == 5 && close(fd) == 0);
    struct auth *auth = auth_new(&config, NULL, err);
    (void)unlink(file);
    CHECK(auth != NULL);
    CHECK(check(auth, right));
    double t = measure(check, auth);
    /* One in a hundred thousand is above by chance, and a busy machine makes it more: what leaks does so each time. */
    if (t >= MOST_T)
        t = measure(check, auth);
    auth_free(auth);
    CHECK(t < MOST_T);
}

static void test_a_leak_would_be_seen(void)
{
    CHECK(check_with_leak(NULL, right));
    CHECK(measure(check_with_leak, NULL) > MOST_T);
}

int main(void)
{
    return harness_run((struct test[]){
        TEST(test_the_time_of_a_refusal_tells_nothing), TEST(test_a_leak_would_be_seen), {0}});
}
