/* A CPU that nothing is known about. */
#include "src/cpu.h"

#include <fenv.h>

uint32_t dynq_cpu_features(void)
{
    return 0;
}

void dynq_cpu_read_name(char name[64])
{
    (void)name;
}

void dynq_cpu_relax(void)
{
}

/* Without a cheaper way the rounding mode is what is kept; ISO C knows no other state. */
dynq_float_state dynq_float_state_set_default(void)
{
    const dynq_float_state before = {(uint64_t)fegetround()};
    fesetround(FE_TONEAREST);
    return before;
}

void dynq_float_state_restore(dynq_float_state state)
{
    fesetround((int)state.bits);
}
