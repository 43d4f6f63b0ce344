/* test_tokenizer_files.c - tokenizer files that are wrong, unusual, or of unsupported models */
#include "tokenizer_files_test.h"

#define TEMPLATE_START "\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},"
#define TEMPLATE_TEXT  "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"

static void test_tokenizer_json(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"\"1.0\"", "\"2.0\"", EMBED_UNSUPPORTED, "version 2.0 is not supported"},
        {"\"BertNormalizer\"", "\"NFC\"", EMBED_UNSUPPORTED, "normalizer NFC is not supported"},
        {"\"clean_text\":true,", "", EMBED_BAD_FILE, "BertNormalizer has no \"clean_text\""},
        {"\"clean_text\":true", "\"clean_text\":1", EMBED_BAD_FILE, "expected true or false"},
        {"\"strip_accents\":null", "\"strip_accents\":\"\"", EMBED_BAD_FILE, "true or false"},
        {"\"strip_accents\":null,", "", EMBED_OK, ""},
        {"\"BertPreTokenizer\"", "\"Metaspace\"", EMBED_UNSUPPORTED, "pre_tokenizer Metaspace"},
        {"{\"type\":\"BertPreTokenizer\"}", "null", EMBED_UNSUPPORTED, "pre_tokenizer null"},
        {"\"pre_tokenizer\"", "\"other\"", EMBED_BAD_FILE, "has no \"pre_tokenizer\""},
        {"\"type\":\"WordPiece\",\"unk", "\"unk", EMBED_OK, ""},
        {"\"type\":\"WordPiece\",\"unk", "\"type\":\"WordLevel\",\"unk", EMBED_UNSUPPORTED,
         "model WordLevel is not supported"},
        {"\"type\":\"WordPiece\",\"unk", "\"type\":\"BPE\",\"unk", EMBED_BAD_FILE,
         "the model has no \"merges\""},
        {"{\"type\":\"BertPreTokenizer\"}", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}",
         EMBED_UNSUPPORTED, "model WordPiece with pre_tokenizer ByteLevel is not supported"},
        {"\"vocab\":{", "\"vocab\":[],\"other\":{", EMBED_UNSUPPORTED,
         "the tokenizer is Unigram (SentencePiece); this version supports WordPiece and "
         "byte-level BPE"},
        {"\"type\":\"BertNormalizer\"",
         "\"type\":\"Precompiled\"},\"model\":{\"type\":\"Unigram\"},\"other\":{\"a\":0",
         EMBED_UNSUPPORTED, "tokenizer.json: the tokenizer is Unigram"},
        {"\"vocab\":{", "\"other\":{", EMBED_BAD_FILE, "the model has no \"vocab\""},
        {"\"model\":{", "\"other\":{", EMBED_BAD_FILE, "has no \"model\""},
        {"\"model\":{", "\"model\":{\"vocab\":{\"a\":0}},\"model\":{", EMBED_BAD_FILE,
         "has no"},
        {"\"padding\":null", "\"version\":\"1.0\"", EMBED_BAD_FILE, "version occurs twice"},
        {"\"unk_token\":\"[UNK]\"", "\"unk_token\":\"nowhere\"", EMBED_BAD_FILE,
         "unknown token \"nowhere\" is not in the vocabulary"},
        {"\"unk_token\":\"[UNK]\"", "\"unk_token\":null", EMBED_BAD_FILE, "no \"unk_token\""},
        {"\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":1025",
         EMBED_UNSUPPORTED, "words of up to 1025 characters"},
        {"\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":-1", EMBED_BAD_FILE,
         "not negative"},
        {"\"max_input_chars_per_word\":100", "\"max_input_chars_per_word\":0", EMBED_OK, ""},
        {"\"[MASK]\":4", "\"[MASK]\":2147483648", EMBED_BAD_FILE, "a token id above 2^31"},
        {"\"[MASK]\":4", "\"[MASK]\":4.5", EMBED_BAD_FILE, "byte"},
        {"\"[MASK]\":4", "\"[MASK]\":\"4\"", EMBED_BAD_FILE, "expected a number"},
        {"\"normalized\":false,", "", EMBED_BAD_FILE, "added token has no \"normalized\""},
        {"\"content\":\"[PAD]\",", "", EMBED_BAD_FILE, "added token has no \"content\""},
        {"\"content\":\"[PAD]\",", "\"content\":\"\",", EMBED_OK, ""},
        {"\"content\":\"[PAD]\",", "\"content\":\"a\xEF\xBF\xBD\",", EMBED_UNSUPPORTED,
         "has the replacement character"},
        {"\"[PAD]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":"
         "false",
         "\" pad\",\"normalized\":true", EMBED_UNSUPPORTED, "begins or ends with white space"},
        {"\"[PAD]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":"
         "false",
         "\"\xCC\x81\",\"normalized\":true", EMBED_UNSUPPORTED, "begins or ends with"},
        {"\"[PAD]\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":"
         "false",
         "\"a\xE1\xAD\x84\",\"normalized\":true", EMBED_UNSUPPORTED, "a combining character"},
        {"\"TemplateProcessing\"", "\"Sequence\"", EMBED_UNSUPPORTED,
         "post_processor Sequence"},
        {TEMPLATE_START, "\"single\":[", EMBED_OK, ""},
        {TEMPLATE_TEXT, "{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}", EMBED_UNSUPPORTED,
         "a template with the piece Sequence"},
        {TEMPLATE_TEXT, "{\"Sequence\":{\"id\":\"A\",\"type_id\":1}}", EMBED_UNSUPPORTED,
         "piece"},
        {TEMPLATE_TEXT, TEMPLATE_TEXT "," TEMPLATE_TEXT, EMBED_BAD_FILE, "with two texts"},
        {TEMPLATE_START TEMPLATE_TEXT ",", "\"single\":[", EMBED_BAD_FILE, "without the text"},
        {"\"special_tokens\":{\"[CLS]\"", "\"special_tokens\":{\"[CLX]\"", EMBED_BAD_FILE,
         "not among its special_tokens"},
        {"\"ids\":[2]", "\"ids\":[1,1,1,1,1,1,1,1,1]", EMBED_BAD_FILE, "more than 8 ids"},
        {"\"ids\":[2]", "\"ids\":[2147483648]", EMBED_BAD_FILE, "above 2^31"},
    };
    check_edits(FOLDER "uncased", "tokenizer.json", edits, sizeof edits / sizeof edits[0]);
}

