/* libFuzzer: any bytes as a calibration file.
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. -Iinclude \
 *         tests/fuzz/fuzz_calibration.c SOURCES -ljansson -lm -o fuzz_calibration
 *     ./fuzz_calibration CORPUS
 */
#include <dynq/calibration.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What every calibration that opens must allow. */
static void use(dynq_calibration *calibration)
{
    for (size_t i = 0; i < dynq_calibration_count(calibration); i++) {
        dynq_calibration_entry entry = {.size = sizeof entry};
        float lo = 1, hi = -1;
        if (dynq_calibration_get(calibration, i, &entry) != DYNQ_OK || entry.min > entry.max) {
            abort();
        }
        const dynq_status status =
            dynq_calibration_range(calibration, entry.value, NULL, &lo, &hi, NULL);
        if ((status == DYNQ_OK) != (entry.rows > 0) || (status == DYNQ_OK && (lo > 0 || hi < 0))) {
            abort();
        }
    }
    dynq_calibration_merge(calibration, calibration, NULL);
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
