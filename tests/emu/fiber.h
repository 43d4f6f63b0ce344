/* fiber.h - many stacks on one OS thread: each thread of a block is a fiber
 *
 * Sanitizers are told of each switch, if the program has one: their calls are weak symbols here, so
 * that the emulator itself is compiled without.
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

/* What the program was built with. */
bool sanitized_by_address(void);
bool sanitized_by_thread(void);

/* A fiber on this stack. */
void fiber_create(struct fiber *fiber, void *stack, size_t stack_bytes);
void fiber_destroy(struct fiber *fiber);

/* The next switch to it begins `entry`, which must never return. */
void fiber_begin_at(struct fiber *fiber, void (*entry)(void));

/* `from` is where this OS thread is; it goes on when somebody switches back, or `ends`. */
void fiber_switch(struct fiber *from, struct fiber *to, bool ends);

/* First thing in `entry`. `starter`, if not NULL: the fiber that was left, whose stack, an OS
 * thread's, is noted in it. */
void fiber_has_begun(struct fiber *starter);

/* For the threads sanitizer: what happened before `release` is seen after `acquire`. */
void happens_before_release(void *object);
void happens_before_acquire(void *object);
void fiber_releases(struct fiber *fiber, void *object); /* as if it did: it will not run again */
void thread_sanitizer_reads(const void *address, size_t bytes);
void thread_sanitizer_writes(void *address, size_t bytes);

/* For the address sanitizer. */
void address_sanitizer_poison(const void *address, size_t bytes);
void address_sanitizer_unpoison(const void *address, size_t bytes);

#endif
