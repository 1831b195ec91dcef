/* What these tests use of Criterion, for builds whose programs run in an emulator: Criterion starts
 * a test by executing its own program once more, which the host cannot do with a foreign one. Here
 * a test is a fork of the runner. */
#ifndef DYNQ_TESTS_CROSS_CRITERION_H
#define DYNQ_TESTS_CROSS_CRITERION_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct plain_test {
    const char *suite, *name;
    void (*run)(void);
    const char *description;
} plain_test;

/* Says what failed and ends the test. */
_Noreturn void plain_fail(const char *file, int line, const char *condition, const char *format,
                          ...);
/* Ends the test as neither passed nor failed. */
_Noreturn void plain_skip(const char *format, ...);
void plain_log(const char *format, ...);

/* The linker lays the tests of all files end to end in a section that it names. */
#define Test(suite_, name_, ...)                                                                   \
    static void test_##suite_##_##name_(void);                                                     \
    static const plain_test plain_##suite_##_##name_ = {                                           \
        .suite = #suite_, .name = #name_, .run = test_##suite_##_##name_, __VA_ARGS__};            \
    static const plain_test *const plain_entry_##suite_##_##name_                                  \
        __attribute__((section("plain_tests"), used)) = &plain_##suite_##_##name_;                 \
    static void test_##suite_##_##name_(void)

#define PLAIN_CHECK(holds, text, ...)                                                              \
    ((holds) ? (void)0 : plain_fail(__FILE__, __LINE__, text, "" __VA_ARGS__))

#define cr_assert(condition, ...)     PLAIN_CHECK(condition, #condition, __VA_ARGS__)
#define cr_assert_not(condition, ...) PLAIN_CHECK(!(condition), "not " #condition, __VA_ARGS__)
#define cr_assert_null(pointer, ...)                                                               \
    PLAIN_CHECK((pointer) == NULL, #pointer " is NULL", __VA_ARGS__)
#define cr_assert_not_null(pointer, ...) PLAIN_CHECK((pointer) != NULL, #pointer, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)          PLAIN_CHECK((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)         PLAIN_CHECK((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)          PLAIN_CHECK((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)         PLAIN_CHECK((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)          PLAIN_CHECK((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)         PLAIN_CHECK((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)      PLAIN_CHECK(strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...)                                                          \
    PLAIN_CHECK(memcmp(a, b, size) == 0, #a " holds " #b, __VA_ARGS__)
#define cr_assert_float_eq(a, b, distance, ...)                                                    \
    PLAIN_CHECK(fabs((double)(a) - (double)(b)) <= (distance), #a " is near " #b, __VA_ARGS__)
#define cr_assert_fail(...) plain_fail(__FILE__, __LINE__, "not reached", "" __VA_ARGS__)
#define cr_skip_test(...)   plain_skip("" __VA_ARGS__)
#define cr_log_warn(...)    plain_log("" __VA_ARGS__)
#define cr_log_info(...)    plain_log("" __VA_ARGS__)

#endif
