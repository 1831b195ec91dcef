/* Checks and times every kernel of the table that this CPU runs against "ref", bit for bit, on
 * random cases in memory that ends at an unmapped page. Needs the kernels and the C library alone.
 */
#include "tests/kernel_check.h"

#include "src/cpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KERNELS = 32, EXIT_USAGE = 2 };

static const char usage[] =
    "usage: dynq-kernel-check [--cases N] [--seed S] [--slack B] [--kernel NAME] [--function "
    "NAME]\n"
    "                         [--case I]\n"
    "       dynq-kernel-check --bench [--kernel NAME]\n"
    "       dynq-kernel-check --list\n"
    "\n"
    "Compares every function of every kernel that this CPU runs with \"ref\", bit for bit.\n"
    "  --cases N        random cases of each function (20000)\n"
    "  --seed S         other cases (1)\n"
    "  --slack B        memory B bytes (a multiple of 64) from the unmapped pages (0), for "
    "emulators\n"
    "                   that read all lanes of a masked load\n"
    "  --kernel NAME    only this kernel\n"
    "  --function NAME  only this function\n"
    "  --case I         only this case, counted from 0; as a failure prints it\n"
    "  --bench          times gemm_s8, gemm_f32 and the functions of floats instead\n"
    "  --list           shows the kernels, best first, and what they need instead\n";

typedef struct settings {
    uint64_t cases, seed, slack, single;
    int has_single, bench, list;
    const char *kernel, *function;
} settings;

typedef struct check {
    settings options;
    const char *program;
    const dynq_kernel *kernels[MOST_KERNELS]; /* what is checked, "ref" last if it is among them */
    size_t kernel_count;
    const dynq_kernel *ref;
    size_t passed, failed; /* functions of kernels */
} check;

static const check_function *const functions[] = {
    &check_gemm_s8,      &check_gemm_f32,  &check_epilogue_s32,  &check_epilogue_f32,
    &check_range,        &check_quantize,  &check_activate,      &check_add,
    &check_multiply,     &check_softmax,   &check_layer_norm,    &check_embed,
    &check_pool,         &check_normalize, &check_attention_f32, &check_attention_prepare,
    &check_attention_s8, &check_errors};

_Static_assert(sizeof functions / sizeof functions[0] ==
                   (offsetof(dynq_kernel, probe_s8) - offsetof(dynq_kernel, gemm_s8)) /
                       sizeof(void (*)(void)),
               "every function of the kernel table that has results is checked");

const check_function *check_function_at(size_t index)
{
    return index < sizeof functions / sizeof functions[0] ? functions[index] : NULL;
}

const check_function *check_function_find(const char *name)
{
    const check_function *function = NULL;
    for (size_t i = 0; (function = check_function_at(i)) != NULL; i++) {
        if (strcmp(function->name, name) == 0) {
            break;
        }
    }
    return function;
}

static int parse_number(const char *text, uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long number = text != NULL ? strtoull(text, &end, 0) : 0;
    if (text == NULL || end == text || *end != '\0' || *text == '-' || errno != 0) {
        return 0;
    }
    *value = number;
    return 1;
}

/* Whether the option is one and `value` fits it; *used: it has taken the value. */
static int parse_option(settings *s, const char *option, const char *value, int *used)
{
    *used = 1;
    if (strcmp(option, "--cases") == 0) {
        return parse_number(value, &s->cases);
    }
    if (strcmp(option, "--seed") == 0) {
        return parse_number(value, &s->seed);
    }
    if (strcmp(option, "--slack") == 0) {
        return parse_number(value, &s->slack) && s->slack % 64 == 0 && s->slack <= CASE_MOST_SLACK;
    }
    if (strcmp(option, "--case") == 0) {
        s->has_single = 1;
        return parse_number(value, &s->single);
    }
    if (strcmp(option, "--kernel") == 0) {
        s->kernel = value;
        return value != NULL && dynq_kernel_find(value) != NULL;
    }
    if (strcmp(option, "--function") == 0) {
        s->function = value;
        return value != NULL && check_function_find(value) != NULL;
    }
    *used = 0;
    s->bench |= strcmp(option, "--bench") == 0;
    s->list |= strcmp(option, "--list") == 0;
    return strcmp(option, "--bench") == 0 || strcmp(option, "--list") == 0;
}

static int parse(settings *s, int count, char **arguments)
{
    *s = (settings){.cases = 20000, .seed = 1};
    for (int i = 1; i < count; i++) {
        int used;
        if (!parse_option(s, arguments[i], i + 1 < count ? arguments[i + 1] : NULL, &used)) {
            fprintf(stderr, "dynq-kernel-check: what is meant by %s %s?\n%s", arguments[i],
                    used && i + 1 < count ? arguments[i + 1] : "", usage);
            return 0;
        }
        i += used;
    }
    return 1;
}

