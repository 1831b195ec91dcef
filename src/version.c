#include <dynq/version.h>

#define TEXT_OF(number) #number
#define TEXT(number)    TEXT_OF(number)

const char *dynq_version(void)
{
    return TEXT(DYNQ_VERSION_MAJOR) "." TEXT(DYNQ_VERSION_MINOR) "." TEXT(DYNQ_VERSION_PATCH);
}
