/* memory.cpp - device and pinned memory
 *
 * Every allocation is a mapping of its own, whose last byte lies before a guard page:
 *
 *   | guard | canary | data (bytes) | canary (< 256 bytes) | guard |
 *
 * A device's memory is accessible only while its work runs; otherwise the host gets a
 * segmentation fault. Canaries fill the gaps that pages and CUDA's alignment of 256 bytes leave,
 * and are checked after each kernel. Freed memory stays inaccessible, and its addresses are not
 * reused until much more memory has been freed.
 */
#include "fiber.h"
#include "machine.h"

#include <map>
#include <list>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ALIGNMENT = 256, CANARY = 0xA5 };

#define PAGE ((size_t)4096)
#define GUARD ((size_t)1 << 20)
#define QUARANTINE ((size_t)1 << 32) /* of addresses; freed memory costs nothing else */
#define FILLED ((size_t)1 << 30)     /* larger ones are poisoned only at both ends */

static std::map<const unsigned char *, struct allocation> &table(void)
{
    static auto *all = new std::map<const unsigned char *, struct allocation>;
    return *all; /* keyed by the address of the mapping */
}

static std::list<const unsigned char *> freed;
static size_t freed_bytes;

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Not mmap: ThreadSanitizer would record a write to all of it, in memory of its own. */
void *reserve_addresses(size_t bytes)
{
    long address = syscall(SYS_mmap, NULL, bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == -1 ? NULL : (void *)address;
}

/* Not memset: ThreadSanitizer would see a write, by no thread of the block. */
void fill_poison(void *address, size_t bytes)
{
#if defined(__x86_64__)
    asm volatile("rep stosb" : "+D"(address), "+c"(bytes) : "a"(POISON) : "memory");
#else
    for (volatile unsigned char *p = (unsigned char *)address; bytes-- > 0; p++) *p = POISON;
#endif
}

/* ---- accounting ---------------------------------------------------------------------------- */

/* As in CUDA: up to 1 MiB from blocks of 2 MiB in steps of 512 bytes, more in steps of 2 MiB. */
static const size_t SMALL = (size_t)1 << 20, STEP = 512, BLOCK = (size_t)2 << 20;

size_t memory_taken(const struct device *device)
{
    return device->context_bytes + device->handle_bytes + device->stream_bytes +
           device->graph_bytes + device->large_bytes + round_up(device->small_bytes, BLOCK);
}

bool memory_charge(struct device *device, size_t *account, size_t bytes)
{
    if (bytes > device->memory) return false;
    *account += bytes;
    size_t taken = memory_taken(device);
    if (taken > device->memory) {
        *account -= bytes;
        return false;
    }
    if (taken > device->peak) device->peak = taken;
    return true;
}

static size_t *account_of(struct device *device, size_t *bytes)
{
    bool small = *bytes <= SMALL;
    *bytes = round_up(*bytes, small ? STEP : BLOCK);
    return small ? &device->small_bytes : &device->large_bytes;
}

/* ---- mappings ------------------------------------------------------------------------------ */

static unsigned char *first_page(const struct allocation &a)
{
    return a.mapping + GUARD;
}

static size_t open_bytes(const struct allocation &a)
{
    return a.mapping_bytes - 2 * GUARD;
}

static void protect(const struct allocation &a, int protection)
{
    mprotect(first_page(a), open_bytes(a), protection);
}

static bool map_allocation(struct allocation *a, size_t bytes, int device)
{
    size_t aligned = round_up(bytes, ALIGNMENT), pages = round_up(aligned, PAGE);
    a->mapping_bytes = pages + 2 * GUARD;
    a->mapping = (unsigned char *)reserve_addresses(a->mapping_bytes);
    if (a->mapping == NULL) return false;
    a->data = first_page(*a) + pages - aligned;
    a->bytes = bytes;
    a->device = device;
    a->live = true;
    protect(*a, PROT_READ | PROT_WRITE);

    unsigned char *end = first_page(*a) + pages;
    memset(first_page(*a), CANARY, (size_t)(a->data - first_page(*a)));
    memset(a->data + bytes, CANARY, (size_t)(end - (a->data + bytes)));
    if (!latency_is_on()) { /* otherwise kernels that are not computed would leave NaN */
        fill_poison(a->data, bytes < FILLED ? bytes : PAGE);
        if (bytes >= FILLED) fill_poison(a->data + bytes - PAGE, PAGE);
    }
    address_sanitizer_poison(first_page(*a), (size_t)(a->data - first_page(*a)));
    address_sanitizer_poison(a->data + bytes, (size_t)(end - (a->data + bytes)));
    return true;
}

static void unmap_allocation(const struct allocation &a)
{
    address_sanitizer_unpoison(first_page(a), open_bytes(a));
    munmap(a.mapping, a.mapping_bytes);
}

cudaError_t memory_allocate(void **pointer, size_t bytes, int device)
{
    *pointer = NULL;
    if (bytes == 0) return cudaSuccess;
    size_t charge = bytes, *account = NULL;
    if (device != PINNED) {
        if (bytes > machine.devices[device].memory) return cudaErrorMemoryAllocation;
        account = account_of(&machine.devices[device], &charge);
        if (!memory_charge(&machine.devices[device], account, charge))
            return cudaErrorMemoryAllocation;
    }
    struct allocation a;
    if (bytes > SIZE_MAX / 2 || !map_allocation(&a, bytes, device)) {
        if (account != NULL) *account -= charge;
        return cudaErrorMemoryAllocation;
    }
    if (device != PINNED && !latency_is_on()) protect(a, PROT_NONE);
    table()[a.mapping] = a;
    *pointer = a.data;
    return cudaSuccess;
}

static void forget_oldest(void)
{
    auto oldest = table().find(freed.front());
    freed_bytes -= oldest->second.mapping_bytes;
    unmap_allocation(oldest->second);
    table().erase(oldest);
    freed.pop_front();
}

cudaError_t memory_release(void *pointer, bool pinned)
{
    if (pointer == NULL) return cudaSuccess;
    auto found = table().find(memory_find(pointer) ? memory_find(pointer)->mapping : NULL);
    if (found == table().end() || !found->second.live || found->second.data != pointer ||
        (found->second.device == PINNED) != pinned) {
        report(std::string(pinned ? "cudaFreeHost" : "cudaFree") + " of what is not allocated: " +
               memory_describe(pointer));
        return cudaErrorInvalidValue;
    }
    struct allocation &a = found->second;
    if (!pinned) {
        size_t charge = a.bytes, *account = account_of(&machine.devices[a.device], &charge);
        *account -= charge;
    }
    a.live = false;
    madvise(first_page(a), open_bytes(a), MADV_DONTNEED);
    protect(a, PROT_NONE);
    freed.push_back(a.mapping);
    freed_bytes += a.mapping_bytes;
    while (freed_bytes > QUARANTINE) forget_oldest();
    return cudaSuccess;
}

void memory_release_all(void)
{
    for (auto &entry : table()) unmap_allocation(entry.second);
    table().clear();
    freed.clear();
    freed_bytes = 0;
}

void emulator_get_usage(struct emulator_usage *usage)
{
    *usage = {};
    locked([=] {
        for (auto &entry : table()) {
            const struct allocation &a = entry.second;
            if (!a.live) continue;
            (a.device == PINNED ? usage->pinned_allocations : usage->device_allocations) += 1;
            (a.device == PINNED ? usage->pinned_bytes : usage->device_bytes) += a.bytes;
        }
        usage->streams = machine.streams;
        usage->events = machine.events;
        usage->graphs = machine.graphs;
        usage->handles = machine.handles;
        usage->descriptors = machine.descriptors;
    });
}

/* ---- queries ------------------------------------------------------------------------------- */

const struct allocation *memory_find(const void *pointer)
{
    auto after = table().upper_bound((const unsigned char *)pointer);
    if (after == table().begin()) return NULL;
    const struct allocation &a = std::prev(after)->second;
    return (const unsigned char *)pointer < a.mapping + a.mapping_bytes ? &a : NULL;
}

static bool contains(const struct allocation *a, const void *pointer, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)pointer;
    return a != NULL && a->live && p >= a->data && p <= a->data + a->bytes &&
           bytes <= (size_t)(a->data + a->bytes - p);
}

