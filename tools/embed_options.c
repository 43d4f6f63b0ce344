/* embed_options.c - the options of all commands, in one table for parsing and for help */
#include "embed_tool.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind {
    IS_FLAG,
    IS_TEXT,
    IS_PATH, /* not empty: that would name nothing, or the root folder */
    IS_NUMBER, /* 1 or more */
    IS_COUNT,  /* 0 or more */
    IS_REAL,
    IS_BYTES,
    IS_WORD,
    IS_DEVICE
} option_kind;

typedef struct word_value {
    const char *word;
    int value;
} word_value;

typedef struct tool_option {
    const char *name;
    const char *argument; /* as shown to the user */
    option_kind kind;
    size_t field; /* offset in tool_settings */
    unsigned commands;
    const char *help;
    const word_value *words; /* IS_WORD: the allowed words */
} tool_option;

static const word_value formats[] = {{"npy", FORMAT_NPY},     {"text", FORMAT_TEXT},
                                     {"jsonl", FORMAT_JSONL}, {"f32", FORMAT_F32},
                                     {"f16", FORMAT_F16},     {NULL, 0}};
static const word_value dtypes[] = {{"auto", EMBED_DTYPE_AUTO}, {"f32", EMBED_DTYPE_F32},
                                    {"bf16", EMBED_DTYPE_BF16}, {"int8", EMBED_DTYPE_INT8},
                                    {"f16", EMBED_DTYPE_F16},   {NULL, 0}};
static const word_value progress_modes[] = {
    {"auto", PROGRESS_AUTO}, {"always", PROGRESS_ALWAYS}, {"never", PROGRESS_NEVER}, {NULL, 0}};
static const word_value levels[] = {{"error", EMBED_LOG_ERROR},
                                    {"warning", EMBED_LOG_WARNING},
                                    {"info", EMBED_LOG_INFO},
                                    {"debug", EMBED_LOG_DEBUG},
                                    {NULL, 0}};
static const word_value stoppings[] = {{"true", EMBED_STOP_EARLY + 1},
                                       {"false", EMBED_STOP_BY_HEURISTIC + 1},
                                       {"never", EMBED_STOP_NEVER + 1},
                                       {NULL, 0}};
static const word_value long_texts[] = {
    {"cut", EMBED_LONG_CUT}, {"split", EMBED_LONG_SPLIT}, {NULL, 0}};

#define FIELD(name) offsetof(tool_settings, name)
#define EMBEDS      (TAKEN_BY_ENCODE | TAKEN_BY_SIMILARITY)
#define OF_A_MODEL  (EMBEDS | TAKEN_BY_SUMMARIZE | TAKEN_BY_INFO | TAKEN_BY_VERIFY)
#define OF_A_FILE   (TAKEN_BY_ENCODE | TAKEN_BY_SUMMARIZE)
#define ALL         (OF_A_MODEL | TAKEN_BY_TOKENIZE | TAKEN_BY_DEVICES)

