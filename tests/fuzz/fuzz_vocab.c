/* fuzz_vocab.c - vocab.txt or vocab.json, and the files read with them
 *
 * An input contains all of them; see fuzz_write_files.
 */
#include "fuzz_tokenizer.h"

static const char *const names[] = {"vocab.txt",         "vocab.json",
                                    "merges.txt",        "tokenizer_config.json",
                                    "added_tokens.json", "special_tokens_map.json",
                                    NULL};

static void fuzz_input(const uint8_t *input, size_t length)
{
    fuzz_write_files(input, length, names);
    fuzz_check_tokenizer_files(length % 8 == 0);
}
