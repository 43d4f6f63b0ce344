/* tile_rows.h - a tile of any number of rows, each number with code of its own */
#ifndef KERNELS_CPU_TILE_ROWS_H
#define KERNELS_CPU_TILE_ROWS_H

#include "vector.h" /* TILE_ROWS, which the preprocessor would take for 0 */

/* `call` with ROWS, a constant, instead of rows, which is 1 to TILE_ROWS. */
#define WITH_ROWS(rows, call)                                                                    \
    do {                                                                                         \
        switch (rows) {                                                                          \
            ROWS_CASE(1, call)                                                                   \
            ROWS_CASE(2, call)                                                                   \
            ROWS_CASE(3, call)                                                                   \
            ROWS_CASE(4, call)                                                                   \
            ROWS_CASE(5, call)                                                                   \
            ROWS_CASE(6, call)                                                                   \
            ROWS_CASE(7, call)                                                                   \
            ROWS_CASE(8, call)                                                                   \
            MORE_ROWS_CASES(call)                                                                \
        }                                                                                        \
    } while (0)
#if TILE_ROWS > 8
#define MORE_ROWS_CASES(call)                                                                    \
    ROWS_CASE(9, call)                                                                           \
    ROWS_CASE(10, call)                                                                          \
    ROWS_CASE(11, call)                                                                          \
    ROWS_CASE(12, call)
#else
#define MORE_ROWS_CASES(call)
#endif
#define ROWS_CASE(n, call)                                                                       \
    case n: {                                                                                    \
        enum { ROWS = n };                                                                       \
        call;                                                                                    \
        break;                                                                                   \
    }

#endif