bool memory_is_device(const void *pointer, size_t bytes, int device)
{
    const struct allocation *a = memory_find(pointer);
    return contains(a, pointer, bytes) && a->device == device;
}

bool memory_is_pinned(const void *pointer, size_t bytes)
{
    return memory_is_device(pointer, bytes, PINNED);
}

bool memory_is_any_device(const void *pointer)
{
    const struct allocation *a = memory_find(pointer);
    return a != NULL && a->device != PINNED;
}

std::string memory_describe(const void *pointer)
{
    const struct allocation *a = memory_find(pointer);
    const unsigned char *p = (const unsigned char *)pointer;
    if (a == NULL) return format("%p, host memory or none", pointer);
    std::string where;
    if (p < a->data) where = format("%zu bytes before the beginning", (size_t)(a->data - p));
    else if (p >= a->data + a->bytes)
        where = format("%zu bytes past the end", (size_t)(p - a->data - a->bytes));
    else where = format("at byte %zu", (size_t)(p - a->data));
    std::string owner = a->device == PINNED ? "pinned memory" : format("device %d", a->device);
    return format("%p, %s of %s of %zu bytes of %s", pointer, where.c_str(),
                  a->live ? "an allocation" : "a freed allocation", a->bytes, owner.c_str());
}

/* ---- protection ---------------------------------------------------------------------------- */

/* Not with a latency: it would take longer than the latency itself. */
static void protect_all(int device, int protection)
{
    if (latency_is_on()) return;
    for (auto &entry : table())
        if (entry.second.live && entry.second.device == device) protect(entry.second, protection);
}

void memory_open(int device)
{
    protect_all(device, PROT_READ | PROT_WRITE);
}

void memory_close(int device)
{
    protect_all(device, PROT_NONE);
}

/* Canaries are poison to AddressSanitizer. */
__attribute__((no_sanitize("address"))) static const unsigned char *
broken_canary(const unsigned char *from, const unsigned char *to)
{
    while (from < to && *from == CANARY) from++;
    return from < to ? from : NULL;
}

bool memory_guards_are_whole(int device, const char *who)
{
    for (auto &entry : table()) {
        struct allocation &a = entry.second;
        if (!a.live || a.device != device) continue;
        const unsigned char *broken = broken_canary(first_page(a), a.data);
        if (broken == NULL)
            broken = broken_canary(a.data + a.bytes, a.data + round_up(a.bytes, ALIGNMENT));
        if (broken == NULL) continue;
        report(format("kernel %s has written to %s", who, memory_describe(broken).c_str()));
        return false;
    }
    return true;
}
