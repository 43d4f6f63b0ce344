/* temporary_file.h - a file that a test may rewrite any number of times */
#ifndef TESTS_TEMPORARY_FILE_H
#define TESTS_TEMPORARY_FILE_H

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char temporary_path[] = "/tmp/embed-test-XXXXXX";

/* Group setup and teardown for cmocka. */
static inline int temporary_file_make(void **state)
{
    (void)state;
    int fd = mkstemp(temporary_path);
    return fd < 0 ? -1 : close(fd);
}

static inline int temporary_file_remove(void **state)
{
    (void)state;
    return unlink(temporary_path);
}

static inline void temporary_file_write(const void *bytes, size_t length)
{
    int fd = open(temporary_path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

#endif
