/* test_families.c - RoBERTa, DistilBERT, and BERT in recent embedders: the reference's ids and
 * rows, the variants of their folders, and what is rejected by name */
#include "families_test.h"

#include "test_folder.h"

/* ---- comparison with the reference --------------------------------------------------------- */

static void test_ids(void **state)
{
    (void)state;
    check_ids(ROBERTA, LINES, ROBERTA ".ids", 60);
    check_ids(ROBERTA, PADDED, ROBERTA "-padded.ids", 60);
    check_ids(DISTILBERT, LINES, DISTILBERT ".ids", 50);
    check_ids(E5, LINES, E5 ".ids", 64);
    check_ids(ARCTIC, LINES, ARCTIC ".ids", 48);
}

static void test_rows(void **state)
{
    (void)state;
    FOR_EACH_ISA(check_families(SIZE_MAX, 0.999999, 1e-5));
}

static void test_rows_bf16(void **state)
{
    (void)state;
    const struct cpu_kernels *kernels;
    if (cpu_kernels_choose(&kernels, EMBED_DTYPE_BF16) != EMBED_OK) {
        print_message("skipped: %s\n", embed_error_message());
        skip();
    }
    tested.dtype = EMBED_DTYPE_BF16;
    check_families(SIZE_MAX, 0.9999, 1e-2);
    tested.dtype = EMBED_DTYPE_AUTO;
}

static void test_same_bits_in_any_batch(void **state)
{
    (void)state;
    check_invariance(ROBERTA, PADDED, 28);
    check_invariance(DISTILBERT, LINES, 24);
}

/* Facts read from the folders. The limit of texts is neither the length that a program last set,
 * nor more than the number of positions. */
static void test_info(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *family;
        size_t width, max_tokens;
        embed_pooling pooling;
        int normalizes;
    } models[] = {
        {ROBERTA, "roberta", 48, 60, EMBED_POOLING_MEAN, 1},
        {DISTILBERT, "distilbert", 40, 50, EMBED_POOLING_MEAN, 0},
        {E5, "bert", 64, 64, EMBED_POOLING_MEAN, 1},
        {ARCTIC, "bert", 128, 48, EMBED_POOLING_CLS, 1},
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct opened opened = open_model(models[i].folder, 0, 0);
        embed_model_info info = EMBED_MODEL_INFO_INIT;
        assert_int_equal(embed_model_get_info(opened.model, &info), EMBED_OK);
        assert_string_equal(info.family, models[i].family);
        assert_int_equal(info.width, models[i].width);
        assert_int_equal(info.max_tokens, models[i].max_tokens);
        assert_int_equal(info.pooling, models[i].pooling);
        assert_int_equal(info.normalizes, models[i].normalizes);
        close_model(&opened);
    }
}

/* ---- variants of folders ------------------------------------------------------------------- */

static void remove_file(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(remove(path), 0);
}

/* The older files in place of tokenizer.json mean the same. */
static void test_without_tokenizer_json(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *ids;
        size_t max_tokens;
    } models[] = {{ROBERTA, ROBERTA ".ids", 60}, {E5, E5 ".ids", 64}, {ARCTIC, ARCTIC ".ids", 48}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *folder = test_copy_folder(models[i].folder);
        remove_file(folder, "tokenizer.json");
        check_ids(folder, LINES, models[i].ids, models[i].max_tokens);
        test_remove_folder(folder);
    }
}

static embed_tokens tokenize_lines(const char *folder)
{
    struct vector_lines lines = vector_lines_load(LINES);
    embed_text *texts = texts_of(&lines);
    embed_tokens tokens = EMBED_TOKENS_INIT;
    struct opened opened = open_model(folder, 0, 0);
    assert_int_equal(embed_tokenize(opened.model, texts, lines.count, NULL, &tokens), EMBED_OK);
    close_model(&opened);
    free(texts);
    vector_lines_free(&lines);
    return tokens;
}

static bool same_tokens(const embed_tokens *a, const embed_tokens *b)
{
    size_t all = a->offsets[a->count];
    return a->count == b->count && all == b->offsets[b->count] &&
           memcmp(a->ids, b->ids, all * sizeof *a->ids) == 0;
}

