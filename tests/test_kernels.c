/* The kernel table and what the CPU can do. kernel_check.c compares the kernels themselves. */
#include "kernels/kernel.h"
#include "src/cpu.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(kernels, the_table)
{
    size_t count = 0;
    while (dynq_kernel_at(count) != NULL) {
        const dynq_kernel *kernel = dynq_kernel_at(count);
        cr_assert_str_eq(dynq_kernel_name(count), kernel->name);
        cr_assert_eq(dynq_kernel_find(kernel->name), kernel);
        /* Another wins only if it needs the same. */
        const dynq_kernel *best = dynq_kernel_best(kernel->features);
        cr_assert_eq(best->features, kernel->features);
        cr_assert_eq(!!dynq_kernel_supported(kernel->name),
                     (kernel->features & ~dynq_cpu_features()) == 0);
        count++;
    }
    cr_assert_geq(count, 1);
    cr_assert_null(dynq_kernel_name(count));
    cr_assert_null(dynq_kernel_at(count + 1));
    cr_assert_str_eq(dynq_kernel_at(count - 1)->name, "ref");
    cr_assert_eq(dynq_kernel_best(0), dynq_kernel_at(count - 1));
    cr_assert_null(dynq_kernel_find("no such kernel"));
    cr_assert_null(dynq_kernel_find(NULL));
    cr_assert_eq(dynq_kernel_supported("no such kernel"), 0);
    cr_assert(dynq_kernel_supported("ref"));
}

/* Without the features of the environment's DYNQ_TEST_WITHOUT (masked_cpu.c). */
static void take_away(uint32_t features)
{
    char names[256] = "";
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        const char *name = dynq_cpu_feature_name(bit);
        if ((features & bit) != 0 && name != NULL) {
            const size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? "," : "", name);
        }
    }
    cr_assert_eq(setenv("DYNQ_TEST_WITHOUT", names, 1), 0);
}

/* What the repeated test runs rely on: any kernel can stand before those that need the same ... */
Test(kernels, the_wanted_one_of_equals_is_best)
{
    const dynq_kernel *kernel = NULL;
    for (size_t i = 0; (kernel = dynq_kernel_at(i)) != NULL; i++) {
        cr_assert_eq(setenv("DYNQ_TEST_KERNEL", kernel->name, 1), 0);
        cr_assert_eq(dynq_kernel_best(kernel->features), kernel);
        size_t place = 0;
        while (strcmp(dynq_kernel_name(place), kernel->name) != 0) {
            cr_assert_neq(dynq_kernel_at(place++)->features, kernel->features);
        }
        cr_assert_eq(dynq_kernel_at(place), kernel);
        cr_assert_eq(unsetenv("DYNQ_TEST_KERNEL"), 0);
    }
}

/* ... and a feature taken away is gone for all who ask. */
Test(kernels, features_taken_away_are_gone)
{
    dynq_cpu cpu;
    const dynq_kernel *kernel = NULL;
    take_away(UINT32_MAX);
    dynq_cpu_query(&cpu);
    cr_assert_eq(cpu.features, 0);
    cr_assert_eq(dynq_cpu_features(), 0);
    for (size_t i = 0; (kernel = dynq_kernel_at(i)) != NULL; i++) {
        cr_assert_eq(!!dynq_kernel_supported(kernel->name), kernel->features == 0);
    }
    take_away(0);
    dynq_cpu_query(&cpu);
    for (uint32_t bit = 1; bit != 0; bit <<= 1) {
        take_away(bit & cpu.features);
        cr_assert_eq(dynq_cpu_features(), cpu.features & ~bit);
    }
}
