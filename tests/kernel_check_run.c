/* One call of a kernel: caught where it leaves its memory, and compared with "ref". */
#include "tests/kernel_check.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

enum { CANARY = 256, CANARY_BYTE = 0xA5 };

/* Adds to what is wrong. */
static void say(kernel_case *c, const char *format, ...)
{
    va_list arguments;
    const size_t used = strlen(c->reason);
    va_start(arguments, format);
    vsnprintf(c->reason + used, sizeof c->reason - used, format, arguments);
    va_end(arguments);
}

/* Where a signal goes back to while a kernel runs; a handler can only be reached through globals.
 */
static sigjmp_buf escape;
static volatile sig_atomic_t running;
static uint8_t *volatile fault_address;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!running) {
        signal(number, SIG_DFL); /* our own mistake: the instruction is run again and ends us */
        return;
    }
    fault_address = info->si_addr;
    siglongjmp(escape, number);
}

void case_catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], &action, NULL);
    }
}

/* Whether `address` is in the memory of `what` or in the pages around it; says where. */
static int explain(kernel_case *c, const guarded *memory, const char *what)
{
    if (fault_address < memory->mapping ||
        fault_address >= memory->mapping + memory->mapping_bytes) {
        return 0;
    }
    const ptrdiff_t offset = fault_address - memory->bytes;
    if (offset < 0) {
        say(c, " at %s, %td bytes into the page before", what, -offset);
    } else if (offset >= (ptrdiff_t)memory->size) {
        say(c, " at %s, byte %td of the page behind", what, offset - (ptrdiff_t)memory->size);
    } else {
        say(c, " at %s, which is not to be written", what);
    }
    return 1;
}

static void print_fault(kernel_case *c, int number)
{
    static const char *const names[INPUT_COUNT] = {
        "x or q",          "the panels",        "the products",    "the second operand",
        "the keys",        "the values",        "the weights",     "the bias",
        "the residual",    "the column scales", "the column sums", "the row scales",
        "the zero points", "the ids",           "the levels"};
    say(c, "%s",
        number == SIGILL   ? "an instruction that this CPU has not"
        : number == SIGFPE ? "an arithmetic trap"
                           : "an access outside");
    int explained = number == SIGILL || number == SIGFPE;
    for (int i = 0; i < INPUT_COUNT && !explained; i++) {
        explained = explain(c, &c->inputs[i], names[i]);
    }
    for (size_t i = 0; i < c->output_count && !explained; i++) {
        explained = explain(c, &c->outputs[i].memory, c->outputs[i].name);
    }
    if (!explained) {
        say(c, " of all operands");
    }
}

/* The mapped bytes on both sides of a result, as many as are looked at. */
typedef struct margins {
    uint8_t *before, *behind;
    size_t before_size, behind_size;
} margins;

static margins margins_of(const case_output *output)
{
    const size_t offset = (size_t)(output->place - output->memory.bytes);
    const size_t rest = output->memory.size - offset - output->bytes;
    margins m = {.before_size = offset < CANARY ? offset : CANARY,
                 .behind_size = rest < CANARY ? rest : CANARY};
    m.before = output->place - m.before_size;
    m.behind = output->place + output->bytes;
    return m;
}

static void reset_outputs(const kernel_case *c)
{
    for (size_t i = 0; i < c->output_count; i++) {
        const case_output *output = &c->outputs[i];
        const margins m = margins_of(output);
        memcpy(output->place, output->initial, output->bytes);
        memset(m.before, CANARY_BYTE, m.before_size);
        memset(m.behind, CANARY_BYTE, m.behind_size);
    }
}

static int is_canary(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != CANARY_BYTE) {
            return 0;
        }
    }
    return 1;
}

static int canaries_live(kernel_case *c)
{
    for (size_t i = 0; i < c->output_count; i++) {
        const margins m = margins_of(&c->outputs[i]);
        const int before = is_canary(m.before, m.before_size);
        if (!before || !is_canary(m.behind, m.behind_size)) {
            say(c, "%s: a write %s it", c->outputs[i].name, before ? "behind" : "before");
            return 0;
        }
    }
    return 1;
}

