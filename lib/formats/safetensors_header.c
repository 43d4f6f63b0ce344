/* safetensors_header.c - the header of a .safetensors file, parsed from memory
 *
 * The checks are those of the reference implementation (Metadata::validate in
 * https://github.com/huggingface/safetensors/blob/main/safetensors/src/tensor.rs) and some that it
 * omits: duplicate keys in an object, tensors that are not described by an object, names that
 * cannot be displayed or looked up, and limits on rank, dimensions and depth. Time and memory stay
 * within a small multiple of the header's size, whatever it contains.
 */
#include "formats/safetensors_header.h"

#include "base/memory.h"
#include "base/status.h"
#include "formats/json_reader.h"
#include "formats/unicode.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_METADATA_BYTES ((size_t)1 << 20)
#define MAX_DEPTH          4 /* header, tensor, shape, and one level for unknown fields */
#define MAX_NAME_LENGTH    512
#define MAX_DIMENSION      ((uint64_t)1 << 48)

/* The keys of one object, kept to find duplicates. Sorted, not hashed, so that no file can choose
 * names that make this slow. */
struct key_list {
    struct json_string *keys;
    size_t count, capacity;
};

struct header_parser {
    struct json_reader json;
    struct safetensors_header *header;
    const char *path;
    uint64_t file_size, data_bytes;
    struct key_list keys; /* of the object being read */
    bool has_metadata;
};

/* ---- keys -------------------------------------------------------------------------------- */

static embed_status add_key(struct key_list *list, struct json_string key)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity > 0 ? 2 * list->capacity : 8;
        void *keys =
            memory_resize(list->keys, capacity, sizeof *list->keys, "safetensors keys");
        if (keys == NULL) return EMBED_OUT_OF_MEMORY;
        list->keys = keys;
        list->capacity = capacity;
    }
    list->keys[list->count++] = key;
    return EMBED_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const struct json_string *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->length < y->length ? x->length : y->length);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

/* Fails if the object just read has a duplicate key; empties the list. */
static embed_status check_keys(struct header_parser *parser, const char *object)
{
    struct key_list *list = &parser->keys;
    if (list->count > 1) qsort(list->keys, list->count, sizeof *list->keys, compare_keys);
    for (size_t i = 1; i < list->count; i++)
        if (compare_keys(&list->keys[i - 1], &list->keys[i]) == 0)
            return fail(EMBED_BAD_FILE, "%s: \"%s\" has the key \"%.*s\" twice", parser->path,
                        object, utf8_shown(list->keys[i].data, list->keys[i].length),
                        list->keys[i].data);
    list->count = 0;
    return EMBED_OK;
}

/* ---- one tensor, metadata ---------------------------------------------------------------- */

/* Reads a map of strings. None is used; only grammar, keys and size are checked. */
static embed_status read_metadata(struct header_parser *parser)
{
    struct json_reader *json = &parser->json;
    struct json_string key, value;
    size_t start = json->position;
    bool more = true;
    if (parser->has_metadata) return json_fail(json, "a second \"__metadata__\"");
    parser->has_metadata = true;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        TRY(add_key(&parser->keys, key));
        TRY(json_read_string(json, &value));
    }
    if (json->position - start > MAX_METADATA_BYTES)
        return json_fail(json, "\"__metadata__\" of more than %zu bytes", MAX_METADATA_BYTES);
    return check_keys(parser, "__metadata__");
}

static embed_status read_dtype(struct header_parser *parser, struct safetensors_tensor *tensor)
{
    struct json_string name;
    TRY(json_read_string(&parser->json, &name));
    for (unsigned dtype = 0; dtype < SAFETENSORS_DTYPE_COUNT; dtype++) {
        if (json_string_is(name, safetensors_dtype_name(dtype))) {
            tensor->dtype = dtype;
            return EMBED_OK;
        }
    }
    return fail(EMBED_BAD_FILE, "%s: tensor \"%s\": unknown dtype \"%.*s\"", parser->path,
                tensor->name, utf8_shown(name.data, name.length), name.data);
}

static embed_status read_shape(struct header_parser *parser, struct safetensors_tensor *tensor)
{
    struct json_reader *json = &parser->json;
    bool more;
    TRY(json_enter_array(json));
    for (tensor->rank = 0;; tensor->rank++) {
        TRY(json_next_element(json, &more));
        if (!more) return EMBED_OK;
        if (tensor->rank == SAFETENSORS_MAX_RANK)
            return json_fail(json, "a shape of more than %d dimensions", SAFETENSORS_MAX_RANK);
        TRY(json_read_unsigned(json, &tensor->shape[tensor->rank]));
        if (tensor->shape[tensor->rank] > MAX_DIMENSION)
            return json_fail(json, "a dimension of more than 2^48");
    }
}

