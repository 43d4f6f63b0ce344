/* store.c - converts floats to elements, for embedding tables */
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(store)(void *elements, const float *x, size_t count)
{
    element *y = elements;
    size_t whole = count - count % LANES;
    for (size_t i = 0; i < whole; i += LANES) store_elements(y + i, vec_load(x + i));
    if (count > whole)
        store_first_elements(y + whole, vec_load_first(x + whole, count - whole), count - whole);
}
