/* embed.h - text embeddings and summaries from Hugging Face model folders
 *
 * A complete program (tools/example.c is the same text; the tests build and run it):
 *
 *     #include <embed.h>
 *     #include <stdio.h>
 *
 *     int main(int argc, char **argv)
 *     {
 *         embed_model *model = NULL;
 *         embed_instance *instance = NULL;
 *         embed_text texts[] = {EMBED_TEXT("A cat sits on the mat."),
 *                               EMBED_TEXT("There is a kitten on the rug.")};
 *         float rows[2][384], cosine = 0; // all-MiniLM-L6-v2 is 384 wide
 *
 *         if (embed_model_open(&model, argc > 1 ? argv[1] : "weights/all-MiniLM-L6-v2", NULL) ||
 *             embed_instance_create(&instance, model, NULL) ||
 *             embed_instance_encode(instance, texts, 2, NULL, rows[0], 2 * 384, NULL)) {
 *             fprintf(stderr, "%s\n", embed_error_message());
 *             return 1;
 *         }
 *         for (int i = 0; i < 384; i++) cosine += rows[0][i] * rows[1][i];
 *         printf("%.4f\n", cosine);
 *         embed_instance_destroy(instance);
 *         embed_model_close(model);
 *         return 0;
 *     }
 *
 * Two objects. A model is what was read from a folder: description, tokenizer, weights. It is
 * never written to once open, and any number of threads may use one. An instance is what one
 * stream of work needs besides (activations, scratch): one thread at a time. One more instance
 * costs its workspace, not another copy of the weights.
 *
 * Every function that can fail returns an embed_status, EMBED_OK being 0; embed_error_message()
 * then tells what failed and why, in one sentence. Out-parameters come first and are left
 * untouched on failure unless said otherwise. Options may be NULL, which means the defaults.
 * Structs begin with their own size, set by their EMBED_..._INIT, so that they can grow without
 * breaking programs compiled earlier.
 *
 * The library never exits, aborts, prints, installs a signal handler or changes the locale. It
 * may be used again by the child of a fork() only where the parent had no model open.
 */
#ifndef EMBED_H
#define EMBED_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMBED_VERSION_MAJOR 0
#define EMBED_VERSION_MINOR 1
#define EMBED_VERSION_PATCH 0

#if defined(__GNUC__)
#define EMBED_API __attribute__((visibility("default")))
#else
#define EMBED_API
#endif

/* ---- status -------------------------------------------------------------------------------- */

typedef enum embed_status {
    EMBED_OK = 0,
    EMBED_INVALID_ARGUMENT = 1, /* the call was wrong */
    EMBED_OUT_OF_MEMORY = 2,
    EMBED_IO = 3,          /* a file could not be found, opened or read */
    EMBED_BAD_FILE = 4,    /* a file was read, and what it says cannot be true */
    EMBED_UNSUPPORTED = 5, /* a model, module, dtype or device this version does not run */
    EMBED_NO_DEVICE = 6,   /* the device that was asked for cannot be used here */
    EMBED_NOT_FINITE = 7,  /* a result holds NaN or infinity */
    EMBED_SYSTEM = 8,      /* the operating system refused a thread or a lock */
    EMBED_DEVICE_FAILED = 9, /* a GPU reported an error while it computed or copied */
    EMBED_DEVICE_LOST = 10,  /* a GPU reported an error after which this process cannot use it */
    EMBED_BUSY = 11,         /* refused: a queue is full, or all that a cache may hold is in use */
    EMBED_PENDING = 12,      /* a request is not completed yet */
    EMBED_EXPIRED = 13,      /* a request's deadline came before its turn */
    EMBED_CANCELLED = 14,    /* by embed_ticket_cancel, by `done` of a generation, or because its pool
                                was closed */
    EMBED_CLOSED = 15        /* refused: the pool is closed */
} embed_status;

#define EMBED_STATUS_COUNT 16

/* "invalid argument", ...: static text, never NULL. */
EMBED_API const char *embed_status_string(embed_status status);

/* This thread's last failure, in a sentence without a line end. Never NULL; "" if there was
 * none. Valid until this thread's next call that fails. */
EMBED_API const char *embed_error_message(void);

/* "0.1.0" */
EMBED_API const char *embed_version(void);

/* ---- log ----------------------------------------------------------------------------------- */

typedef enum embed_log_level {
    EMBED_LOG_ERROR = 1,
    EMBED_LOG_WARNING = 2,
    EMBED_LOG_INFO = 3,
    EMBED_LOG_DEBUG = 4
} embed_log_level;

/* `message` has no line end and is valid during the call only. Called from any thread; must not
 * call embed_log_set. */
typedef void (*embed_log_callback)(void *user, embed_log_level level, const char *message);

/* Sends messages up to `level` to `callback` (NULL: nowhere, as at the start). For the process. */
EMBED_API void embed_log_set(embed_log_callback callback, void *user, embed_log_level level);

/* ---- devices ------------------------------------------------------------------------------- */

typedef enum embed_device {
    EMBED_DEVICE_AUTO = 0, /* a GPU where one can be used, else the CPU, and the log says why */
    EMBED_DEVICE_CPU = 1,
    EMBED_DEVICE_CUDA = 2 /* EMBED_NO_DEVICE says why it cannot be used */
} embed_device;

