/* test_folder.h - copies of a model folder that a test may modify */
#ifndef TESTS_TEST_FOLDER_H
#define TESTS_TEST_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char test_folder_from[1024], test_folder_to[512];

static inline char *test_read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*length + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *length, file), *length);
    bytes[*length] = '\0';
    fclose(file);
    return bytes;
}

static inline void test_write_file(const char *folder, const char *name, const char *bytes,
                                   size_t length)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static inline int test_copy_one(const char *path, const struct stat *facts, int type,
                                struct FTW *place)
{
    (void)facts;
    (void)place;
    char to[1024];
    snprintf(to, sizeof to, "%s%s", test_folder_to, path + strlen(test_folder_from));
    if (type == FTW_D) {
        mkdir(to, 0700);
        return 0;
    }
    size_t length;
    char *bytes = test_read_file(path, &length);
    test_write_file(test_folder_to, path + strlen(test_folder_from) + 1, bytes, length);
    free(bytes);
    return 0;
}

/* Copies `from` to a new folder and returns its path, valid until the next call. */
static inline const char *test_copy_folder(const char *from)
{
    snprintf(test_folder_from, sizeof test_folder_from, "%s", from);
    snprintf(test_folder_to, sizeof test_folder_to, "/tmp/libembed-test-XXXXXX");
    assert_non_null(mkdtemp(test_folder_to));
    assert_int_equal(nftw(from, test_copy_one, 16, FTW_PHYS), 0);
    return test_folder_to;
}

/* Copies the files of `from` into the last copy, replacing files of the same names. */
static inline void test_add_files(const char *folder, const char *from)
{
    snprintf(test_folder_from, sizeof test_folder_from, "%s", from);
    assert_string_equal(folder, test_folder_to);
    assert_int_equal(nftw(from, test_copy_one, 16, FTW_PHYS), 0);
}

static inline int test_remove_one(const char *path, const struct stat *facts, int type,
                                  struct FTW *place)
{
    (void)facts;
    (void)type;
    (void)place;
    return remove(path);
}

static inline void test_remove_folder(const char *folder)
{
    nftw(folder, test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Replaces the first `before` in FOLDER/NAME, which must contain it, with `after`. */
static inline void test_edit_file(const char *folder, const char *name, const char *before,
                                  const char *after)
{
    char path[1024];
    size_t length;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = test_read_file(path, &length);
    char *at = strstr(text, before);
    if (at == NULL) fail_msg("%s does not hold %s", path, before);
    char *edited = malloc(length + strlen(after) + 1);
    assert_non_null(edited);
    size_t head = (size_t)(at - text);
    int total = snprintf(edited, length + strlen(after) + 1, "%.*s%s%s", (int)head, text, after,
                         at + strlen(before));
    test_write_file(folder, name, edited, (size_t)total);
    free(edited);
    free(text);
}

#endif
