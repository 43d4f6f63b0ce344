/* fiber.h - many stacks on one OS thread: each thread of a block is a fiber
 *
 * Each switch is announced to the sanitizer that the program has, if any. The sanitizers' functions
 * are weak symbols here, so that the emulator itself is compiled without them.
 */
#ifndef EMULATOR_FIBER_H
#define EMULATOR_FIBER_H

#include <stddef.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

struct fiber {
#if defined(__x86_64__)
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    void *stack; /* lowest address */
    size_t stack_bytes;
    void *tsan, *asan_fake_stack;
};

/* Which sanitizer the program was built with. */
bool sanitized_by_address(void);
bool sanitized_by_thread(void);

/* Initializes a fiber that runs on this stack. */
void fiber_create(struct fiber *fiber, void *stack, size_t stack_bytes);
void fiber_destroy(struct fiber *fiber);

/* Makes the next switch to the fiber call `entry`, which must never return. */
void fiber_begin_at(struct fiber *fiber, void (*entry)(void));

/* Switches from `from`, which is running on this OS thread, to `to`. Returns when something
 * switches back to `from`; never if `ends`. */
void fiber_switch(struct fiber *from, struct fiber *to, bool ends);

/* Must be called first in `entry`. `starter`, unless NULL, is the fiber that was left; its stack,
 * that of an OS thread, is recorded in it. */
void fiber_has_begun(struct fiber *starter);

/* For ThreadSanitizer: what happened before `release` is visible after `acquire`. */
void happens_before_release(void *object);
void happens_before_acquire(void *object);
void fiber_releases(struct fiber *fiber, void *object); /* for a fiber that will not run again */
void thread_sanitizer_reads(const void *address, size_t bytes);
void thread_sanitizer_writes(void *address, size_t bytes);

/* For AddressSanitizer. */
void address_sanitizer_poison(const void *address, size_t bytes);
void address_sanitizer_unpoison(const void *address, size_t bytes);

#endif
