#include "tools/command.h"

#include "tools/checkpoint.h"
#include "tools/huggingface.h"
#include "tools/output.h"

#include <dynq/model.h>
#include <stdio.h>
#include <string.h>

enum { POOLING_AUTO = 1, POOLING_MEAN, POOLING_CLS, POOLING_MAX, POOLING_POOLER };
enum { OUTPUT_SENTENCE = 1, OUTPUT_TOKENS, OUTPUT_BOTH };

typedef struct convert_options {
    const char *out;
    int output, pooling;
} convert_options;

static const option_entry entries[] = {
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_STRING,
     .offset = offsetof(convert_options, out),
     .argument = "MODEL",
     .help = "where to write the FP32 model",
     .required = 1},
    {.name = "output",
     .kind = OPTION_CHOICE,
     .offset = offsetof(convert_options, output),
     .argument = "WHAT",
     .help =
         "what the model returns: an embedding of each sentence (sentence_embedding), a row for "
         "each token (last_hidden_state), or both",
     .initial = "sentence",
     .choices = "sentence|tokens|both"},
    {.name = "pooling",
     .kind = OPTION_CHOICE,
     .offset = offsetof(convert_options, pooling),
     .argument = "HOW",
     .help = "how tokens become an embedding; auto: as modules.json says, mean without it; pooler: "
             "the first token through the tanh layer `pooler.dense`",
     .initial = "auto",
     .choices = "auto|mean|cls|max|pooler"},
    {.name = NULL},
};

static const char *const pooling_names[] = {
    [BERT_POOL_MEAN] = "mean",
    [BERT_POOL_CLS] = "cls",
    [BERT_POOL_MAX] = "max",
    [BERT_POOL_POOLER] = "pooler",
};

static void choose_outputs(const command_call *call, huggingface *source)
{
    const convert_options *options = call->options;
    bert_config *encoder = &source->encoder;
    encoder->tokens = options->output != OUTPUT_SENTENCE;
    encoder->sentence = options->output != OUTPUT_TOKENS;
    switch (options->pooling) {
    case POOLING_MEAN: encoder->pooling = BERT_POOL_MEAN; break;
    case POOLING_CLS: encoder->pooling = BERT_POOL_CLS; break;
    case POOLING_MAX: encoder->pooling = BERT_POOL_MAX; break;
    case POOLING_POOLER: encoder->pooling = BERT_POOL_POOLER; break;
    default: break; /* as the folder says */
    }
}

static uint64_t count_parameters(const dynq_model *model)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info node = {.size = sizeof node};
        dynq_model_node(model, i, &node);
        sum += node.parameters;
    }
    return sum;
}

static json_t *nodes_json(const dynq_model *model)
{
    json_t *nodes = command_json_array();
    for (size_t i = 0; i < dynq_model_node_count(model); i++) {
        dynq_node_info info = {.size = sizeof info};
        dynq_model_node(model, i, &info);
        json_t *node = command_json_object();
        command_json_set(node, "name", command_json_string(info.name));
        command_json_set(node, "op", command_json_string(dynq_op_name(info.op)));
        command_json_set(node, "n", command_json_integer(info.n));
        command_json_set(node, "parameters", command_json_integer(info.parameters));
        command_json_append(nodes, node);
    }
    return nodes;
}

static void print_json(const command_call *call, const huggingface *source, const dynq_model *model)
{
    const convert_options *options = call->options;
    const bert_config *encoder = &source->encoder;
    json_t *object = command_json_new("convert");
    json_t *outputs = command_json_array();
    json_t *attachments = command_json_array();
    const char *name = NULL;
    for (size_t i = 0; i < dynq_model_output_count(model); i++) {
        dynq_model_output(model, i, &name, NULL);
        command_json_append(outputs, command_json_string(name));
    }
    for (size_t i = 0; (name = dynq_model_attachment_name(model, i)) != NULL; i++) {
        command_json_append(attachments, command_json_string(name));
    }
    command_json_set(object, "model_type", command_json_string(source->type));
    command_json_set(object, "layers", command_json_integer(encoder->layers));
    command_json_set(object, "width", command_json_integer(encoder->width));
    command_json_set(object, "heads", command_json_integer(encoder->heads));
    command_json_set(object, "inner", command_json_integer(encoder->inner));
    command_json_set(object, "vocabulary", command_json_integer(encoder->vocabulary));
    command_json_set(object, "max_tokens", command_json_integer(source->max_tokens));
    command_json_set(object, "pooling",
                     encoder->sentence ? command_json_string(pooling_names[encoder->pooling])
                                       : json_null());
    command_json_set(object, "normalize",
                     command_json_boolean(encoder->sentence && encoder->normalize));
    command_json_set(object, "outputs", outputs);
    command_json_set(object, "attachments", attachments);
    command_json_set(object, "nodes", nodes_json(model));
    command_json_set(object, "parameters", command_json_integer(count_parameters(model)));
    command_json_set(object, "file_bytes", command_json_integer(dynq_model_file_bytes(model)));
    command_json_set(object, "file", command_json_string(options->out));
    command_json_print(object);
}

