/* test_bart_folder.c - what a BART's folder says of the model and its generation: read as
 * transformers does, or rejected with the file, the key and the cause */
#include "base/status.h" /* before cmocka, which has a macro fail() */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "description/generation_config.h"
#include "embed.h"
#include "test_folder.h"

#define EVEN   "tests/vectors/tiny-bart"        /* has a generation_config.json */
#define UNEVEN "tests/vectors/tiny-bart-uneven" /* has none */

static embed_status open_model(const char *folder, embed_dtype dtype, embed_model_info *info)
{
    embed_model *model = NULL;
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = dtype;
    options.threads = 2;
    TRY(embed_model_open(&model, folder, &options));
    if (info != NULL) assert_int_equal(embed_model_get_info(model, info), EMBED_OK);
    embed_model_close(model);
    return EMBED_OK;
}

static void assert_status(embed_status got, embed_status expected, const char *file,
                          const char *cause)
{
    const char *message = got != EMBED_OK ? embed_error_message() : "";
    if (got != expected || strstr(message, file) == NULL || strstr(message, cause) == NULL)
        fail_msg("expected status %d, \"%s\" and \"%s\"; got %d, \"%s\"", (int)expected, file,
                 cause, (int)got, message);
    assert_null(strchr(message, '\n'));
}

struct edit {
    const char *before, *after;
    embed_status status;
    const char *cause;
};

static void check_edits(const char *from, const char *name, const struct edit *edits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *folder = test_copy_folder(from);
        test_edit_file(folder, name, edits[i].before, edits[i].after);
        assert_status(open_model(folder, EMBED_DTYPE_F32, NULL), edits[i].status, name,
                      edits[i].cause);
        test_remove_folder(folder);
    }
}

#define CHECK_EDITS(from, name, edits)                                                             \
    check_edits(from, name, edits, sizeof(edits) / sizeof *(edits))

/* ---- config.json --------------------------------------------------------------------------- */

static void test_info(void **state)
{
    (void)state;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    assert_status(open_model(EVEN, EMBED_DTYPE_F32, &info), EMBED_OK, "", "");
    assert_string_equal(info.family, "bart");
    assert_true(info.generates);
    assert_int_equal(info.width, 64);
    assert_int_equal(info.max_tokens, 128);
    assert_int_equal(info.max_length, 128);
    assert_int_equal(info.vocabulary, 639);
    assert_int_equal(info.parameters, 209343); /* including final_logits_bias */
    assert_status(open_model(UNEVEN, EMBED_DTYPE_F32, &info), EMBED_OK, "", "");
    assert_int_equal(info.layers, 3);
    assert_int_equal(info.heads, 3);
    assert_int_equal(info.feed_forward, 40);
    assert_int_equal(info.decoder_layers, 1);
    assert_int_equal(info.decoder_heads, 4);
    assert_int_equal(info.decoder_feed_forward, 144);
    assert_int_equal(info.max_length, 96);
    assert_int_equal(info.parameters, 106344);
    assert_status(open_model("tests/vectors/tiny-bert", EMBED_DTYPE_F32, &info), EMBED_OK, "", "");
    assert_false(info.generates);
    assert_int_equal(info.decoder_layers, 0);
    assert_int_equal(info.max_length, 0);
}