/* If tokenizer_config.json contradicts tokenizer.json, it takes precedence, as in transformers: the
 * ids are those of the same folder without tokenizer.json. */
static void check_setting(const char *from, const char *before, const char *after)
{
    const char *folder = test_copy_folder(from);
    embed_tokens plain = tokenize_lines(folder);
    test_edit_file(folder, "tokenizer_config.json", before, after);
    embed_tokens edited = tokenize_lines(folder);
    remove_file(folder, "tokenizer.json");
    embed_tokens alone = tokenize_lines(folder);
    assert_false(same_tokens(&edited, &plain));
    assert_true(same_tokens(&edited, &alone));
    embed_tokens_free(&plain);
    embed_tokens_free(&edited);
    embed_tokens_free(&alone);
    test_remove_folder(folder);
}

static void test_settings_of_tokenizer(void **state)
{
    (void)state;
    check_setting(E5, "\"do_lower_case\": true", "\"do_lower_case\": false");
    check_setting(E5, "\"strip_accents\": null", "\"strip_accents\": false");
    check_setting(E5, "\"tokenize_chinese_chars\": true",
                  "\"tokenize_chinese_chars\": false");
    check_setting(ROBERTA, "\"add_prefix_space\": false", "\"add_prefix_space\": true");

    /* A class that takes everything from tokenizer.json. */
    const char *folder = test_copy_folder(E5);
    test_edit_file(folder, "tokenizer_config.json", "\"BertTokenizer\"",
                   "\"PreTrainedTokenizerFast\"");
    test_edit_file(folder, "tokenizer_config.json", "\"do_lower_case\": true",
                   "\"do_lower_case\": false");
    check_ids(folder, LINES, E5 ".ids", 64);
    test_remove_folder(folder);
}

/* What the classes of BERT and RoBERTa do not take from tokenizer.json has no effect there: neither
 * parts of it that tokenizer_config.json can override but does not (the default of the class
 * counts), nor those that the class fixes. */
