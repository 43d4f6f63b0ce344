/* fuzz_journal.c - the journal of a job that is resumed
 *
 * The first byte of the input selects what the rest is: a whole journal; what follows this job's
 * head; or lines to write and the damage to do to the file afterwards. Whatever the damage, only
 * lines that were written are read back, in order.
 */
#include "tools/embed_resume.h"

#include "fuzz.h"

static const char head[] = "embed journal 1\nlibrary 0.1.0\nmodel 0123456789abcdef\nend\n";
static char path[2 * FUZZ_PATH_MAX];

static void open_journal(journal *j)
{
    char *copy = strdup(path);
    fuzz_claim(copy != NULL);
    fuzz_claim(journal_open(j, copy));
}

/* Reads the file's lines and keeps the first `most` of them; returns how many there are. */
static size_t read_lines(checkpoint *lines, size_t most)
{
    char message[TOOL_MESSAGE_MAX];
    size_t count = 0;
    journal j;
    checkpoint line;
    struct stat facts;
    tool_hold_errors(message);
    open_journal(&j);
    journal_state state = journal_read_head(&j, head);
    if (state == JOURNAL_FAILED) fuzz_claim_message(message, path);
    if (state == JOURNAL_OF_THIS_JOB) {
        for (off_t before = j.end; journal_next(&j, &line) == 1; before = j.end, count++) {
            fuzz_claim(j.end > before);
            if (count < most) lines[count] = line;
        }
        fuzz_claim(fstat(j.fd, &facts) == 0 && j.end <= facts.st_size);
    }
    j.created = false; /* so that closing does not remove the file */
    journal_close(&j);
    tool_hold_errors(NULL);
    return count;
}

static uint64_t number(const uint8_t **input, size_t *length)
{
    uint64_t value = 0;
    size_t bytes = *length < 3 ? *length : 3;
    for (size_t i = 0; i < bytes; i++) value = value << 24 | (*input)[i];
    *input += bytes;
    *length -= bytes;
    return value;
}

/* Compares field by field: a checkpoint has padding bytes. */
static bool is_same(const checkpoint *a, const checkpoint *b)
{
    return a->rows == b->rows && a->input_bytes == b->input_bytes &&
           a->input_hash == b->input_hash && a->output_bytes == b->output_bytes &&
           a->output_hash == b->output_hash && a->truncated == b->truncated &&
           a->invalid == b->invalid && a->not_finite == b->not_finite && a->complete == b->complete;
}

/* Truncates the file or changes a byte of it. */
static void damage(uint64_t place, uint8_t how)
{
    struct stat facts;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    fuzz_claim(fd >= 0 && fstat(fd, &facts) == 0);
    off_t at = (off_t)(place % ((uint64_t)facts.st_size + 1));
    if (how == 0)
        fuzz_claim(ftruncate(fd, at) == 0);
    else if (at < facts.st_size) {
        uint8_t byte;
        fuzz_claim(pread(fd, &byte, 1, at) == 1);
        byte ^= how;
        fuzz_claim(pwrite(fd, &byte, 1, at) == 1);
    }
    close(fd);
}

static void write_and_damage(const uint8_t *input, size_t length)
{
    enum { MOST = 8 };
    checkpoint written[MOST], read[MOST];
    size_t count = 0;
    if (length < 4) return;
    uint64_t place = input[0] | (uint64_t)input[1] << 8;
    uint8_t how = input[2];
    input += 3;
    length -= 3;
    journal j;
    open_journal(&j);
    fuzz_claim(journal_begin(&j, head));
    for (; count < MOST && length > 0; count++) {
        checkpoint *c = &written[count];
        *c = (checkpoint){.rows = number(&input, &length)};
        c->input_bytes = number(&input, &length);
        c->input_hash = number(&input, &length);
        c->output_bytes = ~c->input_bytes;
        c->output_hash = ~c->input_hash;
        c->truncated = number(&input, &length);
        c->invalid = c->truncated << 1;
        c->not_finite = c->truncated >> 1;
        c->complete = c->rows & 1;
        fuzz_claim(journal_add(&j, c));
    }
    journal_close(&j);
    fuzz_claim(read_lines(read, MOST) == count);
    for (size_t i = 0; i < count; i++) fuzz_claim(is_same(&read[i], &written[i]));

    damage(place, how);
    size_t left = read_lines(read, MOST);
    fuzz_claim(left <= count);
    for (size_t i = 0; i < left; i++) fuzz_claim(is_same(&read[i], &written[i]));
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    if (length == 0) return;
    fuzz_write("rows.journal", input + 1, length - 1);
    snprintf(path, sizeof path, "%s/rows.journal", fuzz_folder());
    if (input[0] % 3 == 0) {
        read_lines(NULL, 0);
    } else if (input[0] % 3 == 1) {
        char *whole = malloc(sizeof head - 1 + length - 1);
        fuzz_claim(whole != NULL);
        memcpy(whole, head, sizeof head - 1);
        memcpy(whole + sizeof head - 1, input + 1, length - 1);
        fuzz_write("rows.journal", whole, sizeof head - 1 + length - 1);
        free(whole);
        read_lines(NULL, 0);
    } else {
        fuzz_write("rows.journal", "", 0);
        write_and_damage(input + 1, length - 1);
    }
}
