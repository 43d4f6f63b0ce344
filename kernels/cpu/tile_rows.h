/* tile_rows.h - dispatches a run-time number of rows to code compiled for that number */
#ifndef KERNELS_CPU_TILE_ROWS_H
#define KERNELS_CPU_TILE_ROWS_H

/* Run `call` with the constant ROWS equal to `rows`, which is 1 to 8 (no tile has more), or 1 to
 * 6. */
#define WITH_ROWS(rows, call)                                                                    \
    do {                                                                                         \
        switch (rows) {                                                                          \
            SIX_ROWS_CASES(call)                                                                 \
            ROWS_CASE(7, call)                                                                   \
            ROWS_CASE(8, call)                                                                   \
        }                                                                                        \
    } while (0)
#define WITH_UP_TO_SIX_ROWS(rows, call)                                                          \
    do {                                                                                         \
        switch (rows) {                                                                          \
            SIX_ROWS_CASES(call)                                                                 \
        }                                                                                        \
    } while (0)
#define SIX_ROWS_CASES(call)                                                                     \
    ROWS_CASE(1, call)                                                                           \
    ROWS_CASE(2, call)                                                                           \
    ROWS_CASE(3, call)                                                                           \
    ROWS_CASE(4, call)                                                                           \
    ROWS_CASE(5, call)                                                                           \
    ROWS_CASE(6, call)
#define ROWS_CASE(n, call)                                                                       \
    case n: {                                                                                    \
        enum { ROWS = n };                                                                       \
        call;                                                                                    \
        break;                                                                                   \
    }

#endif
