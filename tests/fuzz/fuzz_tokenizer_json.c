/* fuzz_tokenizer_json.c - tokenizer.json */
#include "fuzz_tokenizer.h"

static void fuzz_input(const uint8_t *input, size_t length)
{
    fuzz_write("tokenizer.json", input, length);
    fuzz_check_tokenizer_files(length % 8 == 0);
}