/* Two added tokens of the normalized set that differ only before normalizing. */
static void test_equal_when_normalized(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"\"content\":\"foo\"", "\"content\":\"YESTERDAY\"", EMBED_UNSUPPORTED,
         "added token \"YESTERDAY\": equals another one"},
    };
    check_edits(FOLDER "added", "tokenizer.json", edits, 1);
}

/* BertProcessing and RobertaProcessing are the templates that their names imply. */
static void test_processors(void **state)
{
    (void)state;
    static const char *const types[] = {"BertProcessing", "RobertaProcessing"};
    for (size_t i = 0; i < 2; i++) {
        char processor[256];
        snprintf(
            processor, sizeof processor,
            "\"post_processor\":{\"type\":\"%s\",\"sep\":[\"x\",7],\"cls\":[\"y\",1999999]},"
            "\"unused\"",
            types[i]);
        const char *folder = test_copy_folder(FOLDER "uncased");
        test_edit_file(folder, "tokenizer.json", "\"post_processor\"", processor);
        struct tokenizer *tokenizer;
        struct token_list list = {0};
        assert_int_equal(tokenizer_open(&tokenizer, folder), EMBED_OK);
        assert_int_equal(tokenizer_encode(tokenizer, NULL, "", 0, 0, &list, NULL), EMBED_OK);
        assert_int_equal(list.count, 2);
        assert_int_equal(list.ids[0], 1999999);
        assert_int_equal(list.ids[1], 7);
        assert_int_equal(tokenizer_id_limit(tokenizer), 2000000);
        token_list_free(&list);
        tokenizer_close(tokenizer);
        test_remove_folder(folder);
    }
    static const struct edit edits[] = {
        {"\"post_processor\"", "\"post_processor\":null,\"unused\"", EMBED_OK, ""},
        {"\"post_processor\"", "\"post_processor\":{\"type\":\"BertProcessing\"},\"unused\"",
         EMBED_BAD_FILE, "post_processor has no \"cls\""},
        {"\"post_processor\"",
         "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\"]},\"unused\"",
         EMBED_BAD_FILE, "expected a token and its id"},
    };
    check_edits(FOLDER "uncased", "tokenizer.json", edits, sizeof edits / sizeof edits[0]);
}

