/* fiber.cpp - see fiber.h */
#include "fiber.h"

#include <stdint.h>
#include <string.h>

#define WEAK __attribute__((weak, visibility("default")))

extern "C" {
WEAK void __sanitizer_start_switch_fiber(void **fake_stack, const void *stack, size_t bytes);
WEAK void __sanitizer_finish_switch_fiber(void *fake_stack, const void **stack, size_t *bytes);
WEAK void __asan_poison_memory_region(const volatile void *address, size_t bytes);
WEAK void __asan_unpoison_memory_region(const volatile void *address, size_t bytes);
WEAK void *__tsan_get_current_fiber(void);
WEAK void *__tsan_create_fiber(unsigned flags);
WEAK void __tsan_destroy_fiber(void *fiber);
WEAK void __tsan_switch_to_fiber(void *fiber, unsigned flags);
WEAK void __tsan_acquire(void *object);
WEAK void __tsan_release(void *object);
WEAK void __tsan_read_range(void *address, unsigned long bytes);
WEAK void __tsan_write_range(void *address, unsigned long bytes);
}

enum { TSAN_SWITCH_WITHOUT_SYNC = 1 }; /* switches order nothing: only barriers do */

bool sanitized_by_address(void)
{
    return __asan_poison_memory_region != NULL;
}

bool sanitized_by_thread(void)
{
    return __tsan_create_fiber != NULL;
}

void happens_before_release(void *object)
{
    if (sanitized_by_thread()) __tsan_release(object);
}

void happens_before_acquire(void *object)
{
    if (sanitized_by_thread()) __tsan_acquire(object);
}

void fiber_releases(struct fiber *fiber, void *object)
{
    if (!sanitized_by_thread()) return;
    void *self = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->tsan, TSAN_SWITCH_WITHOUT_SYNC);
    __tsan_release(object);
    __tsan_switch_to_fiber(self, TSAN_SWITCH_WITHOUT_SYNC);
}

void thread_sanitizer_reads(const void *address, size_t bytes)
{
    if (sanitized_by_thread()) __tsan_read_range((void *)address, bytes);
}

void thread_sanitizer_writes(void *address, size_t bytes)
{
    if (sanitized_by_thread()) __tsan_write_range(address, bytes);
}

void address_sanitizer_poison(const void *address, size_t bytes)
{
    if (sanitized_by_address()) __asan_poison_memory_region(address, bytes);
}

void address_sanitizer_unpoison(const void *address, size_t bytes)
{
    if (sanitized_by_address()) __asan_unpoison_memory_region(address, bytes);
}

/* ---- switching ----------------------------------------------------------------------------- */

#if defined(__x86_64__)

/* Saves the callee-saved registers and switches stacks. swapcontext would make a system call. */
extern "C" void emulator_switch_stacks(void **save, void *load);
asm(R"(
    .text
    .p2align 4
    .globl emulator_switch_stacks
    .hidden emulator_switch_stacks
    .type emulator_switch_stacks, @function
emulator_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch_stacks, . - emulator_switch_stacks
)");

void fiber_begin_at(struct fiber *fiber, void (*entry)(void))
{
    enum { REGISTERS = 6 };
    void **top = (void **)((char *)fiber->stack + fiber->stack_bytes);
    *--top = NULL; /* return address of entry, which never returns. It begins with the */
    *--top = (void *)entry; /* stack as after a call: 8 bytes off a multiple of 16. */
    for (int i = 0; i < REGISTERS; i++) *--top = NULL;
    fiber->stack_pointer = top;
}

static void switch_machine(struct fiber *from, struct fiber *to)
{
    emulator_switch_stacks(&from->stack_pointer, to->stack_pointer);
}

#else

void fiber_begin_at(struct fiber *fiber, void (*entry)(void))
{
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = fiber->stack_bytes;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, entry, 0);
}

static void switch_machine(struct fiber *from, struct fiber *to)
{
    swapcontext(&from->context, &to->context);
}

#endif

void fiber_create(struct fiber *fiber, void *stack, size_t stack_bytes)
{
    memset((void *)fiber, 0, sizeof *fiber);
    fiber->stack = stack;
    fiber->stack_bytes = stack_bytes;
    if (sanitized_by_thread()) fiber->tsan = __tsan_create_fiber(0);
}

void fiber_destroy(struct fiber *fiber)
{
    if (sanitized_by_thread()) __tsan_destroy_fiber(fiber->tsan);
}

void fiber_switch(struct fiber *from, struct fiber *to, bool ends)
{
    if (sanitized_by_thread()) {
        from->tsan = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(to->tsan, TSAN_SWITCH_WITHOUT_SYNC);
    }
    if (sanitized_by_address())
        __sanitizer_start_switch_fiber(ends ? NULL : &from->asan_fake_stack, to->stack,
                                       to->stack_bytes);
    switch_machine(from, to);
    if (sanitized_by_address()) __sanitizer_finish_switch_fiber(from->asan_fake_stack, NULL, NULL);
}

void fiber_has_begun(struct fiber *starter)
{
    if (!sanitized_by_address()) return;
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(NULL, &stack, &bytes);
    if (starter != NULL) {
        starter->stack = (void *)stack;
        starter->stack_bytes = bytes;
    }
}