static embed_status read_offsets(struct header_parser *parser, uint64_t *begin, uint64_t *end)
{
    struct json_reader *json = &parser->json;
    uint64_t *const numbers[2] = {begin, end};
    bool more;
    TRY(json_enter_array(json));
    for (size_t i = 0;; i++) {
        TRY(json_next_element(json, &more));
        if (more != (i < 2)) return json_fail(json, "data_offsets that are not two numbers");
        if (!more) return EMBED_OK;
        TRY(json_read_unsigned(json, numbers[i]));
    }
}

/* Checks that dtype, shape and offsets [begin, end) of the data agree; fills in the other
 * fields. */
static embed_status place_tensor(struct header_parser *parser,
                                 struct safetensors_tensor *tensor, uint64_t begin,
                                 uint64_t end)
{
    const char *path = parser->path;
    uint64_t bits;
    bool fits = true;
    tensor->elements = 1;
    for (unsigned i = 0; i < tensor->rank && fits; i++)
        fits = !__builtin_mul_overflow(tensor->elements, tensor->shape[i], &tensor->elements);
    if (!fits ||
        __builtin_mul_overflow(tensor->elements, safetensors_dtype_bits(tensor->dtype), &bits))
        return fail(EMBED_BAD_FILE, "%s: tensor \"%s\": shape is too large", path, tensor->name);
    if (bits % 8 != 0)
        return fail(EMBED_BAD_FILE, "%s: tensor \"%s\": its elements do not fill whole bytes",
                    path, tensor->name);
    uint64_t data_start = parser->file_size - parser->data_bytes;
    if (begin > end || end > UINT64_MAX - data_start)
        return fail(EMBED_BAD_FILE,
                    "%s: tensor \"%s\": data_offsets [%" PRIu64 ", %" PRIu64 "]", path,
                    tensor->name, begin, end);
    if (end - begin != bits / 8)
        return fail(EMBED_BAD_FILE,
                    "%s: tensor \"%s\": %" PRIu64 " bytes, but dtype and shape need %" PRIu64, path,
                    tensor->name, end - begin, bits / 8);
    tensor->offset = data_start + begin; /* check_layout checks that the file has them */
    tensor->bytes = end - begin;
    return EMBED_OK;
}

/* Reads the object that describes one tensor. Unknown fields are skipped. */
static embed_status read_tensor(struct header_parser *parser, struct safetensors_tensor *tensor)
{
    struct json_reader *json = &parser->json;
    struct json_string key;
    bool more = true, has_dtype = false, has_shape = false, has_offsets = false;
    uint64_t begin = 0, end = 0;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) break;
        TRY(add_key(&parser->keys, key));
        if (json_string_is(key, "dtype")) {
            TRY(read_dtype(parser, tensor));
            has_dtype = true;
        } else if (json_string_is(key, "shape")) {
            TRY(read_shape(parser, tensor));
            has_shape = true;
        } else if (json_string_is(key, "data_offsets")) {
            TRY(read_offsets(parser, &begin, &end));
            has_offsets = true;
        } else {
            TRY(json_skip(json));
        }
    }
    TRY(check_keys(parser, tensor->name));
    if (!has_dtype || !has_shape || !has_offsets)
        return fail(EMBED_BAD_FILE, "%s: tensor \"%s\": no %s", parser->path, tensor->name,
                    !has_dtype   ? "dtype"
                    : !has_shape ? "shape"
                                 : "data_offsets");
    return place_tensor(parser, tensor, begin, end);
}

static embed_status check_name(const struct json_reader *json, struct json_string name)
{
    if (name.length == 0) return json_fail(json, "a tensor without a name");
    if (name.length > MAX_NAME_LENGTH)
        return json_fail(json, "a tensor name of more than %d bytes", MAX_NAME_LENGTH);
    for (size_t i = 0; i < name.length; i++) {
        unsigned char c = (unsigned char)name.data[i];
        /* U+0080 to U+009F, which terminals obey too, are 0xC2 followed by the code itself. */
        bool c1 = c == 0xC2 && (unsigned char)name.data[i + 1] < 0xA0;
        if (c < 0x20 || c == 0x7F || c1)
            return json_fail(json, "a control character in a tensor name");
    }
    return EMBED_OK;
}

