#include "tools/info_machine.h"

#include "tools/engines.h"
#include "tools/machine.h"
#include "tools/output.h"
#include "tools/texts.h"

#include <dynq/cpu.h>
#include <dynq/version.h>
#include <stdio.h>
#include <string.h>

#define NOT_BUILT "not in this build"

static const char *engine_version(const engine_choice *choice)
{
    const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
    return engine != NULL ? engine->version : choice->built ? dynq_version() : NULL;
}

static json_t *kernels_json(void)
{
    json_t *kernels = command_json_array();
    for (size_t i = 0; dynq_kernel_name(i) != NULL; i++) {
        json_t *kernel = command_json_object();
        const int supported = dynq_kernel_supported(dynq_kernel_name(i));
        command_json_set(kernel, "name", command_json_string(dynq_kernel_name(i)));
        command_json_set(kernel, "supported", command_json_boolean(supported));
        command_json_append(kernels, kernel);
    }
    return kernels;
}

static json_t *engines_json(void)
{
    json_t *engines = command_json_array();
    const engine_choice *choice = NULL;
    for (size_t i = 0; (choice = engine_at(i)) != NULL; i++) {
        const dynq_engine *engine = choice->built ? engine_table(choice) : NULL;
        json_t *object = command_json_object();
        command_json_set(object, "name", command_json_string(choice->name));
        command_json_set(object, "built", command_json_boolean(choice->built));
        command_json_set(object, "version", command_json_string(engine_version(choice)));
        command_json_set(
            object, "fp32",
            command_json_boolean(choice->built && (engine == NULL || engine->has_fp32)));
        command_json_set(
            object, "int8",
            command_json_boolean(choice->built && (engine == NULL || engine->has_int8)));
        command_json_append(engines, object);
    }
    return engines;
}

static void print_json(const command_call *call, const dynq_cpu *cpu)
{
    json_t *object = command_json_new("info");
    json_t *features = command_json_array();
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((cpu->features & bit) != 0 && dynq_cpu_feature_name(bit) != NULL) {
            command_json_append(features, command_json_string(dynq_cpu_feature_name(bit)));
        }
    }
    command_json_set(object, "version", command_json_string(dynq_version()));
    command_json_set(object, "cpu", command_json_string(cpu->name));
    command_json_set(object, "features", features);
    command_json_set(object, "usable_cpus", command_json_integer(cpu->usable));
    command_json_set(object, "threads", command_json_integer(call->common.threads));
    command_json_set(object, "l1d_bytes", command_json_integer(cpu->l1d_bytes));
    command_json_set(object, "l2_bytes", command_json_integer(cpu->l2_bytes));
    command_json_set(object, "l3_bytes", command_json_integer(cpu->l3_bytes));
    command_json_set(object, "kernel", command_json_string(machine_kernel(call)));
    command_json_set(object, "kernels", kernels_json());
    command_json_set(object, "engines", engines_json());
    command_json_set(object, "tokenizer", command_json_boolean(texts_built()));
    command_json_print(object);
}

static void print_kernels(const command_call *call)
{
    const char *chosen = machine_kernel(call);
    table *rows = table_create();
    table_column(rows, "kernel", TABLE_LEFT);
    table_column(rows, "supported", TABLE_LEFT);
    table_column(rows, "chosen", TABLE_LEFT);
    for (size_t i = 0; dynq_kernel_name(i) != NULL; i++) {
        const char *name = dynq_kernel_name(i);
        table_text(rows, name);
        table_text(rows, dynq_kernel_supported(name) ? "yes" : "no");
        table_text(rows, strcmp(name, chosen) == 0 ? "yes" : NULL);
    }
    table_print(rows, call->common.format, stdout);
    table_free(rows);
}

static void print_property(table *rows, const char *property, const char *value)
{
    table_text(rows, property);
    table_text(rows, value[0] != '\0' ? value : NULL);
}

static void append(char *text, size_t size, const char *separator, const char *word)
{
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used > 0 ? separator : "", word);
}

static void add_cache(table *rows, const char *property, size_t bytes)
{
    char text[32] = "";
    if (bytes > 0) {
        snprintf(text, sizeof text, "%zu KiB", bytes / 1024);
    }
    print_property(rows, property, text);
}

static void print_machine(const command_call *call, const dynq_cpu *cpu)
{
    char text[256] = "";
    table *rows = table_create();
    table_column(rows, "machine", TABLE_LEFT);
    table_column(rows, "value", TABLE_LEFT);
    print_property(rows, "CPU", cpu->name);
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((cpu->features & bit) != 0 && dynq_cpu_feature_name(bit) != NULL) {
            append(text, sizeof text, " ", dynq_cpu_feature_name(bit));
        }
    }
    print_property(rows, "features", text);
    add_cache(rows, "L1 data cache", cpu->l1d_bytes);
    add_cache(rows, "L2 cache", cpu->l2_bytes);
    add_cache(rows, "L3 cache", cpu->l3_bytes);
    snprintf(text, sizeof text, "%u", cpu->usable);
    print_property(rows, "usable CPUs", text);
    snprintf(text, sizeof text, "%u", call->common.threads);
    print_property(rows, "threads", text);
    print_property(rows, "kernel", machine_kernel(call));
    const engine_choice *choice = NULL;
    for (size_t i = 0; (choice = engine_at(i)) != NULL; i++) {
        const char *version = engine_version(choice);
        char property[48];
        snprintf(property, sizeof property, "engine %s", choice->name);
        print_property(rows, property, version != NULL ? version : NOT_BUILT);
    }
    print_property(rows, "tokenizer", texts_built() ? "WordPiece" : NOT_BUILT);
    table_print(rows, call->common.format, stdout);
    table_free(rows);
}

void info_machine(const command_call *call, int only_kernels)
{
    dynq_cpu cpu;
    dynq_cpu_query(&cpu);
    if (call->common.json) {
        print_json(call, &cpu);
        return;
    }
    if (!only_kernels) {
        print_machine(call, &cpu);
    }
    if (!only_kernels && call->common.format != TABLE_CSV) {
        puts("");
    }
    if (only_kernels || call->common.format != TABLE_CSV) {
        print_kernels(call);
    }
}
