/* libFuzzer: any bytes as a calibration file.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. -Iinclude \
 *         tests/fuzz/fuzz_calibration.c SOURCES -ljansson -lm -o fuzz_calibration
 *     ./fuzz_calibration CORPUS
 */
#include <dynq/calibration.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool right)
{
    if (!right) {
        abort();
    }
}

static void use_ranges(const dynq_calibration *calibration, const dynq_calibration_entry *entry)
{
    for (int method = DYNQ_METHOD_MAX; method <= DYNQ_METHOD_AVERAGE; method++) {
        for (int scheme = DYNQ_SCHEME_AFFINE; scheme <= DYNQ_SCHEME_SYMMETRIC; scheme++) {
            const dynq_range_choice choice = {.size = sizeof choice,
                                              .method = (dynq_calibration_method)method,
                                              .scheme = (dynq_scheme)scheme};
            float lo = 1, hi = -1;
            const dynq_status status =
                dynq_calibration_range(calibration, entry->value, &choice, &lo, &hi, NULL);
            expect(status != DYNQ_OK || (entry->rows > 0 && lo <= 0 && hi >= 0));
            expect(status != DYNQ_OK || (lo >= fminf(entry->min, 0) && hi <= fmaxf(entry->max, 0)));
            expect(status == DYNQ_OK || entry->rows == 0 || method == DYNQ_METHOD_AVERAGE);
        }
    }
}

static void use_views(const dynq_calibration *calibration, const dynq_calibration_entry *entry)
{
    dynq_histogram_view histogram = {.size = sizeof histogram};
    dynq_value_summary summary = {.size = sizeof summary};
    dynq_column_view columns = {.size = sizeof columns};
    const char *value = entry->value;
    const bool seen = entry->rows > 0;
    expect((dynq_calibration_histogram(calibration, value, &histogram) == DYNQ_OK) == seen);
    expect((dynq_calibration_summary(calibration, value, &summary) == DYNQ_OK) == seen);
    expect((dynq_calibration_columns(calibration, value, &columns) == DYNQ_OK) == seen);
    if (!seen) {
        return;
    }
    uint64_t total = histogram.zeros;
    for (size_t i = 0; i < DYNQ_HISTOGRAM_BINS; i++) {
        total += histogram.negative[i] + histogram.positive[i];
    }
    expect(total == entry->elements);
    expect(isfinite(summary.mean) && summary.deviation >= 0);
    /* NaN where all is constant. */
    expect(!isinf(summary.kurtosis) && !(summary.kurtosis < 0.999));
    expect(!isinf(summary.outlier_index));
    expect(columns.rows == entry->rows && columns.columns * entry->rows == entry->elements);
    for (size_t i = 0; i < columns.columns; i++) {
        expect(columns.min[i] >= entry->min && columns.max[i] <= entry->max);
        expect(isfinite(columns.sum[i]) && columns.sum_of_squares[i] >= 0);
    }
}

/* What every calibration that opens must allow. */
static void use(dynq_calibration *calibration)
{
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
            dynq_calibration_entry entry = {.size = sizeof entry};
            expect(dynq_calibration_get(calibration, i, &entry) == DYNQ_OK &&
                   entry.min <= entry.max);
            use_ranges(calibration, &entry);
            use_views(calibration, &entry);
        }
        dynq_calibration_merge(calibration, calibration, NULL);
    }
    dynq_error error;
    expect(dynq_calibration_save(calibration, "/dev/null", &error) == DYNQ_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int descriptor = memfd_create("calibration", MFD_CLOEXEC);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    if (descriptor < 0 || write(descriptor, data, size) != (ssize_t)size) {
        abort();
    }
    dynq_calibration *calibration = NULL;
    dynq_error error;
    if (dynq_calibration_open(path, NULL, &calibration, &error) == DYNQ_OK) {
        use(calibration);
    }
    dynq_calibration_free(calibration);
    close(descriptor);
    return 0;
}
