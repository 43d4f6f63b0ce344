/* tokenizer_unigram.c - rejects folders whose tokenizer is SentencePiece's Unigram
 *
 * XLM-RoBERTa, CamemBERT and the multilingual models of other families have it. The error names the
 * model of their tokenizer.json rather than the first part of it that we do not support.
 */
#include "description/tokenizer_json.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"

#include <stdio.h>

#define MAX_DEPTH 32
#define SUPPORTED "this version supports WordPiece and byte-level BPE"

/* Old files have no type, but no other model has its tokens in an array. */
static embed_status read_model(struct json_reader *json, bool *is_unigram)
{
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        enum json_kind kind;
        struct json_string key, type;
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        TRY(json_peek(json, &kind));
        if (json_string_is(key, "type") && kind == JSON_STRING) {
            TRY(json_read_string(json, &type));
            *is_unigram |= json_string_is(type, "Unigram");
        } else {
            *is_unigram |= json_string_is(key, "vocab") && kind == JSON_ARRAY;
            TRY(json_skip(json));
        }
    }
}

static embed_status read_document(struct json_reader *json, bool *is_unigram)
{
    TRY(json_enter_object(json));
    for (;;) {
        bool more;
        struct json_string key;
        TRY(json_next_key(json, &more, &key));
        if (!more) return EMBED_OK;
        if (json_string_is(key, "model")) return read_model(json, is_unigram);
        TRY(json_skip(json));
    }
}

embed_status unigram_refuse_json(const char *file)
{
    char *text, cause[1024];
    size_t length;
    bool is_unigram = false;
    snprintf(cause, sizeof cause, "%s", error_message());
    embed_status status = file_read(&text, &length, file, TOKENIZER_MAX_FILE_BYTES);
    if (status == EMBED_OK) {
        struct json_reader json;
        json_reader_init(&json, file, text, length, MAX_DEPTH);
        status = read_document(&json, &is_unigram);
        memory_free(text);
    }
    if (status == EMBED_OUT_OF_MEMORY) return status;
    if (status == EMBED_OK && is_unigram)
        return fail(EMBED_UNSUPPORTED, "%s: the tokenizer is Unigram (SentencePiece); " SUPPORTED,
                    file);
    return fail(EMBED_UNSUPPORTED, "%s", cause);
}

embed_status unigram_refuse_folder(const char *folder)
{
    static const char *const names[] = {"sentencepiece.bpe.model", "spiece.model",
                                        "sentencepiece.model", "tokenizer.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool has;
        TRY(folder_has(&has, folder, names[i]));
        if (has)
            return fail(EMBED_UNSUPPORTED, "%s/%s: the tokenizer is SentencePiece; " SUPPORTED,
                        folder, names[i]);
    }
    return EMBED_OK;
}
