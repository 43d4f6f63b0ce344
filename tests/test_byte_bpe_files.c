/* test_byte_bpe_files.c - byte-level BPE files that are wrong, unusual or unsupported */
#include "tokenizer_files_test.h"
#include "tokenizer_test.h"

static void test_model(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"\"type\":\"BPE\",", "", EMBED_OK, ""},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", EMBED_UNSUPPORTED,
         "the tokenizer is Unigram (SentencePiece)"},
        {"\"type\":\"BPE\"", "\"type\":\"WordLevel\"", EMBED_UNSUPPORTED, "model WordLevel"},
        {"\"dropout\":null", "\"dropout\":0.1", EMBED_UNSUPPORTED,
         "a model with dropout is not supported"},
        {"\"dropout\":null", "\"dropout\":0.0", EMBED_OK, ""},
        {"\"dropout\":null", "\"dropout\":\"1\"", EMBED_BAD_FILE, "expected a number"},
        {"\"unk_token\":null", "\"unk_token\":\"<unk>\"", EMBED_OK,
         ""}, /* all bytes are known */
        {"\"continuing_subword_prefix\":\"\"", "\"continuing_subword_prefix\":\"##\"",
         EMBED_UNSUPPORTED, "a model with continuing_subword_prefix"},
        {"\"continuing_subword_prefix\":\"\"", "\"continuing_subword_prefix\":null", EMBED_OK,
         ""},
        {"\"end_of_word_suffix\":\"\"", "\"end_of_word_suffix\":\"</w>\"", EMBED_UNSUPPORTED,
         "a model with end_of_word_suffix"},
        {"\"fuse_unk\":false", "\"fuse_unk\":true", EMBED_OK, ""},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", EMBED_UNSUPPORTED,
         "a model with byte_fallback"},
        {"\"ignore_merges\":false", "\"ignore_merges\":true", EMBED_UNSUPPORTED,
         "a model with ignore_merges"},
        {"\"ignore_merges\":false", "\"ignore_merges\":null", EMBED_OK, ""},
        {"\"merges\":[", "\"other\":[", EMBED_BAD_FILE, "the model has no \"merges\""},
        {"\"ignore_merges\":false", "\"merges\":[\"t h\"]", EMBED_UNSUPPORTED,
         "merges before the vocab"},
        {"\"merges\":[", "\"merges\":[\"t h\",\"e nowhere\",", EMBED_BAD_FILE,
         "tokenizer.json: merge 2: \"nowhere\" is not in the vocabulary"},
        {"\"merges\":[", "\"merges\":[\"nowhere e\",", EMBED_BAD_FILE,
         "merge 1: \"nowhere\" is not in"},
        {"\"merges\":[", "\"merges\":[\"\xC4\xA0 \xC4\xA0\",\"q z\",", EMBED_BAD_FILE,
         "\"qz\" is not in the vocabulary"},
        {"\"merges\":[", "\"merges\":[\"the\",", EMBED_BAD_FILE,
         "merge 1: expected two tokens with a space between"},
        {"\"merges\":[", "\"merges\":[\"t h e\",", EMBED_BAD_FILE, "merge 1: expected two"},
        {"\"merges\":[", "\"merges\":[[\"t\",\"h\"],", EMBED_OK, ""},
        {"\"merges\":[", "\"merges\":[[\"t\"],", EMBED_BAD_FILE, "expected two tokens"},
        {"\"merges\":[", "\"merges\":[[\"t\",\"h\",\"e\"],", EMBED_BAD_FILE, "expected two"},
        {"\"merges\":[", "\"merges\":[1,", EMBED_BAD_FILE, "byte"},
        {"\"merges\":[", "\"merges\":[\"#version: 0.2\",", EMBED_OK, ""},
        {"\"<s>\":0,", "\"<s>\":2147483648,", EMBED_BAD_FILE, "a token id above 2^31"},
        {"\"<s>\":0,", "\"<s>\":4194304,", EMBED_BAD_FILE,
         "token id 4194304 is too large for a vocabulary of"},
        {"\"<s>\":0,", "\"<s>\":1,", EMBED_BAD_FILE, "two tokens have the id 1"},
        {"\"<s>\":0,", "", EMBED_OK, ""},
    };
    CHECK_EDITS("bart", "tokenizer.json", edits);
}