typedef enum embed_dtype {
    EMBED_DTYPE_AUTO = 0, /* the best the device has that keeps a cosine of 0.9999 to F32 */
    EMBED_DTYPE_F32 = 1,
    EMBED_DTYPE_BF16 = 2,
    EMBED_DTYPE_F16 = 3,
    EMBED_DTYPE_INT8 = 4 /* refused for a model that does not keep a cosine of 0.99 to BF16 */
} embed_dtype;

typedef struct embed_device_info {
    size_t size;
    embed_device device;
    int index;             /* among the devices of its kind */
    char name[128];        /* "AMD EPYC 9554", ... */
    char details[128];     /* CPU: instruction set in use; CUDA: compute capability and who computes
                              linear layers, or why not usable */
    unsigned threads;      /* CPU: how many a model uses by default */
    uint64_t memory_bytes; /* in all */
} embed_device_info;

#define EMBED_DEVICE_INFO_INIT                                                                   \
    {                                                                                            \
        sizeof(embed_device_info), EMBED_DEVICE_AUTO, 0, {0}, {0}, 0, 0                          \
    }

/* Writes the first `capacity` devices to out[] (whose elements are EMBED_DEVICE_INFO_INIT) and
 * their whole number to *count: the CPU, then the GPUs. out may be NULL where capacity is 0. Where
 * CUDA cannot be used, the log says why. */
EMBED_API embed_status embed_device_list(embed_device_info *out, size_t capacity, size_t *count);

/* ---- model --------------------------------------------------------------------------------- */

typedef struct embed_model embed_model;

typedef struct embed_model_options {
    size_t size;
    embed_device device;
    int device_index;
    embed_dtype dtype;
    unsigned threads; /* CPU: threads that compute; 0: one for each processor of this process, as its
                         affinity mask and the quota of its control groups, or container, say */
} embed_model_options;

#define EMBED_MODEL_OPTIONS_INIT                                                                 \
    {                                                                                            \
        sizeof(embed_model_options), EMBED_DEVICE_AUTO, 0, EMBED_DTYPE_AUTO, 0                   \
    }

/* Reads the model folder (config.json, tokenizer.json or vocab.txt, model.safetensors, and the
 * sentence-transformers files where there are any) and prepares its weights. Models are BERT,
 * RoBERTa, DistilBERT or MPNet, or BART for summaries. Where a model of the same weight files is open
 * on the same device in the same dtype, its weights are shared. On success the caller owns *model.
 * EMBED_IO, EMBED_BAD_FILE and EMBED_UNSUPPORTED name the file and the cause. */
EMBED_API embed_status embed_model_open(embed_model **model, const char *folder,
                                        const embed_model_options *options);

/* Gives the caller's hold on the model back; instances that still use it keep it alive. NULL is
 * fine. */
EMBED_API void embed_model_close(embed_model *model);

typedef enum embed_pooling {
    EMBED_POOLING_MEAN = 1, /* mean of the tokens' last hidden states, [CLS] and [SEP] included */
    EMBED_POOLING_CLS = 2,  /* the first token's */
    EMBED_POOLING_MAX = 3,  /* the largest of each component */
    EMBED_POOLING_MEAN_SQRT_LENGTH = 4, /* their sum divided by the root of their number */
    EMBED_POOLING_LAST_TOKEN = 5,
    EMBED_POOLING_WEIGHTED_MEAN = 6, /* mean with weights 1, 2, ... from the first token on */
    EMBED_POOLING_SEVERAL = 7        /* several side by side: embed_model_get_facts tells which */
} embed_pooling;

typedef struct embed_model_info {
    size_t size;
    char family[16]; /* "bert", "roberta", "distilbert", "mpnet", "bart", ... */
    embed_device device;
    int device_index;
    char device_name[128];
    char instruction_set[16]; /* CPU: "avx512", "avx2", "scalar"; CUDA: "sm_90", ... */
    embed_dtype dtype;
    unsigned threads;
    size_t width;      /* floats in an embedding: after Dense modules, and cut to the folder's truncate_dim */
    size_t max_tokens; /* longer texts are cut, special tokens included */
    size_t layers;
    size_t heads;
    size_t feed_forward;
    size_t vocabulary; /* token ids are below this */
    embed_pooling pooling;
    int normalizes;        /* embeddings have L2 norm 1 unless asked otherwise; not where the folder
                              cuts them after that */
    uint64_t parameters;   /* numbers in the tensors the model uses */
    uint64_t weight_bytes; /* memory they take, as prepared; shared by all instances */
    double load_seconds;
    int generates;         /* it writes summaries, and gives no embeddings */
    size_t decoder_layers; /* the following are 0 where it does not generate */
    size_t decoder_heads;
    size_t decoder_feed_forward;
    size_t max_length; /* tokens of a summary at most, the start token included */
} embed_model_info;

#define EMBED_MODEL_INFO_INIT                                                                    \
    {                                                                                            \
        sizeof(embed_model_info), {0}, EMBED_DEVICE_AUTO, 0, {0}, {0}, EMBED_DTYPE_AUTO, 0, 0,   \
            0, 0, 0, 0, 0, EMBED_POOLING_MEAN, 0, 0, 0, 0, 0, 0, 0, 0, 0                         \
    }

