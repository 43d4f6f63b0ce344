/* fuzz.h - shared by the fuzz targets: claims, and a folder whose files they rewrite
 *
 * A target is one file, fuzz_NAME.c, which includes this one and defines fuzz_input: it passes the
 * bytes to one reader of the library and claims what must hold for any bytes. README.md explains
 * how to run targets.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void fuzz_input(const uint8_t *input, size_t length);

/* Called by libFuzzer. */
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);

#define FUZZ_PATH_MAX 256

#ifndef FUZZ_MOST_SECONDS
#define FUZZ_MOST_SECONDS 1 /* per input; under valgrind, replaying takes 50 times as long */
#endif

/* Aborts unless `claim` holds; libFuzzer then keeps the input. */
#define fuzz_claim(claim)                                                                        \
    do {                                                                                         \
        if (!(claim)) {                                                                          \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #claim);           \
            abort();                                                                             \
        }                                                                                        \
    } while (0)

/* Claims that the message of a failure is one line that names the file or its folder. */
static inline void fuzz_claim_message(const char *message, const char *name)
{
    bool is_sound = strstr(message, name) != NULL && strlen(message) > strlen(name) + 2;
    for (const char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) is_sound = false;
    if (is_sound) return;
    fprintf(stderr, "a message of %s: \"%s\"\n", name, message);
    abort();
}

static inline double fuzz_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    double start = fuzz_seconds();
    fuzz_input(input, length);
    /* Processor time: on a machine that is busy otherwise, wall-clock time means nothing. */
    fuzz_claim(fuzz_seconds() - start < FUZZ_MOST_SECONDS);
    return 0;
}

/* ---- a folder, in memory if possible --------------------------------------------------------- */

static char fuzz_folder_path[FUZZ_PATH_MAX];

static inline int fuzz_remove_one(const char *path, const struct stat *facts, int type,
                                  struct FTW *place)
{
    (void)facts;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void fuzz_remove_folder(void)
{
    nftw(fuzz_folder_path, fuzz_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Returns this process's own folder, the same at every call; it is removed at exit. */
static inline const char *fuzz_folder(void)
{
    if (*fuzz_folder_path != '\0') return fuzz_folder_path;
    const char *place = getenv("TMPDIR");
    if (place == NULL) place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "%s/libembed-fuzz-XXXXXX", place);
    fuzz_claim(mkdtemp(fuzz_folder_path) != NULL);
    atexit(fuzz_remove_folder);
    return fuzz_folder_path;
}

/* Creates or rewrites a file of the folder. Returns its path, valid until the next call. */
static inline const char *fuzz_write(const char *name, const void *bytes, size_t length)
{
    static char path[2 * FUZZ_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_claim(fd >= 0);
    fuzz_claim(write(fd, bytes, length) == (ssize_t)length);
    close(fd);
    return path;
}

/* ---- inputs of several files ----------------------------------------------------------------- */

/* For a target that reads a whole folder: an input is a sequence of files, each after a line "===
 * NAME". Writes those of `names`, a NULL-terminated list, that are in the input and removes the
 * others; creates the folder before a '/' in a name. Ignores anything before the first such
 * line. */
static inline void fuzz_write_files(const uint8_t *input, size_t length, const char *const *names)
{
    static const char mark[] = "=== ";
    const char *text = (const char *)input, *end = text + length;
    for (size_t i = 0; names[i] != NULL; i++) {
        char path[2 * FUZZ_PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", fuzz_folder(), names[i]);
        char *slash = strchr(path + n - strlen(names[i]), '/');
        if (slash != NULL) {
            *slash = '\0';
            mkdir(path, 0700);
            *slash = '/';
        }
        unlink(path);
    }
    const char *name = NULL, *body = text;
    for (const char *line = text; line <= end;) {
        bool is_mark = line == end || ((size_t)(end - line) > sizeof mark - 1 &&
                                       memcmp(line, mark, sizeof mark - 1) == 0);
        const char *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
        const char *next = stop != NULL ? stop + 1 : end;
        if (is_mark && name != NULL) fuzz_write(name, body, (size_t)(line - body));
        if (line == end) break;
        if (is_mark) {
            size_t bytes = (size_t)((stop != NULL ? stop : end) - line) - (sizeof mark - 1);
            name = NULL;
            for (size_t i = 0; names[i] != NULL && name == NULL; i++)
                if (strlen(names[i]) == bytes &&
                    memcmp(names[i], line + sizeof mark - 1, bytes) == 0)
                    name = names[i];
            body = next;
        }
        line = next;
    }
}

#endif
