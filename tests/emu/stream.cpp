/* stream.cpp - queues of work, run by the calls that wait, and events, which are moments in them
 *
 * Enqueued work is not run until something waits for it, as late as CUDA allows: a result that is
 * read too early is poison, every time. The null stream has CUDA's legacy order: its work comes
 * after all earlier work of other streams and before all their later work, except that of
 * non-blocking streams.
 */
#include "machine.h"

#include <set>

static std::set<cudaStream_t> &streams(void)
{
    static auto *all = new std::set<cudaStream_t>;
    return *all;
}

static std::set<cudaEvent_t> &events(void)
{
    static auto *all = new std::set<cudaEvent_t>;
    return *all;
}

static cudaStream_t null_stream(int device)
{
    cudaStream_t *stream = &machine.devices[device].null_stream;
    if (*stream == NULL) *stream = new CUstream_st{device, false, 0, 0, {}, 0, NULL};
    return *stream;
}

static bool is_null_stream(cudaStream_t stream)
{
    return machine.devices[stream->device].null_stream == stream;
}

cudaStream_t stream_resolve(cudaStream_t stream)
{
    if (stream == NULL) return null_stream(current_device());
    return streams().count(stream) != 0 ? stream : NULL;
}

/* ---- running the work ---------------------------------------------------------------------- */

/* Runs the work up to a moment; with a latency, only what is over. After an error, no more work of
 * the device runs. */
static cudaError_t do_work(cudaStream_t stream, uint64_t moment)
{
    struct device *device = &machine.devices[stream->device];
    if (stream->done < moment && device->fatal == cudaSuccess) {
        memory_open(stream->device);
        while (stream->done < moment && device->fatal == cudaSuccess &&
               latency_is_over(stream->work.front())) {
            struct work work = std::move(stream->work.front());
            stream->work.pop_front();
            stream->done++;
            device->fatal = work.run();
        }
        memory_close(stream->device);
    }
    return device->fatal;
}

static cudaError_t do_all_work(cudaStream_t stream)
{
    return do_work(stream, stream->enqueued);
}

/* Runs the work of others that must precede new work of `stream`. */
static cudaError_t do_earlier_of_others(cudaStream_t stream)
{
    cudaError_t error = cudaSuccess;
    if (is_null_stream(stream)) {
        for (cudaStream_t other : streams())
            if (error == cudaSuccess && other->device == stream->device && other->waits_for_null)
                error = do_all_work(other);
    } else if (stream->waits_for_null) {
        error = do_all_work(null_stream(stream->device));
    }
    return error;
}

void stream_enqueue(cudaStream_t stream, struct work work)
{
    if (stream->capture != NULL) {
        graph_add(stream->capture, std::move(work));
        return;
    }
    do_earlier_of_others(stream); /* an error is sticky, and shows at the next call */
    if (memory_is_pinned(work.poisoned, work.poisoned_bytes))
        fill_poison(work.poisoned, work.poisoned_bytes);
    latency_enter(stream, &work);
    stream->work.push_back(std::move(work));
    stream->enqueued++;
}

cudaError_t stream_finish(cudaStream_t stream)
{
    cudaError_t error = is_null_stream(stream) ? do_earlier_of_others(stream) : cudaSuccess;
    return error != cudaSuccess ? error : do_all_work(stream);
}

cudaError_t stream_run(cudaStream_t stream, struct work work)
{
    stream_enqueue(stream, std::move(work));
    return stream_finish(stream);
}

cudaError_t streams_finish_all(int device)
{
    cudaError_t error = do_all_work(null_stream(device));
    for (cudaStream_t stream : streams())
        if (error == cudaSuccess && stream->device == device) error = do_all_work(stream);
    return error;
}

/* ---- waiting --------------------------------------------------------------------------------- */

uint64_t event_done_at(cudaEvent_t event)
{
    if (!event_exists(event) || event->stream == NULL || event->stream->done >= event->moment)
        return 0;
    return event->stream->work[event->moment - event->stream->done - 1].done_at;
}

uint64_t stream_done_at(cudaStream_t stream)
{
    stream = stream_resolve(stream);
    return stream == NULL ? 0 : stream->done_at;
}

uint64_t device_done_at(int device)
{
    return machine.devices[device].busy_until;
}

/* ---- streams --------------------------------------------------------------------------------- */

cudaStream_t stream_create(int device, bool waits_for_null)
{
    cudaStream_t stream = new CUstream_st{device, waits_for_null, 0, 0, {}, 0, NULL};
    streams().insert(stream);
    machine.streams++;
    return stream;
}

void stream_destroy(cudaStream_t stream)
{
    for (cudaEvent_t event : events())
        if (event->stream == stream) event->stream = NULL;
    streams().erase(stream);
    graph_discard_capture(stream->capture);
    machine.streams--;
    delete stream;
}

cudaEvent_t event_create(void)
{
    cudaEvent_t event = new CUevent_st{NULL, 0};
    events().insert(event);
    machine.events++;
    return event;
}

void event_destroy(cudaEvent_t event)
{
    events().erase(event);
    machine.events--;
    delete event;
}

bool event_exists(cudaEvent_t event)
{
    return events().count(event) != 0;
}

cudaError_t event_finish(cudaEvent_t event)
{
    return event->stream == NULL ? cudaSuccess : do_work(event->stream, event->moment);
}

void streams_and_events_destroy_all(void)
{
    while (!events().empty()) event_destroy(*events().begin());
    while (!streams().empty()) stream_destroy(*streams().begin());
    for (struct device &device : machine.devices) {
        delete device.null_stream;
        device.null_stream = NULL;
    }
}