EMBED_API embed_status embed_model_get_info(const embed_model *model, embed_model_info *info);

/* Which part of what decides a model's rows. */
typedef enum embed_fingerprint_part {
    EMBED_FINGERPRINT_ALL = 0,       /* the three below, the dtype it computes in, and a number that is
                                        raised when rows change by more than rounding */
    EMBED_FINGERPRINT_WEIGHTS = 1,   /* the tensors that are used, as they are in the files */
    EMBED_FINGERPRINT_TOKENIZER = 2, /* all that decides token ids */
    EMBED_FINGERPRINT_PIPELINE = 3   /* config.json, prompts, pooling and what follows it, limits */
} embed_fingerprint_part;

#define EMBED_FINGERPRINT_SIZE 33

/* 32 hexadecimal digits and a NUL: models with the same fingerprint give the same rows, up to rounding,
 * wherever their folders are and whatever device computes; rows of two that differ belong in no index
 * together. Not a signature: it is against accidents. The first call for all or for the weights reads
 * the weight files again, and remembers it. EMBED_BAD_FILE where they are not those any more that were
 * opened. Any thread. */
EMBED_API embed_status embed_model_get_fingerprint(embed_model *model, embed_fingerprint_part part,
                                                   char out[EMBED_FINGERPRINT_SIZE]);

/* What was understood of the model folder: "pooling" is "mean", by "1_Pooling/config.json". No size of
 * its own: the array's element may grow only in a new major version. */
typedef struct embed_fact {
    const char *name;
    const char *value;
    const char *file; /* that says so, below the folder; NULL: none does, and it is the default */
} embed_fact;

/* Writes the first `capacity` facts to out[] and their whole number to *count, for people to read:
 * names and values may become others in a new version. The texts are valid as long as the model is
 * open. out may be NULL where capacity is 0. */
EMBED_API embed_status embed_model_get_facts(const embed_model *model, embed_fact *out,
                                             size_t capacity, size_t *count);

/* ---- texts and tokens ---------------------------------------------------------------------- */

/* One text: `length` bytes of UTF-8. Any bytes are accepted: NUL is one like any other, and each
 * maximal part that is not UTF-8 is read as U+FFFD, which BERT's tokenizer drops.
 * Or, where ids is not NULL, `length` token ids, special tokens included, taken as they are. */
typedef struct embed_text {
    const char *data;
    const int32_t *ids;
    size_t length;
} embed_text;

/* A string literal as a text. */
#define EMBED_TEXT(literal) {literal, NULL, sizeof(literal) - 1}

typedef struct embed_tokenize_options {
    size_t size;
    size_t max_tokens; /* cut longer texts to this, special tokens included; 0: do not cut */
} embed_tokenize_options;

#define EMBED_TOKENIZE_OPTIONS_INIT                                                              \
    {                                                                                            \
        sizeof(embed_tokenize_options), 0                                                        \
    }

/* The ids of text i are ids[offsets[i]] to ids[offsets[i + 1] - 1]. */
typedef struct embed_tokens {
    size_t size;
    int32_t *ids;
    size_t *offsets; /* count + 1 of them */
    size_t count;
} embed_tokens;

#define EMBED_TOKENS_INIT                                                                        \
    {                                                                                            \
        sizeof(embed_tokens), NULL, NULL, 0                                                      \
    }

/* The token ids of n texts, special tokens included, as the model's own tokenizer gives them.
 * On success `out` owns memory until embed_tokens_free. */
EMBED_API embed_status embed_tokenize(const embed_model *model, const embed_text *texts, size_t n,
                                      const embed_tokenize_options *options, embed_tokens *out);

EMBED_API void embed_tokens_free(embed_tokens *tokens);

/* ---- instance ------------------------------------------------------------------------------ */

typedef struct embed_instance embed_instance;

typedef struct embed_instance_options {
    size_t size;
    size_t batch_tokens; /* packed tokens computed at a time by one thread; 0: chosen for the
                            device. At least the model's max_tokens are taken. */
    /* Of a model that generates: what memory is taken for. */
    size_t documents;  /* that are under way at the same time; 0: chosen for the device */
    unsigned num_beams; /* that a call may ask for; 0: as many as the folder sets */
    size_t max_length; /* that a call may ask for; 0: what the folder sets */
} embed_instance_options;

#define EMBED_INSTANCE_OPTIONS_INIT                                                              \
    {                                                                                            \
        sizeof(embed_instance_options), 0, 0, 0, 0                                               \
    }

/* On success the caller owns *instance; it keeps the model alive. */
EMBED_API embed_status embed_instance_create(embed_instance **instance, embed_model *model,
                                             const embed_instance_options *options);

/* NULL is fine. Not while another thread is inside a call with it. */
EMBED_API void embed_instance_destroy(embed_instance *instance);

typedef enum embed_switch {
    EMBED_AS_MODEL = 0, /* what the model folder says */
    EMBED_ON = 1,
    EMBED_OFF = 2
} embed_switch;