/* A byte that the vocabulary lacks would become the unknown token. */
static void test_missing_byte(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(FOLDER "bart");
    test_edit_file(folder, "tokenizer.json", "\"!\":", "\"!!!!!\":");
    check_open(folder, EMBED_OK, "");
    test_edit_file(folder, "tokenizer.json", "\"unk_token\":null", "\"unk_token\":\"<unk>\"");
    check_open(folder, EMBED_UNSUPPORTED,
               "unk_token is not supported if the vocabulary lacks a byte (0x21)");
    test_remove_folder(folder);
}

#define PRE_TOKENIZER                                                                          \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"                \
    "\"use_regex\":true},\"post"

static void test_parts(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", EMBED_UNSUPPORTED,
         "normalizer NFC is not supported"},
        {"\"normalizer\":null",
         "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
         "\"handle_chinese_chars\":true,\"lowercase\":true}",
         EMBED_UNSUPPORTED, "model BPE with a normalizer is not supported"},
        {PRE_TOKENIZER, "{\"type\":\"BertPreTokenizer\"},\"post", EMBED_UNSUPPORTED,
         "model BPE with pre_tokenizer BertPreTokenizer is not supported"},
        {PRE_TOKENIZER, "{\"type\":\"ByteLevel\",\"use_regex\":true},\"post", EMBED_BAD_FILE,
         "ByteLevel has no \"add_prefix_space\""},
        {PRE_TOKENIZER,
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":false},\"post",
         EMBED_UNSUPPORTED, "ByteLevel with use_regex false is not supported"},
        {PRE_TOKENIZER, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"post", EMBED_OK,
         ""},
        {PRE_TOKENIZER, "null,\"post", EMBED_UNSUPPORTED, "pre_tokenizer null"},
        {"\"lstrip\":true", "\"lstrip\":1", EMBED_BAD_FILE, "expected true or false"},
        {"\"RobertaProcessing\"", "\"ByteLevel\"", EMBED_OK, ""},
    };
    CHECK_EDITS("bart", "tokenizer.json", edits);
}

/* An unsupported decoder matters only if one is needed. */
static void test_decoder(void **state)
{
    (void)state;
    const char *const decoders[] = {"\"decoder\":{\"type\":\"WordPiece\"},\"unused\":",
                                    "\"decoder\":null,\"unused\":", "\"unused\":"};
    for (size_t i = 0; i < 3; i++) {
        const char *folder = test_copy_folder(FOLDER "bart");
        test_edit_file(folder, "tokenizer.json", "\"decoder\":", decoders[i]);
        struct tokenizer *tokenizer = open_tokenizer(folder);
        struct text_buffer text = {0};
        assert_int_equal(tokenizer_decode(tokenizer, NULL, 0, true, &text), EMBED_UNSUPPORTED);
        assert_non_null(strstr(error_message(), "its decoder is not ByteLevel"));
        tokenizer_close(tokenizer);
        test_remove_folder(folder);
    }
}

/* No special tokens, or none of another kind. */
static void test_byte_level_processor(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(FOLDER "bart");
    test_edit_file(folder, "tokenizer.json", "\"RobertaProcessing\"", "\"ByteLevel\"");
    struct tokenizer *tokenizer = open_tokenizer(folder);
    struct token_list list = {0};
    assert_int_equal(tokenizer_added_tokens(tokenizer), 0);
    assert_int_equal(tokenizer_encode(tokenizer, NULL, "!", 1, 0, &list, NULL), EMBED_OK);
    static const int32_t expected[] = {4};
    assert_ids_equal("ByteLevel", 0, list.ids, list.count, expected, 1);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    test_remove_folder(folder);
}

/* ---- vocab.json, merges.txt -------------------------------------------------------------- */

