/* tokenizer.c - builds a tokenizer from the contents of its files */
#include "description/tokenizer.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "description/ascii_block.h"
#include "description/byte_level.h"
#include "description/tokenizer_parts.h"
#include "formats/folder.h"
#include "formats/unicode.h"

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
                                       size_t length, uint64_t id,
                                       struct token_flags flags)
{
    if (length == 0) return EMBED_OK; /* the reference ignores it */
    int32_t index = vocabulary_find(&parts->added_texts, text, length);
    if (index < 0) {
        TRY(append_token(parts, text, length));
        index = (int32_t)parts->added_count - 1;
    }
    struct added_token_part *part = &parts->added[index];
    part->id = id;
    part->flags = flags;
    return EMBED_OK;
}

void tokenizer_parts_free(struct tokenizer_parts *parts)
{
    for (size_t i = 0; i < parts->added_count; i++) memory_free(parts->added[i].text.data);
    memory_free(parts->added);
    vocabulary_free(&parts->added_texts);
    vocabulary_free(&parts->vocabulary);
    merge_table_free(&parts->merges);
    memory_free(parts->unknown.data);
    memory_free(parts->prefix.data);
    memory_free(parts->file);
}

/* ---- assembly ---------------------------------------------------------------------------- */

static embed_status read_json(struct tokenizer_parts *parts, const char *folder)
{
    embed_status status = tokenizer_json_read(parts);
    if (status == EMBED_UNSUPPORTED) return unigram_refuse_json(parts->file);
    return status == EMBED_OK ? tokenizer_settings_read(parts, folder) : status;
}

static embed_status read_files(struct tokenizer_parts *parts, const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "vocab.txt", "vocab.json"};
    size_t i = 0;
    for (bool has; i < 3; i++) {
        TRY(folder_has(&has, folder, names[i]));
        if (has) break;
    }
    if (i == 3) TRY(unigram_refuse_folder(folder));
    if (i == 3)
        return fail(EMBED_IO, "%s: has neither tokenizer.json nor vocab.txt nor vocab.json",
                    folder);
    parts->file = folder_path(folder, names[i]);
    if (parts->file == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(tokenizer_settings_check(folder));
    if (i == 0) return read_json(parts, folder);
    bool adds_tokens;
    TRY(folder_has(&adds_tokens, folder, "added_tokens.json"));
    if (adds_tokens)
        return fail(EMBED_UNSUPPORTED,
                    "%s: added_tokens.json without tokenizer.json is not supported", folder);
    if (i == 2) return vocab_json_read(parts, folder);
    TRY(vocab_txt_read(parts, folder));
    return tokenizer_settings_read(parts, folder);
}