typedef struct embed_encode_options {
    size_t size;
    size_t max_tokens;       /* cut texts to this, special tokens included; 0: the model's own.
                                More than the model's is EMBED_INVALID_ARGUMENT. */
    embed_switch normalize;  /* scale rows to L2 norm 1 */
    size_t dimensions;       /* keep only this many leading components (Matryoshka models), before
                                normalizing; 0: all */
    const char *prompt_name; /* one of the model folder's prompts, put before each text; NULL: the
                                folder's default prompt, where it names one; "": none */
} embed_encode_options;

#define EMBED_ENCODE_OPTIONS_INIT                                                                \
    {                                                                                            \
        sizeof(embed_encode_options), 0, EMBED_AS_MODEL, 0, NULL                                 \
    }

/* What happened to one text. No size of its own: the array's element may grow only in a new
 * major version. */
typedef struct embed_item {
    size_t tokens;        /* used, special tokens included */
    size_t invalid_bytes; /* not UTF-8 and replaced, in the part that was read */
    int truncated;        /* there were more tokens than used */
    embed_status status;  /* not EMBED_OK: its row is not usable */
    unsigned path;        /* what was special about its way: embed_path bits, 0 for nothing */
    embed_device device;  /* that computed it */
    int device_index;
    /* By a pool; an instance leaves them 0. */
    unsigned instance;     /* which of the pool's computed it, from 0 */
    uint32_t batch_texts;  /* in the batch it was computed with, itself included */
    uint32_t batch_tokens;
    uint32_t tokenize_microseconds; /* of its request */
    uint32_t queued_microseconds;   /* from then on until its batch was formed */
    uint32_t compute_microseconds;  /* of its batch */
} embed_item;

typedef enum embed_path {
    EMBED_PATH_F32 = 1,     /* not finite in the model's dtype, computed again in F32 on the CPU */
    EMBED_PATH_RETRIED = 2, /* a batch with it failed, and was computed again */
    EMBED_PATH_SPLIT = 4,   /* that batch was split, to keep a failure from the others */
    EMBED_PATH_CPU = 8      /* by the pool's fallback on the CPU */
} embed_path;

/* Writes n rows of `dimensions` floats (the model's width, if not limited) to out[0..capacity),
 * in the order of the texts; capacity is in floats and must hold them. items may be NULL.
 * The row of a text has the same bits in any batch, at any position and on any number of threads. On
 * a GPU that rests on cuBLASLt treating all rows alike, which NVIDIA does not promise: with
 * EMBED_CUDA_LINEAR=own in the environment it does not.
 * A row that is not finite in F16 or BF16 is computed again in F32, on the CPU; the log says so.
 * With n = 0 only the options are checked. One thread at a time for one instance. EMBED_NOT_FINITE:
 * all rows are written, items[] tells which hold NaN or infinity. On any other failure out and items
 * are undefined. */
EMBED_API embed_status embed_instance_encode(embed_instance *instance, const embed_text *texts,
                                             size_t n, const embed_encode_options *options,
                                             float *out, size_t capacity, embed_item *items);

typedef enum embed_stage {
    EMBED_STAGE_TOKENS = 1,
    EMBED_STAGE_EMBEDDINGS = 2, /* of tokens and positions, after their LayerNorm */
    EMBED_STAGE_LAYER = 3,      /* the hidden states that a layer gives */
    EMBED_STAGE_POOLING = 4,
    EMBED_STAGE_MODULE = 5, /* a Dense module, or a Normalize that is not the last */
    EMBED_STAGE_ROW = 6     /* the embedding: cut to its dimensions, and normalized where it is */
} embed_stage;

/* What a stage gave. No size of its own: made by the library, it may grow at its end. */
typedef struct embed_traced {
    embed_stage stage;
    size_t index;        /* of the layer, as in its tensors' names; of the module, from 0 after pooling */
    const int32_t *ids;  /* EMBED_STAGE_TOKENS: (rows) */
    const float *values; /* any other: (rows, width), a row a token up to the last layer, then one row */
    size_t rows, width;
} embed_traced;

typedef void (*embed_trace_callback)(void *user, const embed_traced *stage);

/* Embeds one text, and calls `traced` with what each stage gives, in order, on this thread: to find where
 * two implementations part. The last is the row that embed_instance_encode gives, with the same bits
 * where those do not depend on how the GPU was asked. *stage is valid during the call, which must not use
 * the instance. One thread at a time for one instance. */
EMBED_API embed_status embed_instance_trace(embed_instance *instance, const embed_text *text,
                                            const embed_encode_options *options,
                                            embed_trace_callback traced, void *user);

/* Bytes by what they are for; of a GPU's memory with what rounding takes. What is shared is in every
 * instance's report: count it once. A process takes of a GPU: context and library once, weights once a
 * checkpoint, own for each instance. Not counted: the tokenizer (2 to 4 MB a model) and what its lists
 * of ids grow to; kernels that CUDA loads at their first launch. */
