/* embed.c - the command line tool: text to embeddings and summaries, in a shell
 *
 * This file looks up the command and prints help. Each command has a file of its own.
 */
#include "embed_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const tool_command commands[] = {
    {"encode", command_encode, TAKEN_BY_ENCODE, "-m FOLDER [options] [FILE|-]",
     "embed each line of a file",
     "Writes one row of numbers for each line of FILE (or of standard input), in order, empty\n"
     "lines included. Only a line feed ends a line.\n\n"
     "With --resume, FILE and -o OUTPUT must be regular files. OUTPUT.journal records progress,\n"
     "and OUTPUT.partial holds the rows until the job is complete. If the job is interrupted at\n"
     "any moment, the same command continues it, and OUTPUT is the same to the byte.",
     "embed encode -m weights/all-MiniLM-L6-v2 -o rows.npy lines.txt", 1},
    {"summarize", command_summarize, TAKEN_BY_SUMMARIZE, "-m FOLDER [options] [FILE|-]",
     "summarize each line of a file",
     "Writes one line for each document of FILE (or of standard input), in order, empty ones\n"
     "included, as soon as it is finished. A document is a line, or with --document the whole\n"
     "input. The model must be generative, such as BART. Line ends in a summary become spaces.\n\n"
     "With --jsonl each line is an object: index, summary, score, tokens (of the summary),\n"
     "source_tokens, pieces, truncated.",
     "embed summarize -m bart-large-cnn articles.txt", 1},
    {"tokenize", command_tokenize, TAKEN_BY_TOKENIZE, "-m FOLDER [options] [FILE|-]",
     "print the token ids of each line of a file",
     "Writes the token ids of each line of FILE (or of standard input), special tokens included,\n"
     "separated by spaces.",
     "echo 'A cat sits on the mat.' | embed tokenize -m weights/all-MiniLM-L6-v2", 1},
    {"similarity", command_similarity, TAKEN_BY_SIMILARITY,
     "-m FOLDER [options] TEXT TEXT...|-", "print how similar texts are to each other",
     "Prints the cosine of each pair of texts: 1 means the same, 0 unrelated. With -, the texts\n"
     "are the lines of standard input.",
     "embed similarity -m weights/all-MiniLM-L6-v2 'a cat' 'a kitten' 'a truck'", SIZE_MAX},
    {"info", command_info, TAKEN_BY_INFO, "-m FOLDER [options]",
     "describe a model and its memory",
     "Opens the model and prints what it is, how much memory it takes and which device it runs on.",
     "embed info -m weights/all-MiniLM-L6-v2 --json", 0},
    {"verify", command_verify, TAKEN_BY_VERIFY, "-m FOLDER [options]",
     "compare a model with the reference implementation",
     "Traces a few texts through all stages of the model (tokens, embeddings, layers, pooling,\n"
     "normalized row), compares each stage with sentence-transformers, and names the first that\n"
     "differs.\n\n"
     "Exits with 0 if all stages agree, 1 if one differs, 3 if there is no reference for the\n"
     "folder's weights: --reference then takes the name of the model they should be, or a file\n"
     "that tests/vectors/make_golden.py wrote.",
     "embed verify -m weights/all-MiniLM-L6-v2", 0},
    {"devices", command_devices, TAKEN_BY_DEVICES, "", "list the devices of this machine",
     "Lists the CPU and the GPUs on which models can run here.", "embed devices", 0},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static const char usage_line[] = "usage: embed COMMAND [options], or: embed help [COMMAND]\n";

static const tool_command *find_command(const char *name)
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

static void print_usage(FILE *out, const tool_command *command)
{
    fprintf(out, "usage: embed %s %s\n", command->name, command->usage);
}

static void print_help(const tool_command *command)
{
    print_usage(stdout, command);
    printf("\n%s\n\n", command->details);
    options_print(command);
    printf("\nexample: %s\n", command->example);
}

static int wrong_command(const char *name)
{
    tool_error("unknown command '%s'", name);
    fputs(usage_line, stderr);
    return EXIT_WRONG_CALL;
}

static int run_help(int count, char **names)
{
    if (count > 1) {
        tool_error("help: unexpected '%s'", names[1]);
        fputs(usage_line, stderr);
        return EXIT_WRONG_CALL;
    }
    const tool_command *command = count == 1 ? find_command(names[0]) : NULL;
    if (count == 1 && command == NULL) return wrong_command(names[0]);
    if (command != NULL)
        print_help(command);
    else
        print_commands(stdout);
    return EXIT_SUCCESS;
}

static int run_command(const tool_command *command, int count, char **words)
{
    tool_settings settings;
    if (!options_parse(&settings, command, count, words)) {
        print_usage(stderr, command);
        return EXIT_WRONG_CALL;
    }
    if (settings.help) {
        print_help(command);
        return EXIT_SUCCESS;
    }
    tool_log_start(settings.log_level);
    int status = command->run(&settings);
    if (status == EXIT_WRONG_CALL) print_usage(stderr, command);
    return status;
}

/* If the caller closed a standard stream, the next file opened would get its number, and messages
 * could end up among the rows. Opens /dev/null for each closed one, in the direction in which the
 * stream is not used, so that using it remains an error. */
static bool fill_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int direction = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", direction) != fd)
            return tool_error("/dev/null: %s", strerror(errno));
    }
    return true;
}

int main(int argc, char **argv)
{
    if (!fill_standard_streams()) return EXIT_FAILURE;
    signal(SIGXFSZ, SIG_IGN); /* at the limit of file size write() fails, which is reported */
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_WRONG_CALL;
    }
    int status = EXIT_SUCCESS;
    const tool_command *command = find_command(argv[1]);
    if (command != NULL)
        status = run_command(command, argc - 2, argv + 2);
    else if (strcmp(argv[1], "help") == 0)
        status = run_help(argc - 2, argv + 2);
    else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        print_commands(stdout);
    else if (strcmp(argv[1], "--version") == 0)
        printf("embed %s\n", embed_version());
    else
        status = wrong_command(argv[1]);
    return tool_flush_stdout() ? status : EXIT_FAILURE;
}
