/* Measures what a busy neighbour costs: a loop that never ends is bound to one of two CPUs, and the
 * same session runs on one thread (bound to the other CPU) and on two threads (on both). Not a
 * test; run it on a machine that is otherwise idle:
 *   build-test/tests/bench-threads */
#include <dynq/dynq.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 12, MAX_WIDTHS = 4, ROUND_NS = 100000000, WARM_NS = 20000000 };

typedef struct network {
    const char *name;
    size_t rows;
    size_t widths[MAX_WIDTHS + 1]; /* columns of the input and of each layer; 0 ends */
} network;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void bind_to(int first, int last)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    CPU_SET(last, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("bench-threads: needs CPUs 0 and 1");
        exit(1);
    }
}

static void check(dynq_status status, const dynq_error *error)
{
    if (status != DYNQ_OK) {
        fprintf(stderr, "bench-threads: %s\n", error->message);
        exit(1);
    }
}

/* Columns of the output. */
static size_t last_width(const network *net)
{
    size_t i = 0;
    while (net->widths[i + 1] != 0) {
        i++;
    }
    return net->widths[i];
}

static float *numbers(size_t count)
{
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; x != NULL && i < count; i++) {
        x[i] = (float)(i * 2654435761u >> 8 & 0xffff) / 65536.0f - 0.5f;
    }
    if (x == NULL) {
        fprintf(stderr, "bench-threads: out of memory\n");
        exit(1);
    }
    return x;
}

static dynq_model *make_model(const network *net)
{
    dynq_error error = {0};
    dynq_graph *g = dynq_graph_create(NULL);
    dynq_value h = dynq_input(g, "x", net->widths[0]);
    for (size_t i = 0; net->widths[i + 1] != 0; i++) {
        const size_t k = net->widths[i], n = net->widths[i + 1];
        float *weights = numbers(n * k);
        const dynq_tensor w = {.dtype = DYNQ_F32, .rank = 2, .shape = {n, k}, .data = weights};
        char linear[16], relu[16];
        snprintf(linear, sizeof linear, "fc%zu", i);
        snprintf(relu, sizeof relu, "relu%zu", i);
        h = dynq_relu(g, relu, dynq_linear(g, linear, h, &w, NULL));
        free(weights);
    }
    dynq_output(g, "y", h);
    dynq_model *fp32 = NULL, *int8 = NULL;
    check(dynq_graph_finish(g, &fp32, &error), &error);
    check(dynq_quantize(fp32, NULL, &int8, &error), &error);
    dynq_model_free(fp32);
    return int8;
}

typedef struct measured {
    dynq_session *session;
    int first_cpu, last_cpu;
    double total_ns;
    size_t runs;
} measured;

/* Runs for about one round; adds to the sums. */
static void measure(const network *net, float *x, float *y, measured *m)
{
    dynq_error error = {0};
    const dynq_batch batch = {.size = sizeof batch, .rows = net->rows};
    const dynq_binding io[] = {
        {.slot = 0, .data = x, .bytes = net->rows * net->widths[0] * sizeof *x},
        {.slot = 1, .data = y, .bytes = net->rows * last_width(net) * sizeof *y}};
    bind_to(m->first_cpu, m->last_cpu);
    for (const double begin = now_ns(); now_ns() - begin < WARM_NS;) {
        check(dynq_session_run(m->session, &batch, io, 2, &error), &error);
    }
    const double begin = now_ns();
    double end = begin;
    while (end - begin < ROUND_NS) {
        check(dynq_session_run(m->session, &batch, io, 2, &error), &error);
        m->runs++;
        end = now_ns();
    }
    m->total_ns += end - begin;
}

static void compare(const network *net, int busy_cpu)
{
    dynq_model *model = make_model(net);
    float *x = numbers(net->rows * net->widths[0]);
    float *y = numbers(net->rows * last_width(net));
    dynq_error error = {0};
    measured m[2] = {{.first_cpu = 1 - busy_cpu, .last_cpu = 1 - busy_cpu}, {.last_cpu = 1}};
    for (uint32_t i = 0; i < 2; i++) {
        const dynq_session_options options = {
            .size = sizeof options, .max_rows = net->rows, .threads = i + 1};
        bind_to(0, 1);
        check(dynq_session_create(model, &options, &m[i].session, &error), &error);
    }
    for (int round = 0; round < ROUNDS; round++) {
        measure(net, x, y, &m[0]);
        measure(net, x, y, &m[1]);
    }
    const double one = 1e-3 * m[0].total_ns / (double)m[0].runs;
    const double two = 1e-3 * m[1].total_ns / (double)m[1].runs;
    printf("%-22s %6zu rows  1 thread %10.2f us  2 threads %10.2f us  ratio %.2f\n", net->name,
           net->rows, one, two, two / one);
    for (size_t i = 0; i < 2; i++) {
        dynq_session_free(m[i].session);
    }
    dynq_model_free(model);
    free(x);
    free(y);
}

/* A process that keeps one CPU busy until this one ends. */
static pid_t start_busy_loop(int cpu)
{
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bind_to(cpu, cpu);
        for (volatile unsigned long turns = 0;; turns++) {
        }
    }
    return child;
}

int main(void)
{
    static const network networks[] = {
        {"784-256-128-10", 1, {784, 256, 128, 10, 0}},
        {"784-256-128-10", 64, {784, 256, 128, 10, 0}},
        {"768-3072", 16, {768, 3072, 0}},
        {"4096-4096", 64, {4096, 4096, 0}},
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int busy = -1; busy < 2; busy++) {
        printf(busy < 0 ? "no busy loop\n" : "busy loop on CPU %d\n", busy);
        const pid_t child = busy < 0 ? -1 : start_busy_loop(busy);
        for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
            compare(&networks[i], busy < 0 ? 0 : busy);
        }
        if (child > 0) {
            kill(child, SIGKILL);
        }
    }
    return 0;
}
