/* Marks what the shared library exports. Everything else in it is hidden. */
#ifndef DYNQ_API_H
#define DYNQ_API_H

#if defined(__GNUC__) || defined(__clang__)
#define DYNQ_API __attribute__((visibility("default")))
#else
#define DYNQ_API
#endif

#endif
