/* embed_common.c - messages, memory, and opening a model */
#include "embed_tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shown_level = EMBED_LOG_WARNING;
static atomic_bool bar_shown;
static bool failed; /* an error was printed; later ones follow from it. Guarded by stderr's lock */
static _Thread_local char *held; /* buffer for this thread's errors; NULL: stderr */

static void message_line(const char *prefix, const char *text)
{
    fprintf(stderr, "%sembed: %s%s\n", atomic_load(&bar_shown) ? "\r\033[K" : "", prefix, text);
}

size_t control_bytes(const char *text, size_t length)
{
    unsigned char first = (unsigned char)text[0];
    if (first < 0x20 || first == 0x7F) return 1;
    bool is_c1 = first == 0xC2 && length > 1 && ((unsigned char)text[1] & 0xE0) == 0x80;
    return is_c1 ? 2 : 0;
}

void tool_print_safely(const char *text)
{
    for (size_t length = strlen(text), n; length > 0; text += n, length -= n) {
        n = control_bytes(text, length);
        printf("%s", n == 0 ? "" : n == 1 ? "?" : "??");
        if (n == 0) fwrite(text, 1, n = 1, stdout);
    }
}

/* Formats one line. Control characters, as in quoted file names or contents, become '?'. */
static void put_line(char *line, const char *format, va_list arguments)
{
    vsnprintf(line, TOOL_MESSAGE_MAX, format, arguments);
    size_t length = strlen(line);
    for (size_t i = 0; i < length; i++) memset(line + i, '?', control_bytes(line + i, length - i));
}

bool tool_error(const char *format, ...)
{
    char line[TOOL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    put_line(held != NULL ? held : line, format, arguments);
    va_end(arguments);
    if (held != NULL) return false;
    flockfile(stderr);
    if (!failed) message_line("", line);
    failed = true;
    funlockfile(stderr);
    return false;
}

/* Turns "min_length is 9, max_length is 8" into "--min-length is 9, --max-length is 8", which is
 * what the user typed. */
bool tool_library_error(void)
{
    char told[TOOL_MESSAGE_MAX] = "";
    size_t used = 0;
    for (const char *part = embed_error_message(), *next; *part != '\0'; part = next) {
        const char *comma = strstr(part, ", ");
        next = comma != NULL ? comma + 2 : part + strlen(part);
        size_t length = strcspn(part, " ");
        bool is_value = strncmp(part + length, " is ", 4) == 0;
        const char *option = is_value ? option_of_argument(part, length) : NULL;
        if (option != NULL) part += length;
        used += (size_t)snprintf(told + used, sizeof told - used, "%s%.*s",
                                 option != NULL ? option : "", (int)(next - part), part);
        if (used >= sizeof told) break;
    }
    return tool_error("%s", told);
}

void tool_hold_errors(char *message)
{
    held = message;
    if (message != NULL) *message = '\0';
}

void tool_notice(const char *format, ...)
{
    char line[TOOL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    put_line(line, format, arguments);
    va_end(arguments);
    message_line("", line);
}

void tool_log(embed_log_level level, const char *format, ...)
{
    static const char *const prefixes[] = {"", "error: ", "warning: ", "info: ", "debug: "};
    if ((int)level > shown_level) return;
    char line[TOOL_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    put_line(line, format, arguments);
    va_end(arguments);
    message_line(prefixes[level], line);
}

void tool_tell_truncated(uint64_t truncated, uint64_t texts)
{
    if (truncated > 0)
        tool_log(EMBED_LOG_WARNING, "%ju of %ju texts were longer than the limit and were cut",
                 (uintmax_t)truncated, (uintmax_t)texts);
}

static void on_library_log(void *user, embed_log_level level, const char *message)
{
    (void)user;
    tool_log(level, "%s", message);
}

void tool_log_start(int level)
{
    if (level != 0) shown_level = level;
    embed_log_set(on_library_log, NULL, (embed_log_level)shown_level);
}

void tool_bar_shown(bool shown)
{
    atomic_store(&bar_shown, shown);
}

/* Called on any thread; other threads keep running until the process is gone. The lock on stderr is
 * kept, so that a second thread that gets here cannot end the process before this message and
 * exit() are done. */
static void end_without_memory(size_t count, size_t size)
{
    flockfile(stderr);
    held = NULL;
    tool_error("out of memory: %zu x %zu bytes are needed", count, size);
    exit(EXIT_FAILURE);
}

void *tool_resize(void *old, size_t count, size_t size)
{
    size_t bytes;
    void *block = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes))
        block = realloc(old, bytes > 0 ? bytes : 1);
    if (block == NULL) end_without_memory(count, size);
    return block;
}

void *tool_zeroed(size_t bytes)
{
    void *block = calloc(1, bytes);
    if (block == NULL) end_without_memory(1, bytes);
    return block;
}

bool tool_flush_stdout(void)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) return true;
    /* The reader has closed the pipe: it has seen enough, which is not worth a message. */
    return errno != EPIPE && tool_error("standard output: %s", strerror(errno));
}

bool tool_open_model(embed_model **model, const tool_settings *settings)
{
    embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
    model_options.device = settings->device;
    model_options.device_index = settings->device_index;
    model_options.dtype = (embed_dtype)settings->dtype;
    model_options.threads = (unsigned)settings->threads;
    *model = NULL;
    return embed_model_open(model, settings->model, &model_options) == EMBED_OK ||
           tool_library_error();
}

bool tool_create_instance(embed_instance **instance, embed_model *model,
                          const tool_settings *settings)
{
    embed_instance_options options = EMBED_INSTANCE_OPTIONS_INIT;
    options.batch_tokens = settings->batch_tokens;
    options.documents = settings->documents;
    options.num_beams = (unsigned)settings->num_beams;
    options.max_length = settings->max_length;
    return embed_instance_create(instance, model, &options) == EMBED_OK ||
           tool_library_error();
}

bool tool_row_width(size_t *width, const embed_model *model, const tool_settings *settings)
{
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    if (embed_model_get_info(model, &info) != EMBED_OK)
        return tool_library_error();
    if (settings->dimensions > info.width)
        return tool_error("--dimensions %zu: this model's embeddings have %zu",
                          settings->dimensions, info.width);
    *width = settings->dimensions > 0 ? settings->dimensions : info.width;
    return true;
}