static void test_config(void **state)
{
    (void)state;
    static const struct edit edits[] = {
        {"\"d_model\": 64", "\"d_model\": 0", EMBED_BAD_FILE, "from 1 to 16384"},
        {"\"d_model\": 64", "\"hidden_size\": 64", EMBED_BAD_FILE, "\"d_model\" is missing"},
        {"\"encoder_layers\": 2", "\"encoder_layers\": 1e3", EMBED_BAD_FILE, "\"encoder_layers\""},
        {"\"decoder_layers\": 2", "\"decoder_layers\": 0", EMBED_BAD_FILE,
         "\"decoder_layers\" is 0"},
        {"\"decoder_layers\": 2", "\"encoder_layers\": 2", EMBED_BAD_FILE, "duplicate"},
        {"\"encoder_attention_heads\": 2", "\"encoder_attention_heads\": 3", EMBED_BAD_FILE,
         "\"d_model\" 64 is not a multiple of \"encoder_attention_heads\" 3"},
        {"\"decoder_attention_heads\": 2", "\"decoder_attention_heads\": 5", EMBED_BAD_FILE,
         "\"d_model\" 64 is not a multiple of \"decoder_attention_heads\" 5"},
        {"\"decoder_ffn_dim\": 96", "\"decoder_ffn_dim\": -96", EMBED_BAD_FILE,
         "\"decoder_ffn_dim\""},
        {"\"max_position_embeddings\": 128", "\"max_position_embeddings\": 1", EMBED_BAD_FILE,
         "from 2 to"},
        {"\"scale_embedding\": false", "\"scale_embedding\": 1", EMBED_BAD_FILE,
         "must be true or false"},
        {"\"activation_function\": \"gelu\"", "\"activation_function\": \"gelu_new\"",
         EMBED_UNSUPPORTED, "\"gelu_new\""},
        {"\"activation_function\": \"gelu\"", "\"activation_function\": \"relu\"",
         EMBED_UNSUPPORTED, "\"relu\""},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", EMBED_UNSUPPORTED,
         "\"tie_word_embeddings\" is false"},
        {"\"is_encoder_decoder\": true", "\"is_encoder_decoder\": false", EMBED_UNSUPPORTED,
         "\"is_encoder_decoder\" is false"},
        {"\"is_decoder\": false", "\"is_decoder\": true", EMBED_UNSUPPORTED,
         "\"is_decoder\" is true"},
        {"{", "{\"normalize_before\": true,", EMBED_UNSUPPORTED, "\"normalize_before\" is true"},
        {"{", "{\"add_final_layer_norm\": true,", EMBED_UNSUPPORTED, "\"add_final_layer_norm\""},
        {"{", "{\"static_position_embeddings\": true,", EMBED_UNSUPPORTED,
         "\"static_position_embeddings\""},
        {"{", "{\"extra_pos_embeddings\": 0,", EMBED_UNSUPPORTED, "\"extra_pos_embeddings\" is 0"},
        {"{", "{\"add_bias_logits\": true,", EMBED_UNSUPPORTED, "\"add_bias_logits\""},
        {"{", "{\"normalize_embedding\": false,", EMBED_UNSUPPORTED,
         "\"normalize_embedding\" is false"},
        {"{", "{\"quantization_config\": {\"bits\": 8},", EMBED_UNSUPPORTED, "quantized"},
        {"\"BartForConditionalGeneration\"", "\"BartForSequenceClassification\"", EMBED_UNSUPPORTED,
         "\"BartForSequenceClassification\""},
        {"\"BartForConditionalGeneration\"", "\"BartModel\", \"BartForCausalLM\"",
         EMBED_UNSUPPORTED, "\"architectures\" has 2 values"},
        {"\"BartForConditionalGeneration\"", "7", EMBED_BAD_FILE, "must be a string"},
        {"\"model_type\": \"bart\"", "\"model_type\": \"mbart\"", EMBED_UNSUPPORTED,
         "\"model_type\" is \"mbart\"; this version supports \"bert\", \"roberta\", "},
    };
    CHECK_EDITS(EVEN, "config.json", edits);
}

/* The keys of old configurations with the values that mean BART, as in facebook/bart-large-cnn and
 * sshleifer/distilbart, and architectures such as facebook/bart-base's and an unknown one. */
static void test_harmless_config(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } edits[] = {
        {"{",
         "{\"normalize_before\": false, \"add_final_layer_norm\": false, "
         "\"static_position_embeddings\": false, \"extra_pos_embeddings\": 2, "
         "\"add_bias_logits\": false, \"normalize_embedding\": true, \"num_hidden_layers\": 2, "
         "\"task_specific_params\": {\"summarization\": {\"do_sample\": true}},"},
        {"\"BartForConditionalGeneration\"", "\"BartModel\""},
        {"\"BartForConditionalGeneration\"", ""},
        {"\"architectures\": [", "\"nobody\": ["},
        {"\"scale_embedding\": false", "\"scale_embedding\": true"},
        {"\"tie_word_embeddings\": true", "\"unknown\": true"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(EVEN);
        test_edit_file(folder, "config.json", edits[i].before, edits[i].after);
        assert_status(open_model(folder, EMBED_DTYPE_F32, NULL), EMBED_OK, "", "");
        test_remove_folder(folder);
    }
}

