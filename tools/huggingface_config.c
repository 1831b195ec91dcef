/* config.json of an encoder. */
#include "tools/folder.h"
#include "tools/huggingface.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE "config.json"

/* A size that the config must have, and the largest that is believed. */
typedef struct size_key {
    const char *name;
    size_t offset; /* in bert_config */
    json_int_t high;
} size_key;

/* What differs between the families of configs. */
typedef struct family {
    bert_names names;
    const char *activation;
    size_key sizes[7]; /* to the first without a name */
} family;

#define MAX_WIDTH     (1 << 16)
#define MAX_LAYERS    (1 << 12)
#define MAX_POSITIONS (1 << 24)

static const family bert_family = {
    .names = BERT_NAMES_BERT,
    .activation = "hidden_act",
    .sizes = {{"vocab_size", offsetof(bert_config, vocabulary), INT32_MAX},
              {"max_position_embeddings", offsetof(bert_config, positions), MAX_POSITIONS},
              {"type_vocab_size", offsetof(bert_config, types), MAX_WIDTH},
              {"hidden_size", offsetof(bert_config, width), MAX_WIDTH},
              {"num_hidden_layers", offsetof(bert_config, layers), MAX_LAYERS},
              {"num_attention_heads", offsetof(bert_config, heads), MAX_WIDTH},
              {"intermediate_size", offsetof(bert_config, inner), DYNQ_MAX_COLUMNS}},
};
static const family distilbert_family = {
    .names = BERT_NAMES_DISTILBERT,
    .activation = "activation",
    .sizes = {{"vocab_size", offsetof(bert_config, vocabulary), INT32_MAX},
              {"max_position_embeddings", offsetof(bert_config, positions), MAX_POSITIONS},
              {"dim", offsetof(bert_config, width), MAX_WIDTH},
              {"n_layers", offsetof(bert_config, layers), MAX_LAYERS},
              {"n_heads", offsetof(bert_config, heads), MAX_WIDTH},
              {"hidden_dim", offsetof(bert_config, inner), DYNQ_MAX_COLUMNS}},
};

static const struct {
    const char *type;
    const family *family;
    int counts_from_padding; /* the first token's position is that of padding plus 1 */
} types[] = {
    {"bert", &bert_family, 0},
    {"roberta", &bert_family, 1},
    {"xlm-roberta", &bert_family, 1},
    {"camembert", &bert_family, 1},
    {"distilbert", &distilbert_family, 0},
};
#define TYPE_COUNT (sizeof types / sizeof *types)

static const struct {
    const char *name;
    bert_activation activation;
} activations[] = {
    {"gelu", BERT_GELU},
    {"gelu_python", BERT_GELU},
    {"gelu_new", BERT_GELU_TANH},
    {"gelu_fast", BERT_GELU_TANH},
    {"gelu_pytorch_tanh", BERT_GELU_TANH},
    {"relu", BERT_RELU},
};

/* Keys that change what is computed, or whose weights dynq does not read, unless they are false,
 * null or empty. */
static const char *const must_be_off[] = {
    "add_cross_attention", "auto_map",     "cross_attention_hidden_size",
    "is_decoder",          "pruned_heads", "is_encoder_decoder",
    "quantization_config", "rope_scaling", "rope_theta",
};

/* Keys about training, heads that are not read, text generation, and how other programs run it. */
static const char *const harmless[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "directionality",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "prefix",
    "problem_type",
    "qa_dropout",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "seq_classif_dropout",
    "sinusoidal_pos_embds", /* the table is in the file either way */
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_weights_",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
};

/* What the steps share. */
typedef struct reader {
    huggingface *self;
    const json_t *root;
    const family *family;
    dynq_error *error;
} reader;

static dynq_status bad_key(const reader *r, const char *key, const char *wanted)
{
    return huggingface_bad_key(r->self->folder, CONFIG_FILE, key, json_object_get(r->root, key),
                               wanted, r->error);
}

static int is_among(const char *key, const char *const *keys, size_t count)
{
    size_t i = 0;
    while (i < count && strcmp(keys[i], key) != 0) {
        i++;
    }
    return i < count;
}
#define IS_AMONG(key, keys) is_among(key, keys, sizeof(keys) / sizeof *(keys))

static int is_read(const reader *r, const char *key)
{
    for (size_t i = 0; i < 7 && r->family->sizes[i].name != NULL; i++) {
        if (strcmp(r->family->sizes[i].name, key) == 0) {
            return 1;
        }
    }
    return strcmp(key, r->family->activation) == 0 || strcmp(key, "layer_norm_eps") == 0 ||
           strcmp(key, "position_embedding_type") == 0;
}

static int is_off(const json_t *value)
{
    return json_is_false(value) || json_is_null(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static dynq_status check_keys(const reader *r)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->root, key, value)
    {
        if (IS_AMONG(key, must_be_off)) {
            if (!is_off(value)) {
                return bad_key(r, key, "dynq converts encoders without it");
            }
        } else if (!is_read(r, key) && !IS_AMONG(key, harmless)) {
            return folder_fail(r->error, DYNQ_ERR_FORMAT, r->self->folder, CONFIG_FILE,
                               "unknown key '%.100s': it may change what is computed; remove it if "
                               "it does not",
                               key);
        }
    }
    return DYNQ_OK;
}