static embed_status set_up_wordpiece(struct tokenizer *tokenizer)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    int32_t unknown =
        vocabulary_find(&parts->vocabulary, parts->unknown.data, parts->unknown.length);
    if (unknown < 0)
        return fail(EMBED_BAD_FILE, "%s: the unknown token \"%.*s\" is not in the vocabulary",
                    parts->file, utf8_shown(parts->unknown.data, parts->unknown.length),
                    parts->unknown.data);
    if (parts->max_characters > WORDPIECE_MAX_CHARACTERS)
        return fail(EMBED_UNSUPPORTED,
                    "%s: words of up to %zu characters, more than the supported %d", parts->file,
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

/* Records the bytes that each id of the vocabulary stands for. */
static embed_status set_up_texts(struct tokenizer *tokenizer)
{
    const struct tokenizer_parts *parts = &tokenizer->parts;
    const struct vocabulary *vocabulary = &parts->vocabulary;
    /* The table is indexed by id: one large id in a small file must not take megabytes. */
    size_t most = 4 * vocabulary->count + 65536;
    if (vocabulary->largest_id > TOKEN_TEXTS_MAX_ID || (size_t)vocabulary->largest_id > most)
        return fail(EMBED_BAD_FILE, "%s: token id %d is too large for a vocabulary of %zu tokens",
                    parts->file, (int)vocabulary->largest_id, vocabulary->count);
    for (size_t i = 0; i < (size_t)1 << vocabulary->slot_bits; i++) {
        const struct vocabulary_slot *slot = &vocabulary->slots[i];
        if (slot->tag == 0) continue;
        if ((size_t)slot->id < tokenizer->texts.count &&
            tokenizer->texts.tokens[slot->id].is_known)
            return fail(EMBED_BAD_FILE, "%s: two tokens have the id %d", parts->file,
                        (int)slot->id);
        TRY(token_texts_set(&tokenizer->texts, slot->id, vocabulary->text + slot->offset,
                            slot->length, false));
    }
    return EMBED_OK;
}

static embed_status set_up_byte_bpe(struct tokenizer *tokenizer)
{
    struct tokenizer_parts *parts = &tokenizer->parts;
    struct byte_bpe *model = &tokenizer->byte_bpe;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        size_t length = utf8_encode(text, byte_level_character((unsigned char)byte));
        model->bytes[byte] = vocabulary_find(&parts->vocabulary, text, length);
        if (model->bytes[byte] < 0 && parts->unknown.data != NULL)
            return fail(EMBED_UNSUPPORTED,
                        "%s: unk_token is not supported if the vocabulary lacks a byte (0x%02X)",
                        parts->file, byte);
    }
    model->merges = parts->merges;
    parts->merges = (struct merge_table){0};
    tokenizer->classes = gpt2_classes_create();
    if (tokenizer->classes == NULL) return EMBED_OUT_OF_MEMORY;
    return set_up_texts(tokenizer);
}

/* Like the reference, ignores the ids that tokenizer.json gives to added tokens: a token in the
 * vocabulary has its id there, the others get the next free ids. */
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
            log_message(EMBED_LOG_WARNING, "%s: added token \"%.*s\" has id %llu, not %llu",
                        parts->file, utf8_shown(text, part->text.length), text,
                        (unsigned long long)id, (unsigned long long)part->id);
        const struct token_flags *flags = &part->flags;
        TRY(added_tokens_add(flags->normalized ? &tokenizer->normalized : &tokenizer->raw,
                             parts->file, text, part->text.length,
                             (struct added_token){(int32_t)id, flags->single_word,
                                                  flags->lstrip, flags->rstrip},
                             flags->normalized ? tokenizer->normalizer : NULL));
        if (parts->is_byte_bpe)
            TRY(token_texts_set(&tokenizer->texts, (int32_t)id, text, part->text.length,
                                flags->special));
    }
    return EMBED_OK;
}

/* Returns the largest id of the tokens that are put around every text, or 0 if there are none. */
static int32_t template_largest_id(const struct tokenizer_parts *parts)
{
    int32_t largest = 0;
    for (size_t i = 0; i < parts->before_count; i++)
        if (parts->before[i] > largest) largest = parts->before[i];
    for (size_t i = 0; i < parts->after_count; i++)
        if (parts->after[i] > largest) largest = parts->after[i];
    return largest;
}

static void set_up_id_limit(struct tokenizer *tokenizer)
{
    int32_t largest = template_largest_id(&tokenizer->parts);
    if (tokenizer->parts.vocabulary.largest_id > largest)
        largest = tokenizer->parts.vocabulary.largest_id;
    tokenizer->id_limit = (size_t)largest + 1;
}

/* Writes what an ASCII character becomes. Returns false if that is not one ASCII character, or if a
 * token of the normalized set may begin with it. */
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