/* Calls the kernel; whether it stayed in its memory. */
static int call(kernel_case *c, const check_function *function, const dynq_kernel *kernel)
{
    c->reason[0] = '\0';
    reset_outputs(c);
    const int number = sigsetjmp(escape, 0);
    if (number != 0) {
        running = 0;
        print_fault(c, number);
        return 0;
    }
    running = 1;
    function->run(c, kernel);
    running = 0;
    return canaries_live(c);
}

static int is_nan(uint32_t bits)
{
    return (bits & 0x7FFFFFFF) > 0x7F800000;
}

static int is_finite(const dynq_range_bits *range)
{
    return range->high < 0x7F800000 && range->low < 0xFF800000;
}

static int elements_equal(const case_output *output, size_t at)
{
    if (output->kind == OUTPUT_CODES) {
        return output->place[at] == output->expected[at];
    }
    if (output->kind == OUTPUT_INTEGERS || output->kind == OUTPUT_FLOATS) {
        const uint32_t a = ((const uint32_t *)(const void *)output->place)[at];
        const uint32_t b = ((const uint32_t *)(const void *)output->expected)[at];
        return a == b || (output->kind == OUTPUT_FLOATS && is_nan(a) && is_nan(b));
    }
    const dynq_range_bits *a = (const dynq_range_bits *)(const void *)output->place + at;
    const dynq_range_bits *b = (const dynq_range_bits *)(const void *)output->expected + at;
    return (a->high == b->high && a->low == b->low) ||
           (output->kind == OUTPUT_RESULT_RANGES && !is_finite(a) && !is_finite(b));
}

static void print_element(kernel_case *c, const case_output *output, const uint8_t *elements,
                          size_t at)
{
    if (output->kind == OUTPUT_CODES) {
        say(c, "%d", elements[at]);
    } else if (output->kind == OUTPUT_INTEGERS) {
        say(c, "%" PRId32, ((const int32_t *)(const void *)elements)[at]);
    } else if (output->kind == OUTPUT_FLOATS) {
        say(c, "%a", (double)((const float *)(const void *)elements)[at]);
    } else {
        const dynq_range_bits *range = (const dynq_range_bits *)(const void *)elements + at;
        say(c, "{%#" PRIx32 ", %#" PRIx32 "}", (uint32_t)range->high, range->low);
    }
}

static int output_equal(kernel_case *c, const case_output *output)
{
    if (output->kind == OUTPUT_SCRATCH ||
        memcmp(output->place, output->expected, output->bytes) == 0) {
        return 1;
    }
    const size_t count = case_span(output->rows, output->stride, output->columns);
    size_t at = 0;
    while (at < count && elements_equal(output, at)) {
        at++;
    }
    if (at == count) {
        return 1;
    }
    const size_t row = at / output->stride, column = at % output->stride;
    say(c, "%s[%zu][%zu]%s is ", output->name, row, column,
        column >= output->columns ? ", between two rows," : "");
    print_element(c, output, output->place, at);
    say(c, ", not ");
    print_element(c, output, output->expected, at);
    return 0;
}

/* What lies between two rows is not the function's. The others are compared with "ref" there. */
static int gaps_kept(kernel_case *c, const case_output *output)
{
    const size_t element = output->bytes / case_span(output->rows, output->stride, output->columns);
    const size_t row = output->stride * element, used = output->columns * element;
    for (size_t m = 1; m < output->rows; m++) {
        const size_t gap = m * row - (row - used);
        if (memcmp(output->place + gap, output->initial + gap, row - used) != 0) {
            say(c, "%s: a write between two rows", output->name);
            return 0;
        }
    }
    return 1;
}

int case_run_reference(kernel_case *c, const check_function *function, const dynq_kernel *ref)
{
    if (!call(c, function, ref)) {
        return 0;
    }
    for (size_t i = 0; i < c->output_count; i++) {
        if (!gaps_kept(c, &c->outputs[i])) {
            return 0;
        }
        memcpy(c->outputs[i].expected, c->outputs[i].place, c->outputs[i].bytes);
    }
    return 1;
}

int case_run(kernel_case *c, const check_function *function, const dynq_kernel *kernel)
{
    if (!call(c, function, kernel)) {
        return 0;
    }
    for (size_t i = 0; i < c->output_count; i++) {
        if (!output_equal(c, &c->outputs[i])) {
            return 0;
        }
    }
    return 1;
}
