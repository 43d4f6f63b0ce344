/* tokenizer.c - makes a tokenizer of what its files say */
#include "description/tokenizer.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "description/ascii_block.h"
#include "description/tokenizer_parts.h"
#include "formats/folder.h"

/* ---- parts ------------------------------------------------------------------------------- */

embed_status text_copy_set(struct text_copy *copy, const char *data, size_t length)
{
    char *fresh = memory_copy_text(data, length, "a tokenizer");
    if (fresh == NULL) return EMBED_OUT_OF_MEMORY;
    memory_free(copy->data);
    *copy = (struct text_copy){fresh, length};
    return EMBED_OK;
}

static embed_status append_token(struct tokenizer_parts *parts, const char *text, size_t length)
{
    if (parts->added_count == parts->added_capacity) {
        size_t capacity = parts->added_capacity > 0 ? 2 * parts->added_capacity : 8;
        struct added_token_part *grown =
            memory_resize(parts->added, capacity, sizeof *grown, "the added tokens");
        if (grown == NULL) return EMBED_OUT_OF_MEMORY;
        parts->added = grown;
        parts->added_capacity = capacity;
    }
    TRY(vocabulary_add(&parts->added_texts, parts->file, text, length,
                       (int32_t)parts->added_count));
    struct added_token_part part = {0};
    TRY(text_copy_set(&part.text, text, length));
    parts->added[parts->added_count++] = part;
    return EMBED_OK;
}

embed_status tokenizer_parts_add_token(struct tokenizer_parts *parts, const char *text,
                                       size_t length, uint64_t id, bool normalized,
                                       bool single_word)
{
    if (length == 0) return EMBED_OK; /* the reference leaves it out */
    int32_t index = vocabulary_find(&parts->added_texts, text, length);
    if (index < 0) {
        TRY(append_token(parts, text, length));
        index = (int32_t)parts->added_count - 1;
    }
    struct added_token_part *part = &parts->added[index];
    part->id = id;
    part->normalized = normalized;
    part->single_word = single_word;
    return EMBED_OK;
}

void tokenizer_parts_free(struct tokenizer_parts *parts)
{
    for (size_t i = 0; i < parts->added_count; i++) memory_free(parts->added[i].text.data);
    memory_free(parts->added);
    vocabulary_free(&parts->added_texts);
    vocabulary_free(&parts->vocabulary);
    memory_free(parts->unknown.data);
    memory_free(parts->prefix.data);
    memory_free(parts->file);
}

/* ---- assembly ---------------------------------------------------------------------------- */

static embed_status read_files(struct tokenizer_parts *parts, const char *folder)
{
    bool has_json, has_text;
    TRY(folder_has(&has_json, folder, "tokenizer.json"));
    TRY(folder_has(&has_text, folder, "vocab.txt"));
    if (!has_json && !has_text)
        return fail(EMBED_IO, "%s: has neither tokenizer.json nor vocab.txt", folder);
    parts->file = folder_path(folder, has_json ? "tokenizer.json" : "vocab.txt");
    if (parts->file == NULL) return EMBED_OUT_OF_MEMORY;
    return has_json ? tokenizer_json_read(parts) : vocab_txt_read(parts, folder);
}

static embed_status set_up_model(struct tokenizer *tokenizer)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    int32_t unknown =
        vocabulary_find(&parts->vocabulary, parts->unknown.data, parts->unknown.length);
    if (unknown < 0)
        return fail(EMBED_BAD_FILE, "%s: the unknown token \"%s\" is not in the vocabulary",
                    parts->file, parts->unknown.data);
    if (parts->max_characters > WORDPIECE_MAX_CHARACTERS)
        return fail(EMBED_UNSUPPORTED, "%s: words of %zu characters, more than %d", parts->file,
                    parts->max_characters, WORDPIECE_MAX_CHARACTERS);
    TRY(token_trie_create(&tokenizer->trie, &parts->vocabulary, parts->file));
    tokenizer->model = (struct wordpiece){
        .trie = &tokenizer->trie,
        .continuation =
            token_trie_walk(&tokenizer->trie, parts->prefix.data, parts->prefix.length),
        .unknown_id = unknown,
        .max_characters = parts->max_characters,
    };
    return EMBED_OK;
}

/* The reference does not use the ids that tokenizer.json gives to added tokens: one that is in
 * the vocabulary has its id there, others get the next free ids. */
