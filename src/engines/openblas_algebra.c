/* The LAPACK inside OpenBLAS. */
#include <dynq/openblas.h>

#include <cblas.h>
#include <f77blas.h>
#include <limits.h>

/* LAPACK says 0, the number of the first minor that is not positive, or an argument it refused. */
static dynq_status status_of(blasint info)
{
    return info == 0 ? DYNQ_OK : info > 0 ? DYNQ_ERR_NOT_FINITE : DYNQ_ERR_ENGINE;
}

static dynq_status cholesky(size_t n, double *a)
{
    if (n > INT_MAX) {
        return DYNQ_ERR_LIMIT;
    }
    char triangle = 'L';
    blasint order = (blasint)n, stride = n == 0 ? 1 : order, info = 0;
    dpotrf_(&triangle, &order, a, &stride, &info);
    return status_of(info);
}

static dynq_status cholesky_inverse(size_t n, double *l)
{
    if (n > INT_MAX) {
        return DYNQ_ERR_LIMIT;
    }
    char triangle = 'L';
    blasint order = (blasint)n, stride = n == 0 ? 1 : order, info = 0;
    dpotri_(&triangle, &order, l, &stride, &info);
    return status_of(info);
}

static const dynq_algebra algebra = {.size = sizeof algebra,
                                     .name = "openblas",
                                     .cholesky = cholesky,
                                     .cholesky_inverse = cholesky_inverse};

const dynq_algebra *dynq_openblas_algebra(void)
{
    dynq_openblas_engine(); /* one thread, with which the same numbers give the same bits */
    return &algebra;
}
