/* The weights of a folder: model.safetensors, or the parts that model.safetensors.index.json names.
 */
#ifndef DYNQ_TOOLS_CHECKPOINT_H
#define DYNQ_TOOLS_CHECKPOINT_H

#include <dynq/safetensors.h>
#include <dynq/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct checkpoint {
    char *folder;
    dynq_safetensors **files;
    char **names; /* of the files */
    size_t file_count;
    char *prefix;   /* in front of every name: "", "bert.", "0.auto_model.", ... */
    float **copies; /* of tensors that had to be widened or aligned */
    size_t copy_count;
} checkpoint;

/* Opens the files of an encoder: what stands in front of "embeddings.word_embeddings.weight"
 * becomes the prefix. checkpoint_close() is to be called in any case. Errors: DYNQ_ERR_IO,
 * DYNQ_ERR_FORMAT and others of dynq_safetensors_open(). */
dynq_status checkpoint_open(const char *folder, checkpoint *self, dynq_error *error);
void checkpoint_close(checkpoint *self);

/* Sets *values to the tensor of this name behind the prefix and of exactly this shape; F32, F16 and
 * BF16 become floats. It stays valid until the checkpoint is closed. The name that old files have
 * for a layer norm's vectors, gamma and beta, will do. `context` is a checkpoint. Errors:
 * DYNQ_ERR_FORMAT (no such tensor), DYNQ_ERR_SHAPE, DYNQ_ERR_TYPE. */
dynq_status checkpoint_find(void *context, const char *name, uint32_t rank, const size_t *shape,
                            const float **values, dynq_error *error);

#endif
