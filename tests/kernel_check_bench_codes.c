/* How fast products are with weights of 4 and 2 bits and with groups, against plain INT8: weights
 * that come from memory, as they do in a model that is larger than all caches, and weights that
 * stay in the caches. All kinds take turns, the median of their turns counts, in time that the
 * thread had a CPU for. */
#include "tests/kernel_check.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TURNS = 9,
    LAYER_COLUMNS = 1024,
    COLD_WEIGHTS = 1 << 27, /* of each kind; together more than half a GiB */
    LARGEST_Q = 128 * 3072,
    LARGEST_Y = 128 * LAYER_COLUMNS
};

static const dynq_weight_codes kinds[] = {
    {.bits = 8},
    {.bits = 4},
    {.bits = 2},
    {.bits = 8, .group = 32},
    {.bits = 4, .group = 32},
    {.bits = 4, .group = 128},
    {.bits = 2, .group = 32},
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct bench_memory {
    uint8_t *panels[KINDS], *q;
    float *column_scale, *bias, *y;
    int32_t *column_sum;
} bench_memory;

static void *bytes_of(size_t count, int byte)
{
    void *memory = aligned_alloc(64, (count + 63) / 64 * 64);
    if (memory == NULL) {
        perror("aligned_alloc");
        exit(EXIT_FAILURE);
    }
    return memset(memory, byte, count);
}

/* Levels and factors that are no special numbers. */
static bench_memory memory_create(void)
{
    bench_memory m = {.q = bytes_of(LARGEST_Q, 77)};
    for (size_t i = 0; i < KINDS; i++) {
        m.panels[i] = bytes_of(dynq_panel_bytes(&kinds[i], COLD_WEIGHTS / 16), 0x21);
    }
    m.column_scale = bytes_of(LAYER_COLUMNS * sizeof *m.column_scale, 0x3C);
    m.bias = bytes_of(LAYER_COLUMNS * sizeof *m.bias, 0x3D);
    m.column_sum = bytes_of(LAYER_COLUMNS * sizeof *m.column_sum, 0);
    m.y = bytes_of(LARGEST_Y * sizeof *m.y, 0);
    return m;
}

static void memory_free(bench_memory *m)
{
    for (size_t i = 0; i < KINDS; i++) {
        free(m->panels[i]);
    }
    free(m->q);
    free(m->column_scale);
    free(m->bias);
    free(m->column_sum);
    free(m->y);
}

/* Seconds of `layers` products, one after the other, of weights that follow one another. */
static double layers_seconds(const bench_memory *m, size_t kind, const case_shape *s, size_t layers,
                             size_t calls, const dynq_kernel *kernel)
{
    static const int8_t levels[16] = {-120, -80, -60, -40, -25, -15, -8, -3,
                                      0,    3,   8,   15,  25,  40,  60, 80};
    static const float row_scale = 0.125f;
    static const int32_t row_zero = 100;
    const size_t bytes = dynq_panel_bytes(&kinds[kind], s->k) * (s->columns / 16);
    dynq_range_bits range = {0};
    dynq_gemm_s8 g = {
        .rows = s->rows,
        .columns = s->columns,
        .kpad = s->k,
        .q = m->q,
        .q_stride = s->k,
        .codes = kinds[kind],
        .dequantize = {m->column_scale, m->column_sum, &row_scale, &row_zero, 0},
        .epilogue = {.bias = m->bias, .y = m->y, .y_stride = s->columns, .range = &range}};
    g.codes.levels = levels;
    struct timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (size_t i = 0; i < calls; i++) {
        const size_t layer = i % layers;
        g.panels = (const int8_t *)m->panels[kind] + layer * bytes;
        g.next = layer + 1 < layers ? g.panels + bytes : NULL;
        kernel->gemm_s8(&g);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bench_shape(const bench_memory *m, const case_shape *s, int cold,
                        const dynq_kernel *kernel)
{
    const size_t layers = cold ? COLD_WEIGHTS / (s->columns * s->k) : 1;
    const double block = 3e-3;
    double ratio[KINDS][TURNS], plain[TURNS];
    size_t calls = layers;
    while (!cold && layers_seconds(m, 0, s, layers, calls, kernel) < block) {
        calls *= 2;
    }
    for (size_t turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < KINDS; i++) {
            const double seconds = layers_seconds(m, i, s, layers, calls, kernel);
            plain[turn] = i == 0 ? seconds : plain[turn];
            ratio[i][turn] = plain[turn] / seconds;
        }
    }
    qsort(plain, TURNS, sizeof plain[0], compare_doubles);
    const double products = 2e-9 * (double)(s->rows * s->k * s->columns) * (double)calls;
    printf("%-15s%-5s%4zu x %4zu x %4zu %9.1f", kernel->name, cold ? "cold" : "hot", s->rows, s->k,
           s->columns, products / plain[TURNS / 2]);
    for (size_t i = 1; i < KINDS; i++) {
        qsort(ratio[i], TURNS, sizeof ratio[i][0], compare_doubles);
        printf("%8.2f", ratio[i][TURNS / 2]);
    }
    puts("");
    fflush(stdout);
}

void bench_codes(const dynq_kernel *const *kernels, size_t count)
{
    static const case_shape cold[] = {{1, LAYER_COLUMNS, 1024}, {4, LAYER_COLUMNS, 1024}};
    static const case_shape hot[] = {{1, 768, 768},   {8, 768, 768},   {64, 384, 384},
                                     {64, 768, 768},  {64, 768, 3072}, {128, 384, 384},
                                     {128, 768, 768}, {128, 384, 1536}};
    bench_memory m = memory_create();
    puts("\ngemm_s8: Gop/s of plain INT8, and how many times that with bits/group");
    printf("%20s%18s%10s     4       2    8/32    4/32   4/128    2/32\n", "", "M x K x N", "INT8");
    for (size_t i = 0; i < count; i++) {
        if (kernels[i] == dynq_kernel_best(0)) {
            continue;
        }
        for (size_t j = 0; j < sizeof cold / sizeof cold[0]; j++) {
            bench_shape(&m, &cold[j], 1, kernels[i]);
        }
        for (size_t j = 0; j < sizeof hot / sizeof hot[0]; j++) {
            bench_shape(&m, &hot[j], 0, kernels[i]);
        }
    }
    memory_free(&m);
}
