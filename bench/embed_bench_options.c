/* embed_bench_options.c - the options of all commands, parsed and printed from one table */
#include "embed_bench.h"

#include <stdlib.h>
#include <string.h>

enum kind { IS_FLAG, IS_TEXT, IS_NUMBER, IS_SECONDS, IS_AXIS, IS_WORD };

struct option {
    const char *name, *argument;
    enum kind kind;
    size_t field;  /* offset in struct settings */
    unsigned commands;
    const char *help;
    const char *const *words; /* IS_WORD: indexed by the values of the enum in embed.h */
    size_t most;              /* IS_NUMBER, IS_AXIS; 0 means 1000000 */
};

static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
static const char *const dtypes[] = {"auto", "f32", "bf16", "f16", "int8", NULL};

#define FIELD(name) offsetof(struct settings, name)
#define EMBEDS      (OF_SWEEP | OF_LATENCY | OF_THROUGHPUT | OF_LOAD)
#define OF_A_MODEL  (EMBEDS | OF_SUMMARIZE)
#define ROUNDED     (OF_SWEEP | OF_LATENCY | OF_THROUGHPUT | OF_TOKENIZER | OF_SUMMARIZE)
#define ALL         (OF_A_MODEL | OF_TOKENIZER | OF_KERNELS | OF_INSTANCES)

static const struct option options[] = {
    {"-m", "FOLDER", IS_TEXT, FIELD(folder), OF_A_MODEL | OF_TOKENIZER,
     "the model folder; required", NULL, 0},
    {"--batch", "LIST", IS_AXIS, FIELD(batch), OF_SWEEP,
     "texts in a call (default: 1..256, on a GPU 1..32768)", NULL, 1 << 20},
    {"--tokens", "LIST", IS_AXIS, FIELD(lengths), OF_SWEEP,
     "lengths of texts, given as ids (default: 16,32,128, without --text)", NULL, 1 << 20},
    {"--text", "FILE", IS_TEXT, FIELD(text), OF_SWEEP,
     "real texts instead of ids, one per line", NULL, 0},
    {"--instances", "LIST", IS_AXIS, FIELD(instances), OF_SWEEP,
     "instances of the model, a thread each (default: 1)", NULL, 64},
    {"--chunk", "LIST", IS_AXIS, FIELD(chunks), OF_SWEEP,
     "tokens computed at a time (default: the library's)", NULL, 1 << 24},
    {"--texts", "N", IS_NUMBER, FIELD(texts), OF_THROUGHPUT | OF_SUMMARIZE,
     "texts in a call, given as ids", NULL, 0},
    {"--tokens", "N", IS_NUMBER, FIELD(tokens), OF_THROUGHPUT | OF_SUMMARIZE,
     "tokens of each", NULL, 0},
    {"--new-tokens", "N", IS_NUMBER, FIELD(new_tokens), OF_SUMMARIZE, "tokens of each summary",
     NULL, 0},
    {"--beams", "N", IS_NUMBER, FIELD(beams), OF_SUMMARIZE, "beams of the search", NULL, 0},
    {"--device", "auto|cpu|cuda", IS_WORD, FIELD(device), OF_A_MODEL,
     "device to compute on (default: auto, a GPU if there is one)", devices, 0},
    {"--dtype", "auto|f32|bf16|f16|int8", IS_WORD, FIELD(dtype), OF_A_MODEL,
     "type of the weights (default: auto, chosen for the device)", dtypes, 0},
    {"--threads", "N", IS_NUMBER, FIELD(threads), OF_A_MODEL,
     "threads that compute on the CPU (default: one per processor)", NULL, 1024},
    {"--threads", "N", IS_NUMBER, FIELD(threads), OF_TOKENIZER, "(default: 1)", NULL, 1024},
    {"--batch-tokens", "N", IS_NUMBER, FIELD(batch_tokens),
     OF_LATENCY | OF_THROUGHPUT | OF_SUMMARIZE,
     "tokens computed at a time (default: chosen for the device)", NULL, 1 << 24},
    {"--max-tokens", "N", IS_NUMBER, FIELD(max_tokens), OF_TOKENIZER,
     "cut texts to N tokens (default: do not cut)", NULL, 0},
    {"--workers", "N", IS_NUMBER, FIELD(workers), OF_LOAD, "callers (default: 8)", NULL, 64},
    {"--rounds", "N", IS_NUMBER, FIELD(rounds), ROUNDED,
     "measurements of each row, of which it has the median", NULL, 0},
    {"--seconds", "N", IS_SECONDS, FIELD(seconds), OF_SWEEP,
     "for the whole sweep: what does not fit is left out (default: no limit)", NULL, 0},
    {"--seconds", "N", IS_SECONDS, FIELD(seconds), OF_LOAD, "for each row (default: 5)", NULL, 0},
    {"--profile", "FILE", IS_TEXT, FIELD(profile), OF_SWEEP,
     "writes the recommendation, as a pool reads it", NULL, 0},
    {"--csv", "FILE", IS_TEXT, FIELD(csv), OF_SWEEP,
     "writes the rows as CSV (default: to standard output)", NULL, 0},
    {"--plot", "FILE.svg", IS_TEXT, FIELD(plot), OF_SWEEP, "draws them, with gnuplot", NULL, 0},
    {"--json", NULL, IS_FLAG, FIELD(json), ALL,
     "one object per line on standard output (default: CSV)", NULL, 0},
    {"--help", NULL, IS_FLAG, FIELD(help), ALL, "print this help", NULL, 0},
};
#define OPTIONS (sizeof options / sizeof *options)

