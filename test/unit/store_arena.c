/* Memory that is given back all at once. */
#include "harness.h"

#include "store/arena_priv.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static size_t blocks_held, blocks_left;

static void *take_block(size_t bytes)
{
    if (blocks_left == 0)
        return NULL;
    blocks_left--;
    blocks_held++;
    return malloc(bytes);
}

static void give_block(void *at)
{
    blocks_held--;
    free(at);
}

static struct arena arena_with(size_t n)
{
    blocks_left = n;
    return (struct arena){.more = take_block};
}

/* Pieces of all sizes are apart from each other, aligned, and as long as asked for. */
static void test_pieces(void)
{
    struct arena a = arena_with(SIZE_MAX);
    enum { N = 3000 };
    static unsigned char *pieces[N];

    for (size_t i = 1; i < N; i++) {
        pieces[i] = arena_take(&a, i);
        CHECK(pieces[i] != NULL);
        CHECK_INT((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)(i & 0xFF), i);
    }
    for (size_t i = 1; i < N; i++)
        for (size_t k = 0; k < i; k++)
            if (pieces[i][k] != (i & 0xFF))
                HARNESS_FAIL("piece %zu has been written over at %zu", i, k);
    CHECK(blocks_held > 1);
    CHECK(blocks_held < 16); /* they grow */
    arena_release(&a, give_block);
    CHECK_INT(blocks_held, 0);
}

static void test_used_again(void)
{
    struct arena a = arena_with(SIZE_MAX);

    CHECK(arena_take(&a, 100000) != NULL);
    arena_release(&a, give_block);
    arena_release(&a, give_block);
    CHECK(arena_take(&a, 1) != NULL);
    CHECK_INT(blocks_held, 1);
    arena_release(&a, give_block);
    CHECK_INT(blocks_held, 0);
}

static void test_no_more(void)
{
    struct arena a = arena_with(1);
    char *piece = arena_take(&a, 10);

    memcpy(piece, "012345678", 10);
    CHECK(!arena_take(&a, 1 << 20));
    CHECK(!arena_take(&a, SIZE_MAX));
    CHECK(!arena_take(&a, SIZE_MAX - 8));
    CHECK(arena_take(&a, 10) != NULL); /* there is room left in the first block */
    CHECK(strcmp(piece, "012345678") == 0);
    arena_release(&a, give_block);
    CHECK_INT(blocks_held, 0);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_pieces), TEST(test_used_again), TEST(test_no_more), {0}});
}