static embed_status add_tensor(struct header_parser *parser, struct json_string name)
{
    struct safetensors_header *header = parser->header;
    TRY(check_name(&parser->json, name));
    if (header->count == header->capacity) {
        size_t capacity = header->capacity > 0 ? 2 * header->capacity : 128;
        void *tensors = memory_resize(header->tensors, capacity, sizeof *header->tensors,
                                      "safetensors tensors");
        if (tensors == NULL) return EMBED_OUT_OF_MEMORY;
        header->tensors = tensors;
        header->capacity = capacity;
    }
    struct safetensors_tensor *tensor = &header->tensors[header->count];
    *tensor = (struct safetensors_tensor){.name = json_string_terminate(&parser->json, name)};
    TRY(read_tensor(parser, tensor));
    header->count++;
    return EMBED_OK;
}

static embed_status read_tensors(struct header_parser *parser)
{
    struct json_reader *json = &parser->json;
    struct json_string key;
    bool more = true;
    TRY(json_enter_object(json));
    for (;;) {
        TRY(json_next_key(json, &more, &key));
        if (!more) return json_finish(json);
        if (json_string_is(key, "__metadata__"))
            TRY(read_metadata(parser));
        else
            TRY(add_tensor(parser, key));
    }
}

/* ---- the tensors as a whole -------------------------------------------------------------- */

static int compare_offsets(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name); /* several empty tensors may have the same offset */
}

static int compare_names(const void *a, const void *b)
{
    const struct safetensors_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Checks that each tensor begins where the previous one ends, and the last ends where the file
 * does. */
static embed_status check_layout(const struct header_parser *parser)
{
    const struct safetensors_header *header = parser->header;
    uint64_t data_start = parser->file_size - parser->data_bytes, end = data_start;
    for (size_t i = 0; i < header->count; i++) {
        const struct safetensors_tensor *tensor = &header->tensors[i];
        if (tensor->offset != end)
            return fail(EMBED_BAD_FILE,
                        "%s: tensor \"%s\" begins at byte %" PRIu64
                        " of the data, not at %" PRIu64 " where the one before it ends",
                        parser->path, tensor->name, tensor->offset - data_start,
                        end - data_start);
        end += tensor->bytes;
    }
    if (end > parser->file_size)
        return fail(EMBED_BAD_FILE, "%s: the file is truncated: %" PRIu64 " of %" PRIu64 " bytes",
                    parser->path, parser->file_size, end);
    if (end != parser->file_size)
        return fail(EMBED_BAD_FILE, "%s: the last %" PRIu64 " bytes belong to no tensor",
                    parser->path, parser->file_size - end);
    return EMBED_OK;
}

static embed_status index_names(const struct header_parser *parser)
{
    struct safetensors_header *header = parser->header;
    header->by_name =
        memory_allocate(header->count, sizeof *header->by_name, "safetensors names");
    if (header->by_name == NULL) return EMBED_OUT_OF_MEMORY;
    for (size_t i = 0; i < header->count; i++) header->by_name[i] = &header->tensors[i];
    qsort(header->by_name, header->count, sizeof *header->by_name, compare_names);
    for (size_t i = 1; i < header->count; i++)
        if (compare_names(&header->by_name[i - 1], &header->by_name[i]) == 0)
            return fail(EMBED_BAD_FILE, "%s: two tensors are named \"%s\"", parser->path,
                        header->by_name[i]->name);
    return EMBED_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

static embed_status parse(struct header_parser *parser)
{
    struct safetensors_header *header = parser->header;
    TRY(read_tensors(parser));
    if (header->count > 1)
        qsort(header->tensors, header->count, sizeof *header->tensors, compare_offsets);
    TRY(index_names(parser));
    return check_layout(parser);
}

embed_status safetensors_header_parse(struct safetensors_header *header, const char *path,
                                      char *bytes, size_t length, uint64_t file_size)
{
    struct header_parser parser = {
        .header = header,
        .path = path,
        .file_size = file_size,
        .data_bytes = file_size - length,
    };
    json_reader_init(&parser.json, path, bytes, length, MAX_DEPTH);
    parser.json.position = SAFETENSORS_LENGTH_BYTES; /* messages give positions in the file */
    embed_status status = parse(&parser);
    memory_free(parser.keys.keys);
    return status;
}

void safetensors_header_free(struct safetensors_header *header)
{
    memory_free(header->by_name);
    memory_free(header->tensors);
    *header = (struct safetensors_header){0};
}