const char *dtype_name(embed_dtype dtype)
{
    return dtypes[dtype];
}

/* ---- values -------------------------------------------------------------------------------- */

/* Parses decimal digits up to `stop` as a value from 1 to `most`. */
static bool parse_number(size_t *out, const char *text, const char *stop, size_t most)
{
    size_t value = 0;
    if (text == stop) return false;
    for (; text < stop; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (size_t)(*text - '0'), &value))
            return false;
    }
    *out = value;
    return value >= 1 && value <= most;
}

static bool parse_seconds(double *out, const char *text)
{
    char *end;
    *out = strtod(text, &end);
    return text[0] != '\0' && text[strspn(text, "0123456789.")] == '\0' && *end == '\0' &&
           *out > 0 && *out <= 1e6;
}

static bool axis_add(struct axis *axis, size_t value)
{
    size_t at = 0;
    while (at < axis->count && axis->values[at] < value) at++;
    if (at < axis->count && axis->values[at] == value) return true;
    if (axis->count == MOST_VALUES) return false;
    memmove(axis->values + at + 1, axis->values + at, (axis->count - at) * sizeof *axis->values);
    axis->values[at] = value;
    axis->count++;
    return true;
}

/* Parses "A" or "A..B", which means A, 2 A, 4 A, ... up to B. Returns an error message or NULL. */
static const char *parse_item(struct axis *axis, const char *text, const char *stop, size_t most)
{
    const char *dots = memmem(text, (size_t)(stop - text), "..", 2);
    size_t first, last;
    if (!parse_number(&first, text, dots != NULL ? dots : stop, most)) return "";
    if (dots == NULL) last = first;
    else if (!parse_number(&last, dots + 2, stop, most)) return "";
    if (last < first) return ": the range goes backwards";
    for (; first <= last; first *= 2) {
        if (!axis_add(axis, first)) return ": too many values";
    }
    return NULL;
}

static const char *parse_axis(struct axis *axis, const char *text, size_t most)
{
    const char *why = NULL;
    axis->count = 0;
    for (const char *stop; why == NULL; text = stop + 1) {
        stop = text + strcspn(text, ",");
        why = parse_item(axis, text, stop, most);
        if (*stop == '\0') break;
    }
    return why;
}

