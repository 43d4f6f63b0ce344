/* tokenizer_files_test.h - edits a tokenizer's files and opens it, for the tests of these files */
#ifndef TESTS_TOKENIZER_FILES_TEST_H
#define TESTS_TOKENIZER_FILES_TEST_H

#include "base/status.h" /* before cmocka, which defines a macro fail() */

#include "test_vectors.h"

#include "description/tokenizer.h"
#include "test_folder.h"

#define FOLDER "tests/vectors/tokenizer/"

/* Opens the folder; the status must be `expected`, and the message must contain `part`. */
static inline void check_open(const char *folder, embed_status expected, const char *part)
{
    struct tokenizer *tokenizer = NULL;
    embed_status status = tokenizer_open(&tokenizer, folder);
    const char *message = status != EMBED_OK ? error_message() : "";
    if (status != expected || strstr(message, part) == NULL)
        fail_msg("status %d: \"%s\", expected %d: \"%s\"", status, message, expected, part);
    assert_true((tokenizer != NULL) == (status == EMBED_OK));
    tokenizer_close(tokenizer);
}

struct edit {
    const char *before, *after; /* in the file */
    embed_status status;
    const char *message; /* a part of the expected one */
};

static inline void check_edits(const char *from, const char *name, const struct edit *edits,
                               size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *folder = test_copy_folder(from);
        test_edit_file(folder, name, edits[i].before, edits[i].after);
        check_open(folder, edits[i].status, edits[i].message);
        test_remove_folder(folder);
    }
}

#define CHECK_EDITS(from, name, edits)                                                         \
    check_edits(FOLDER from, name, edits, sizeof(edits) / sizeof(edits)[0])

#endif
