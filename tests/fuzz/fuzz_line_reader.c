/* fuzz_line_reader.c - lines of a file, in blocks
 *
 * An input is a byte for the most lines in a block, a byte for the number of lines to skip when
 * reading a second time, and the file. Concatenated, the blocks are the file from its beginning, or
 * from the line after those skipped.
 */
#include "tools/embed_tool.h"

#include "fuzz.h"

/* Reads the file after `skipped` bytes, which are `skipped_lines` lines, and compares it with
 * file[]. */
static void check_lines(const char *path, const uint8_t *file, size_t length, size_t most,
                        uint64_t skipped, uint64_t skipped_lines)
{
    line_reader reader;
    line_block block = {0};
    uint64_t lines = skipped_lines, hash = 0;
    size_t at = (size_t)skipped;
    fuzz_claim(lines_open(&reader, path));
    fuzz_claim(reader.total_bytes == length);
    fuzz_claim(lines_skip(&reader, skipped, skipped_lines) && reader.bytes == skipped);
    do {
        fuzz_claim(lines_next(&reader, &block, most));
        fuzz_claim(block.count <= most && block.first == lines);
        for (size_t i = 0; i < block.count; i++) {
            const embed_text *text = &block.texts[i];
            bool has_end = at + text->length < length;
            fuzz_claim(at + text->length <= length);
            fuzz_claim(text->length == 0 || memcmp(text->data, file + at, text->length) == 0);
            fuzz_claim(text->length == 0 || memchr(text->data, '\n', text->length) == NULL);
            if (has_end) fuzz_claim(file[at + text->length] == '\n');
            else fuzz_claim(i + 1 == block.count && !block.whole && text->length > 0);
            at += text->length + has_end;
        }
        lines += block.count;
        fuzz_claim(block.bytes == at);
        if (block.count > 0) hash = block.hash;
    } while (block.count > 0);
    fuzz_claim(at == length);
    if (length > skipped) { /* the hash is the same wherever reading began */
        tool_hash whole = {0};
        hash_add(&whole, file, length);
        fuzz_claim(hash == hash_value(&whole));
    }
    lines_close(&reader);
    lines_release(&block);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    if (length < 2) return;
    size_t most = input[0] == 0 ? LINES_MAX : input[0], skipped_lines = 0, skipped = 0;
    const uint8_t *file = input + 2;
    length -= 2;
    const char *path = fuzz_write("lines.txt", file, length);
    check_lines(path, file, length, most, 0, 0);
    for (size_t i = 0; i < length && skipped_lines < input[1]; i++) {
        if (file[i] != '\n') continue;
        skipped = i + 1;
        skipped_lines++;
    }
    if (skipped > 0) check_lines(path, file, length, most, skipped, skipped_lines);
}