static void test_defaults_of_class(void **state)
{
    (void)state;
    static const struct {
        const char *from, *key, *before, *after;
        size_t max_tokens;
    } edits[] = {
        {E5, "\"do_lower_case\"", "\"lowercase\":true", "\"lowercase\":false", 64},
        {E5, "\"strip_accents\"", "\"strip_accents\":null", "\"strip_accents\":false", 64},
        {E5, "\"tokenize_chinese_chars\"", "\"handle_chinese_chars\":true",
         "\"handle_chinese_chars\":false", 64},
        {E5, NULL, "\"clean_text\":true", "\"clean_text\":false", 64},
        {E5, NULL, "\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":3", 64},
        {E5, NULL, "\"continuing_subword_prefix\":\"##\"",
         "\"continuing_subword_prefix\":\"\"", 64},
        {E5, NULL, "\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[PAD]\"", 64},
        {E5, NULL, "{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},", "", 64},
        {E5, NULL, "\"content\":\"[MASK]\"", "\"content\":\"[SEP]\"", 64},
        {ROBERTA, "\"add_prefix_space\"", "\"add_prefix_space\":false",
         "\"add_prefix_space\":true", 60},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(edits[i].from);
        char ids[1024];
        snprintf(ids, sizeof ids, "%s.ids", edits[i].from);
        if (edits[i].key != NULL)
            test_edit_file(folder, "tokenizer_config.json", edits[i].key, "\"unused\"");
        test_edit_file(folder, "tokenizer.json", edits[i].before, edits[i].after);
        check_ids(folder, LINES, ids, edits[i].max_tokens);
        test_remove_folder(folder);
    }
}

/* Special tokens that only tokenizer_config.json or special_tokens_map.json names are found in
 * texts too, and these files name the tokens around a text. */
static void test_special_tokens_of_settings(void **state)
{
    (void)state;
    static const char *const further[] = {
        "\"extra_special_tokens\": [\"a\"], \"do_lower_case\": true",
        "\"additional_special_tokens\": [{\"content\": \"a\"}], \"do_lower_case\": true",
        "\"extra_special_tokens\": {\"one\": \"a\"}, \"do_lower_case\": true",
        "\"bos_token\": \"a\", \"do_lower_case\": true",
    };
    for (size_t i = 0; i < sizeof further / sizeof *further; i++)
        check_setting(E5, "\"do_lower_case\": true", further[i]);

    const char *folder = test_copy_folder(E5);
    static const char map[] = "{\"cls_token\": \"[MASK]\"}";
    test_write_file(folder, "special_tokens_map.json", map, strlen(map));
    for (size_t i = 0; i < 2; i++) {
        embed_tokens tokens = tokenize_lines(folder);
        assert_int_equal(tokens.ids[0], 4); /* [MASK] */
        embed_tokens_free(&tokens);
        if (i == 0) remove_file(folder, "tokenizer.json");
    }
    test_remove_folder(folder);
}

/* A class that is unknown, to transformers as well, takes everything from tokenizer.json. */
static void test_unknown_class(void **state)
{
    (void)state;
    static const char *const classes[] = {"\"PreTrainedTokenizerFast\"", "\"SomeTokenizer\""};
    embed_tokens tokens[2];
    for (size_t i = 0; i < 2; i++) {
        const char *folder = test_copy_folder(E5);
        test_edit_file(folder, "tokenizer_config.json", "\"BertTokenizer\"", classes[i]);
        tokens[i] = tokenize_lines(folder);
        test_remove_folder(folder);
    }
    assert_int_equal(tokens[0].offsets[tokens[0].count], tokens[1].offsets[tokens[1].count]);
    assert_memory_equal(tokens[0].ids, tokens[1].ids,
                        tokens[0].offsets[tokens[0].count] * sizeof *tokens[0].ids);
    for (size_t i = 0; i < 2; i++) embed_tokens_free(&tokens[i]);
}

/* Settings that would change ids in ways that are not followed. */
static void test_refused_settings(void **state)
{
    (void)state;
    static const struct {
        const char *from, *before, *after, *message;
    } edits[] = {
        {E5, "\"do_lower_case\": true", "\"split_special_tokens\": true",
         "\"split_special_tokens\" is true"},
        {E5, "\"BertTokenizer\"", "\"RobertaTokenizer\"",
         "tokenizer_class RobertaTokenizer with WordPiece"},
        {ROBERTA, "\"RobertaTokenizer\"", "\"BertTokenizer\"",
         "tokenizer_class BertTokenizer with BPE"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(edits[i].from);
        embed_model *model = NULL;
        test_edit_file(folder, "tokenizer_config.json", edits[i].before, edits[i].after);
        assert_int_equal(embed_model_open(&model, folder, NULL), EMBED_UNSUPPORTED);
        assert_non_null(strstr(embed_error_message(), edits[i].message));
        test_remove_folder(folder);
    }
}

/* Replaces every `before` in the header of a safetensors file with `after`. The file's first eight
 * bytes are the header's length. */
static void rename_tensors(const char *folder, const char *name, const char *before,
                           const char *after)
{
    char path[1024];
    size_t length, changed = 0;
    uint64_t header;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *file = test_read_file(path, &length);
    memcpy(&header, file, sizeof header);
    char *end = file + sizeof header + header;
    char *edited = malloc(length * 4), *to = edited + sizeof header;
    assert_non_null(edited);
    for (const char *from = file + sizeof header; from < end;) {
        if (strncmp(from, before, strlen(before)) != 0) {
            *to++ = *from++;
            continue;
        }
        to += sprintf(to, "%s", after);
        from += strlen(before);
        changed++;
    }
    assert_true(changed > 0);
    header = (uint64_t)(to - edited) - sizeof header;
    memcpy(edited, &header, sizeof header);
    memcpy(to, end, length - (size_t)(end - file));
    test_write_file(folder, name, edited, (size_t)(to - edited) + length - (size_t)(end - file));
    free(edited);
    free(file);
}

static void check_same_rows(const char *folder, const char *other)
{
    struct vector_lines lines = vector_lines_load(PADDED);
    embed_text *texts = texts_of(&lines);
    struct opened a = open_model(folder, 0, 0), b = open_model(other, 0, 0);
    float *expected = encode(&a, texts, lines.count, NULL);
    float *rows = encode(&b, texts, lines.count, NULL);
    assert_int_equal(a.width, b.width);
    assert_memory_equal(rows, expected, lines.count * a.width * sizeof *rows);
    free(rows);
    free(expected);
    close_model(&a);
    close_model(&b);
    free(texts);
    vector_lines_free(&lines);
}

/* With and without the family's prefix, with new and old names of LayerNorm. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *before, *after;
    } renamed[] = {
        {ROBERTA, "\"roberta.", "\""},
        {ROBERTA, "LayerNorm.weight", "LayerNorm.gamma"},
        {ROBERTA, "LayerNorm.bias", "LayerNorm.beta"},
        {ARCTIC, "\"embeddings.", "\"bert.embeddings."},
        {ARCTIC, "\"encoder.", "\"bert.encoder."},
        {ARCTIC, "\"pooler.", "\"unknown."},
    };
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
        const char *folder = test_copy_folder(renamed[i].folder);
        rename_tensors(folder, "model.safetensors", renamed[i].before, renamed[i].after);
        check_same_rows(renamed[i].folder, folder);
        test_remove_folder(folder);
    }
}

/* DistilBERT's prefix, in every shard and in the index. */
static void test_prefix_in_shards(void **state)
{
    (void)state;
    static const char *const parts[] = {"embeddings.", "transformer."};
    const char *folder = test_copy_folder(DISTILBERT);
    char path[1024], before[64], after[64];
    size_t length;
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    for (size_t i = 0; i < 2; i++) {
        snprintf(before, sizeof before, "\"%s", parts[i]);
        snprintf(after, sizeof after, "\"distilbert.%s", parts[i]);
        for (bool more = true; more;) {
            char *index = test_read_file(path, &length);
            more = strstr(index, before) != NULL;
            free(index);
            if (more) test_edit_file(folder, "model.safetensors.index.json", before, after);
        }
    }
    rename_tensors(folder, "model-00001-of-00003.safetensors", "\"embeddings.",
                   "\"distilbert.embeddings.");
    for (int shard = 1; shard <= 3; shard++) {
        char name[64];
        snprintf(name, sizeof name, "model-%05d-of-00003.safetensors", shard);
        rename_tensors(folder, name, "\"transformer.", "\"distilbert.transformer.");
    }
    check_same_rows(DISTILBERT, folder);
    test_remove_folder(folder);
}

/* XLM-RoBERTa and CamemBERT are RoBERTa under other names, if their tokenizer is supported. */
static void test_other_robertas(void **state)
{
    (void)state;
    static const char *const types[] = {"\"xlm-roberta\"", "\"camembert\""};
    for (size_t i = 0; i < 2; i++) {
        const char *folder = test_copy_folder(ROBERTA);
        test_edit_file(folder, "config.json", "\"roberta\"", types[i]);
        check_same_rows(ROBERTA, folder);
        test_remove_folder(folder);
    }
}

/* ---- rejections ---------------------------------------------------------------------------- */

static void assert_refused(const char *folder, embed_status status, const char *words)
{
    embed_model *model = NULL;
    embed_status got = embed_model_open(&model, folder, NULL);
    if (got != status || strstr(embed_error_message(), words) == NULL)
        fail_msg("expected status %d and \"%s\"; got %d, \"%s\"", (int)status, words, (int)got,
                 embed_error_message());
    assert_null(model);
}

static void test_config(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *before, *after;
        embed_status status;
        const char *words;
    } edits[] = {
        {ROBERTA, "\"pad_token_id\": 1", "\"pad_token_id\": 800", EMBED_BAD_FILE,
         "\"pad_token_id\" is 800, must be"},
        {ROBERTA, "\"pad_token_id\": 1", "\"pad_token_id\": -1", EMBED_BAD_FILE,
         "\"pad_token_id\""},
        {ROBERTA, "\"pad_token_id\": 1", "\"pad_token_id\": 65", EMBED_BAD_FILE,
         "\"max_position_embeddings\" is 66, must be 67 or more"},
        {ROBERTA, "\"pad_token_id\": 1", "\"pad_token_id\": 6", EMBED_BAD_FILE,
         "\"max_seq_length\" is 60, but config.json has positions"},
        {ROBERTA, "\"type_vocab_size\": 1", "\"type_vocab_size\": 2", EMBED_BAD_FILE,
         "token_type_embeddings"},
        {ROBERTA, "\"is_decoder\": false", "\"is_decoder\": true", EMBED_UNSUPPORTED,
         "\"is_decoder\""},
        {ROBERTA, "{", "{\"position_embedding_type\": \"relative_key\",", EMBED_UNSUPPORTED,
         "relative_key"},
        {ROBERTA, "\"model_type\": \"roberta\"", "\"model_type\": \"deberta-v2\"",
         EMBED_UNSUPPORTED, "\"model_type\" is \"deberta-v2\"; this version supports"},
        {DISTILBERT, "\"dim\": 40", "\"dim\": 41", EMBED_BAD_FILE,
         "\"dim\" 41 is not a multiple of \"n_heads\" 5"},
        {DISTILBERT, "\"dim\": 40", "\"hidden_size\": 40", EMBED_BAD_FILE, "\"dim\" is missing"},
        {DISTILBERT, "\"n_layers\": 2", "\"n_layers\": 513", EMBED_BAD_FILE, "\"n_layers\" is 513"},
        {DISTILBERT, "\"n_heads\": 5", "\"n_heads\": 0", EMBED_BAD_FILE, "\"n_heads\" is 0"},
        {DISTILBERT, "\"hidden_dim\": 72", "\"hidden_dim\": 65537", EMBED_BAD_FILE,
         "\"hidden_dim\" is 65537"},
        {DISTILBERT, "\"activation\": \"gelu\"", "\"activation\": \"relu\"", EMBED_UNSUPPORTED,
         "\"activation\" is \"relu\""},
        {DISTILBERT, "\"n_layers\": 2", "\"n_layers\": 3", EMBED_BAD_FILE,
         "transformer.layer.2.attention.q_lin.weight\" is missing"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(edits[i].folder);
        test_edit_file(folder, "config.json", edits[i].before, edits[i].after);
        assert_refused(folder, edits[i].status, edits[i].words);
        test_remove_folder(folder);
    }
}

/* Unigram, as in XLM-RoBERTa and the multilingual models of other families. */
static void test_unigram(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(ROBERTA);
    test_edit_file(folder, "config.json", "\"roberta\"", "\"xlm-roberta\"");
    test_edit_file(folder, "tokenizer.json", "\"type\":\"BPE\"", "\"type\":\"Unigram\"");
    assert_refused(
        folder, EMBED_UNSUPPORTED,
        "tokenizer.json: the tokenizer is Unigram (SentencePiece); this version supports "
        "WordPiece and byte-level BPE");
    remove_file(folder, "tokenizer.json");
    remove_file(folder, "vocab.json");
    test_write_file(folder, "sentencepiece.bpe.model", "", 0);
    assert_refused(
        folder, EMBED_UNSUPPORTED,
        "sentencepiece.bpe.model: the tokenizer is SentencePiece; this version supports");
    remove_file(folder, "sentencepiece.bpe.model");
    assert_refused(folder, EMBED_IO, "has neither tokenizer.json nor vocab.txt nor vocab.json");
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_bf16),
        cmocka_unit_test(test_same_bits_in_any_batch),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_without_tokenizer_json),
        cmocka_unit_test(test_settings_of_tokenizer),
        cmocka_unit_test(test_defaults_of_class),
        cmocka_unit_test(test_special_tokens_of_settings),
        cmocka_unit_test(test_unknown_class),
        cmocka_unit_test(test_refused_settings),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_prefix_in_shards),
        cmocka_unit_test(test_other_robertas),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_unigram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