static void test_vocab_txt(void **state)
{
    (void)state;
    static const struct edit config[] = {
        {"BertTokenizer", "BertJapaneseTokenizer", EMBED_UNSUPPORTED,
         "tokenizer_class BertJapaneseTokenizer is not supported"},
        {"\"do_lower_case\": true", "\"do_lower_case\": \"yes\"", EMBED_BAD_FILE,
         "tokenizer_config.json: byte"},
        {"\"content\"", "\"contents\"", EMBED_BAD_FILE, "special token has no \"content\""},
        {"\"unk_token\": \"[UNK]\"", "\"cls_token\": \"<s>\"", EMBED_BAD_FILE,
         "the cls_token \"<s>\" is not in the vocabulary"},
        {"\"unk_token\": \"[UNK]\"", "\"unk_token\": \"<unk>\"", EMBED_BAD_FILE,
         "unknown token \"<unk>\" is not in the vocabulary"},
        {"\"unk_token\": \"[UNK]\"",
         "\"added_tokens_decoder\": {\"4\": {\"content\": \"[MASK]\", \"normalized\": false}}",
         EMBED_OK, ""},
        {"\"unk_token\": \"[UNK]\"", "\"added_tokens_decoder\": {\"x\": {}}", EMBED_BAD_FILE,
         "key is not its id"},
    };
    check_edits(FOLDER "uncased-vocab", "tokenizer_config.json", config,
                sizeof config / sizeof config[0]);
    static const struct edit lines[] = {
        {"[MASK]\n", "\xFF\n", EMBED_BAD_FILE, "vocab.txt: line 5 is not UTF-8"},
        {"[MASK]\n", "\n", EMBED_OK, ""},
        {"[SEP]\n", "[sep]\n", EMBED_BAD_FILE, "the sep_token \"[SEP]\" is not in the vocabulary"},
    };
    check_edits(FOLDER "uncased-vocab", "vocab.txt", lines, sizeof lines / sizeof lines[0]);
}

/* CR LF ends a line like LF, and no other byte does; a text listed twice has its last id. */
static void test_vocab_txt_lines(void **state)
{
    (void)state;
    static const char vocabulary[] = "[UNK]\r\n[CLS]\n[SEP]\na\nb\na\r\nx\xE2\x80\xA8\n\nlast";
    const char *folder = test_copy_folder(FOLDER "uncased-vocab");
    test_write_file(folder, "vocab.txt", vocabulary, sizeof vocabulary - 1);
    struct tokenizer *tokenizer;
    struct token_list list = {0};
    assert_int_equal(tokenizer_open(&tokenizer, folder), EMBED_OK);
    assert_int_equal(tokenizer_id_limit(tokenizer), 9);
    assert_int_equal(tokenizer_encode(tokenizer, NULL, "A last x", 8, 0, &list, NULL), EMBED_OK);
    static const int32_t expected[] = {1, 5, 8, 0, 2};
    assert_ids_equal("vocab.txt", 0, list.ids, list.count, expected, 5);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    test_write_file(folder, "added_tokens.json", "{}", 2);
    check_open(folder, EMBED_UNSUPPORTED, "added_tokens.json without tokenizer.json");
    test_remove_folder(folder);
}

static void test_token_too_long(void **state)
{
    (void)state;
    char vocabulary[4200];
    memset(vocabulary, 'a', sizeof vocabulary);
    const char *folder = test_copy_folder(FOLDER "uncased-vocab");
    test_write_file(folder, "vocab.txt", vocabulary, sizeof vocabulary);
    check_open(folder, EMBED_BAD_FILE, "a token of 4200 bytes, more than 4096");
    test_write_file(folder, "vocab.txt", "", 0);
    check_open(folder, EMBED_BAD_FILE, "is not in the vocabulary");
    test_remove_folder(folder);
    check_open(folder, EMBED_IO, "has neither tokenizer.json nor vocab.txt");
}

/* A truncated or corrupted file is rejected or read, but does no harm. */
static void test_spoiled(void **state)
{
    (void)state;
    size_t length;
    char *text = test_read_file(FOLDER "added/tokenizer.json", &length);
    const char *folder = test_copy_folder(FOLDER "added");
    for (size_t cut = 0; cut < length - 1; cut += 53) {
        test_write_file(folder, "tokenizer.json", text, cut);
        check_open(folder, EMBED_BAD_FILE, "tokenizer.json: byte ");
    }
    uint32_t random = 1;
    for (size_t i = 0; i < 500; i++) {
        char *spoiled = malloc(length);
        memcpy(spoiled, text, length);
        for (size_t k = 0; k < 3; k++) {
            random = random * 1664525u + 1013904223u;
            /* Half of the changes are in the first 4 KB, where the structure is. */
            size_t at = (random >> 8) % (random & 1 ? 4096 : length);
            spoiled[at] = "\"{}[],:0x\\\n\xFF"[(random >> 4) % 12];
        }
        test_write_file(folder, "tokenizer.json", spoiled, length);
        struct tokenizer *tokenizer = NULL;
        struct token_list list = {0};
        if (tokenizer_open(&tokenizer, folder) == EMBED_OK)
            assert_int_equal(tokenizer_encode(tokenizer, NULL, text, 2000, 0, &list, NULL),
                             EMBED_OK);
        token_list_free(&list);
        tokenizer_close(tokenizer);
        free(spoiled);
    }
    test_remove_folder(folder);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_json),  cmocka_unit_test(test_equal_when_normalized),
        cmocka_unit_test(test_processors),      cmocka_unit_test(test_vocab_txt),
        cmocka_unit_test(test_vocab_txt_lines), cmocka_unit_test(test_token_too_long),
        cmocka_unit_test(test_spoiled),
    };
    return cmocka_run_group_tests_name("tokenizer_files", tests, NULL, NULL);
}