static void test_merges_txt(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"#version: 0.2\n", "", EMBED_OK, ""},
        {"#version: 0.2\n", "#version: 0.2\r\n", EMBED_OK, ""},
        {"#version: 0.2\n", "#version: 0.2\n\n", EMBED_BAD_FILE,
         "merges.txt: line 2: expected two tokens with a space between them"},
        {"#version: 0.2\n", "#version: 0.2\nt h\nthe  t\n", EMBED_BAD_FILE, "line 3: expected"},
        {"#version: 0.2\n", "#version: 0.2\nt h\nt nowhere\n", EMBED_BAD_FILE,
         "line 3: \"nowhere\" is not in the vocabulary"},
        {"#version: 0.2\n", "#version: 0.2\nt h\n \n", EMBED_BAD_FILE, "line 3: \"\" is not"},
        {"#version: 0.2\n", "\xFF \xFF\n", EMBED_BAD_FILE, "line 1: "},
    };
    CHECK_EDITS("roberta", "merges.txt", edits);
    const char *folder = test_copy_folder(FOLDER "roberta");
    test_write_file(folder, "merges.txt", "", 0); /* all tokens are bytes */
    check_open(folder, EMBED_OK, "");
    char path[600];
    snprintf(path, sizeof path, "%s/merges.txt", folder);
    assert_int_equal(remove(path), 0);
    check_open(folder, EMBED_IO, "merges.txt");
    test_remove_folder(folder);
}

static void test_vocab_json(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"{", "[", EMBED_UNSUPPORTED, ""},
        {"\"<s>\":0", "\"<s>\":-1", EMBED_BAD_FILE, "vocab.json: byte"},
        {"\"<s>\":0", "\"<s>\":99999999999", EMBED_BAD_FILE, "above 2^31"},
        {"\"<s>\":0", "\"<x>\":0", EMBED_BAD_FILE,
         "the cls_token \"<s>\" is not in the vocabulary"},
        {"\"</s>\":2", "\"<x>\":2", EMBED_BAD_FILE,
         "the sep_token \"</s>\" is not in the vocabulary"},
        {"\"<pad>\":1", "\"<x>\":1", EMBED_OK, ""},
        {"{\"<s>", "{{\"<s>", EMBED_BAD_FILE, "vocab.json: byte"},
    };
    CHECK_EDITS("roberta", "vocab.json", edits);
}

static void test_configs(void **state)
{
    (void)state;
    static const struct edit config[] = {
        {"\"RobertaTokenizer\"", "\"GPT2Tokenizer\"", EMBED_UNSUPPORTED,
         "tokenizer_class GPT2Tokenizer is not supported"},
        {"\"RobertaTokenizer\"", "null", EMBED_OK, ""},
        {"\"RobertaTokenizer\"", "\"BartTokenizerFast\"", EMBED_OK, ""},
        {"\"add_prefix_space\": true", "\"add_prefix_space\": 1", EMBED_BAD_FILE,
         "tokenizer_config.json: byte"},
        {"\"model_max_length\": 512", "\"additional_special_tokens\": []", EMBED_OK, ""},
        {"\"model_max_length\": 512", "\"additional_special_tokens\": [\"<x>\"]",
         EMBED_UNSUPPORTED, "additional_special_tokens without tokenizer.json"},
        {"\"model_max_length\": 512", "\"extra_special_tokens\": {}", EMBED_UNSUPPORTED,
         "extra_special_tokens without tokenizer.json"},
        {"\"model_max_length\": 512", "\"added_tokens_decoder\": {\"x\": {}}", EMBED_BAD_FILE,
         "an added token's key is not its id"},
    };
    CHECK_EDITS("roberta", "tokenizer_config.json", config);
    static const struct edit map[] = {
        {"\"cls_token\": \"<s>\"", "\"cls_token\": \"<x>\"", EMBED_BAD_FILE,
         "the cls_token \"<x>\" is not in the vocabulary"},
        {"\"cls_token\": \"<s>\"", "\"cls_token\": 1", EMBED_BAD_FILE, "map.json: byte"},
        {"\"cls_token\": \"<s>\"", "\"cls_token\": null", EMBED_OK, ""},
        {"\"content\": \"<mask>\",", "", EMBED_BAD_FILE, "added token has no \"content\""},
    };
    CHECK_EDITS("roberta", "special_tokens_map.json", map);
    const char *folder = test_copy_folder(FOLDER "roberta");
    test_write_file(folder, "added_tokens.json", "{}", 2);
    check_open(folder, EMBED_UNSUPPORTED, "added_tokens.json without tokenizer.json");
    test_remove_folder(folder);
}