typedef struct embed_memory {
    size_t size;
    uint64_t weights;     /* shared by all instances of all models of the same checkpoint */
    uint64_t activations; /* own, as the following */
    uint64_t workspace;   /* scratch of the operations; GPU: token ids on their way in, and a stream */
    uint64_t batch;       /* CPU: token ids on their way in, rows on their way out */
    uint64_t own;         /* the sum of what is own, on the device: these three, graphs and kv */
    uint64_t total;       /* weights + own */
    uint64_t pinned;      /* GPU: memory of the host for what `batch` is on the CPU; own, in no sum */
    uint64_t graphs;      /* GPU: CUDA graphs, made as batches of new sizes come, of at most so much */
    uint64_t library;     /* GPU: cuBLASLt, once a process; in no sum, as the following */
    uint64_t context;     /* GPU: CUDA itself, once a process */
    int measured;         /* GPU: library, context and stream were measured when the first of the models
                             that are open on it was opened; else they are allowances */
    uint64_t kv;          /* keys, values and beams of the documents under way; own, in the sum */
    size_t batch_tokens;  /* packed tokens computed at a time by one thread, as given or chosen */
} embed_memory;

#define EMBED_MEMORY_INIT                                                                        \
    {                                                                                            \
        sizeof(embed_memory), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                              \
    }

/* What a model and one instance of it will take: reads config files and the weights' headers, no
 * weight. embed_instance_get_memory then gives the same numbers, but for allowances that have been
 * measured meanwhile. Of EMBED_DEVICE_CUDA it can be asked where there is no GPU; batch_tokens = 0 is then
 * 8,192 tokens, and where there is one, what is chosen for it. */
EMBED_API embed_status embed_plan(const char *folder, const embed_model_options *model_options,
                                  const embed_instance_options *instance_options,
                                  embed_memory *estimate);

EMBED_API embed_status embed_instance_get_memory(const embed_instance *instance,
                                                 embed_memory *memory);

/* How many instances of an open model, beside those that there are, fit its device with all that they
 * may take: as many as the memory that is free now, less reserve_bytes, holds. On the CPU that is what
 * the machine has available and the limit of this process's control groups, or container, leaves. */
EMBED_API embed_status embed_instances_that_fit(const embed_model *model,
                                                const embed_instance_options *options,
                                                size_t reserve_bytes, size_t *count);

/* ---- generation ---------------------------------------------------------------------------- */

typedef enum embed_early_stopping {
    EMBED_STOP_BY_HEURISTIC = 0, /* "early_stopping": false */
    EMBED_STOP_EARLY = 1,        /* true */
    EMBED_STOP_NEVER = 2         /* "never" */
} embed_early_stopping;

typedef enum embed_long_text {
    EMBED_LONG_CUT = 0,  /* what is longer than max_tokens is cut, and the item says so */
    EMBED_LONG_SPLIT = 1 /* it is summarized in consecutive pieces, whose summaries are joined by a space */
} embed_long_text;

/* One summary. No size of its own: the array's element may grow only in a new major version. */
typedef struct embed_generated {
    char *text;           /* valid UTF-8 with a NUL after it; NULL where status says so */
    size_t length;        /* of text, in bytes */
    size_t source_tokens; /* used, special tokens included; of all pieces */
    size_t invalid_bytes; /* of the source: not UTF-8 and replaced, in the part that was read */
    int truncated;        /* the source had more tokens than used */
    size_t pieces;        /* that the source was split into */
    size_t tokens;        /* of the summary, the start token and the end token included */
    double score; /* the sum of their log-probabilities / tokens after the first ^ length_penalty; the mean
                     of all pieces' */
    embed_status status; /* not EMBED_OK: there is no text */
} embed_generated;

/* Begin with embed_model_get_generation: there are no defaults but the folder's, and most zeros have a
 * meaning of their own. */
typedef struct embed_generate_options {
    size_t size;
    size_t max_tokens; /* of a source, special tokens included; 0: the model's own */
    embed_long_text long_texts;
    /* As in generation_config.json; lengths in tokens, start and end token included. */
    unsigned num_beams; /* 1: the most probable token each time */
    size_t min_length, max_length;
    double length_penalty;
    size_t no_repeat_ngram_size; /* 0: any may repeat */
    embed_early_stopping early_stopping;
    /* Called as each summary ends, in any order, on the calling thread: text i's, valid during the
     * call. NULL: not wanted. It must not use the instance. It returns 1 to go on; 0 calls the rest off:
     * it is not called again, and the call returns EMBED_CANCELLED. */
    int (*done)(void *user, size_t i, const embed_generated *summary);
    void *user;
} embed_generate_options;

#define EMBED_GENERATE_OPTIONS_INIT                                                              \
    {                                                                                            \
        sizeof(embed_generate_options), 0, EMBED_LONG_CUT, 0, 0, 0, 0, 0,                        \
            EMBED_STOP_BY_HEURISTIC, NULL, NULL                                                  \
    }

/* What the model folder sets. EMBED_UNSUPPORTED for a model that does not generate. */
EMBED_API embed_status embed_model_get_generation(const embed_model *model,
                                                  embed_generate_options *options);

typedef struct embed_strings {
    size_t size;
    embed_generated *items; /* (count), in the order of the texts */
    size_t count;
} embed_strings;

#define EMBED_STRINGS_INIT                                                                       \
    {                                                                                            \
        sizeof(embed_strings), NULL, 0                                                           \
    }

