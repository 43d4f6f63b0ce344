/* embed_distinct.c - checks that input, output and metadata are different files
 *
 * The output and the metadata are renamed over whatever has their names. If that were the input, or
 * both were the same file, texts or rows would be lost. Devices and pipes lose nothing.
 */
#include "embed_tool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool is_standard(const char *path)
{
    return path == NULL || strcmp(path, "-") == 0;
}

/* Identifies a regular file by its inode, or one that does not exist yet by its folder and name. */
typedef struct file_identity {
    bool known;
    dev_t device; /* of the file, or of its folder if it does not exist */
    ino_t number;
    char name[NAME_MAX + 1]; /* in the folder; "": the file exists */
} file_identity;

static file_identity of_facts(const struct stat *facts, const char *name)
{
    file_identity file = {true, facts->st_dev, facts->st_ino, ""};
    snprintf(file.name, sizeof file.name, "%s", name);
    return file;
}

static file_identity of_descriptor(int fd)
{
    struct stat facts;
    bool regular = fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
    return regular ? of_facts(&facts, "") : (file_identity){0};
}

static file_identity of_path(const char *path)
{
    struct stat facts;
    if (stat(path, &facts) == 0)
        return S_ISREG(facts.st_mode) ? of_facts(&facts, "") : (file_identity){0};
    char *target = output_new_file(path);
    char *folder = tool_resize(NULL, strlen(target) + 2, 1);
    strcpy(folder, target);
    char *slash = strrchr(folder, '/');
    strcpy(slash != NULL ? slash + 1 : folder, ".");
    const char *name = slash != NULL ? target + (slash + 1 - folder) : target;
    file_identity file = {0};
    if (stat(folder, &facts) == 0) file = of_facts(&facts, name);
    free(folder);
    free(target);
    return file;
}

static bool is_same(const file_identity *a, const file_identity *b)
{
    return a->known && b->known && a->device == b->device && a->number == b->number &&
           strcmp(a->name, b->name) == 0;
}

bool is_input(const line_reader *reader, const char *path)
{
    file_identity in = of_descriptor(reader->fd), file = of_path(path);
    return is_same(&in, &file);
}

bool files_are_distinct(const line_reader *reader, const char *output, const char *metadata)
{
    file_identity in = of_descriptor(reader->fd);
    file_identity out = is_standard(output) ? of_descriptor(STDOUT_FILENO) : of_path(output);
    if (is_same(&in, &out))
        return tool_error("%s: is the input and cannot also be the output", reader->name);
    if (metadata == NULL) return true;
    file_identity facts = is_standard(metadata) ? of_descriptor(STDOUT_FILENO) : of_path(metadata);
    if (is_same(&in, &facts))
        return tool_error("%s: is the input and cannot also be the --metadata file",
                          reader->name);
    if (is_same(&out, &facts))
        return tool_error("%s: is the output and cannot also be the --metadata file", metadata);
    return true;
}
