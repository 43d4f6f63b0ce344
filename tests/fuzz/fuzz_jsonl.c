/* fuzz_jsonl.c - a field of JSON lines */
#include "tools/embed_tool.h"

#include "formats/unicode.h"
#include "fuzz.h"

static void check_texts(const line_block *block)
{
    for (size_t i = 0; i < block->count; i++) {
        const embed_text *text = &block->texts[i];
        for (size_t at = 0; at < text->length;) {
            struct utf8_character c = utf8_decode(text->data + at, text->length - at);
            fuzz_claim(c.valid);
            at += c.bytes;
        }
        fuzz_claim(text->data[text->length] == '\0');
    }
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    static jsonl_values values;
    char message[TOOL_MESSAGE_MAX];
    line_reader reader;
    line_block block = {0};
    const char *path = fuzz_write("lines.jsonl", input, length);
    tool_hold_errors(message);
    fuzz_claim(lines_open(&reader, path));
    for (bool goes_on = true; goes_on;) {
        fuzz_claim(lines_next(&reader, &block, 8));
        goes_on = block.count > 0;
        if (goes_on && jsonl_extract(&values, &block, "text", path)) {
            check_texts(&block);
        } else if (goes_on) {
            char place[2 * FUZZ_PATH_MAX + sizeof ": line "];
            snprintf(place, sizeof place, "%s: line ", path);
            fuzz_claim_message(message, place);
            goes_on = false;
        }
        jsonl_release(&values);
    }
    lines_close(&reader);
    lines_release(&block);
    tool_hold_errors(NULL);
}