static const tool_option options[] = {
    {"-m", "FOLDER", IS_PATH, FIELD(model), ALL & ~TAKEN_BY_DEVICES,
     "the model folder; required", NULL},
    {"-o", "FILE", IS_PATH, FIELD(output), OF_A_FILE,
     "output file (default: standard output)", NULL},
    {"--format", "npy|text|jsonl|f32|f16", IS_WORD, FIELD(format), TAKEN_BY_ENCODE,
     "how rows are written (default: npy for *.npy, else text)", formats},
    {"--device", "auto|cpu|cuda[:N]", IS_DEVICE, 0, OF_A_MODEL,
     "device to compute on (default: auto, a GPU if there is one)", NULL},
    {"--dtype", "auto|f32|bf16|int8|f16", IS_WORD, FIELD(dtype), OF_A_MODEL,
     "type of the weights (default: auto, chosen for the device)", dtypes},
    {"--threads", "N", IS_NUMBER, FIELD(threads), OF_A_MODEL,
     "threads that compute on the CPU (default: one per processor)", NULL},
    {"--batch-tokens", "N", IS_NUMBER, FIELD(batch_tokens), TAKEN_BY_ENCODE,
     "tokens computed at a time (default: chosen for the device)", NULL},
    {"--max-tokens", "N", IS_NUMBER, FIELD(max_tokens), EMBEDS,
     "cut texts to N tokens (default: the model's limit)", NULL},
    {"--max-tokens", "N", IS_NUMBER, FIELD(max_tokens), TAKEN_BY_SUMMARIZE,
     "cut or split documents at N tokens (default: the model's limit)", NULL},
    {"--max-tokens", "N", IS_NUMBER, FIELD(max_tokens), TAKEN_BY_TOKENIZE,
     "cut texts to N tokens (default: do not cut)", NULL},
    {"--prompt", "NAME", IS_TEXT, FIELD(prompt), EMBEDS,
     "name of the model's prompt to use (default: the model's choice)", NULL},
    {"--no-normalize", NULL, IS_FLAG, FIELD(no_normalize), TAKEN_BY_ENCODE,
     "do not scale rows to length 1 (default: as the model specifies)", NULL},
    {"--dimensions", "N", IS_NUMBER, FIELD(dimensions), EMBEDS,
     "keep the first N numbers of each row (default: all)", NULL},
    {"--jsonl", "FIELD", IS_TEXT, FIELD(jsonl_field), TAKEN_BY_ENCODE,
     "read JSON lines; the text is their FIELD (default: plain text)", NULL},
    {"--jsonl", "FIELD", IS_TEXT, FIELD(jsonl_field), TAKEN_BY_SUMMARIZE,
     "read and write JSON lines; the text is FIELD (default: plain text)", NULL},
    {"--document", NULL, IS_FLAG, FIELD(document), TAKEN_BY_SUMMARIZE,
     "read the whole input as one document (default: each line is one)", NULL},
    {"--long", "cut|split", IS_WORD, FIELD(long_texts), TAKEN_BY_SUMMARIZE,
     "cut longer documents, or summarize them in pieces (default: cut)", long_texts},
    {"--num-beams", "N", IS_NUMBER, FIELD(num_beams), TAKEN_BY_SUMMARIZE,
     "number of beams; 1: greedy search (default: the model's)", NULL},
    {"--min-length", "N", IS_COUNT, FIELD(min_length), TAKEN_BY_SUMMARIZE,
     "minimum number of tokens in a summary (default: the model's)", NULL},
    {"--max-length", "N", IS_NUMBER, FIELD(max_length), TAKEN_BY_SUMMARIZE,
     "maximum number of tokens in a summary (default: the model's)", NULL},
    {"--length-penalty", "X", IS_REAL, FIELD(length_penalty), TAKEN_BY_SUMMARIZE,
     "score is log-probability / length ^ X (default: the model's)", NULL},
    {"--no-repeat-ngram-size", "N", IS_COUNT, FIELD(no_repeat_ngram_size), TAKEN_BY_SUMMARIZE,
     "repeat no sequence of N tokens; 0: allow any (default: the model's)", NULL},
    {"--early-stopping", "true|false|never", IS_WORD, FIELD(early_stopping), TAKEN_BY_SUMMARIZE,
     "when the beam search ends (default: the model's)", stoppings},
    {"--scores", NULL, IS_FLAG, FIELD(scores), TAKEN_BY_SUMMARIZE,
     "write each summary's score and a tab before it (default: no)", NULL},
    {"--documents", "N", IS_NUMBER, FIELD(documents), TAKEN_BY_SUMMARIZE,
     "documents in progress at a time (default: chosen for the device)", NULL},
    {"--metadata", "FILE", IS_PATH, FIELD(metadata), TAKEN_BY_ENCODE,
     "also write what produced the rows, as JSON (default: not written)", NULL},
    {"--resume", NULL, IS_FLAG, FIELD(resume), TAKEN_BY_ENCODE,
     "continue an interrupted job, or start a resumable one (default: no)", NULL},
    {"--progress", "auto|always|never", IS_WORD, FIELD(progress), OF_A_FILE,
     "show speed and time left on stderr (default: on a terminal)", progress_modes},
    {"--device-memory", "SIZE", IS_BYTES, FIELD(device_memory), TAKEN_BY_INFO,
     "how many instances fit a GPU of SIZE, such as 24G; needs no GPU", NULL},
    {"--reference", "NAME", IS_TEXT, FIELD(reference), TAKEN_BY_VERIFY,
     "a known model, or a file from make_golden.py (default: by weights)", NULL},
    {"--json", NULL, IS_FLAG, FIELD(json), TAKEN_BY_INFO | TAKEN_BY_VERIFY, "print JSON (default: a table)",
     NULL},
    {"--log-level", "error|warning|info|debug", IS_WORD, FIELD(log_level), ALL,
     "messages on stderr, up to this level (default: warning)", levels},
    {"--help", NULL, IS_FLAG, FIELD(help), ALL, "print this help", NULL},
};
#define OPTIONS (sizeof options / sizeof options[0])

