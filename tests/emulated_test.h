/* emulated_test.h - setup and teardown of tests on the emulated device: fresh before, empty
 * after */
#ifndef TESTS_EMULATED_TEST_H
#define TESTS_EMULATED_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "emu/emulator.h"

static inline int begin_emulated(void **state)
{
    (void)state;
    emulator_reset();
    return 0;
}

/* Fails if the device reported a fault. */
static inline int end_without_fault(void **state)
{
    (void)state;
    if (emulator_report() != NULL) print_message("%s\n", emulator_report());
    return emulator_report() != NULL;
}

/* The same, and fails if anything is left on the device. */
static inline int end_emulated(void **state)
{
    struct emulator_usage left;
    emulator_get_usage(&left);
    size_t things = left.device_allocations + left.pinned_allocations + left.streams +
                    left.handles + left.descriptors + left.graphs;
    if (things > 0) print_message("%zu things are left on the device\n", things);
    return end_without_fault(state) != 0 || things > 0;
}

#define TEST_EMULATED(test) cmocka_unit_test_setup_teardown(test, begin_emulated, end_emulated)

#endif