/* added_tokens_decoder takes precedence over the special tokens, and their file is not read. */
static void test_added_tokens_decoder(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(FOLDER "roberta");
    test_edit_file(folder, "tokenizer_config.json", "\"model_max_length\": 512",
                   "\"added_tokens_decoder\": {\"1499\": {\"content\": \"<mask>\", "
                   "\"rstrip\": true, \"normalized\": false, \"special\": true}}");
    struct tokenizer *tokenizer = open_tokenizer(folder);
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, NULL, " <mask>  ", 9, 0, &list, NULL),
                     EMBED_OK);
    assert_int_equal(list.count, 4); /* <s>, the space that lstrip would remove, <mask>, </s> */
    assert_int_equal(list.ids[2], 1499);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    test_remove_folder(folder);
}

/* A merge listed twice has its last rank, a token listed twice its last id. */
static void test_twice(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(FOLDER "roberta");
    static const char vocabulary[] =
        "{\"<s>\":0,\"</"
        "s>\":2,\"a\":9,\"a\":3,\"b\":4,\"c\":5,\"ab\":6,\"bc\":7,\"\xC4\xA0\":8}";
    test_write_file(folder, "vocab.json", vocabulary, sizeof vocabulary - 1);
    static const char merges[] = "a b\nb c\na b\n";
    test_write_file(folder, "merges.txt", merges, sizeof merges - 1);
    struct tokenizer *tokenizer = open_tokenizer(folder);
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, NULL, " abc", 4, 0, &list, NULL), EMBED_OK);
    static const int32_t expected[] = {0, 8, 3, 7, 2};
    assert_ids_equal("twice", 0, list.ids, list.count, expected, 5);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    test_remove_folder(folder);
}

/* A truncated or corrupted file is rejected or read, but does no harm. */
static void check_spoiled(const char *from, const char *name, bool is_json)
{
    char path[256];
    size_t length;
    snprintf(path, sizeof path, "%s/%s", from, name);
    char *text = test_read_file(path, &length);
    const char *folder = test_copy_folder(from);
    for (size_t cut = 0; is_json && cut < length - 1; cut += 211) {
        test_write_file(folder, name, text, cut);
        check_open(folder, EMBED_BAD_FILE, ": byte ");
    }
    uint32_t random = 1;
    for (size_t i = 0; i < 200; i++) {
        char *spoiled = malloc(length);
        memcpy(spoiled, text, length);
        for (size_t k = 0; k < 3; k++) {
            random = random * 1664525u + 1013904223u;
            size_t at = (random >> 8) % (random & 1 && length > 2048 ? 2048 : length);
            spoiled[at] = "\"{}[],:0x\\\n\xFF"[(random >> 4) % 12];
        }
        test_write_file(folder, name, spoiled, length);
        struct tokenizer *tokenizer = NULL;
        struct token_list list = {0};
        struct text_buffer decoded = {0};
        if (tokenizer_open(&tokenizer, folder) == EMBED_OK) {
            assert_int_equal(tokenizer_encode(tokenizer, NULL, text, 2000, 0, &list, NULL),
                             EMBED_OK);
            tokenizer_decode(tokenizer, list.ids, list.count, false, &decoded);
        }
        text_buffer_free(&decoded);
        token_list_free(&list);
        tokenizer_close(tokenizer);
        free(spoiled);
    }
    test_remove_folder(folder);
    free(text);
}

static void test_spoiled(void **state)
{
    (void)state;
    check_spoiled(FOLDER "bpe-added", "tokenizer.json", true);
    check_spoiled(FOLDER "roberta", "vocab.json", true);
    check_spoiled(FOLDER "roberta", "merges.txt", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_missing_byte),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_decoder),
        cmocka_unit_test(test_byte_level_processor),
        cmocka_unit_test(test_merges_txt),
        cmocka_unit_test(test_vocab_json),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_added_tokens_decoder),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_spoiled),
    };
    return cmocka_run_group_tests_name("byte_bpe_files", tests, NULL, NULL);
}