static void test_int8(void **state)
{
    (void)state;
    embed_status status = open_model(EVEN, EMBED_DTYPE_INT8, NULL);
    assert_int_equal(status,
                     EMBED_UNSUPPORTED); /* if the CPU lacks it, the message says so */
    if (strstr(embed_error_message(), "VNNI") == NULL)
        assert_status(status, EMBED_UNSUPPORTED, "tiny-bart", "models that generate");

    /* Nor is there a plan for what cannot be opened. */
    embed_model_options options = EMBED_MODEL_OPTIONS_INIT;
    embed_memory memory = EMBED_MEMORY_INIT;
    options.device = EMBED_DEVICE_CPU;
    options.dtype = EMBED_DTYPE_INT8;
    assert_int_equal(embed_plan(EVEN, &options, NULL, &memory), EMBED_UNSUPPORTED);
    assert_int_equal(memory.total, 0);
}

/* ---- generation_config.json ---------------------------------------------------------------- */

static void test_generation_refused(void **state)
{
    (void)state;
#define ADD(setting, cause)                                                                        \
    {                                                                                              \
        "{", "{" setting ",", EMBED_UNSUPPORTED, cause                                             \
    }
#define BAD(b, a, cause)                                                                           \
    {                                                                                              \
        b, a, EMBED_BAD_FILE, cause                                                                \
    }
    static const struct edit edits[] = {
        ADD("\"do_sample\": true", "\"do_sample\" is true"),
        ADD("\"num_beam_groups\": 2", "\"num_beam_groups\" is 2"),
        ADD("\"num_return_sequences\": 3", "\"num_return_sequences\" is 3"),
        ADD("\"diversity_penalty\": 0.5", "\"diversity_penalty\" is 0.5"),
        ADD("\"repetition_penalty\": 1.2", "\"repetition_penalty\" is 1.2"),
        ADD("\"encoder_repetition_penalty\": 0.9", "\"encoder_repetition_penalty\" is 0.9"),
        ADD("\"encoder_no_repeat_ngram_size\": 2", "\"encoder_no_repeat_ngram_size\" is 2"),
        ADD("\"guidance_scale\": 1.5", "\"guidance_scale\""),
        ADD("\"penalty_alpha\": 0.6", "\"penalty_alpha\""),
        ADD("\"renormalize_logits\": true", "\"renormalize_logits\""),
        ADD("\"bad_words_ids\": [[7]]",
            "\"bad_words_ids\" is an array, which this version does not support"),
        ADD("\"force_words_ids\": [[7]]", "\"force_words_ids\""),
        ADD("\"constraints\": [7]", "\"constraints\""),
        ADD("\"suppress_tokens\": [7]", "\"suppress_tokens\""),
        ADD("\"begin_suppress_tokens\": [7]", "\"begin_suppress_tokens\""),
        ADD("\"sequence_bias\": {\"[7]\": 1}", "\"sequence_bias\" is an object"),
        ADD("\"exponential_decay_length_penalty\": [9, 1.1]",
            "\"exponential_decay_length_penalty\""),
        ADD("\"watermarking_config\": {\"bias\": 2}", "\"watermarking_config\""),
        ADD("\"stop_strings\": \".\"", "\"stop_strings\""),
        ADD("\"max_time\": 0", "\"max_time\" is 0"),
        ADD("\"token_healing\": true", "\"token_healing\""),
        ADD("\"prompt_lookup_num_tokens\": 0", "\"prompt_lookup_num_tokens\""),
        ADD("\"assistant_early_exit\": 1", "\"assistant_early_exit\""),
        ADD("\"dola_layers\": \"low\"", "\"dola_layers\" is \"low\""),
        ADD("\"use_mtp\": true", "\"use_mtp\""),
        {"\"num_beams\": 4", "\"num_beams\": 17", EMBED_UNSUPPORTED, "\"num_beams\" is 17"},
        {"\"eos_token_id\": 2", "\"eos_token_id\": [2, 3]", EMBED_UNSUPPORTED,
         "\"eos_token_id\" has 2 values"},
        {"\"forced_eos_token_id\": 2", "\"forced_eos_token_id\": [2, 3]", EMBED_UNSUPPORTED,
         "\"forced_eos_token_id\" has 2 values"},

        BAD("\"num_beams\": 4", "\"num_beams\": 0", "\"num_beams\" is 0"),
        BAD("\"num_beams\": 4", "\"num_beams\": 2.5", "\"num_beams\" is 2.5"),
        BAD("\"no_repeat_ngram_size\": 3", "\"no_repeat_ngram_size\": -3",
            "\"no_repeat_ngram_size\""),
        BAD("\"length_penalty\": 2.0", "\"length_penalty\": 1e9", "\"length_penalty\" is 1e9"),
        BAD("\"length_penalty\": 2.0", "\"length_penalty\": \"2\"", "\"length_penalty\" is \"2\""),
        BAD("\"early_stopping\": true", "\"early_stopping\": \"always\"",
            "true, false or \"never\""),
        BAD("\"early_stopping\": true", "\"early_stopping\": 1", "\"early_stopping\" is 1"),
        BAD("\"max_length\": 48", "\"max_length\": 1",
            "\"max_length\" is 1, must be a whole number from 2"),
        BAD("\"max_length\": 48", "\"max_length\": -1", "\"max_length\" is -1"),
        BAD("\"max_length\": 48", "\"max_length\": 129",
            "\"max_length\" means 129 tokens, but config.json has \"max_position_embeddings\" "
            "128"),
        BAD("\"max_length\": 48", "\"max_new_tokens\": 0", "\"max_new_tokens\" is 0"),
        BAD("\"max_length\": 48", "\"max_new_tokens\": 128", "\"max_new_tokens\" means 129 tokens"),
        BAD("\"max_length\": 48", "\"max_length\": 15",
            "\"min_length\" means 16 tokens, but \"max_length\" means 15"),
        BAD("\"min_length\": 16", "\"min_length\": -16", "\"min_length\" is -16"),
        BAD("\"min_length\": 16", "\"min_new_tokens\": 48",
            "\"min_new_tokens\" means 49 tokens, but \"max_length\" means 48"),
        BAD("\"min_length\": 16", "\"min_length\": 99999999999999999999", "\"min_length\""),
        BAD("\"forced_bos_token_id\": 0", "\"forced_bos_token_id\": 639",
            "\"forced_bos_token_id\" is 639, but config.json has \"vocab_size\" 639"),
        BAD("\"forced_eos_token_id\": 2", "\"forced_eos_token_id\": 5000", "\"vocab_size\" 639"),
        BAD("\"forced_eos_token_id\": 2", "\"forced_eos_token_id\": -1",
            "\"forced_eos_token_id\" is -1"),
        BAD("\"decoder_start_token_id\": 2", "\"decoder_start_token_id\": 640",
            "\"vocab_size\" 639"),
        BAD("\"decoder_start_token_id\": 2", "\"decoder_start_token_id\": \"</s>\"", "is \"</s>\""),
        BAD("\"eos_token_id\": 2", "\"eos_token_id\": [700]", "\"eos_token_id\" is 700"),
        BAD("\"eos_token_id\": 2", "\"eos_token_id\": []", "\"eos_token_id\" is missing"),
        BAD("\"eos_token_id\": 2", "\"eos_token_id\": null", "\"eos_token_id\" is missing"),
        BAD("{", "[", "byte"),
    };
    CHECK_EDITS(EVEN, "generation_config.json", edits);
}

