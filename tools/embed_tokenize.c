/* embed_tokenize.c - embed tokenize: the token ids of each line */
#include "embed_tool.h"

#include <stdio.h>
#include <stdlib.h>

static bool write_tokens(tool_output *output, const embed_tokens *tokens)
{
    for (size_t i = 0; i < tokens->count; i++) {
        for (size_t k = tokens->offsets[i]; k < tokens->offsets[i + 1]; k++) {
            char id[16];
            int length = sprintf(id, "%s%d", k > tokens->offsets[i] ? " " : "", tokens->ids[k]);
            if (!output_write(output, id, (size_t)length)) return false;
        }
        if (!output_write(output, "\n", 1)) return false;
    }
    return true;
}

static bool tokenize_lines(tool_output *output, line_reader *reader, line_block *block,
                           const embed_model *model, size_t max_tokens)
{
    embed_tokenize_options options = EMBED_TOKENIZE_OPTIONS_INIT;
    options.max_tokens = max_tokens;
    for (;;) {
        if (!lines_next(reader, block, LINES_MAX)) return false;
        if (block->count == 0) break;
        embed_tokens tokens = EMBED_TOKENS_INIT;
        if (embed_tokenize(model, block->texts, block->count, &options, &tokens) != EMBED_OK)
            return tool_library_error();
        bool written = write_tokens(output, &tokens);
        embed_tokens_free(&tokens);
        if (!written || (output->start < 0 && !output_flush(output))) return false;
    }
    return output_commit(output);
}

int command_tokenize(const tool_settings *settings)
{
    line_block *block = tool_zeroed(sizeof *block); /* too large for the stack */
    line_reader reader;
    tool_output output = {0};
    embed_model *model = NULL;
    tool_settings on_cpu = *settings; /* no GPU is needed for this */
    on_cpu.device = EMBED_DEVICE_CPU;

    bool done =
        lines_open(&reader, settings->operand_count > 0 ? settings->operands[0] : NULL) &&
        output_open(&output, NULL) && tool_open_model(&model, &on_cpu) &&
        tokenize_lines(&output, &reader, block, model, settings->max_tokens);
    embed_model_close(model);
    output_close(&output);
    lines_close(&reader);
    lines_release(block);
    free(block);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