static const char *word_of(const word_value *words, int value)
{
    for (; words->word != NULL; words++) {
        if (words->value == value) return words->word;
    }
    return "?";
}

const char *dtype_word(embed_dtype dtype)
{
    return word_of(dtypes, (int)dtype);
}

const char *format_word(tool_format format)
{
    return word_of(formats, (int)format);
}

/* Accepts only decimal digits. */
static bool parse_number(size_t *out, const char *text)
{
    size_t value = 0;
    if (*text == '\0') return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (size_t)(*text - '0'), &value))
            return false;
    }
    *out = value;
    return true;
}

/* Accepts a finite decimal number; not "0x10", "nan" or blanks. */
static bool parse_real(double *out, const char *text)
{
    char *end;
    if (text[strspn(text, "+-.0123456789eE")] != '\0') return false;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value)) return false;
    *out = value;
    return true;
}

/* Accepts a number, optionally followed by K, M, G or T for powers of 1024. */
static bool parse_bytes(size_t *out, const char *text)
{
    static const char units[] = "KMGT";
    char digits[32];
    size_t length = strlen(text), value;
    const char *unit = length > 0 ? strchr(units, text[length - 1]) : NULL;
    if (unit != NULL) length--;
    if (length >= sizeof digits) return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!parse_number(&value, digits) || value == 0) return false;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    if (value > (size_t)INT64_MAX >> shift) return false; /* JSON output has no more */
    *out = value << shift;
    return true;
}

static bool parse_device(tool_settings *settings, const char *text)
{
    size_t index = 0;
    settings->device_index = 0;
    if (strcmp(text, "auto") == 0)
        settings->device = EMBED_DEVICE_AUTO;
    else if (strcmp(text, "cpu") == 0)
        settings->device = EMBED_DEVICE_CPU;
    else if (strcmp(text, "cuda") == 0)
        settings->device = EMBED_DEVICE_CUDA;
    else if (strncmp(text, "cuda:", 5) == 0 && parse_number(&index, text + 5) &&
             index <= INT_MAX) {
        settings->device = EMBED_DEVICE_CUDA;
        settings->device_index = (int)index;
    } else {
        return false;
    }
    return true;
}

static bool parse_word(int *out, const word_value *words, const char *text)
{
    for (; words->word != NULL; words++) {
        if (strcmp(words->word, text) == 0) {
            *out = words->value;
            return true;
        }
    }
    return false;
}

/* Sets the option's field. Returns false if the value is invalid. */
static bool set_option(tool_settings *settings, const tool_option *option, const char *value)
{
    void *field = (char *)settings + option->field;
    size_t number;
    switch (option->kind) {
    case IS_FLAG: *(bool *)field = true; return true;
    case IS_TEXT: *(const char **)field = value; return true;
    case IS_PATH: *(const char **)field = value; return *value != '\0';
    case IS_WORD: return parse_word(field, option->words, value);
    case IS_DEVICE: return parse_device(settings, value);
    case IS_BYTES: return parse_bytes(field, value);
    case IS_COUNT:
        return ((tool_count *)field)->given = parse_number(&((tool_count *)field)->value, value);
    case IS_REAL:
        return ((tool_real *)field)->given = parse_real(&((tool_real *)field)->value, value);
    case IS_NUMBER: break;
    }
    /* The API takes the numbers of threads and beams as unsigned. */
    size_t most = option->field == FIELD(threads) || option->field == FIELD(num_beams) ? UINT_MAX
                                                                                       : SIZE_MAX;
    if (!parse_number(&number, value) || number == 0 || number > most) return false;
    *(size_t *)field = number;
    return true;
}

