/* safetensors.c - reads one .safetensors file */
#include "formats/safetensors.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/folder.h"
#include "formats/safetensors_header.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_HEADER_BYTES ((uint64_t)16 << 20)

struct safetensors {
    char *path;
    int fd;
    struct safetensors_identity identity;
    char *bytes;   /* the file up to the end of the header; the names point into it */
    struct safetensors_header header;
};

/* ---- dtypes ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    unsigned bits;
} dtypes[SAFETENSORS_DTYPE_COUNT] = {
    [SAFETENSORS_BOOL] = {"BOOL", 8},
    [SAFETENSORS_F4] = {"F4", 4},
    [SAFETENSORS_F6_E2M3] = {"F6_E2M3", 6},
    [SAFETENSORS_F6_E3M2] = {"F6_E3M2", 6},
    [SAFETENSORS_U8] = {"U8", 8},
    [SAFETENSORS_I8] = {"I8", 8},
    [SAFETENSORS_F8_E5M2] = {"F8_E5M2", 8},
    [SAFETENSORS_F8_E4M3] = {"F8_E4M3", 8},
    [SAFETENSORS_F8_E8M0] = {"F8_E8M0", 8},
    [SAFETENSORS_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [SAFETENSORS_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [SAFETENSORS_I16] = {"I16", 16},
    [SAFETENSORS_U16] = {"U16", 16},
    [SAFETENSORS_F16] = {"F16", 16},
    [SAFETENSORS_BF16] = {"BF16", 16},
    [SAFETENSORS_I32] = {"I32", 32},
    [SAFETENSORS_U32] = {"U32", 32},
    [SAFETENSORS_F32] = {"F32", 32},
    [SAFETENSORS_C64] = {"C64", 64},
    [SAFETENSORS_F64] = {"F64", 64},
    [SAFETENSORS_I64] = {"I64", 64},
    [SAFETENSORS_U64] = {"U64", 64},
};

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    return dtypes[dtype].name;
}

unsigned safetensors_dtype_bits(enum safetensors_dtype dtype)
{
    return dtypes[dtype].bits;
}

/* ---- the file ---------------------------------------------------------------------------- */

static embed_status read_at(const struct safetensors *file, uint64_t offset, void *out,
                            size_t bytes)
{
    char *to = out;
    while (bytes > 0) {
        ssize_t n = pread(file->fd, to, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(EMBED_IO, "%s: %s", file->path, strerror(errno));
        if (n == 0) return fail(EMBED_IO, "%s: was truncated while being read", file->path);
        to += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return EMBED_OK;
}

static embed_status read_identity(const struct safetensors *file,
                                  struct safetensors_identity *identity)
{
    struct stat facts;
    if (fstat(file->fd, &facts) != 0)
        return fail(EMBED_IO, "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(facts.st_mode)) return fail(EMBED_IO, "%s: not a regular file", file->path);
    *identity = (struct safetensors_identity){facts.st_dev, facts.st_ino, (uint64_t)facts.st_size,
                                              facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec};
    return EMBED_OK;
}

struct safetensors_identity safetensors_identity(const struct safetensors *file)
{
    return file->identity;
}

/* Rejects a length that no header has. In a Git LFS pointer, its eight bytes are "version ". */
static embed_status refuse_length(const struct safetensors *file, uint64_t n)
{
    char start[64];
    size_t bytes = file->identity.size < sizeof start ? (size_t)file->identity.size : sizeof start;
    TRY(read_at(file, 0, start, bytes));
    TRY(file_refuse_pointer(file->path, start, bytes));
    return fail(EMBED_BAD_FILE, "%s: a header of %" PRIu64 " bytes exceeds the limit of %" PRIu64,
                file->path, n, MAX_HEADER_BYTES);
}

static embed_status read_header(struct safetensors *file)
{
    unsigned char length[SAFETENSORS_LENGTH_BYTES];
    TRY(read_identity(file, &file->identity));
    if (file->identity.size < SAFETENSORS_LENGTH_BYTES)
        return fail(EMBED_BAD_FILE, "%s: not a safetensors file (%" PRIu64 " bytes)", file->path,
                    file->identity.size);
    TRY(read_at(file, 0, length, SAFETENSORS_LENGTH_BYTES));
    uint64_t n = 0;
    for (size_t i = SAFETENSORS_LENGTH_BYTES; i-- > 0;) n = n << 8 | length[i];
    if (n > MAX_HEADER_BYTES) return refuse_length(file, n);
    if (n > file->identity.size - SAFETENSORS_LENGTH_BYTES)
        return fail(EMBED_BAD_FILE,
                    "%s: a header of %" PRIu64 " bytes in a file of %" PRIu64
                    ": truncated, or not a safetensors file",
                    file->path, n, file->identity.size);

    size_t header_bytes = SAFETENSORS_LENGTH_BYTES + (size_t)n;
    file->bytes = memory_allocate(header_bytes, 1, "a safetensors header");
    if (file->bytes == NULL) return EMBED_OUT_OF_MEMORY;
    TRY(read_at(file, 0, file->bytes, header_bytes));
    return safetensors_header_parse(&file->header, file->path, file->bytes, header_bytes,
                                    file->identity.size);
}

embed_status safetensors_open(struct safetensors **out, const char *path)
{
    embed_status status = EMBED_OUT_OF_MEMORY;
    struct safetensors *file = memory_allocate(1, sizeof *file, "a safetensors file");
    if (file == NULL) return status;
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0)
        status = fail(EMBED_IO, "%s: %s", path, strerror(errno));
    else if ((file->path = memory_copy_text(path, strlen(path), "a path")) != NULL)
        status = read_header(file);
    if (status != EMBED_OK) {
        safetensors_close(file);
        return status;
    }
    *out = file;
    return EMBED_OK;
}

void safetensors_close(struct safetensors *file)
{
    if (file == NULL) return;
    if (file->fd >= 0) close(file->fd);
    safetensors_header_free(&file->header);
    memory_free(file->bytes);
    memory_free(file->path);
    memory_free(file);
}

const char *safetensors_path(const struct safetensors *file)
{
    return file->path;
}

size_t safetensors_count(const struct safetensors *file)
{
    return file->header.count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t i)
{
    return &file->header.tensors[i];
}

static int compare_with_name(const void *name, const void *tensor)
{
    return strcmp(name, (*(const struct safetensors_tensor *const *)tensor)->name);
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file,
                                                  const char *name)
{
    const struct safetensors_tensor **found =
        bsearch(name, file->header.by_name, file->header.count, sizeof *file->header.by_name,
                compare_with_name);
    return found != NULL ? *found : NULL;
}

embed_status safetensors_read(const struct safetensors *file,
                              const struct safetensors_tensor *tensor, uint64_t first,
                              void *out, size_t bytes)
{
    struct safetensors_identity now;
    if (first > tensor->bytes || bytes > tensor->bytes - first)
        return fail(EMBED_INVALID_ARGUMENT,
                    "%s: tensor \"%s\" has %" PRIu64 " bytes, cannot read %zu at offset %" PRIu64,
                    file->path, tensor->name, tensor->bytes, bytes, first);
    TRY(read_at(file, tensor->offset + first, out, bytes));
    TRY(read_identity(file, &now));
    if (now.size != file->identity.size)
        return fail(EMBED_IO, "%s: size changed from %" PRIu64 " to %" PRIu64 " bytes while in use",
                    file->path, file->identity.size, now.size);
    return EMBED_OK;
}
