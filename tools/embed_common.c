/* embed_common.c - messages, memory, and opening a model */
#include "embed_tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shown_level = EMBED_LOG_WARNING;
static bool bar_shown;

/* One line, whatever file names and file contents the arguments quote. */
static void message_line(const char *prefix, const char *format, va_list arguments)
{
    char line[2048];
    vsnprintf(line, sizeof line, format, arguments);
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?';
    }
    fprintf(stderr, "%sembed: %s%s\n", bar_shown ? "\r\033[K" : "", prefix, line);
}

bool tool_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    message_line("", format, arguments);
    va_end(arguments);
    return false;
}

void tool_log(embed_log_level level, const char *format, ...)
{
    static const char *const prefixes[] = {"", "error: ", "warning: ", "info: ", "debug: "};
    if ((int)level > shown_level) return;
    va_list arguments;
    va_start(arguments, format);
    message_line(prefixes[level], format, arguments);
    va_end(arguments);
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
    bar_shown = shown;
}

void *tool_resize(void *old, size_t count, size_t size)
{
    size_t bytes;
    void *block = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes))
        block = realloc(old, bytes > 0 ? bytes : 1);
    if (block == NULL) {
        tool_error("out of memory: %zu x %zu bytes are needed", count, size);
        exit(EXIT_FAILURE);
    }
    return block;
}

bool tool_flush_stdout(void)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) return true;
    /* Whoever reads has seen enough: no news for anybody. */
    return errno != EPIPE && tool_error("standard output: %s", strerror(errno));
}

bool tool_open_model(embed_model **model, embed_instance **instance,
                     const tool_settings *settings)
{
    embed_model_options model_options = EMBED_MODEL_OPTIONS_INIT;
    model_options.device = settings->device;
    model_options.device_index = settings->device_index;
    model_options.dtype = (embed_dtype)settings->dtype;
    model_options.threads = (unsigned)settings->threads;
    *model = NULL;
    if (embed_model_open(model, settings->model, &model_options) != EMBED_OK)
        return tool_error("%s", embed_error_message());
    if (instance == NULL) return true;

    embed_instance_options instance_options = EMBED_INSTANCE_OPTIONS_INIT;
    instance_options.batch_tokens = settings->batch_tokens;
    *instance = NULL;
    if (embed_instance_create(instance, *model, &instance_options) == EMBED_OK) return true;
    tool_error("%s", embed_error_message());
    embed_model_close(*model);
    *model = NULL;
    return false;
}

bool tool_row_width(size_t *width, const embed_model *model, const tool_settings *settings)
{
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    if (embed_model_get_info(model, &info) != EMBED_OK)
        return tool_error("%s", embed_error_message());
    if (settings->dimensions > info.width)
        return tool_error("--dimensions %zu: this model's embeddings have %zu",
                          settings->dimensions, info.width);
    *width = settings->dimensions > 0 ? settings->dimensions : info.width;
    return true;
}
