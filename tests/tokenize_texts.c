/* tokenize_texts.c - runs a tokenizer alone, without a model: for differential_tokenizer.py
 *
 *   tokenize_texts FOLDER < REQUESTS > REPLIES
 *
 * A request: max_tokens and the text's length as 64-bit numbers, then the text. The reply: the
 * number of ids and the ids of 32 bits, then twice the length of a text and the text: what the
 * ids are decoded to, without special tokens and with them. A length of 2^64 - 1: not decoded.
 * All numbers are the machine's own.
 */
#include "base/status.h"
#include "description/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

static void die(const char *cause)
{
    fprintf(stderr, "tokenize_texts: %s\n", cause);
    exit(1);
}

static void check(embed_status status)
{
    if (status != EMBED_OK) die(error_message());
}

static void write_number(uint64_t number)
{
    fwrite(&number, sizeof number, 1, stdout);
}

static void write_decoded(const struct tokenizer *tokenizer, const struct token_list *list,
                          bool skip_special, struct text_buffer *text)
{
    text->length = 0;
    embed_status status =
        tokenizer_decode(tokenizer, list->ids, list->count, skip_special, text);
    if (status != EMBED_UNSUPPORTED) check(status);
    write_number(status == EMBED_OK ? text->length : UINT64_MAX);
    fwrite(text->data, 1, text->length, stdout);
}

int main(int count, char **arguments)
{
    if (count != 2) die("usage: tokenize_texts FOLDER");
    struct tokenizer *tokenizer;
    struct token_list list = {0};
    struct word_cache cache = {0};
    struct text_buffer decoded = {0};
    check(tokenizer_open(&tokenizer, arguments[1]));
    for (uint64_t request[2]; fread(request, sizeof request, 1, stdin) == 1;) {
        /* Of its very size, so that a sanitizer sees what reads behind it. */
        char *text = malloc(request[1] > 0 ? request[1] : 1);
        if (text == NULL || fread(text, 1, request[1], stdin) != request[1]) die("bad request");
        list.count = 0;
        check(tokenizer_encode(tokenizer, &cache, text, request[1], request[0], &list, NULL));
        free(text);
        write_number(list.count);
        fwrite(list.ids, sizeof *list.ids, list.count, stdout);
        write_decoded(tokenizer, &list, true, &decoded);
        write_decoded(tokenizer, &list, false, &decoded);
        fflush(stdout);
    }
    text_buffer_free(&decoded);
    word_cache_free(&cache);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    return ferror(stdout) ? 1 : 0;
}