/* Summaries of n texts, by beam search as transformers' generate() does it; options NULL: the folder's.
 * Many are under way at once: one that ends makes room for the next. In F32 on the CPU the tokens are
 * those of transformers in F32. On success `out` owns memory until embed_strings_free.
 * EMBED_NOT_FINITE: `out` is filled all the same, and items[] tells which summaries failed. Any other
 * failure leaves it untouched. Options beyond what the instance was created for are
 * EMBED_INVALID_ARGUMENT. One thread at a time for one instance. */
EMBED_API embed_status embed_instance_generate(embed_instance *instance, const embed_text *texts,
                                               size_t n, const embed_generate_options *options,
                                               embed_strings *out);

EMBED_API void embed_strings_free(embed_strings *strings);

/* ---- pool ---------------------------------------------------------------------------------- */

/* Instances behind one queue: any number of threads hand texts in, and whichever instance is free
 * computes what has come together, in one batch. A row has the bits that embed_instance_encode gives.
 * Every request that was accepted is completed exactly once.
 *
 * A pool of a model that generates takes documents - texts, or pieces of those that are to be split - out
 * of the queue one by one: each instance has several under way, of any requests, and where one ends the
 * next begins. All of them have the same num_beams; one with another waits until they have ended, and
 * those after it wait with it. What is said of batches means single documents there.
 *
 * Out of memory: an instance is made anew with smaller batches, or fewer documents under way, then there
 * are fewer instances, then the fallback computes; with memory free again the pool grows back. Where a
 * batch fails, it is tried again in halves, until only what is at fault fails; documents that were under
 * way are tried together once more, and then each alone. A GPU that is lost is not called any more: the
 * fallback goes on with what was under way and what is queued, and the metrics say EMBED_POOL_DEGRADED. */
typedef struct embed_pool embed_pool;

typedef enum embed_fallback {
    EMBED_FALLBACK_LAZY = 0, /* the model is opened on the CPU when it is needed, which may fail: also
                                because its folder holds another one by then */
    EMBED_FALLBACK_NONE = 1,
    EMBED_FALLBACK_READY = 2 /* opened with the pool */
} embed_fallback;

typedef struct embed_pool_options {
    size_t size;
    unsigned instances;     /* of each model; 0: as many as fit its device's free memory, up to */
    unsigned max_instances; /* of each model, where `instances` is 0; 0: 4 on a GPU, 1 on the CPU */
    uint64_t reserve_bytes; /* of each device's memory, left free for others; 0: 256 MiB on a GPU. With
                               `instances` 0 the pool gives memory back when others need it. */
    uint64_t memory_limit_bytes; /* that weights and instances may take on a device; 0: no limit */
    uint64_t instance_bytes; /* what to count for an instance; 0: as planned */
    size_t batch_tokens;     /* in a batch at most; 0: by the profile, or chosen for the device */
    size_t batch_texts;      /* in a batch at most; 0: no limit besides */
    unsigned max_delay_microseconds; /* the oldest waits for company that long while an instance is free;
                                        in any case for up to a sixteenth of what the last batch took,
                                        500 us at most, where that had more texts */
    size_t queue_requests; /* that wait at most; 0: 4096 */
    size_t queue_tokens;   /* that wait at most; 0: 64 batches */
    embed_fallback fallback; /* of models on a GPU */
    embed_switch warm_up;    /* compute before the first request; EMBED_AS_MODEL: on */
    unsigned warm_up_passes; /* 0: 10 */
    const char *profile; /* a batch profile, a file written for this model and device; NULL: none */
    /* Of a model that generates, as in embed_instance_options. Documents are under way in each instance,
     * fewer where memory is short; batch_tokens are those of sources that are read at a time. A document
     * begins as soon as there is room for it: batch_texts and max_delay_microseconds do nothing there. */
    size_t documents;
    unsigned num_beams;
    size_t max_length;
} embed_pool_options;