static embed_status set_up_added_tokens(struct tokenizer *tokenizer)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    uint64_t next_id = parts->vocabulary.count;
    for (size_t i = 0; i < parts->added_count; i++) {
        const struct added_token_part *part = &parts->added[i];
        const char *text = part->text.data;
        int32_t known = vocabulary_find(&parts->vocabulary, text, part->text.length);
        uint64_t id = known >= 0 ? (uint64_t)known : next_id;
        if (id > INT32_MAX) return fail(EMBED_BAD_FILE, "%s: ids above 2^31", parts->file);
        if (id >= next_id) next_id = id + 1;
        if (id >= tokenizer->id_limit) tokenizer->id_limit = (size_t)id + 1;
        if (id != part->id)
            log_message(EMBED_LOG_WARNING, "%s: added token \"%s\" has id %llu, not %llu",
                        parts->file, text, (unsigned long long)id,
                        (unsigned long long)part->id);
        TRY(added_tokens_add(part->normalized ? &tokenizer->normalized : &tokenizer->raw,
                             parts->file, text, part->text.length,
                             (struct added_token){(int32_t)id, part->single_word},
                             part->normalized ? tokenizer->normalizer : NULL));
    }
    return EMBED_OK;
}

static void set_up_id_limit(struct tokenizer *tokenizer)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    int32_t largest = parts->vocabulary.largest_id;
    for (size_t i = 0; i < parts->before_count; i++)
        if (parts->before[i] > largest) largest = parts->before[i];
    for (size_t i = 0; i < parts->after_count; i++)
        if (parts->after[i] > largest) largest = parts->after[i];
    tokenizer->id_limit = (size_t)largest + 1;
}

/* Writes what an ASCII character becomes. False: that is not one character of ASCII, or a token of
 * the normalized set may begin with it. */
static bool expand_plain(const struct tokenizer *tokenizer, uint32_t code, struct normalized *out)
{
    return normalizer_expand_to_one(tokenizer->normalizer, code, out) && out->code < 0x80 &&
           !tokenizer->normalized.starts[out->code];
}

static bool is_plain_in_words(const struct tokenizer *tokenizer, uint32_t code)
{
    bool becomes_small = tokenizer->parts.normalizer.lowercase && code >= 'A' && code <= 'Z';
    struct normalized unit;
    return expand_plain(tokenizer, code, &unit) && unit.kind == NORMALIZED_WORD &&
           unit.code == (becomes_small ? code + ('a' - 'A') : code);
}

static int32_t plain_id(const struct tokenizer *tokenizer, uint32_t code)
{
    struct normalized unit;
    if (code >= 0x80 || !expand_plain(tokenizer, code, &unit)) return PLAIN_OTHER;
    if (unit.kind == NORMALIZED_SPACE) return PLAIN_SPACE;
    if (unit.kind != NORMALIZED_PUNCTUATION) return PLAIN_OTHER;
    const char text[] = {(char)unit.code};
    int32_t id = vocabulary_find(&tokenizer->parts.vocabulary, text, sizeof text);
    return id >= 0 ? id : tokenizer->model.unknown_id;
}

static void set_up_plain(struct tokenizer *tokenizer)
{
    static const char in_words[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    tokenizer->has_plain_words = tokenizer->model.max_characters >= ASCII_BLOCK;
    for (const char *c = in_words; *c != '\0'; c++)
        if (!is_plain_in_words(tokenizer, (unsigned char)*c)) tokenizer->has_plain_words = false;
    for (uint32_t code = 0; code < 256; code++)
        tokenizer->plain[code] = plain_id(tokenizer, code);
}

static embed_status set_up(struct tokenizer *tokenizer, const char *folder)
{
    TRY(read_files(&tokenizer->parts, folder));
    TRY(set_up_model(tokenizer));
    TRY(normalizer_create(&tokenizer->normalizer, tokenizer->parts.normalizer));
    set_up_id_limit(tokenizer);
    TRY(set_up_added_tokens(tokenizer));
    set_up_plain(tokenizer);
    vocabulary_free(&tokenizer->parts.vocabulary); /* the trie has it all */
    return EMBED_OK;
}

embed_status tokenizer_open(struct tokenizer **tokenizer, const char *folder)
{
    struct tokenizer *fresh = memory_allocate(1, sizeof *fresh, "a tokenizer");
    if (fresh == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = set_up(fresh, folder);
    if (status != EMBED_OK) {
        tokenizer_close(fresh);
        return status;
    }
    *tokenizer = fresh;
    return EMBED_OK;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    added_tokens_free(&tokenizer->raw);
    added_tokens_free(&tokenizer->normalized);
    normalizer_destroy(tokenizer->normalizer);
    token_trie_free(&tokenizer->trie);
    tokenizer_parts_free(&tokenizer->parts);
    memory_free(tokenizer);
}

size_t tokenizer_id_limit(const struct tokenizer *tokenizer)
{
    return tokenizer->id_limit;
}

size_t tokenizer_added_tokens(const struct tokenizer *tokenizer)
{
    return tokenizer->parts.before_count + tokenizer->parts.after_count;
}
