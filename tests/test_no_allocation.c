/* A run allocates nothing: counted below the library, in the C library's own functions, which the
 * linker replaces by the ones here for everything in this program (--wrap). */
#include "tests/samples_formats.h"

#include <dynq/dynq.h>

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_uint calls;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __real_realloc(memory, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    atomic_fetch_add(&calls, 1);
    return __real_posix_memalign(memory, alignment, size);
}

enum { WIDTH = 70, ROWS = 33 };

static float numbers[WIDTH * WIDTH], x[ROWS * WIDTH], y[ROWS * WIDTH];

static dynq_model *make_model(void)
{
    const dynq_tensor w = {.dtype = DYNQ_F32, .rank = 2, .shape = {WIDTH, WIDTH}, .data = numbers};
    const dynq_tensor b = {.dtype = DYNQ_F32, .rank = 1, .shape = {WIDTH}, .data = numbers};
    for (size_t i = 0; i < WIDTH * WIDTH; i++) {
        numbers[i] = (float)(i % 13) - 6.0f;
    }
    dynq_graph *g = dynq_graph_create(NULL);
    const dynq_value h =
        dynq_relu(g, "act", dynq_linear(g, "fc1", dynq_input(g, "x", WIDTH), &w, &b));
    dynq_output(g, "y", dynq_softmax(g, "p", dynq_linear(g, "fc2", h, &w, NULL)));
    dynq_model *model = NULL;
    cr_assert_eq(dynq_graph_finish(g, &model, NULL), DYNQ_OK);
    return model;
}

static void run_counted(dynq_model *model, float *in, float *out, size_t columns)
{
    const dynq_session_options options = {.size = sizeof options, .max_rows = ROWS, .threads = 2};
    dynq_session *session = NULL;
    const unsigned before = atomic_load(&calls);
    cr_assert_eq(dynq_session_create(model, &options, &session, NULL), DYNQ_OK);
    const unsigned created = atomic_load(&calls);
    cr_assert_gt(created, before, "the counter sees nothing");
    unsigned failures = 0;
    for (size_t rows = 1; rows <= ROWS; rows++) {
        const dynq_binding io[] = {{.slot = 0, .data = in, .bytes = ROWS * columns * sizeof *in},
                                   {.slot = 1, .data = out, .bytes = ROWS * columns * sizeof *out}};
        const dynq_batch batch = {.size = sizeof batch, .rows = rows};
        failures += dynq_session_run(session, &batch, io, 2, NULL) != DYNQ_OK;
    }
    const unsigned after = atomic_load(&calls);
    cr_assert_eq(failures, 0u);
    cr_assert_eq(after, created);
    dynq_session_free(session);
}

Test(no_allocation, a_run_allocates_nothing)
{
    dynq_model *fp32 = make_model(), *int8 = NULL;
    cr_assert_eq(dynq_quantize(fp32, NULL, &int8, NULL), DYNQ_OK);
    for (size_t i = 0; i < WIDTH; i++) {
        x[i] = (float)i;
    }
    run_counted(fp32, x, y, WIDTH);
    run_counted(int8, x, y, WIDTH);
    dynq_model_free(fp32);
    dynq_model_free(int8);
}

Test(no_allocation, whatever_the_format_of_weights)
{
    static float in[ROWS * SAMPLES_FORMAT_INPUTS], out[ROWS * SAMPLES_FORMAT_INPUTS];
    for (size_t i = 0; i < ROWS * SAMPLES_FORMAT_INPUTS; i++) {
        in[i] = (float)(i % 29) - 9.0f;
    }
    for (size_t f = 0; f < SAMPLES_FORMATS; f++) {
        dynq_model *model = samples_coded(&samples_formats[f], NULL, NULL);
        run_counted(model, in, out, SAMPLES_FORMAT_INPUTS);
        dynq_model_free(model);
    }
}
