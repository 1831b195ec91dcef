#include "tools/bench_gemm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/allocate.h"
#include "tools/engines.h"
#include "tools/machine.h"

#define MOST_ROWS 1048576

static const option_entry entries[] = {
    {.name = "shapes",
     .letter = 's',
     .kind = OPTION_STRING,
     .offset = offsetof(gemm_options, shapes),
     .argument = "MxKxN,...",
     .help = "rows, inputs and outputs of the layers (default: M 1, 2, 4, 8, 12, 16, 24, 32, 64, "
             "128, 512 of K x N 384x384, 384x1536, 1536x384, 768x3072, 3072x768, 4096x4096)"},
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_SIZES,
     .offset = offsetof(gemm_options, threads),
     .argument = "N,...",
     .help = "threads to work with, at most one per usable CPU",
     .initial = "1",
     .low = 1,
     .high = 256},
    {.name = "weights",
     .kind = OPTION_CHOICE,
     .offset = offsetof(gemm_options, weights),
     .argument = "WHERE",
     .help = "hot: the same weights in every call; cold: each call takes the next of copies that "
             "are larger than the last-level cache; both",
     .initial = "hot",
     .choices = "hot|cold|both"},
    {.name = "cold",
     .kind = OPTION_FLAG,
     .offset = offsetof(gemm_options, cold),
     .help = "the same as --weights cold"},
    {.name = "cold-mib",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(gemm_options, cold_mib),
     .argument = "N",
     .help =
         "MiB that the copies of cold weights fill; 0: a quarter more than the last-level cache",
     .initial = "0",
     .high = 1048576},
    {.name = "repeat",
     .kind = OPTION_UNSIGNED,
     .offset = offsetof(gemm_options, repeat),
     .argument = "N",
     .help = "rounds, each as many calls of every engine as take a quarter of a millisecond; 0: "
             "up to 100 in about two seconds, at least 7",
     .initial = "0",
     .high = 1000000},
    {.name = "engine",
     .kind = OPTION_STRING,
     .offset = offsetof(gemm_options, engines),
     .argument = "NAME,...",
     .help = "measure these engines only: native, onednn, openblas (default: all of this build)"},
    {.name = "scheme",
     .kind = OPTION_CHOICE,
     .offset = offsetof(gemm_options, scheme),
     .argument = "SCHEME",
     .help = "of the ranges: affine or symmetric",
     .initial = "affine",
     .choices = "affine|symmetric"},
    {.name = "granularity",
     .kind = OPTION_CHOICE,
     .offset = offsetof(gemm_options, granularity),
     .argument = "SCOPE",
     .help = "of dynamic ranges: tensor (one for all rows) or row",
     .initial = "tensor",
     .choices = "tensor|row"},
    {.name = NULL},
};

static void add_shape(gemm_bench *self, gemm_shape shape)
{
    self->shapes = allocate_again(self->shapes, self->shape_count + 1, sizeof *self->shapes);
    self->shapes[self->shape_count++] = shape;
}

static void add_default_shapes(gemm_bench *self)
{
    static const size_t rows[] = {1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 512};
    static const size_t layers[][2] = {{384, 384},  {384, 1536}, {1536, 384},
                                       {768, 3072}, {3072, 768}, {4096, 4096}};
    for (size_t layer = 0; layer < sizeof layers / sizeof *layers; layer++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            add_shape(self, (gemm_shape){rows[i], layers[layer][0], layers[layer][1]});
        }
    }
}

/* The number at *text, which is moved behind it; 0 if there is none from 1 to `limit`. */
static size_t read_size(const char **text, size_t limit)
{
    size_t value = 0;
    const char *digit = *text;
    for (; isdigit((unsigned char)*digit) && value <= limit; digit++) {
        value = 10 * value + (size_t)(*digit - '0');
    }
    *text = digit;
    return value <= limit ? value : 0;
}

static exit_code read_shapes(gemm_bench *self)
{
    const char *text = self->options->shapes;
    const command *own = self->call->command;
    while (text != NULL) {
        const int length = (int)strcspn(text, ",");
        const char *at = text;
        gemm_shape shape = {0};
        shape.m = read_size(&at, MOST_ROWS);
        at += shape.m > 0 && *at == 'x';
        shape.k = shape.m > 0 ? read_size(&at, DYNQ_MAX_COLUMNS) : 0;
        at += shape.k > 0 && *at == 'x';
        shape.n = shape.k > 0 ? read_size(&at, DYNQ_MAX_COLUMNS) : 0;
        if (shape.n == 0 || at != text + length) {
            return command_fail(own, EXIT_CODE_USAGE,
                                "--shapes: '%.*s' is not MxKxN, like 16x768x3072, with M up to %d "
                                "and K and N up to %d",
                                length > 60 ? 60 : length, text, MOST_ROWS, DYNQ_MAX_COLUMNS);
        }
        if (shape.k > DYNQ_MAX_INT8_K) {
            return command_fail(own, EXIT_CODE_USAGE,
                                "--shapes: K %zu of '%.*s': an INT8 layer takes up to %d inputs",
                                shape.k, length, text, DYNQ_MAX_INT8_K);
        }
        add_shape(self, shape);
        text = text[length] == ',' ? text + length + 1 : NULL;
    }
    if (self->shape_count == 0) {
        add_default_shapes(self);
    }
    return EXIT_CODE_DONE;
}