static embed_status set_up(struct tokenizer *tokenizer, const char *folder, bool lowercase)
{
    TRY(read_files(&tokenizer->parts, folder));
    bool is_byte_bpe = tokenizer->parts.is_byte_bpe;
    if (lowercase && is_byte_bpe)
        return fail(EMBED_UNSUPPORTED,
                    "%s: byte-level BPE of lower-cased texts (\"do_lower_case\") is not supported",
                    tokenizer->parts.file);
    if (lowercase) tokenizer->parts.normalizer.lowercase = true;
    TRY(is_byte_bpe ? set_up_byte_bpe(tokenizer) : set_up_wordpiece(tokenizer));
    if (!is_byte_bpe)
        TRY(normalizer_create(&tokenizer->normalizer, tokenizer->parts.normalizer));
    set_up_id_limit(tokenizer);
    TRY(set_up_added_tokens(tokenizer));
    if (!is_byte_bpe) set_up_plain(tokenizer);
    tokenizer->vocabulary_hash = vocabulary_hash(&tokenizer->parts.vocabulary);
    vocabulary_free(&tokenizer->parts.vocabulary); /* the trie or the merges replace it */
    return EMBED_OK;
}

static embed_status open_tokenizer(struct tokenizer **tokenizer, const char *folder,
                                   bool lowercase)
{
    struct tokenizer *fresh = memory_allocate(1, sizeof *fresh, "a tokenizer");
    if (fresh == NULL) return EMBED_OUT_OF_MEMORY;
    embed_status status = set_up(fresh, folder, lowercase);
    if (status != EMBED_OK) {
        tokenizer_close(fresh);
        return status;
    }
    *tokenizer = fresh;
    return EMBED_OK;
}

embed_status tokenizer_open(struct tokenizer **tokenizer, const char *folder)
{
    return open_tokenizer(tokenizer, folder, false);
}

embed_status tokenizer_open_lowercase(struct tokenizer **tokenizer, const char *folder)
{
    return open_tokenizer(tokenizer, folder, true);
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (tokenizer == NULL) return;
    added_tokens_free(&tokenizer->raw);
    added_tokens_free(&tokenizer->normalized);
    normalizer_destroy(tokenizer->normalizer);
    token_trie_free(&tokenizer->trie);
    merge_table_free(&tokenizer->byte_bpe.merges);
    memory_free(tokenizer->classes);
    token_texts_free(&tokenizer->texts);
    tokenizer_parts_free(&tokenizer->parts);
    memory_free(tokenizer);
}

size_t tokenizer_id_limit(const struct tokenizer *tokenizer)
{
    return tokenizer->id_limit;
}

/* Returns the largest id that bytes and merges give. */
static int32_t byte_bpe_largest_id(const struct byte_bpe *model)
{
    int32_t largest = 0;
    size_t slots = model->merges.count > 0 ? (size_t)1 << model->merges.bits : 0;
    for (size_t i = 0; i < 256; i++)
        if (model->bytes[i] > largest) largest = model->bytes[i];
    for (size_t i = 0; i < slots; i++) {
        const struct merge_slot *slot = &model->merges.slots[i];
        if (slot->key != 0 && slot->merge.id > largest) largest = slot->merge.id;
    }
    return largest;
}

embed_status tokenizer_limit_added(struct tokenizer *tokenizer, size_t rows)
{
    const char *file = tokenizer->parts.file;
    if (tokenizer->id_limit <= rows) return EMBED_OK;
    TRY(added_tokens_limit(&tokenizer->raw, file, (int32_t)rows));
    TRY(added_tokens_limit(&tokenizer->normalized, file, (int32_t)rows));
    int32_t around = template_largest_id(&tokenizer->parts);
    int32_t within = byte_bpe_largest_id(&tokenizer->byte_bpe);
    size_t limit = (size_t)(around > within ? around : within) + 1;
    tokenizer->id_limit = limit > rows ? limit : rows;
    return EMBED_OK;
}

size_t tokenizer_added_tokens(const struct tokenizer *tokenizer)
{
    return tokenizer->parts.before_count + tokenizer->parts.after_count;
}

const char *tokenizer_kind(const struct tokenizer *tokenizer)
{
    return tokenizer->parts.is_byte_bpe ? "byte-level BPE" : "WordPiece";
}

const char *tokenizer_file(const struct tokenizer *tokenizer)
{
    return tokenizer->parts.file;
}

bool tokenizer_ends_texts(const struct tokenizer *tokenizer)
{
    return tokenizer->parts.after_count > 0;
}
