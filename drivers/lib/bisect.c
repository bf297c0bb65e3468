/* Bisecting a refused set: see bisect.h. */
#include "lib/bisect.h"

int
bisect(uint64_t lo, uint64_t hi, bisect_apply_fn apply, bisect_refused_fn refused, void *arg,
       struct error *err)
{
    if (lo >= hi)
        return 0;
    int rc = apply(arg, lo, hi, err);
    if (rc == 0 || err->kind != ERR_DATA)
        return rc;
    if (hi - lo == 1) {
        refused(arg, lo, err);
        error_clear(err);
        return 0;
    }
    error_clear(err);
    uint64_t middle = lo + (hi - lo) / 2;
    rc = bisect(lo, middle, apply, refused, arg, err);
    return rc ? rc : bisect(middle, hi, apply, refused, arg, err);
}
