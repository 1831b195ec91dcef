/* Number formats. */
#include <dynq/format.h>
#include <stddef.h>

const char *dynq_format_name(dynq_format format)
{
    switch (format) {
    case DYNQ_FORMAT_FP64: return "fp64";
    case DYNQ_FORMAT_FP32: return "fp32";
    case DYNQ_FORMAT_FP16: return "fp16";
    case DYNQ_FORMAT_BF16: return "bf16";
    case DYNQ_FORMAT_INT16: return "int16";
    case DYNQ_FORMAT_INT8: return "int8";
    case DYNQ_FORMAT_INT4: return "int4";
    case DYNQ_FORMAT_INT2: return "int2";
    }
    return NULL;
}

unsigned dynq_format_bits(dynq_format format)
{
    switch (format) {
    case DYNQ_FORMAT_FP64: return 64;
    case DYNQ_FORMAT_FP32: return 32;
    case DYNQ_FORMAT_FP16:
    case DYNQ_FORMAT_BF16:
    case DYNQ_FORMAT_INT16: return 16;
    case DYNQ_FORMAT_INT8: return 8;
    case DYNQ_FORMAT_INT4: return 4;
    case DYNQ_FORMAT_INT2: return 2;
    }
    return 0;
}
