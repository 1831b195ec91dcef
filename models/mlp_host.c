/* A host program: loads a quantized MLP, runs one batch and prints the class of each row.
 * cc mlp_host.c $(pkg-config --cflags --libs dynq) -o mlp_host && ./mlp_host mlp-int8.safetensors
 */
#include <dynq/dynq.h>
#include <stdio.h>

enum { ROWS = 8, PIXELS = 784, CLASSES = 10 };

static float images[ROWS * PIXELS], logits[ROWS * CLASSES];

static int largest(const float *x)
{
    int best = 0;
    for (int c = 1; c < CLASSES; c++) {
        best = x[c] > x[best] ? c : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    dynq_error error = {DYNQ_OK, DYNQ_NO_OFFSET, ""};
    dynq_model *model = NULL;
    dynq_session *session = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: mlp_host MODEL\n");
        return 2;
    }
    for (int i = 0; i < ROWS * PIXELS; i++) { /* stripes that get wider from image to image */
        images[i] = (float)(i % PIXELS / (i / PIXELS + 1) % 2);
    }
    dynq_status status = dynq_model_open(argv[1], NULL, &model, &error);
    if (status == DYNQ_OK) {
        static dynq_session_options options; /* all zero: the defaults */
        options.size = sizeof options;
        options.max_rows = ROWS;
        status = dynq_session_create(model, &options, &session, &error);
    }
    if (status == DYNQ_OK) {
        const dynq_binding io[] = {
            {dynq_session_slot(session, "image"), images, sizeof images, 0},
            {dynq_session_slot(session, "logits"), logits, sizeof logits, 0},
        };
        dynq_batch batch = {sizeof batch, ROWS, 0, NULL, NULL};
        status = dynq_session_run(session, &batch, io, 2, &error);
    }
    for (int m = 0; status == DYNQ_OK && m < ROWS; m++) {
        printf("image %d: class %d\n", m, largest(logits + m * CLASSES));
    }
    if (status != DYNQ_OK) {
        fprintf(stderr, "mlp_host: %s\n", error.message);
    }
    dynq_session_free(session);
    dynq_model_free(model);
    return status != DYNQ_OK;
}
