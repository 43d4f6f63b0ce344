/* latency.cpp - time that passes instead of work: see emulator_set_latency
 *
 * A device has one time line: work begins when the previous work ends, or now if that is later. So
 * only the end of each piece of work is kept, and waiting means sleeping until then.
 */
#include "machine.h"

#include <algorithm>
#include <time.h>

#define MICROSECOND 1000
#define SHORTEST_SLEEP (50 * MICROSECOND) /* Linux wakes sleepers up to this much late */

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void emulator_set_latency(double launch_microseconds, double row_microseconds)
{
    locked([=] {
        machine.launch_time = launch_microseconds * MICROSECOND;
        machine.row_time = row_microseconds * MICROSECOND;
    });
}

bool latency_is_on(void)
{
    return machine.launch_time > 0 || machine.row_time > 0;
}

void latency_enter(cudaStream_t stream, struct work *work)
{
    if (!latency_is_on()) return;
    uint64_t time = (uint64_t)(work->launch_time + work->row_time);
    if (time > 0) {
        struct device *device = &machine.devices[stream->device];
        device->busy_until = std::max(device->busy_until, now()) + time;
        stream->done_at = device->busy_until;
    }
    work->done_at = stream->done_at;
}

bool latency_is_over(const struct work &work)
{
    return work.done_at == 0 || work.done_at <= now();
}

static void sleep_until(uint64_t time)
{
    struct timespec end = {(time_t)(time / 1000000000u), (long)(time % 1000000000u)};
    for (uint64_t t = now(); t < time; t = now())
        if (time - t >= SHORTEST_SLEEP)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
}

void latency_wait(const std::function<uint64_t()> &until)
{
    uint64_t time = 0;
    locked([&] {
        if (latency_is_on() && current()->fatal == cudaSuccess) time = until();
    });
    sleep_until(time);
}