static void print_features(uint32_t features)
{
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((features & bit) != 0) {
            const char *name = dynq_cpu_feature_name(bit);
            printf(" %s", name != NULL ? name : "?");
        }
    }
    puts("");
}

/* Kernel, whether it runs here, and the features it needs, one kernel to a line, best first. */
static void list_kernels(void)
{
    const uint32_t features = dynq_cpu_features();
    const dynq_kernel *kernel = NULL;
    for (size_t i = 0; (kernel = dynq_kernel_at(i)) != NULL; i++) {
        const int runs = (kernel->features & ~features) == 0;
        printf("%-20s %-8s", kernel->name,
               kernel == dynq_kernel_best(features) ? "chosen"
               : runs                               ? "runs"
                                                    : "skipped");
        print_features(kernel->features);
    }
}

/* Says what cannot run; whether something can. */
static int select_kernels(check *self)
{
    const uint32_t features = dynq_cpu_features();
    const dynq_kernel *kernel = NULL;
    self->ref = dynq_kernel_best(0);
    for (size_t i = 0; (kernel = dynq_kernel_at(i)) != NULL; i++) {
        const uint32_t missing = kernel->features & ~features;
        if (self->options.kernel != NULL && strcmp(kernel->name, self->options.kernel) != 0) {
            continue;
        }
        if (missing != 0) {
            printf("%s skipped, this CPU lacks:", kernel->name);
            print_features(missing);
        } else if (self->kernel_count < MOST_KERNELS) {
            self->kernels[self->kernel_count++] = kernel;
        }
    }
    return self->kernel_count > 0;
}

static void print_failure(const check *self, const kernel_case *c, const check_function *function,
                          const dynq_kernel *kernel)
{
    printf("%s of %s, case %zu: %s\n    ", function->name, kernel->name, c->index, c->reason);
    function->describe(c, stdout);
    printf(", memory %s an unmapped page\n    again: %s --seed %" PRIu64 " --slack %" PRIu64
           " --function %s --case %zu --kernel %s\n",
           c->at_end ? "ends at" : "begins behind", self->program, self->options.seed,
           self->options.slack, function->name, c->index, kernel->name);
    fflush(stdout);
}

/* One case through all kernels that have not failed yet. */
static void check_case(const check *self, kernel_case *c, const check_function *function,
                       size_t index, int failed[MOST_KERNELS])
{
    case_begin(c, self->options.seed, function->name, index);
    function->make(c);
    const int specified = case_run_reference(c, function, self->ref);
    if (!specified) {
        print_failure(self, c, function, self->ref);
    }
    for (size_t i = 0; i < self->kernel_count; i++) {
        if (!specified) {
            failed[i] = 1;
        } else if (!failed[i] && self->kernels[i] != self->ref &&
                   !case_run(c, function, self->kernels[i])) {
            print_failure(self, c, function, self->kernels[i]);
            failed[i] = 1;
        }
    }
}

static int any_left(const check *self, const int failed[MOST_KERNELS])
{
    for (size_t i = 0; i < self->kernel_count; i++) {
        if (!failed[i]) {
            return 1;
        }
    }
    return 0;
}

static void check_one_function(check *self, kernel_case *c, const check_function *function)
{
    int failed[MOST_KERNELS] = {0};
    const settings *s = &self->options;
    const size_t count = s->has_single ? 1 : (size_t)s->cases;
    for (size_t i = 0; i < count && any_left(self, failed); i++) {
        check_case(self, c, function, s->has_single ? (size_t)s->single : i, failed);
    }
    printf("%-14s %8zu cases:", function->name, count);
    for (size_t i = 0; i < self->kernel_count; i++) {
        printf("  %s %s", self->kernels[i]->name, failed[i] ? "FAILED" : "ok");
        self->passed += !failed[i];
        self->failed += (size_t)failed[i];
    }
    puts("");
    fflush(stdout);
}

static int check_all(check *self)
{
    kernel_case c;
    const check_function *function = NULL;
    case_create(&c);
    c.slack = (size_t)self->options.slack;
    case_catch_signals();
    for (size_t i = 0; (function = check_function_at(i)) != NULL; i++) {
        if (self->options.function == NULL || strcmp(function->name, self->options.function) == 0) {
            check_one_function(self, &c, function);
        }
    }
    case_free(&c);
    printf("%zu passed, %zu failed\n", self->passed, self->failed);
    return self->failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int count, char **arguments)
{
    check self = {.program = arguments[0]};
    if (!parse(&self.options, count, arguments)) {
        return EXIT_USAGE;
    }
    if (self.options.list) {
        list_kernels();
        return EXIT_SUCCESS;
    }
    if (!select_kernels(&self)) {
        return EXIT_USAGE;
    }
    if (self.options.bench) {
        bench_kernels(self.kernels, self.kernel_count);
        return EXIT_SUCCESS;
    }
    return check_all(&self);
}