/* Returns the command's option named word[0..length), or NULL. */
static const tool_option *find_option(unsigned command, const char *word, size_t length)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const tool_option *option = &options[i];
        if ((option->commands & command) != 0 && strlen(option->name) == length &&
            memcmp(option->name, word, length) == 0)
            return option;
    }
    return NULL;
}

/* Only numbers are considered: the library checks them, and names them as the options are named,
 * with '_' for '-'. */
const char *option_of_argument(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        option_kind kind = options[i].kind;
        if (kind != IS_NUMBER && kind != IS_COUNT && kind != IS_REAL) continue;
        const char *ours = options[i].name + 2;
        size_t k = 0;
        while (k < length && (name[k] == '_' ? '-' : name[k]) == ours[k]) k++;
        if (k == length && ours[k] == '\0') return options[i].name;
    }
    return NULL;
}

static bool wrong_value(const tool_command *command, const tool_option *option,
                        const char *value)
{
    const char *wanted = option->kind == IS_NUMBER  ? "an integer of at least 1"
                         : option->kind == IS_COUNT ? "an integer of at least 0"
                         : option->kind == IS_REAL  ? "a number"
                                                    : option->argument;
    return tool_error("%s: %s takes %s, not '%s'", command->name, option->name, wanted, value);
}

/* Parses the option at words[0], whose value may be words[1]. Sets *used to the number of words it
 * took. */
static bool parse_option(tool_settings *settings, const tool_command *command, char **words,
                         int count, int *used)
{
    const char *word = strcmp(words[0], "-h") == 0 ? "--help" : words[0];
    const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const tool_option *option = find_option(command->bit, word, length);
    *used = 1;
    if (option == NULL) return tool_error("%s: unknown option '%s'", command->name, word);
    if (option->kind == IS_FLAG && equals != NULL)
        return tool_error("%s: %s takes no value", command->name, option->name);
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (option->kind != IS_FLAG && value == NULL) {
        if (count < 2)
            return tool_error("%s: %s needs %s", command->name, option->name, option->argument);
        value = words[1];
        *used = 2;
    }
    return set_option(settings, option, value) || wrong_value(command, option, value);
}

bool options_parse(tool_settings *settings, const tool_command *command, int count,
                   char **words)
{
    memset(settings, 0, sizeof *settings);
    settings->operands = words; /* operands move to the front of argv */
    bool only_operands = false;
    for (int i = 0, used; i < count; i += used) {
        used = 1;
        if (only_operands || words[i][0] != '-' || words[i][1] == '\0')
            settings->operands[settings->operand_count++] = words[i];
        else if (strcmp(words[i], "--") == 0)
            only_operands = true;
        else if (!parse_option(settings, command, words + i, count - i, &used))
            return false;
    }
    if (settings->help) return true;
    if (settings->operand_count > command->max_operands)
        return tool_error("%s: unexpected '%s'", command->name,
                          settings->operands[command->max_operands]);
    /* Texts may be empty, file names may not. */
    if (command->max_operands == 1 && settings->operand_count == 1 &&
        *settings->operands[0] == '\0')
        return tool_error("%s: FILE is empty", command->name);
    if (settings->model == NULL && find_option(command->bit, "-m", 2) != NULL)
        return tool_error("%s: -m FOLDER is missing", command->name);
    return true;
}

void options_print(const tool_command *command)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const tool_option *option = &options[i];
        if ((option->commands & command->bit) == 0) continue;
        char left[64];
        snprintf(left, sizeof left, "%s %s", option->name,
                 option->argument != NULL ? option->argument : "");
        printf("  %-38s%s\n", left, option->help);
    }
}
