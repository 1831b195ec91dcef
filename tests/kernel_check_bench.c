/* How fast each kernel does each function, in plain cases that stay in the caches. */
#include "tests/kernel_check.h"

#include "src/cpu.h"

#include <time.h>

typedef struct bench_line {
    const check_function *function;
    case_shape shape;
    dynq_activation activation;
} bench_line;

static const bench_line products[] = {
    {&check_gemm_s8, {1, 384, 384}, 0},   {&check_gemm_s8, {1, 3072, 768}, 0},
    {&check_gemm_s8, {2, 768, 768}, 0},   {&check_gemm_s8, {4, 768, 768}, 0},
    {&check_gemm_s8, {8, 768, 768}, 0},   {&check_gemm_s8, {16, 768, 768}, 0},
    {&check_gemm_s8, {64, 384, 384}, 0},  {&check_gemm_s8, {64, 768, 768}, 0},
    {&check_gemm_s8, {64, 768, 3072}, 0}, {&check_gemm_f32, {1, 768, 768}, 0},
    {&check_gemm_f32, {16, 768, 768}, 0}, {&check_gemm_f32, {64, 384, 384}, 0},
};

static const bench_line functions[] = {
    {&check_epilogue_s32, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_epilogue_f32, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_range, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_quantize, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_activate, {16, 768, 0}, DYNQ_ACTIVATION_RELU},
    {&check_activate, {16, 768, 0}, DYNQ_ACTIVATION_GELU},
    {&check_activate, {16, 768, 0}, DYNQ_ACTIVATION_TANH},
    {&check_activate, {16, 768, 0}, DYNQ_ACTIVATION_SIGMOID},
    {&check_activate, {16, 768, 0}, DYNQ_ACTIVATION_GELU_TANH},
    {&check_add, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_multiply, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_softmax, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_layer_norm, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_embed, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_pool, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_normalize, {16, 768, 0}, DYNQ_ACTIVATION_NONE},
    {&check_errors, {1, 768, 0}, DYNQ_ACTIVATION_NONE},
};