#define EMBED_POOL_OPTIONS_INIT                                                                  \
    {                                                                                            \
        sizeof(embed_pool_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, EMBED_FALLBACK_LAZY,           \
            EMBED_AS_MODEL, 0, NULL, 0, 0, 0                                                     \
    }

/* One model, or the same folder opened on n devices in the same dtype. The pool keeps the models
 * alive. Where fewer instances can be made than asked for, it goes on with those, and the log says
 * so; where none can, the fallback takes their place, or creation fails. */
EMBED_API embed_status embed_pool_create(embed_pool **pool, embed_model *const *models, size_t n,
                                         const embed_pool_options *options);

/* As embed_instance_encode, from any number of threads at once: waits for room in the queue and for
 * the result. Many texts are handed in by and by, so that others get their turn between them. */
EMBED_API embed_status embed_pool_encode(embed_pool *pool, const embed_text *texts, size_t n,
                                         const embed_encode_options *options, float *out,
                                         size_t capacity, embed_item *items);

/* As embed_instance_generate, from any number of threads at once: waits for room in the queue and for
 * the result. options->done is called on threads of the pool's, two of which may call it at a time; where
 * it calls the rest off, what is under way goes to its end without being told of, as where a ticket is
 * cancelled. */
EMBED_API embed_status embed_pool_generate(embed_pool *pool, const embed_text *texts, size_t n,
                                           const embed_generate_options *options,
                                           embed_strings *out);

typedef struct embed_request {
    size_t size;
    const embed_text *texts; /* read until embed_pool_submit returns */
    size_t n;
    const embed_encode_options *options; /* read until embed_pool_submit returns */
    float *out; /* as for embed_instance_encode; written until the request is completed */
    size_t capacity;
    embed_item *items;              /* (n) or NULL; as out */
    unsigned deadline_milliseconds; /* from now; 0: none. A request whose turn comes too late for it
                                       completes with EMBED_EXPIRED; one that would wait for longer by
                                       all that is queued is refused with EMBED_BUSY. */
    int wait_for_room; /* where the queue is full, wait instead of EMBED_BUSY */
    /* Called once, from a thread of the pool's or the one that cancels; message as of
     * embed_error_message, valid during the call. *ticket is set by then. It may submit, but
     * wait_for_room does not wait there; it must not wait for requests. */
    void (*done)(void *user, embed_status status, const char *message);
    void *user;
    /* For a model that generates, with options, out and items NULL. Not so: both NULL. */
    const embed_generate_options *generate; /* read until embed_pool_submit returns; its `done` is called
                                               before the request's; NULL: the folder's */
    embed_strings *strings; /* written as embed_instance_generate's `out`, when the request completes */
} embed_request;

#define EMBED_REQUEST_INIT                                                                       \
    {                                                                                            \
        sizeof(embed_request), NULL, 0, NULL, NULL, 0, NULL, 0, 0, NULL, NULL, NULL, NULL        \
    }

typedef struct embed_ticket embed_ticket;

/* Tokenizes the texts on this thread and queues them. On success the request will be completed; the
 * caller owns *ticket until embed_ticket_free. ticket may be NULL where there is `done`.
 * On failure the request was not accepted, and `done` is not called: EMBED_BUSY, EMBED_CLOSED, or
 * what is wrong with it. */
EMBED_API embed_status embed_pool_submit(embed_pool *pool, const embed_request *request,
                                         embed_ticket **ticket);

/* How the request ended: as embed_instance_encode or _generate would return, or EMBED_EXPIRED, EMBED_CANCELLED;
 * EMBED_PENDING where it has not, after so many milliseconds (0: it does not wait). Any thread. */
EMBED_API embed_status embed_ticket_wait(embed_ticket *ticket, unsigned milliseconds);

/* Waits without limit. */
#define EMBED_WAIT_FOREVER 0xFFFFFFFFu

/* What waits is not computed any more, and the request completes with EMBED_CANCELLED: at once, or
 * when the batches that parts of it are in are done. Nothing happens to one that is completed. */
EMBED_API void embed_ticket_cancel(embed_ticket *ticket);

/* The request goes on. NULL is fine. A ticket may outlive its pool. */
EMBED_API void embed_ticket_free(embed_ticket *ticket);

/* A pool's model on its first device: for embed_tokenize and embed_model_get_info. The pool's own. */
EMBED_API embed_model *embed_pool_model(const embed_pool *pool);

/* All instances together; weights once for each device. */
EMBED_API embed_status embed_pool_get_memory(const embed_pool *pool, embed_memory *memory);

/* No more requests are taken; what is queued is computed for up to so many milliseconds, and the
 * rest completes with EMBED_CANCELLED. Returns when the last has. Any thread, any number of times;
 * within `done` it does not wait. */
EMBED_API embed_status embed_pool_close(embed_pool *pool, unsigned drain_milliseconds);

/* Closes the pool at once, if it is not closed, and releases it: no thread may be in a call with it,
 * nor come from a `done` of its own. NULL is fine. */
EMBED_API void embed_pool_destroy(embed_pool *pool);

/* ---- metrics ------------------------------------------------------------------------------- */

/* Values in order of magnitude: buckets[0] are those below 1, buckets[k] those from 2^(k-1) to below
 * 2^k, the last all above. Percentiles are exact to 7%. */
#define EMBED_BUCKETS 32

typedef struct embed_distribution {
    uint64_t count;
    double sum;
    double p50, p95, p99;
    double largest;
    uint64_t buckets[EMBED_BUCKETS];
} embed_distribution;

typedef enum embed_pool_state {
    EMBED_POOL_READY = 1,
    EMBED_POOL_DEGRADED = 2, /* not all instances that were there at first; `reason` says why */
    EMBED_POOL_CLOSED = 3
} embed_pool_state;

/* Since the pool was created, if not said otherwise. Where the model generates, a batch is a document: it
 * is computed from when it is taken out of the queue until its summary has ended, has the tokens of its
 * source, and one text, or none where other pieces of that are still to come. */
typedef struct embed_metrics {
    size_t size;
    embed_pool_state state; /* now */
    char reason[256];
    double seconds;                            /* the pool's age */
    uint64_t requests[32];                     /* by how they ended, an embed_status; refused ones
                                                  included, those that were wrong in themselves not */
    uint64_t texts, tokens, batches;           /* computed */
    double texts_per_second;                   /* over the last ten seconds */
    uint64_t queued_requests, queued_tokens;   /* now */
    uint64_t computing_texts;                  /* now */
    uint64_t texts_not_finite, texts_retried, texts_split, texts_on_cpu;
    embed_distribution latency_microseconds;   /* of requests: from submission to completion */
    embed_distribution queued_microseconds;    /* of texts */
    embed_distribution compute_microseconds;   /* of batches */
    embed_distribution batch_texts, batch_tokens;
    unsigned instances, instances_at_first;
    size_t instance_batch_tokens;              /* the most that a batch may have now, or all documents
                                                  together that are under way in an instance */
    uint64_t instance_bytes, weight_bytes;     /* now: own bytes of all, shared bytes */
    uint64_t device_free_bytes, device_bytes;  /* now, of the pool's GPUs together */
    uint64_t generated_tokens; /* of summaries; `tokens` are their sources' */
} embed_metrics;

#define EMBED_DISTRIBUTION_NONE {0, 0, 0, 0, 0, 0, {0}}

#define EMBED_METRICS_INIT                                                                       \
    {                                                                                            \
        sizeof(embed_metrics), EMBED_POOL_READY, {0}, 0, {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   \
            EMBED_DISTRIBUTION_NONE, EMBED_DISTRIBUTION_NONE, EMBED_DISTRIBUTION_NONE,           \
            EMBED_DISTRIBUTION_NONE, EMBED_DISTRIBUTION_NONE, 0, 0, 0, 0, 0, 0, 0, 0             \
    }

EMBED_API embed_status embed_pool_get_metrics(const embed_pool *pool, embed_metrics *metrics);

/* The same in Prometheus' text format, every line with `labels` (as `model="minilm"`; NULL: none).
 * Writes up to capacity bytes, NUL included, and the length of the whole to *length: call again with
 * more room where it is not below capacity. */
EMBED_API embed_status embed_metrics_text(const embed_metrics *metrics, const char *labels,
                                          char *out, size_t capacity, size_t *length);

/* ---- cache --------------------------------------------------------------------------------- */

/* Several models by folder, each behind a pool: loaded when first asked for, once however many
 * threads ask, and dropped again, least recently used first, when others need their room. What is in
 * use or pinned is never dropped. Any number of threads.
 *
 * A folder is known by its canonical path. What is resident stays as it was read, whatever becomes of
 * its files; they are read again when it is loaded again. The limits hold at any time: what is being
 * loaded counts with what is planned for it. Weights that models share count for each of them; a
 * fallback counts only where it is EMBED_FALLBACK_READY. */
typedef struct embed_cache embed_cache;

typedef struct embed_cache_options {
    size_t size;
    unsigned max_models; /* that are resident; 0: no limit */
    uint64_t max_bytes;  /* that their weights and instances take together; 0: no limit */
    unsigned wait_milliseconds; /* for others to give room back, where all that is resident is in use;
                                   then EMBED_BUSY. Room goes to who came first. */
    const embed_model_options *model; /* for each; copied; NULL: defaults */
    const embed_pool_options *pool;
} embed_cache_options;

#define EMBED_CACHE_OPTIONS_INIT                                                                 \
    {                                                                                            \
        sizeof(embed_cache_options), 0, 0, 0, NULL, NULL                                         \
    }

EMBED_API embed_status embed_cache_create(embed_cache **cache, const embed_cache_options *options);

/* The pool of that folder's model, in use until embed_cache_release, which takes each success once.
 * What was submitted by then is still computed, should the model be dropped. Not to be closed; and not
 * to be called within `done`. One whose plan alone is larger than max_bytes is EMBED_OUT_OF_MEMORY. Who
 * waits for another thread's load gets its failure; the next who asks tries again. */
EMBED_API embed_status embed_cache_acquire(embed_cache *cache, const char *folder,
                                           embed_pool **pool);
EMBED_API void embed_cache_release(embed_cache *cache, embed_pool *pool);

/* Loads the folder's model, where it is not resident, and keeps it; or lets it be dropped again, when
 * it was unpinned as often as pinned. */
EMBED_API embed_status embed_cache_pin(embed_cache *cache, const char *folder);
EMBED_API void embed_cache_unpin(embed_cache *cache, const char *folder);

typedef struct embed_cache_metrics {
    size_t size;
    uint64_t hits; /* acquired or pinned without a load of its own */
    uint64_t loads, load_failures, evictions, refusals; /* refusals: EMBED_BUSY */
    double load_seconds;                                      /* of all loads together */
    uint64_t resident, in_use, pinned, resident_bytes;        /* now */
} embed_cache_metrics;

#define EMBED_CACHE_METRICS_INIT                                                                 \
    {                                                                                            \
        sizeof(embed_cache_metrics), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                \
    }

EMBED_API embed_status embed_cache_get_metrics(const embed_cache *cache,
                                               embed_cache_metrics *metrics);
EMBED_API embed_status embed_cache_metrics_text(const embed_cache_metrics *metrics,
                                                const char *labels, char *out, size_t capacity,
                                                size_t *length);

/* Drops all models. None may be in use. NULL is fine. */
EMBED_API void embed_cache_destroy(embed_cache *cache);

#ifdef __cplusplus
}
#endif

#endif
