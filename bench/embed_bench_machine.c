/* embed_bench_machine.c - describes the machine in one line */
#include "embed_bench.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define MOST_DEVICES 17 /* the CPU and 16 GPUs */

struct text {
    char *out;
    size_t capacity, length;
};

static void add(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    size_t room = text->capacity - text->length;
    int length = vsnprintf(text->out + text->length, room, format, values);
    va_end(values);
    if (length > 0) text->length += (size_t)length < room ? (size_t)length : room - 1;
}

/* Adds all instruction sets that the processor supports, by the library's names. */
static void add_instruction_sets(struct text *text)
{
    add(text, ", instruction sets scalar");
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) add(text, " avx2");
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        add(text, " avx512");
        if (__builtin_cpu_supports("avx512bf16")) add(text, " avx512_bf16");
        if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))
            add(text, " avx512_vnni");
    }
#endif
}

/* Adds the first word that starts with a digit and contains a dot, as 570.86.15 in
 * "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  ...". */
static void add_driver(struct text *text)
{
    char line[256] = "";
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    bool read = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL) fclose(file);
    for (char *word = strtok(line, " \t\n"); read && word != NULL; word = strtok(NULL, " \t\n")) {
        if (word[0] < '0' || word[0] > '9' || strchr(word, '.') == NULL) continue;
        add(text, ", driver %s", word);
        return;
    }
    add(text, ", driver %s", "unknown");
}

void machine_line(char *out, size_t capacity)
{
    struct text text = {out, capacity, 0};
    embed_device_info devices[MOST_DEVICES];
    size_t count = 0, gpus = 0;
    for (size_t i = 0; i < MOST_DEVICES; i++)
        devices[i] = (embed_device_info)EMBED_DEVICE_INFO_INIT;
    check(embed_device_list(devices, MOST_DEVICES, &count));
    for (size_t i = 0; i < count && i < MOST_DEVICES; i++) {
        if (devices[i].device == EMBED_DEVICE_CPU) {
            add(&text, "CPU %s, cores %ld", devices[i].name, sysconf(_SC_NPROCESSORS_ONLN));
            add_instruction_sets(&text);
        } else {
            add(&text, ", GPU %s (%s)", devices[i].name, devices[i].details);
            gpus++;
        }
    }
    if (gpus > 0) add_driver(&text);
    else add(&text, ", GPU none");
    add(&text, ", libembed %s, commit %s", embed_version(), COMMIT);
}