/* A vocabulary that lacks ids needed for generation. */
static void test_small_vocabulary(void **state)
{
    (void)state;
    static const struct edit edit = {"\"vocab_size\": 639", "\"vocab_size\": 2", EMBED_BAD_FILE,
                                     "is 2, but config.json has \"vocab_size\" 2"};
    check_edits(EVEN, "config.json", &edit, 1);
}

static struct generation_rules read_rules(const char *folder)
{
    struct transformer_config config;
    struct generation_rules rules;
    assert_status(transformer_config_read(&config, folder), EMBED_OK, "", "");
    assert_status(generation_config_read(&rules, &config, folder), EMBED_OK, "", "");
    return rules;
}

static void test_rules(void **state)
{
    (void)state;
    struct generation_rules rules = read_rules(EVEN);
    assert_int_equal(rules.num_beams, 4);
    assert_int_equal(rules.min_length, 16);
    assert_int_equal(rules.max_length, 48);
    assert_int_equal(rules.no_repeat_ngram_size, 3);
    assert_true(rules.length_penalty == 2.0f);
    assert_int_equal(rules.early_stopping, STOP_EARLY);
    assert_int_equal(rules.start_token, 2);
    assert_int_equal(rules.end_token, 2);
    assert_int_equal(rules.forced_first_token, 0);
    assert_int_equal(rules.forced_end_token, 2);

    rules = read_rules(UNEVEN); /* from config.json, the rest defaults */
    assert_int_equal(rules.num_beams, 2);
    assert_int_equal(rules.min_length, 0);
    assert_int_equal(rules.max_length, 40);
    assert_true(rules.length_penalty == 0.5f);
    assert_int_equal(rules.early_stopping, STOP_BY_HEURISTIC);
    assert_int_equal(rules.forced_first_token, NO_TOKEN);
    assert_int_equal(rules.forced_end_token, 2);
}

