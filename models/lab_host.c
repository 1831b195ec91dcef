/* A host program with an accuracy lab of its own: calibrates an FP32 model, quantizes it with
 * static and with dynamic ranges, and prints what each node then does alone and along the chain,
 * and how much answers change with their neighbours in a batch. The data are made up. cc lab_host.c
 * $(pkg-config --cflags --libs dynq) -o lab_host
 * ./lab_host fashion-mnist-mlp.safetensors */
#include <dynq/dynq.h>
#include <stdio.h>

enum { CALIBRATED = 512, COMPARED = 256, ROWS = CALIBRATED + COMPARED, PIXELS = 784 };

static float images[ROWS * PIXELS];

/* Stripes of any width, angle and brightness. */
static void draw(void)
{
    for (int m = 0; m < ROWS; m++) {
        const int across = m % 7 + 1, down = m % 5 + 1, width = m % 11 + 2;
        for (int i = 0; i < PIXELS; i++) {
            const int place = i % 28 * across + i / 28 * down;
            images[m * PIXELS + i] = (float)(place / width % 2 * (m % 13 + 1)) / 13.0f;
        }
    }
}

static dynq_status quantize(dynq_model *model, dynq_model **fixed, dynq_model **dynamic,
                            dynq_error *error)
{
    dynq_calibration *calibration = NULL;
    dynq_status status = dynq_calibration_create(model, NULL, &calibration, error);
    if (status == DYNQ_OK) {
        status = dynq_calibration_run(calibration, model, images, CALIBRATED, 0, 1, error);
    }
    if (status == DYNQ_OK) {
        const dynq_quantize_options options = {.size = sizeof options,
                                               .range = DYNQ_RANGE_STATIC,
                                               .calibration = calibration,
                                               .method = DYNQ_METHOD_ENTROPY};
        status = dynq_quantize(model, &options, fixed, error);
    }
    if (status == DYNQ_OK) {
        status = dynq_quantize(model, NULL, dynamic, error);
    }
    dynq_calibration_free(calibration);
    return status;
}

static void print_nodes(const dynq_comparison *comparison, size_t variant)
{
    for (size_t i = 0; i < dynq_comparison_node_count(comparison, variant); i++) {
        dynq_comparison_node node = {.size = sizeof node};
        if (dynq_comparison_get(comparison, variant, i, &node) == DYNQ_OK && node.own.rows > 0) {
            printf("  %-8s alone %5.1f dB, in the chain %5.1f dB, %llu of %llu inputs clipped\n",
                   node.name, dynq_metrics_result(&node.own).sqnr_db,
                   dynq_metrics_result(&node.chain).sqnr_db, (unsigned long long)node.outside,
                   (unsigned long long)node.inputs);
        }
    }
}

/* Each image is a request; none of them was calibrated on. */
static dynq_status compare(dynq_model *model, dynq_model *fixed, dynq_model *dynamic,
                           dynq_error *error)
{
    static const char *const names[] = {"static entropy", "dynamic"};
    const dynq_variant variants[] = {
        {.size = sizeof(dynq_variant), .model = model},
        {.size = sizeof(dynq_variant), .model = fixed},
        {.size = sizeof(dynq_variant), .model = dynamic},
    };
    const dynq_comparison_options options = {.size = sizeof options, .max_rows = COMPARED};
    dynq_comparison *comparison = NULL;
    dynq_status status = dynq_comparison_create(variants, 3, &options, &comparison, error);
    if (status == DYNQ_OK) {
        const dynq_binding input = {.slot = dynq_comparison_slot(comparison, "image"),
                                    .data = images + CALIBRATED * PIXELS,
                                    .bytes = COMPARED * PIXELS * sizeof *images};
        size_t offsets[COMPARED + 1];
        for (size_t i = 0; i <= COMPARED; i++) {
            offsets[i] = i;
        }
        const dynq_batch batch = {
            .size = sizeof batch, .rows = COMPARED, .segments = COMPARED, .offsets = offsets};
        status = dynq_comparison_run(comparison, &batch, &input, 1, error);
    }
    for (size_t v = 1; status == DYNQ_OK && v <= 2; v++) {
        const dynq_metrics metrics = dynq_comparison_metrics(comparison, v);
        const dynq_metrics_summary summary = dynq_metrics_result(&metrics);
        printf("%s: %.1f dB, cosine %.5f, %.1f %% the same class\n", names[v - 1], summary.sqnr_db,
               summary.cosine_mean, 100 * summary.top1_agreement);
        print_nodes(comparison, v);
    }
    dynq_comparison_free(comparison);
    return status;
}

/* The dynamic model with a range for each request, as it was quantized, and for the whole batch. */
static dynq_status neighbours(dynq_model *dynamic, dynq_error *error)
{
    static const dynq_scope scopes[] = {DYNQ_SCOPE_SEGMENT, DYNQ_SCOPE_TENSOR};
    const void *inputs[] = {images + CALIBRATED * PIXELS};
    size_t offsets[COMPARED + 1];
    for (size_t i = 0; i <= COMPARED; i++) {
        offsets[i] = i;
    }
    const dynq_request_set requests = {
        .size = sizeof requests, .count = COMPARED, .offsets = offsets, .inputs = inputs};
    dynq_status status = DYNQ_OK;
    for (size_t i = 0; i < 2 && status == DYNQ_OK; i++) {
        const dynq_batch_effect_options options = {.size = sizeof options, .scope = scopes[i]};
        dynq_batch_effect_result effect = {.size = sizeof effect};
        status = dynq_batch_effect(dynamic, &requests, &options, &effect, error);
        if (status == DYNQ_OK) {
            printf("ranges per %s: %s, answers move by %.3f %% on average, %.3f %% at worst\n",
                   dynq_scope_name(scopes[i]),
                   effect.identical ? "the same bytes in any batch" : "neighbours matter",
                   100 * effect.mean, 100 * effect.worst);
        }
    }
    return status;
}

int main(int argc, char **argv)
{
    dynq_error error = {DYNQ_OK, DYNQ_NO_OFFSET, ""};
    dynq_model *model = NULL, *fixed = NULL, *dynamic = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: lab_host MODEL\n");
        return 2;
    }
    draw();
    dynq_status status = dynq_model_open(argv[1], NULL, &model, &error);
    if (status == DYNQ_OK) {
        status = quantize(model, &fixed, &dynamic, &error);
    }
    if (status == DYNQ_OK) {
        status = compare(model, fixed, dynamic, &error);
    }
    if (status == DYNQ_OK) {
        status = neighbours(dynamic, &error);
    }
    if (status != DYNQ_OK) {
        fprintf(stderr, "lab_host: %s\n", error.message);
    }
    dynq_model_free(dynamic);
    dynq_model_free(fixed);
    dynq_model_free(model);
    return status != DYNQ_OK;
}