/* ---- parsing ------------------------------------------------------------------------------- */

static bool told(int status)
{
    (void)status;
    return false;
}

static bool set_option(struct settings *settings, const struct command *command,
                       const struct option *option, const char *value)
{
    void *field = (char *)settings + option->field;
    size_t most = option->most > 0 ? option->most : 1000000;
    const char *why = NULL;
    switch (option->kind) {
    case IS_FLAG: *(bool *)field = true; return true;
    case IS_TEXT: *(const char **)field = value; return true;
    case IS_WORD:
        for (int i = 0; option->words[i] != NULL; i++) {
            if (strcmp(option->words[i], value) == 0) {
                *(int *)field = i;
                return true;
            }
        }
        return told(wrong_call("%s: %s takes %s, not '%s'", command->name, option->name,
                               option->argument, value));
    case IS_SECONDS:
        if (parse_seconds(field, value)) return true;
        return told(wrong_call("%s: %s takes a number of seconds, not '%s'", command->name,
                               option->name, value));
    case IS_NUMBER:
        if (parse_number(field, value, value + strlen(value), most)) return true;
        return told(wrong_call("%s: %s takes an integer from 1 to %zu, not '%s'", command->name,
                               option->name, most, value));
    case IS_AXIS:
        why = parse_axis(field, value, most);
        if (why == NULL) return true;
        return told(wrong_call("%s: %s takes integers from 1 to %zu, such as 8 or 16,32,128 or "
                               "1..64, not '%s'%s", command->name, option->name, most, value, why));
    }
    return false;
}

static const struct option *find_option(unsigned command, const char *word, size_t length)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options[i];
        if ((option->commands & command) != 0 && strlen(option->name) == length &&
            memcmp(option->name, word, length) == 0)
            return option;
    }
    return NULL;
}

/* Parses the option at words[0]; its value may be at words[1]. Sets *used to the words consumed. */
static bool parse_option(struct settings *settings, const struct command *command, char **words,
                         int count, int *used)
{
    const char *word = words[0];
    const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct option *option = find_option(command->bit, word, length);
    const char *value = equals != NULL ? equals + 1 : NULL;
    *used = 1;
    if (option == NULL)
        return told(wrong_call("%s: unknown option '%s'", command->name, word));
    if (option->kind == IS_FLAG && value != NULL)
        return told(wrong_call("%s: %s takes no value", command->name, option->name));
    if (option->kind != IS_FLAG && value == NULL) {
        if (count < 2)
            return told(wrong_call("%s: %s needs %s", command->name, option->name,
                                   option->argument));
        value = words[1];
        *used = 2;
    }
    return set_option(settings, command, option, value);
}

static bool is_complete(const struct settings *settings, const struct command *command)
{
    if (settings->operand_count > command->most_operands)
        return told(wrong_call("%s: unexpected '%s'", command->name,
                               settings->operands[command->most_operands]));
    if (settings->folder == NULL && find_option(command->bit, "-m", 2) != NULL)
        return told(wrong_call("%s: -m FOLDER is missing", command->name));
    if (settings->operand_count < command->least_operands)
        return told(wrong_call("%s: a file or folder is missing", command->name));
    return true;
}

bool options_parse(struct settings *settings, const struct command *command, int count,
                   char **words)
{
    memset(settings, 0, sizeof *settings);
    settings->operands = words; /* operands are moved to the front */
    for (int i = 0, used = 1; i < count; i += used, used = 1) {
        if (words[i][0] != '-') settings->operands[settings->operand_count++] = words[i];
        else if (!parse_option(settings, command, words + i, count - i, &used)) return false;
    }
    return settings->help || is_complete(settings, command);
}

void options_print(const struct command *command)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options[i];
        if ((option->commands & command->bit) == 0) continue;
        char left[64];
        snprintf(left, sizeof left, "%s %s", option->name,
                 option->argument != NULL ? option->argument : "");
        printf("  %-34s%s\n", left, option->help);
    }
}