/* A generation_config.json with only this content, and what transformers 5.23's generate makes of
 * it. */
static void test_rules_by_key(void **state)
{
    (void)state;
#define IDS "\"eos_token_id\": 2, \"bos_token_id\": 0"
    enum { START_0 = 0, START_2 = 2 };
    static const struct {
        const char *text;
        int32_t start, forced_first, forced_end, min, max, beams, early;
        float penalty;
    } cases[] = {
        {"{" IDS "}", START_0, NO_TOKEN, NO_TOKEN, 0, 21, 1, STOP_BY_HEURISTIC, 1},
        {"{" IDS ", \"decoder_start_token_id\": 2, \"max_length\": 20, \"early_stopping\": false}",
         START_2, NO_TOKEN, NO_TOKEN, 0, 20, 1, STOP_BY_HEURISTIC, 1},
        {"{" IDS
         ", \"max_new_tokens\": 5, \"max_length\": 30, \"min_new_tokens\": 3, \"min_length\": 9}",
         START_0, NO_TOKEN, NO_TOKEN, 4, 6, 1, STOP_BY_HEURISTIC, 1},
        {"{" IDS
         ", \"max_length\": 128, \"min_length\": 128, \"num_beams\": 16, \"length_penalty\": -1.5, "
         "\"early_stopping\": \"never\"}",
         START_0, NO_TOKEN, NO_TOKEN, 128, 128, 16, STOP_NEVER, -1.5f},
        {"{\"eos_token_id\": [3], \"bos_token_id\": 0, \"forced_eos_token_id\": [3], "
         "\"forced_bos_token_id\": null}",
         START_0, NO_TOKEN, 3, 0, 21, 1, STOP_BY_HEURISTIC, 1},
        /* This is only read in a generation_config.json made from a config.json. */
        {"{" IDS ", \"force_bos_token_to_be_generated\": true}", START_0, NO_TOKEN, NO_TOKEN, 0, 21,
         1, STOP_BY_HEURISTIC, 1},
        {"{" IDS ", \"force_bos_token_to_be_generated\": true, \"_from_model_config\": true}",
         START_0, 0, NO_TOKEN, 0, 21, 1, STOP_BY_HEURISTIC, 1},
        /* Everything that is off, or matters only for sampling. */
        {"{" IDS ", \"do_sample\": false, \"temperature\": 0.7, \"top_k\": 50, \"top_p\": 0.9, "
         "\"typical_p\": 1.0, \"num_beam_groups\": 1, \"num_return_sequences\": 1, "
         "\"diversity_penalty\": 0.0, \"repetition_penalty\": 1.0, \"encoder_repetition_penalty\": "
         "1, "
         "\"encoder_no_repeat_ngram_size\": 0, \"guidance_scale\": 1.0, \"penalty_alpha\": 0.0, "
         "\"renormalize_logits\": false, \"remove_invalid_values\": true, \"bad_words_ids\": null, "
         "\"suppress_tokens\": [], \"sequence_bias\": {}, \"use_cache\": false, \"max_time\": "
         "null, "
         "\"output_scores\": true, \"pad_token_id\": 1, \"chunk_size_feed_forward\": 0}",
         START_0, NO_TOKEN, NO_TOKEN, 0, 21, 1, STOP_BY_HEURISTIC, 1},
    };
    const char *folder = test_copy_folder(EVEN);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_write_file(folder, "generation_config.json", cases[i].text, strlen(cases[i].text));
        struct generation_rules rules = read_rules(folder);
        assert_int_equal(rules.start_token, cases[i].start);
        assert_int_equal(rules.forced_first_token, cases[i].forced_first);
        assert_int_equal(rules.forced_end_token, cases[i].forced_end);
        assert_int_equal(rules.min_length, cases[i].min);
        assert_int_equal(rules.max_length, cases[i].max);
        assert_int_equal(rules.num_beams, cases[i].beams);
        assert_int_equal(rules.early_stopping, cases[i].early);
        assert_true(rules.length_penalty == cases[i].penalty);
    }
    static const char none[] = "{\"eos_token_id\": 2}";
    test_write_file(folder, "generation_config.json", none, sizeof none - 1);
    assert_status(open_model(folder, EMBED_DTYPE_F32, NULL), EMBED_BAD_FILE,
                  "generation_config.json", "\"decoder_start_token_id\" is missing");
    test_remove_folder(folder);
}