/* Heads of columns / dim, each of a segment. */
static const bench_line attentions[] = {
    {&check_attention_f32, {16, 32, 0}, 0},  {&check_attention_f32, {128, 32, 0}, 0},
    {&check_attention_f32, {256, 32, 0}, 0}, {&check_attention_f32, {512, 32, 0}, 0},
    {&check_attention_f32, {128, 64, 0}, 0}, {&check_attention_prepare, {128, 32, 0}, 0},
    {&check_attention_s8, {16, 32, 0}, 0},   {&check_attention_s8, {28, 32, 0}, 0},
    {&check_attention_s8, {128, 32, 0}, 0},  {&check_attention_s8, {256, 32, 0}, 0},
    {&check_attention_s8, {512, 32, 0}, 0},  {&check_attention_s8, {16, 64, 0}, 0},
    {&check_attention_s8, {128, 64, 0}, 0},  {&check_attention_s8, {512, 64, 0}, 0},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_of(const kernel_case *c, const check_function *function,
                         const dynq_kernel *kernel, size_t calls)
{
    const double start = now();
    for (size_t i = 0; i < calls; i++) {
        function->run(c, kernel);
    }
    return now() - start;
}

/* Seconds of one call: the best of some blocks, each long enough for the clock. */
static double time_call(const kernel_case *c, const check_function *function,
                        const dynq_kernel *kernel)
{
    enum { BLOCKS = 5 };
    const double block = 3e-3;
    size_t calls = 1;
    double best = seconds_of(c, function, kernel, calls);
    while (best < block) {
        calls *= 2;
        best = seconds_of(c, function, kernel, calls);
    }
    for (int i = 1; i < BLOCKS; i++) {
        const double seconds = seconds_of(c, function, kernel, calls);
        best = seconds < best ? seconds : best;
    }
    return best / (double)calls;
}

/* A cell for each kernel: `amount` by its time, and how many times the speed of "ref" that is. */
static void print_speeds(kernel_case *c, const bench_line *line, double amount,
                         const dynq_kernel *const *kernels, size_t count)
{
    case_begin(c, 0, line->function->name, 0);
    c->timed = &line->shape;
    c->timed_activation = line->activation;
    line->function->make(c);
    const double reference = time_call(c, line->function, dynq_kernel_best(0));
    for (size_t i = 0; i < count; i++) {
        const double seconds = time_call(c, line->function, kernels[i]);
        printf("%12.2f (%5.1fx)", amount / seconds * 1e-9, reference / seconds);
    }
    puts("");
    fflush(stdout);
}

static void print_head(const char *what, const dynq_kernel *const *kernels, size_t count)
{
    printf("%-34s", what);
    for (size_t i = 0; i < count; i++) {
        printf("%21s", kernels[i]->name);
    }
    puts("");
}

typedef enum half_way { WAY_FP32, WAY_FP16, WAY_BF16, WAY_DOT, WAY_COUNT } half_way;

/* One call of a product in FP32, its weights in some format. */
static double seconds_of_way(const kernel_case cases[WAY_COUNT], half_way way,
                             const dynq_kernel *kernel, size_t calls)
{
    if (way != WAY_DOT) {
        return seconds_of(&cases[way], &check_gemm_f32, kernel, calls);
    }
    dynq_gemm_bf16 *const dot = dynq_kernel_bf16(kernel, dynq_cpu_features());
    const double start = now();
    for (size_t i = 0; i < calls; i++) {
        dot(&cases[way].call.gemm_f32);
    }
    return now() - start;
}

/* Seconds of a call, the best of some blocks in which all ways take turns. */
static void time_ways(const kernel_case cases[WAY_COUNT], const dynq_kernel *kernel, int ways,
                      double seconds[WAY_COUNT])
{
    enum { BLOCKS = 40 };
    const double block = 1e-3;
    size_t calls = 1;
    while (seconds_of_way(cases, WAY_FP32, kernel, calls) < block) {
        calls *= 2;
    }
    for (int i = 0; i < BLOCKS; i++) {
        for (int way = 0; way < ways; way++) {
            const double s = seconds_of_way(cases, (half_way)way, kernel, calls) / (double)calls;
            seconds[way] = i == 0 || s < seconds[way] ? s : seconds[way];
        }
    }
}

/* Weights of half the size against those in FP32. The first shapes have more than most L2 hold. */
static void bench_halves(const dynq_kernel *const *kernels, size_t count)
{
    static const case_shape shapes[] = {{1, 4096, 1024}, {6, 4096, 1024}, {1, 384, 384},
                                        {6, 384, 384},   {16, 768, 768},  {64, 384, 384},
                                        {64, 768, 768},  {128, 1536, 384}};
    static const dynq_format formats[] = {DYNQ_FORMAT_FP32, DYNQ_FORMAT_FP16, DYNQ_FORMAT_BF16,
                                          DYNQ_FORMAT_BF16};
    kernel_case cases[WAY_COUNT];
    double seconds[WAY_COUNT];
    for (int way = 0; way < WAY_COUNT; way++) {
        case_create(&cases[way]);
    }
    puts("\ngemm_f32: Gop/s, and how many times that with FP16, BF16, the dot product of BF16");
    print_head("                    M x K x N", kernels, count);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const case_shape *s = &shapes[i];
        for (int way = 0; way < WAY_COUNT; way++) {
            case_begin(&cases[way], 0, check_gemm_f32.name, 0);
            cases[way].timed = s;
            cases[way].timed_format = formats[way];
            check_gemm_f32.make(&cases[way]);
        }
        printf("%15zu x %4zu x %4zu     ", s->rows, s->k, s->columns);
        for (size_t j = 0; j < count; j++) {
            const int dot = dynq_kernel_bf16(kernels[j], dynq_cpu_features()) != NULL;
            time_ways(cases, kernels[j], dot ? WAY_COUNT : WAY_DOT, seconds);
            printf("  %6.1f %4.2f %4.2f",
                   2e-9 * (double)(s->rows * s->k * s->columns) / seconds[WAY_FP32],
                   seconds[WAY_FP32] / seconds[WAY_FP16], seconds[WAY_FP32] / seconds[WAY_BF16]);
            dot ? printf(" %4.2f", seconds[WAY_FP32] / seconds[WAY_DOT]) : printf("     ");
        }
        puts("");
        fflush(stdout);
    }
    for (int way = 0; way < WAY_COUNT; way++) {
        case_free(&cases[way]);
    }
}

void bench_kernels(const dynq_kernel *const *kernels, size_t count)
{
    static const char *const activations[] = {"",      " relu",    " gelu",
                                              " tanh", " sigmoid", " gelu_tanh"};
    kernel_case c;
    case_create(&c);
    print_head("Gop/s (times ref)     M x K x N", kernels, count);
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        const case_shape *s = &products[i].shape;
        printf("%-14s %3zu x %4zu x %4zu ", products[i].function->name, s->rows, s->k, s->columns);
        print_speeds(&c, &products[i], 2.0 * (double)(s->rows * s->columns * s->k), kernels, count);
    }
    bench_halves(kernels, count);
    bench_codes(kernels, count);
    puts("");
    print_head("Gop/s (times ref)   rows x columns", kernels, count);
    for (size_t i = 0; i < sizeof attentions / sizeof attentions[0]; i++) {
        const case_shape *s = &attentions[i].shape;
        printf("%-18s %5zu x %4zu   ", attentions[i].function->name, s->rows, s->columns);
        print_speeds(&c, &attentions[i], 4.0 * (double)(s->rows * s->rows * s->columns), kernels,
                     count);
    }
    puts("");
    print_head("elements/ns (times ref)", kernels, count);
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        const case_shape *s = &functions[i].shape;
        printf("%-12s%-11s%4zu x %4zu", functions[i].function->name,
               activations[functions[i].activation], s->rows, s->columns);
        print_speeds(&c, &functions[i], (double)(s->rows * s->columns), kernels, count);
    }
    case_free(&c);
}