static void print_text(const huggingface *source, const dynq_model *model)
{
    const bert_config *encoder = &source->encoder;
    printf("%s: layers %zu, width %zu, heads %zu, inner width %zu\n"
           "words %zu, tokens of a sentence at most %zu\n",
           source->type, encoder->layers, encoder->width, encoder->heads, encoder->inner,
           encoder->vocabulary, source->max_tokens);
    if (encoder->tokens) {
        puts("output last_hidden_state: a row for each token");
    }
    if (encoder->sentence) {
        printf("output sentence_embedding: %s%s\n", pooling_names[encoder->pooling],
               encoder->normalize ? ", normalized" : "");
    }
    printf("tokenizer: %s\n", source->tokenizer != NULL ? "WordPiece, inside" : "none");
    printf("%zu nodes, %llu parameters, %llu bytes\n", dynq_model_node_count(model),
           (unsigned long long)count_parameters(model),
           (unsigned long long)dynq_model_file_bytes(model));
}

static dynq_status build(const huggingface *source, checkpoint *weights, dynq_model **model,
                         dynq_error *error)
{
    bert_attachment attachments[2] = {{NULL, NULL, 0}};
    size_t count = 0;
    if (source->tokenizer != NULL) {
        attachments[count++] =
            (bert_attachment){"tokenizer", source->tokenizer, strlen(source->tokenizer)};
        attachments[count++] =
            (bert_attachment){"vocabulary", source->vocabulary, strlen(source->vocabulary)};
    }
    const bert_weights found = {.find = checkpoint_find, .context = weights};
    return bert_build(&source->encoder, &found, attachments, count, NULL, model, error);
}

static exit_code save_and_report(const command_call *call, const huggingface *source,
                                 const dynq_model *model)
{
    const convert_options *options = call->options;
    dynq_error error = {0};
    const dynq_status status = dynq_model_save(model, options->out, &error);
    if (status != DYNQ_OK) {
        return command_fail_status(call->command, status, &error, options->out);
    }
    if (source->encoder.sentence && !source->described && options->pooling == POOLING_AUTO) {
        command_note(call, "%s: has no modules.json: embeddings are means of tokens",
                     call->arguments[0]);
    }
    if (source->tokenizer == NULL) {
        command_note(call, "%s: no tokenizer that dynq knows (%s): the model takes ids only",
                     call->arguments[0], source->reason);
    }
    if (call->common.json) {
        print_json(call, source, model);
    } else {
        print_text(source, model);
        command_note(call, "wrote %s", options->out);
    }
    return EXIT_CODE_DONE;
}

static exit_code run(const command_call *call)
{
    const char *folder = call->arguments[0];
    huggingface source = {0};
    checkpoint weights = {0};
    dynq_model *model = NULL;
    dynq_error error = {0};
    dynq_status status = huggingface_read(folder, &source, &error);
    if (status == DYNQ_OK) {
        choose_outputs(call, &source);
        status = checkpoint_open(source.folder, &weights, &error);
    }
    if (status == DYNQ_OK) {
        status = build(&source, &weights, &model, &error);
    }
    checkpoint_close(&weights);
    const exit_code code = status == DYNQ_OK
                               ? save_and_report(call, &source, model)
                               : command_fail_status(call->command, status, &error, folder);
    dynq_model_free(model);
    huggingface_free(&source);
    return code;
}

const command command_convert = {
    .name = "convert",
    .summary = "make a model of a published BERT-type encoder",
    .usage = "FOLDER -o MODEL [options]",
    .description =
        "Reads a Hugging Face folder of an encoder (BERT, RoBERTa, XLM-RoBERTa, CamemBERT, "
        "DistilBERT): config.json, model.safetensors or its parts in F32, F16 or BF16, and where "
        "they are, modules.json with the pooling and the files of a WordPiece tokenizer. The FP32 "
        "model holds all that is needed to use it. Settings that dynq does not know are an error.",
    .example = "dynq convert all-MiniLM-L6-v2 -o minilm.safetensors",
    .native = 1,
    .entries = entries,
    .options_size = sizeof(convert_options),
    .min_arguments = 1,
    .max_arguments = 1,
    .argument = "FOLDER",
    .heeds = 0,
    .run = run,
};