static dynq_status read_type(reader *r, int *counts_from_padding)
{
    const char *type = json_string_value(json_object_get(r->root, "model_type"));
    for (size_t i = 0; type != NULL && i < TYPE_COUNT; i++) {
        if (strcmp(types[i].type, type) == 0) {
            snprintf(r->self->type, sizeof r->self->type, "%s", type);
            r->family = types[i].family;
            *counts_from_padding = types[i].counts_from_padding;
            r->self->encoder.names = r->family->names;
            return DYNQ_OK;
        }
    }
    return bad_key(r, "model_type",
                   "dynq converts bert, roberta, xlm-roberta, camembert and distilbert");
}

static dynq_status read_sizes(const reader *r)
{
    bert_config *config = &r->self->encoder;
    for (size_t i = 0; i < 7 && r->family->sizes[i].name != NULL; i++) {
        const size_key *key = &r->family->sizes[i];
        const json_t *value = json_object_get(r->root, key->name);
        const json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 1 || number > key->high) {
            char wanted[64];
            snprintf(wanted, sizeof wanted, "it must be a whole number from 1 to %lld",
                     (long long)key->high);
            return bad_key(r, key->name, wanted);
        }
        const size_t size = (size_t)number;
        memcpy((char *)config + key->offset, &size, sizeof size);
    }
    if (config->width % config->heads != 0 || config->width / config->heads > DYNQ_MAX_HEAD) {
        const int distilbert = config->names == BERT_NAMES_DISTILBERT;
        char wanted[128];
        snprintf(wanted, sizeof wanted,
                 "it must divide '%s', %zu, into heads of at most %d columns",
                 distilbert ? "dim" : "hidden_size", config->width, DYNQ_MAX_HEAD);
        return bad_key(r, distilbert ? "n_heads" : "num_attention_heads", wanted);
    }
    return DYNQ_OK;
}

static dynq_status read_numerics(const reader *r)
{
    bert_config *config = &r->self->encoder;
    const char *name = json_string_value(json_object_get(r->root, r->family->activation));
    size_t i = 0;
    const size_t count = sizeof activations / sizeof *activations;
    while (name != NULL && i < count && strcmp(activations[i].name, name) != 0) {
        i++;
    }
    if (name == NULL || i == count) {
        return bad_key(r, r->family->activation,
                       "dynq knows gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh and "
                       "relu");
    }
    config->activation = activations[i].activation;
    const json_t *kind = json_object_get(r->root, "position_embedding_type");
    if (kind != NULL && !json_is_null(kind) &&
        (!json_is_string(kind) || strcmp(json_string_value(kind), "absolute") != 0)) {
        return bad_key(r, "position_embedding_type", "dynq knows \"absolute\"");
    }
    const json_t *epsilon = json_object_get(r->root, "layer_norm_eps");
    const double value = epsilon == NULL ? 1e-12 : json_number_value(epsilon); /* BERT's default */
    if (!((float)value > 0 && value <= 1)) { /* 1e-300 is 0 to a float */
        return bad_key(r, "layer_norm_eps", "it must be a number above 0 and at most 1");
    }
    config->epsilon = (float)value;
    return DYNQ_OK;
}

/* RoBERTa and its kin count positions from the one behind padding's. */
static dynq_status read_first_position(const reader *r)
{
    const json_t *padding = json_object_get(r->root, "pad_token_id");
    const json_int_t value = padding == NULL ? 1 : json_integer_value(padding);
    if ((padding != NULL && !json_is_integer(padding)) || value < 0 ||
        (size_t)value + 1 >= r->self->encoder.positions) {
        return bad_key(r, "pad_token_id",
                       "it must be an id with a position of max_position_embeddings behind it");
    }
    r->self->encoder.first_position = (size_t)value + 1;
    return DYNQ_OK;
}

dynq_status huggingface_config(huggingface *self, dynq_error *error)
{
    json_t *root = NULL;
    dynq_status status = folder_json(self->folder, CONFIG_FILE, &root, error);
    if (status != DYNQ_OK) {
        return status;
    }
    reader r = {.self = self, .root = root, .error = error};
    int counts_from_padding = 0;
    if (!json_is_object(root)) {
        status = folder_fail(error, DYNQ_ERR_FORMAT, self->folder, root == NULL ? "" : CONFIG_FILE,
                             root == NULL ? "has no " CONFIG_FILE ": not the folder of a model"
                                          : "is not a JSON object");
    } else {
        status = read_type(&r, &counts_from_padding);
    }
    if (status == DYNQ_OK) {
        status = check_keys(&r);
    }
    if (status == DYNQ_OK) {
        status = read_sizes(&r);
    }
    if (status == DYNQ_OK) {
        status = read_numerics(&r);
    }
    if (status == DYNQ_OK && counts_from_padding) {
        status = read_first_position(&r);
    }
    json_decref(root);
    return status;
}