/* Whether `name` is in the list of --engine. */
static int is_listed(const char *list, const char *name)
{
    const size_t length = strlen(name);
    for (const char *item = list; item != NULL;) {
        const size_t item_length = strcspn(item, ",");
        if (item_length == length && strncmp(item, name, length) == 0) {
            return 1;
        }
        item = item[item_length] == ',' ? item + item_length + 1 : NULL;
    }
    return list == NULL;
}

static exit_code check_engines(const gemm_bench *self)
{
    for (const char *item = self->options->engines; item != NULL;) {
        const int length = (int)strcspn(item, ",");
        char name[32];
        snprintf(name, sizeof name, "%.*s", length, item);
        const engine_choice *choice = engine_find(name);
        if (choice == NULL) {
            return command_fail(self->call->command, EXIT_CODE_USAGE,
                                "--engine: '%s' is not accepted; accepted: native,onednn,openblas",
                                name);
        }
        if (!choice->built) {
            return command_fail(self->call->command, EXIT_CODE_USAGE,
                                "--engine: this build lacks the engine '%s'; build it with the "
                                "library installed",
                                name);
        }
        item = item[length] == ',' ? item + length + 1 : NULL;
    }
    return EXIT_CODE_DONE;
}

static void make_lines(gemm_bench *self)
{
    static const gemm_line lines[GEMM_LINES] = {
        [GEMM_DYNAMIC] = {.heading = "int8", .engine = "native", .precision = "int8", .int8 = 1},
        [GEMM_STATIC] = {.heading = "static",
                         .engine = "native",
                         .precision = "int8-static",
                         .int8 = 1},
        [GEMM_ONEDNN_INT8] = {.heading = "dnn-i8",
                              .engine = "onednn",
                              .precision = "int8",
                              .int8 = 1},
        [GEMM_ONEDNN_FP32] = {.heading = "dnn-f32", .engine = "onednn", .precision = "fp32"},
        [GEMM_OPENBLAS_FP32] = {.heading = "blas-f32", .engine = "openblas", .precision = "fp32"},
        [GEMM_NATIVE_FP32] = {.heading = "own-f32", .engine = "native", .precision = "fp32"},
    };
    const char *missing = NULL;
    memcpy(self->lines, lines, sizeof lines);
    for (int i = 0; i < GEMM_LINES; i++) {
        gemm_line *line = &self->lines[i];
        const engine_choice *choice = engine_find(line->engine);
        line->wanted = choice->built && is_listed(self->options->engines, line->engine);
        line->table = choice->built ? engine_table(choice) : NULL;
        if (!choice->built && missing != choice->name) {
            missing = choice->name;
            command_note(self->call, "this build lacks the engine %s: its columns are left out",
                         missing);
        }
    }
}

static int compare_values(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void read_threads(gemm_bench *self)
{
    const option_sizes *asked = &self->options->threads;
    qsort(asked->values, asked->count, sizeof *asked->values, compare_values);
    self->threads = allocate(asked->count, sizeof *self->threads);
    for (size_t i = 0; i < asked->count; i++) {
        const uint32_t usable = self->cpu.usable;
        const uint32_t value = asked->values[i] < usable ? (uint32_t)asked->values[i] : usable;
        if (value < asked->values[i]) {
            command_note(self->call, "%u threads instead of %u: this process may use no more CPUs",
                         value, (unsigned)asked->values[i]);
        }
        if (self->thread_count == 0 || self->threads[self->thread_count - 1] != value) {
            self->threads[self->thread_count++] = value;
        }
    }
}

static void print(const gemm_bench *self)
{
    if (self->call->common.json) {
        gemm_print_json(self);
    } else if (self->call->common.format == TABLE_CSV) {
        gemm_print_csv(self);
    } else {
        gemm_print(self);
    }
}

static exit_code run(const command_call *call)
{
    gemm_bench self = {.call = call, .options = call->options, .kernel = machine_kernel(call)};
    dynq_cpu_query(&self.cpu);
    self.cold_bytes = self.options->cold_mib > 0 ? (size_t)self.options->cold_mib << 20
                                                 : gemm_beyond_caches(&self.cpu);
    exit_code code = read_shapes(&self);
    if (code == EXIT_CODE_DONE) {
        code = check_engines(&self);
    }
    if (code == EXIT_CODE_DONE) {
        make_lines(&self);
        read_threads(&self);
        code = gemm_measure(&self);
    }
    if (code == EXIT_CODE_DONE) {
        print(&self);
    }
    free(self.shapes);
    free(self.threads);
    free(self.rates);
    free(self.points);
    return code;
}

const command command_bench_gemm = {
    .name = "bench gemm",
    .summary = "single layers of any shape, as fractions of what the machine can do",
    .usage = "[options]",
    .description =
        "Measures one linear layer, FP32 in and FP32 out, of random numbers: INT8 with dynamic "
        "and with static ranges, oneDNN INT8 with our range, quantization and epilogue around it, "
        "and FP32 on every engine of this build. All take turns in rounds, together with probes "
        "of the machine: its peak in multiply-adds, and the bandwidth of the level of memory that "
        "the weights come from. The roofline of a layer is the longer of its operations at the "
        "peak and its weights at that bandwidth; activations are not counted.",
    .example = "dynq bench gemm -s 1x768x3072,64x768x3072 -t 1,2 --weights both",
    .entries = entries,
    .options_size = sizeof(gemm_options),
    .min_arguments = 0,
    .max_arguments = 0,
    .argument = "",
    .heeds = COMMAND_KERNEL | COMMAND_SEED | COMMAND_FORMAT,
    .run = run,
};
