/* embed_bench.c - embed-bench: measures libembed on this machine and recommends settings
 *
 * This file finds the command and prints the help; each command is in a file of its own. Rows are
 * CSV with a header, below a line that describes the machine, or JSON.
 */
#include "embed_bench.h"

#include <string.h>

static const struct command commands[] = {
    {"sweep", command_sweep, OF_SWEEP, "-m FOLDER [options]",
     "texts in a call, their length, chunks, instances: what is best",
     "Measures each combination of --batch, --tokens or --text, --instances and --chunk, in rounds,\n"
     "forth and back, so that what else the machine does hits all alike. A LIST is 8, or 16,32,128,\n"
     "or 1..64 for powers of two. Ends with a recommendation, which --profile writes for\n"
     "embed_pool_options.profile. Ctrl-C ends it with what there is by then.",
     "embed-bench sweep -m weights/all-MiniLM-L6-v2 --text lines.txt --profile minilm.json", 0, 0},
    {"latency", command_latency, OF_LATENCY, "-m FOLDER [options]",
     "one text at a time, 3 to 512 tokens", "Texts are given as ids: no tokenizing.",
     "embed-bench latency -m weights/all-MiniLM-L6-v2 --threads 1", 0, 0},
    {"throughput", command_throughput, OF_THROUGHPUT,
     "-m FOLDER [options] FILE | --texts N --tokens N", "many texts in one call",
     "All lines of FILE in a call, tokenizing included, or N texts given as ids.",
     "embed-bench throughput -m weights/all-MiniLM-L6-v2 lines.txt", 0, 1},
    {"load", command_load, OF_LOAD, "-m FOLDER [options] FILE",
     "many callers: a pool, one large call, a model for each",
     "The lines of FILE, by many small callers of one model, three ways.",
     "embed-bench load -m weights/all-MiniLM-L6-v2 --workers 8 lines.txt", 1, 1},
    {"tokenizer", command_tokenizer, OF_TOKENIZER, "-m FOLDER [options] FILE...",
     "texts to token ids", "The lines of each FILE; the best of the rounds (30).",
     "embed-bench tokenizer -m weights/all-MiniLM-L6-v2 lines.txt", 1, SIZE_MAX},
    {"kernels", command_kernels, OF_KERNELS, "[options] [INSTRUCTION_SET]",
     "each CPU kernel: its error, its time, its share of a core's roof",
     "For each instruction set of this processor, or the one that is named (avx512, ...).",
     "embed-bench kernels avx2", 0, 1},
    {"instances", command_instances, OF_INSTANCES, "[options] FOLDER...",
     "how many instances fit GPUs of 8 to 24 GiB, by plan", "Needs no GPU, and reads no weights.",
     "embed-bench instances weights/all-MiniLM-L6-v2", 1, SIZE_MAX},
    {"summarize", command_summarize, OF_SUMMARIZE,
     "-m FOLDER --texts N --tokens N --new-tokens N --beams N [options]",
     "a batch of documents through a model that generates",
     "N documents of so many random ids, all under way at once; summaries of exactly N tokens.",
     "embed-bench summarize -m bart-large-cnn --texts 4 --tokens 512 --new-tokens 60 --beams 4", 0,
     0},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char usage_line[] =
    "usage: embed-bench COMMAND [options], or: embed-bench help [COMMAND]\n";

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

static void print_commands(FILE *out)
{
    fprintf(out, "%s\n", usage_line);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-16s%s\n", commands[i].name, commands[i].summary);
    fprintf(out, "  %-16s%s\n", "help [COMMAND]", "print this list, or explain a command");
    fprintf(out, "  %-16s%s\n", "--version", "print the version of the program and its library");
}

static void print_usage(FILE *out, const struct command *command)
{
    fprintf(out, "usage: embed-bench %s %s\n", command->name, command->usage);
}

static void print_help(const struct command *command)
{
    print_usage(stdout, command);
    printf("\n%s\n\n", command->details);
    options_print(command);
    printf("\nexample: %s\n", command->example);
}

static int wrong_command(const char *name)
{
    wrong_call("unknown command '%s'", name);
    fputs(usage_line, stderr);
    return EXIT_WRONG_CALL;
}

static int run_help(int count, char **names)
{
    const struct command *command = count > 0 ? find_command(names[0]) : NULL;
    if (count > 0 && command == NULL) return wrong_command(names[0]);
    if (count > 1) {
        wrong_call("help: unexpected '%s'", names[1]);
        fputs(usage_line, stderr);
        return EXIT_WRONG_CALL;
    }
    if (command != NULL) print_help(command);
    else print_commands(stdout);
    return 0;
}

/* Joins all words into the command line that results record. */
static void join(char *out, size_t capacity, int count, char **words)
{
    size_t length = (size_t)snprintf(out, capacity, "embed-bench");
    for (int i = 1; i < count && length < capacity; i++)
        length += (size_t)snprintf(out + length, capacity - length, " %s", words[i]);
}

static int run_command(const struct command *command, int count, char **words,
                       const char *command_line)
{
    struct settings settings;
    if (!options_parse(&settings, command, count, words)) {
        print_usage(stderr, command);
        return EXIT_WRONG_CALL;
    }
    if (settings.help) {
        print_help(command);
        return 0;
    }
    settings.command_line = command_line;
    int status = command->run(&settings);
    if (status == EXIT_WRONG_CALL) print_usage(stderr, command);
    if (status == 0 && (fflush(stdout) != 0 || ferror(stdout))) die("standard output: not written");
    return status;
}

int main(int argc, char **argv)
{
    static char command_line[4096];
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_WRONG_CALL;
    }
    join(command_line, sizeof command_line, argc, argv);
    if (strcmp(argv[1], "--version") == 0) {
        printf("embed-bench %s\n", embed_version());
        return 0;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)
        return run_help(argc - 2, argv + 2);
    const struct command *command = find_command(argv[1]);
    if (command == NULL) return wrong_command(argv[1]);
    return run_command(command, argc - 2, argv + 2, command_line);
}