/* Without generation_config.json: the same keys in config.json, and the default length if the
 * position table is shorter. */
static void test_rules_of_config(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(UNEVEN);
    test_edit_file(folder, "config.json", "{", "{\"force_bos_token_to_be_generated\": true,");
    assert_int_equal(read_rules(folder).forced_first_token, 0);
    test_edit_file(folder, "config.json", "\"max_length\": 40", "\"nothing\": 40");
    assert_int_equal(read_rules(folder).max_length, 21);
    test_edit_file(folder, "config.json", "\"max_position_embeddings\": 96",
                   "\"max_position_embeddings\": 7");
    assert_int_equal(read_rules(folder).max_length, 7);
    test_edit_file(folder, "config.json", "\"num_beams\": 2",
                   "\"num_beams\": 2, \"do_sample\": true");
    assert_status(open_model(folder, EMBED_DTYPE_F32, NULL), EMBED_UNSUPPORTED, "config.json",
                  "\"do_sample\" is true");
    test_remove_folder(folder);
}

/* ---- the tokenizer ------------------------------------------------------------------------- */

/* EVEN's <mask> is 639 and has no row. As in facebook/bart-large-cnn, a text may contain it. */
static void test_mask_without_row(void **state)
{
    (void)state;
    embed_model *model = NULL;
    embed_tokens tokens = EMBED_TOKENS_INIT;
    embed_text text = EMBED_TEXT("a <mask><pad>");
    assert_int_equal(embed_model_open(&model, EVEN, NULL), EMBED_OK);
    assert_int_equal(embed_tokenize(model, &text, 1, NULL, &tokens), EMBED_OK);
    size_t count = tokens.offsets[1];
    assert_true(count > 6); /* <s> a < m a s k > <pad> </s>, some of them merged */
    for (size_t i = 0; i < count; i++) assert_true(tokens.ids[i] >= 0 && tokens.ids[i] < 639);
    assert_int_equal(tokens.ids[0], 0);
    assert_int_equal(tokens.ids[count - 2], 1); /* still a token */
    assert_int_equal(tokens.ids[count - 1], 2);
    embed_tokens_free(&tokens);
    embed_model_close(model);

    /* UNEVEN has a row for it. */
    assert_int_equal(embed_model_open(&model, UNEVEN, NULL), EMBED_OK);
    assert_int_equal(embed_tokenize(model, &text, 1, NULL, &tokens), EMBED_OK);
    assert_int_equal(tokens.ids[tokens.offsets[1] - 3], 479);
    embed_tokens_free(&tokens);
    embed_model_close(model);
}

/* Ids without a row that a text can produce: of a merge, and of a byte. */
static void test_ids_without_row(void **state)
{
    (void)state;
    static const struct {
        const char *file, *before, *after, *cause;
    } edits[] = {
        {"config.json", "\"vocab_size\": 639", "\"vocab_size\": 638",
         "the tokenizer has token id 638, but config.json has \"vocab_size\" 638"},
        {"tokenizer.json", "\"!\":4,", "\"!\":704,", "token id 704"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const char *folder = test_copy_folder(EVEN);
        test_edit_file(folder, edits[i].file, edits[i].before, edits[i].after);
        assert_status(open_model(folder, EMBED_DTYPE_F32, NULL), EMBED_BAD_FILE, folder,
                      edits[i].cause);
        test_remove_folder(folder);
    }
}

/* A BERT's tokenizer could not decode a summary. */
static void test_other_tokenizer(void **state)
{
    (void)state;
    const char *folder = test_copy_folder(EVEN);
    size_t length;
    char *text = test_read_file("tests/vectors/tiny-bert/tokenizer.json", &length);
    test_write_file(folder, "tokenizer.json", text, length);
    free(text);
    assert_status(open_model(folder, EMBED_DTYPE_F32, NULL), EMBED_UNSUPPORTED, "tokenizer.json",
                  "WordPiece");
    test_remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_harmless_config),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_generation_refused),
        cmocka_unit_test(test_small_vocabulary),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_rules_by_key),
        cmocka_unit_test(test_rules_of_config),
        cmocka_unit_test(test_mask_without_row),
        cmocka_unit_test(test_ids_without_row),
        cmocka_unit_test(test_other_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
