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
 * There are two basic objects. A model holds what was read from a folder: description, tokenizer,
 * weights. It is immutable once open, and any number of threads may share it. An instance holds the
 * memory that one stream of work needs (activations, scratch); one thread may use it at a time. A
 * second instance of a model costs its own workspace, not another copy of the weights.
 *
 * Functions that can fail return an embed_status, of which EMBED_OK is 0; embed_error_message()
 * then returns a sentence saying what failed and why. Out-parameters come first and are left
 * untouched on failure unless documented otherwise. Options may be NULL, which selects the
 * defaults. Structs begin with their own size, set by their EMBED_..._INIT, so that they can grow
 * without breaking programs compiled earlier.
 *
 * The library never exits, aborts, prints, installs a signal handler or changes the locale. The
 * child of a fork() may use it only if the parent had no model open.
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
    EMBED_INVALID_ARGUMENT = 1, /* the caller passed something wrong */
    EMBED_OUT_OF_MEMORY = 2,
    EMBED_IO = 3,          /* a file could not be found, opened or read */
    EMBED_BAD_FILE = 4,    /* a file was read, but its contents are invalid */
    EMBED_UNSUPPORTED = 5, /* a model, module, dtype or device that this version cannot run */
    EMBED_NO_DEVICE = 6,   /* the requested device cannot be used here */
    EMBED_NOT_FINITE = 7,  /* a result contains NaN or infinity */
    EMBED_SYSTEM = 8,      /* the operating system refused to create a thread or a lock */
    EMBED_DEVICE_FAILED = 9, /* a GPU reported an error during a kernel or a copy */
    EMBED_DEVICE_LOST = 10,  /* a GPU reported an error after which this process cannot use it any
                                more */
    EMBED_BUSY = 11,         /* rejected: a queue is full, or everything a cache may hold is in
                                use */
    EMBED_PENDING = 12,      /* a request has not completed yet */
    EMBED_EXPIRED = 13,      /* a request's deadline passed before it was computed */
    EMBED_CANCELLED = 14,    /* by embed_ticket_cancel, by a generation's `done`, or because the
                                pool was closed */
    EMBED_CLOSED = 15        /* rejected: the pool is closed */
} embed_status;

#define EMBED_STATUS_COUNT 16

/* "invalid argument", ...: static text, never NULL. */
EMBED_API const char *embed_status_string(embed_status status);

/* Describes the calling thread's last failure in one sentence without a line end. Never NULL; ""
 * if there was none. To be read before the thread calls another function that returns a status:
 * one that succeeds may replace it too, for instance because it had to do without a GPU. */
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

/* `message` has no line end and is valid during the call only. Called from any thread, which may
 * hold locks of the library: the callback must not call its functions. */
typedef void (*embed_log_callback)(void *user, embed_log_level level, const char *message);

/* Sends messages up to `level` to `callback`, process-wide. NULL, the initial state, discards
 * them. */
EMBED_API void embed_log_set(embed_log_callback callback, void *user, embed_log_level level);

/* ---- devices ------------------------------------------------------------------------------- */

typedef enum embed_device {
    EMBED_DEVICE_AUTO = 0, /* a GPU if one is usable, else the CPU; the log says why */
    EMBED_DEVICE_CPU = 1,
    EMBED_DEVICE_CUDA = 2  /* fails with EMBED_NO_DEVICE, and the reason, if no GPU is usable */
} embed_device;

typedef enum embed_dtype {
    EMBED_DTYPE_AUTO = 0, /* the fastest on this device that keeps a cosine of 0.9999 to F32 */
    EMBED_DTYPE_F32 = 1,
    EMBED_DTYPE_BF16 = 2,
    EMBED_DTYPE_F16 = 3,
    EMBED_DTYPE_INT8 = 4 /* only on request; rejected if the model falls below a cosine of 0.99 to
                            BF16 */
} embed_dtype;

typedef struct embed_device_info {
    size_t size;
    embed_device device;
    int index;             /* among the devices of its kind */
    char name[128];        /* "AMD EPYC 9554", ... */
    char details[128];     /* CPU: instruction set in use; CUDA: compute capability and which
                              library computes linear layers, or why the device is not usable */
    unsigned threads;      /* CPU: a model's default number of threads */
    uint64_t memory_bytes; /* total */
} embed_device_info;

#define EMBED_DEVICE_INFO_INIT                                                                   \
    {                                                                                            \
        sizeof(embed_device_info), EMBED_DEVICE_AUTO, 0, {0}, {0}, 0, 0                          \
    }

/* Lists the CPU, then the GPUs. Writes the first `capacity` of them to out[], whose elements must
 * be initialized with EMBED_DEVICE_INFO_INIT, and the total number to *count. out may be NULL if
 * capacity is 0. If CUDA cannot be used, the log says why. */
EMBED_API embed_status embed_device_list(embed_device_info *out, size_t capacity, size_t *count);

/* ---- model --------------------------------------------------------------------------------- */

typedef struct embed_model embed_model;

typedef struct embed_model_options {
    size_t size;
    embed_device device;
    int device_index;
    embed_dtype dtype;
    unsigned threads; /* CPU: threads that compute; 0: one for each processor that this process may
                         use, by its affinity mask and its control groups' (container's) quota */
} embed_model_options;

#define EMBED_MODEL_OPTIONS_INIT                                                                 \
    {                                                                                            \
        sizeof(embed_model_options), EMBED_DEVICE_AUTO, 0, EMBED_DTYPE_AUTO, 0                   \
    }

/* Opens a model folder (config.json, tokenizer.json or vocab.txt, model.safetensors, and the
 * sentence-transformers files if present) and prepares its weights. Supports BERT, RoBERTa,
 * DistilBERT and MPNet for embeddings and BART for summaries. Models opened from the same weight
 * files on the same device in the same dtype share their weights. On success the caller owns
 * *model. EMBED_IO, EMBED_BAD_FILE and EMBED_UNSUPPORTED name the file and the cause. */
EMBED_API embed_status embed_model_open(embed_model **model, const char *folder,
                                        const embed_model_options *options);

/* Releases the caller's reference to the model; instances that still use it keep it alive. NULL is
 * allowed. */
EMBED_API void embed_model_close(embed_model *model);

typedef enum embed_pooling {
    EMBED_POOLING_MEAN = 1, /* mean of the tokens' last hidden states, [CLS] and [SEP] included */
    EMBED_POOLING_CLS = 2,  /* the first token's hidden state */
    EMBED_POOLING_MAX = 3,  /* the maximum of each component */
    EMBED_POOLING_MEAN_SQRT_LENGTH = 4, /* sum divided by the square root of the number of tokens */
    EMBED_POOLING_LAST_TOKEN = 5,
    EMBED_POOLING_WEIGHTED_MEAN = 6, /* mean weighted 1, 2, 3, ... from the first token on */
    EMBED_POOLING_SEVERAL = 7        /* several, concatenated: embed_model_get_facts says which */
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
    size_t width;      /* floats in an embedding, after Dense modules and the folder's
                          truncate_dim */
    size_t max_tokens; /* special tokens included; longer texts are truncated */
    size_t layers;
    size_t heads;
    size_t feed_forward;
    size_t vocabulary; /* token ids are below this */
    embed_pooling pooling;
    int normalizes;        /* embeddings have L2 norm 1 by default (0 if the folder truncates them
                              after normalizing) */
    uint64_t parameters;   /* elements of the tensors that the model uses */
    uint64_t weight_bytes; /* memory they take once prepared; shared by all instances */
    double load_seconds;
    int generates;         /* the model writes summaries and has no embeddings */
    size_t decoder_layers; /* this and the following are 0 if the model does not generate */
    size_t decoder_heads;
    size_t decoder_feed_forward;
    size_t max_length; /* maximum tokens of a summary, start token included */
} embed_model_info;

#define EMBED_MODEL_INFO_INIT                                                                    \
    {                                                                                            \
        sizeof(embed_model_info), {0}, EMBED_DEVICE_AUTO, 0, {0}, {0}, EMBED_DTYPE_AUTO, 0, 0,   \
            0, 0, 0, 0, 0, EMBED_POOLING_MEAN, 0, 0, 0, 0, 0, 0, 0, 0, 0                         \
    }

EMBED_API embed_status embed_model_get_info(const embed_model *model, embed_model_info *info);

/* What a fingerprint covers. */
typedef enum embed_fingerprint_part {
    EMBED_FINGERPRINT_ALL = 0,       /* the three below, the compute dtype, and a version that is
                                        raised when rows change by more than rounding */
    EMBED_FINGERPRINT_WEIGHTS = 1,   /* the tensors that are used, as stored in the files */
    EMBED_FINGERPRINT_TOKENIZER = 2, /* everything that determines token ids */
    EMBED_FINGERPRINT_PIPELINE = 3   /* config.json, prompts, pooling and later modules, limits */
} embed_fingerprint_part;

#define EMBED_FINGERPRINT_SIZE 33

/* Writes 32 hexadecimal digits and a NUL. Models with the same fingerprint give the same rows up to
 * rounding, wherever their folders are and whichever device computes; rows of models whose
 * fingerprints differ must not be mixed in one index. It guards against accidents and is not a
 * signature. The first call for ALL or WEIGHTS reads the weight files again; the result is cached.
 * EMBED_BAD_FILE if they have changed since the model was opened. Thread-safe. */
EMBED_API embed_status embed_model_get_fingerprint(embed_model *model, embed_fingerprint_part part,
                                                   char out[EMBED_FINGERPRINT_SIZE]);

/* One setting found in the model folder, such as "pooling", "mean", "1_Pooling/config.json". It is
 * an array element without a size field, and may grow only in a new major version. */
typedef struct embed_fact {
    const char *name;
    const char *value;
    const char *file; /* source of the value, relative to the folder; NULL: a default */
} embed_fact;

/* Writes the first `capacity` facts to out[] and their total number to *count. They are meant for
 * people: names and values may change in any version. The strings are valid while the model is
 * open. out may be NULL if capacity is 0. */
EMBED_API embed_status embed_model_get_facts(const embed_model *model, embed_fact *out,
                                             size_t capacity, size_t *count);

/* ---- texts and tokens ---------------------------------------------------------------------- */

/* One text: `length` bytes of UTF-8. Any bytes are accepted, NUL included; each maximal invalid
 * subsequence is read as U+FFFD, which BERT's tokenizer drops.
 * If ids is not NULL, `length` token ids instead, special tokens included, used as they are. */
typedef struct embed_text {
    const char *data;
    const int32_t *ids;
    size_t length;
} embed_text;

/* A string literal as a text. */
#define EMBED_TEXT(literal) {literal, NULL, sizeof(literal) - 1}

typedef struct embed_tokenize_options {
    size_t size;
    size_t max_tokens; /* truncate texts to this, special tokens included; 0: no limit */
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

/* Tokenizes n texts with the model's tokenizer, special tokens included. On success `out` owns
 * memory until embed_tokens_free. */
EMBED_API embed_status embed_tokenize(const embed_model *model, const embed_text *texts, size_t n,
                                      const embed_tokenize_options *options, embed_tokens *out);

EMBED_API void embed_tokens_free(embed_tokens *tokens);

/* ---- instance ------------------------------------------------------------------------------ */

typedef struct embed_instance embed_instance;

typedef struct embed_instance_options {
    size_t size;
    size_t batch_tokens; /* packed tokens that one thread computes at a time; 0: chosen for the
                            device. Raised to the model's max_tokens if below. */
    /* For a model that generates: the limits that memory is reserved for. */
    size_t documents;   /* in flight at the same time; 0: chosen for the device */
    unsigned num_beams; /* most beams that a call may use; 0: the folder's */
    size_t max_length;  /* largest max_length that a call may use; 0: the folder's */
} embed_instance_options;

#define EMBED_INSTANCE_OPTIONS_INIT                                                              \
    {                                                                                            \
        sizeof(embed_instance_options), 0, 0, 0, 0                                               \
    }

/* Creates an instance of an open model. On success the caller owns *instance, which keeps the model
 * alive. */
EMBED_API embed_status embed_instance_create(embed_instance **instance, embed_model *model,
                                             const embed_instance_options *options);

/* No thread may be in a call with the instance. NULL is allowed. */
EMBED_API void embed_instance_destroy(embed_instance *instance);

typedef enum embed_switch {
    EMBED_AS_MODEL = 0, /* as the model folder says */
    EMBED_ON = 1,
    EMBED_OFF = 2
} embed_switch;

typedef struct embed_encode_options {
    size_t size;
    size_t max_tokens;       /* truncate texts to this, special tokens included; 0: the model's
                                limit. More than that is EMBED_INVALID_ARGUMENT. */
    embed_switch normalize;  /* scale rows to L2 norm 1 */
    size_t dimensions;       /* keep this many leading components (Matryoshka models), before
                                normalizing; 0: all */
    const char *prompt_name; /* the prompt of the model folder to put before each text; NULL: the
                                folder's default prompt, if it has one; "": none */
} embed_encode_options;

#define EMBED_ENCODE_OPTIONS_INIT                                                                \
    {                                                                                            \
        sizeof(embed_encode_options), 0, EMBED_AS_MODEL, 0, NULL                                 \
    }

/* Reports on one text. It is an array element without a size field, and may grow only in a new
 * major version. */
typedef struct embed_item {
    size_t tokens;        /* used, special tokens included */
    size_t invalid_bytes; /* not UTF-8 and replaced, in the part that was read */
    int truncated;        /* the text had more tokens than were used */
    embed_status status;  /* if not EMBED_OK, the row is not usable */
    unsigned path;        /* embed_path bits: how it was computed, if not in the usual way */
    embed_device device;  /* where it was computed */
    int device_index;
    /* Set by a pool; an instance leaves them 0. */
    unsigned instance;     /* number of the pool's instance that computed it, from 0 */
    uint32_t batch_texts;  /* size of its batch, itself included */
    uint32_t batch_tokens;
    uint32_t tokenize_microseconds; /* for its whole request */
    uint32_t queued_microseconds;   /* from then until its batch was formed */
    uint32_t compute_microseconds;  /* for its whole batch */
} embed_item;

typedef enum embed_path {
    EMBED_PATH_F32 = 1,     /* not finite in the model's dtype; recomputed in F32 on the CPU */
    EMBED_PATH_RETRIED = 2, /* its batch failed and was computed again */
    EMBED_PATH_SPLIT = 4,   /* its batch was split to isolate a failure */
    EMBED_PATH_CPU = 8      /* computed by the pool's CPU fallback */
} embed_path;

/* Embeds n texts. Writes n rows of `dimensions` floats (by default the model's width) to
 * out[0..capacity), in the order of the texts; capacity is in floats. items is (n) or NULL.
 *
 * A text's row has the same bits in any batch, at any position and on any number of threads. On a
 * GPU this relies on cuBLASLt treating all rows alike, which NVIDIA does not promise; setting
 * EMBED_CUDA_LINEAR=own in the environment removes that dependency. A row that is not finite in F16
 * or BF16 is recomputed in F32 on the CPU, and the log says so.
 *
 * With n = 0 only the options are checked. An instance serves one thread at a time. On
 * EMBED_NOT_FINITE all rows are written, and items[] says which contain NaN or infinity. On any
 * other failure the contents of out and items are undefined. */
EMBED_API embed_status embed_instance_encode(embed_instance *instance, const embed_text *texts,
                                             size_t n, const embed_encode_options *options,
                                             float *out, size_t capacity, embed_item *items);

typedef enum embed_stage {
    EMBED_STAGE_TOKENS = 1,
    EMBED_STAGE_EMBEDDINGS = 2, /* token and position embeddings, after LayerNorm */
    EMBED_STAGE_LAYER = 3,      /* the output of a layer */
    EMBED_STAGE_POOLING = 4,
    EMBED_STAGE_MODULE = 5, /* a Dense module, or a Normalize that is not the last module */
    EMBED_STAGE_ROW = 6     /* the embedding, truncated and normalized as requested */
} embed_stage;

/* The output of one stage. Only the library makes these, so they may grow at the end. */
typedef struct embed_traced {
    embed_stage stage;
    size_t index;        /* the layer, as in tensor names; the module, from 0 after pooling */
    const int32_t *ids;  /* EMBED_STAGE_TOKENS: (rows) */
    const float *values; /* other stages: (rows, width); one row a token up to the last layer, then
                            one row */
    size_t rows, width;
} embed_traced;

typedef void (*embed_trace_callback)(void *user, const embed_traced *stage);

/* Embeds one text and calls `traced` on this thread with the output of each stage, in order: for
 * finding where two implementations diverge. The last stage is the row that embed_instance_encode
 * gives, with the same bits (on a GPU, if those do not depend on batching; see there). *stage is
 * valid during the callback, which must not use the instance. An instance serves one thread at a
 * time. */
EMBED_API embed_status embed_instance_trace(embed_instance *instance, const embed_text *text,
                                            const embed_encode_options *options,
                                            embed_trace_callback traced, void *user);

/* Bytes by purpose; on a GPU, including rounding to allocation granularity. Shared memory appears
 * in the report of every instance: count it once. A process uses, on a GPU: context and library
 * once, weights once per checkpoint, own for each instance. Not counted: the tokenizer (2 to 4 MB a
 * model) and its growing id buffers, and kernels that CUDA loads at their first launch. */
typedef struct embed_memory {
    size_t size;
    uint64_t weights;     /* shared by all instances of all models of the same checkpoint */
    uint64_t activations; /* own, like the following */
    uint64_t workspace;   /* scratch of the operations; GPU: also uploaded token ids, and a
                             stream */
    uint64_t batch;       /* CPU: token ids in, rows out */
    uint64_t own;         /* sum of an instance's own device memory: these three, graphs and kv */
    uint64_t total;       /* weights + own */
    uint64_t pinned;      /* GPU: pinned host memory for token ids and rows; own, in neither sum */
    uint64_t graphs;      /* GPU: upper limit for CUDA graphs, which are made as new batch sizes
                             occur */
    uint64_t library;     /* GPU: cuBLASLt, once per process; in neither sum */
    uint64_t context;     /* GPU: the CUDA context, once per process; in neither sum */
    int measured;         /* GPU: library, context and stream were measured, when the first model
                             was opened on the device; 0: they are allowances */
    uint64_t kv;          /* keys, values and beams of documents in flight; own, part of the sum */
    size_t batch_tokens;  /* packed tokens that one thread computes at a time, as given or chosen */
} embed_memory;

#define EMBED_MEMORY_INIT                                                                        \
    {                                                                                            \
        sizeof(embed_memory), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                              \
    }

/* Computes how much memory a model and one instance of it will take, from config files and the
 * headers of the weight files alone. embed_instance_get_memory later reports the same numbers,
 * except for allowances that have been measured by then. EMBED_DEVICE_CUDA can be planned for
 * without a GPU; batch_tokens = 0 then means 8,192 tokens, and with a GPU what would be chosen for
 * it. */
EMBED_API embed_status embed_plan(const char *folder, const embed_model_options *model_options,
                                  const embed_instance_options *instance_options,
                                  embed_memory *estimate);

EMBED_API embed_status embed_instance_get_memory(const embed_instance *instance,
                                                 embed_memory *memory);

/* Computes how many more instances of an open model fit its device, each with all the memory it may
 * ever take: into the memory that is free now, less reserve_bytes. On the CPU, free is what the
 * machine has available, within the limit of this process's control groups (container). */
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
    EMBED_LONG_CUT = 0,  /* truncate to max_tokens, and say so in the item */
    EMBED_LONG_SPLIT = 1 /* summarize consecutive pieces, and join the summaries with spaces */
} embed_long_text;

/* One summary. It is an array element without a size field, and may grow only in a new major
 * version. */
typedef struct embed_generated {
    char *text;           /* valid UTF-8, NUL-terminated; NULL if status is not EMBED_OK */
    size_t length;        /* of text, in bytes */
    size_t source_tokens; /* used, special tokens included; all pieces together */
    size_t invalid_bytes; /* of the source that were not UTF-8 and replaced, in the part that was
                             read */
    int truncated;        /* the source had more tokens than were used */
    size_t pieces;        /* that the source was split into */
    size_t tokens;        /* of the summary, start and end token included */
    double score; /* sum of the tokens' log-probabilities / (tokens - 1) ^ length_penalty; the mean
                     of all pieces' scores */
    embed_status status; /* if not EMBED_OK, there is no text */
} embed_generated;

/* Fill this with embed_model_get_generation first: the only defaults are the folder's, and zero is
 * a meaningful value for most fields. */
typedef struct embed_generate_options {
    size_t size;
    size_t max_tokens; /* of a source, special tokens included; 0: the model's limit */
    embed_long_text long_texts;
    /* As in generation_config.json. Lengths are in tokens, start and end token included. */
    unsigned num_beams; /* 1: greedy */
    size_t min_length, max_length;
    double length_penalty; /* above -6 and below 6 */
    size_t no_repeat_ngram_size; /* 0: n-grams may repeat */
    embed_early_stopping early_stopping;
    /* If not NULL, called on the calling thread as each summary ends, in any order; *summary is
     * that of text i and valid during the callback, which must not use the instance. It returns 1
     * to continue or 0 to cancel the rest: then it is not called again, and the call returns
     * EMBED_CANCELLED. */
    int (*done)(void *user, size_t i, const embed_generated *summary);
    void *user;
} embed_generate_options;

#define EMBED_GENERATE_OPTIONS_INIT                                                              \
    {                                                                                            \
        sizeof(embed_generate_options), 0, EMBED_LONG_CUT, 0, 0, 0, 0, 0,                        \
            EMBED_STOP_BY_HEURISTIC, NULL, NULL                                                  \
    }

/* Writes the model folder's settings to *options. EMBED_UNSUPPORTED if the model does not
 * generate. */
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

/* Summarizes n texts by beam search, as transformers' generate() does. options NULL means the
 * folder's settings; values beyond what the instance was created for are EMBED_INVALID_ARGUMENT.
 * Several documents are in flight at once, and one that ends makes room for the next. In F32 on the
 * CPU the tokens are those of transformers in F32. On success `out` owns memory until
 * embed_strings_free. On EMBED_NOT_FINITE `out` is filled as well, and items[] says which summaries
 * failed; any other failure leaves it untouched. An instance serves one thread at a time. */
EMBED_API embed_status embed_instance_generate(embed_instance *instance, const embed_text *texts,
                                               size_t n, const embed_generate_options *options,
                                               embed_strings *out);

EMBED_API void embed_strings_free(embed_strings *strings);

/* ---- pool ---------------------------------------------------------------------------------- */

/* A pool puts instances behind one queue. Any number of threads submit texts; a free instance takes
 * what has accumulated and computes it as one batch. Rows have the same bits as
 * embed_instance_encode's. Every accepted request completes exactly once.
 *
 * A pool of a model that generates takes documents (texts, or pieces of texts that are split) from
 * the queue one by one. Each instance has several in flight, of any requests; when one ends, the
 * next begins. All documents in flight in an instance have the same num_beams: one that differs
 * waits until they have ended, and those queued behind it wait too. For such a pool, "batch" below
 * means a single document.
 *
 * When memory runs out, the pool recreates the instance with smaller batches or fewer documents,
 * then reduces the number of instances, then uses the fallback; it grows back when memory is free
 * again. A batch that fails is retried in halves until only the offending texts fail; documents
 * that were in flight are retried together once, then each alone. A lost GPU is not called again:
 * the fallback takes over what was in flight and queued, and the metrics report
 * EMBED_POOL_DEGRADED. */
typedef struct embed_pool embed_pool;

typedef enum embed_fallback {
    EMBED_FALLBACK_LAZY = 0, /* open the model on the CPU when needed, which may fail, for instance
                                because its folder has changed by then */
    EMBED_FALLBACK_NONE = 1,
    EMBED_FALLBACK_READY = 2 /* open it with the pool */
} embed_fallback;

typedef struct embed_pool_options {
    size_t size;
    unsigned instances;     /* of each model; 0: as many as fit its device's free memory, at most
                               max_instances */
    unsigned max_instances; /* if `instances` is 0; 0: 4 on a GPU, 1 on the CPU */
    uint64_t reserve_bytes; /* of each device's memory to leave free for others; 0: 256 MiB on a
                               GPU. If `instances` is 0, the pool also gives memory back when others
                               need it. */
    uint64_t memory_limit_bytes; /* for weights and instances on each device; 0: no limit */
    uint64_t instance_bytes; /* size to assume for an instance; 0: as planned */
    size_t batch_tokens;     /* most tokens in a batch; 0: by the profile, or chosen for the
                                device */
    size_t batch_texts;      /* most texts in a batch; 0: no limit */
    unsigned max_delay_microseconds; /* how long the oldest text waits for others to join its batch
                                        while an instance is free. Even with 0 it waits for up to a
                                        sixteenth of the last batch's duration, at most 500 us, if
                                        that batch had more texts. */
    size_t queue_requests; /* most requests that wait; 0: 4096 */
    size_t queue_tokens;   /* most tokens that wait; 0: 64 batches */
    embed_fallback fallback; /* for models on a GPU */
    embed_switch warm_up;    /* compute before the first request; EMBED_AS_MODEL: on */
    unsigned warm_up_passes; /* 0: 10 */
    const char *profile; /* file name of a batch profile of this model and device; NULL: none */
    /* For a model that generates, as in embed_instance_options. documents is per instance, and
     * reduced when memory is short; batch_tokens counts the source tokens that are read at a time.
     * A document begins as soon as there is room for it: batch_texts and max_delay_microseconds
     * have no effect. */
    size_t documents;
    unsigned num_beams;
    size_t max_length;
} embed_pool_options;

#define EMBED_POOL_OPTIONS_INIT                                                                  \
    {                                                                                            \
        sizeof(embed_pool_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, EMBED_FALLBACK_LAZY,           \
            EMBED_AS_MODEL, 0, NULL, 0, 0, 0                                                     \
    }

/* Creates a pool of one model, or of the same folder opened on n devices in the same dtype. The
 * pool keeps the models alive. If only some of the requested instances can be created, it continues
 * with those, and the log says so; if none can, it uses the fallback or fails. */
EMBED_API embed_status embed_pool_create(embed_pool **pool, embed_model *const *models, size_t n,
                                         const embed_pool_options *options);

/* Like embed_instance_encode, but thread-safe: waits for room in the queue and for the result. A
 * large call is submitted in pieces, so that other callers' requests run in between. */
EMBED_API embed_status embed_pool_encode(embed_pool *pool, const embed_text *texts, size_t n,
                                         const embed_encode_options *options, float *out,
                                         size_t capacity, embed_item *items);

/* Like embed_instance_generate, but thread-safe: waits for room in the queue and for the result.
 * Threads of the pool call options->done, possibly several at the same time; one may begin just as
 * another cancels the rest. Documents then in flight are still finished but not reported, as when
 * a ticket is cancelled. */
EMBED_API embed_status embed_pool_generate(embed_pool *pool, const embed_text *texts, size_t n,
                                           const embed_generate_options *options,
                                           embed_strings *out);

typedef struct embed_request {
    size_t size;
    const embed_text *texts; /* read until embed_pool_submit returns */
    size_t n;
    const embed_encode_options *options; /* read until embed_pool_submit returns */
    float *out; /* as for embed_instance_encode; written until the request completes */
    size_t capacity;
    embed_item *items;              /* (n) or NULL; like out */
    unsigned deadline_milliseconds; /* from now; 0: none. A request that is not computed in time
                                       completes with EMBED_EXPIRED; one that could not be, given
                                       what is queued, is rejected with EMBED_BUSY. */
    int wait_for_room; /* if the queue is full, wait instead of failing with EMBED_BUSY */
    /* Called once, on a thread of the pool or the one that cancels, after *ticket is set. message
     * is that of embed_error_message, valid during the callback. The callback may submit requests,
     * but wait_for_room has no effect there; it must not wait for requests. */
    void (*done)(void *user, embed_status status, const char *message);
    void *user;
    /* For a model that generates; options, out and items are then NULL. For others both are
     * NULL. */
    const embed_generate_options *generate; /* read until embed_pool_submit returns; its `done` is
                                               called before the request's; NULL: the folder's
                                               settings */
    embed_strings *strings; /* like embed_instance_generate's `out`; written when the request
                               completes */
} embed_request;

#define EMBED_REQUEST_INIT                                                                       \
    {                                                                                            \
        sizeof(embed_request), NULL, 0, NULL, NULL, 0, NULL, 0, 0, NULL, NULL, NULL, NULL        \
    }

typedef struct embed_ticket embed_ticket;

/* Tokenizes the texts on this thread and queues them. On success the request is guaranteed to
 * complete; the caller owns *ticket until embed_ticket_free. ticket may be NULL if the request has
 * a `done`. On failure the request was not accepted, and `done` is not called: EMBED_BUSY,
 * EMBED_CLOSED, or an error in the request. */
EMBED_API embed_status embed_pool_submit(embed_pool *pool, const embed_request *request,
                                         embed_ticket **ticket);

/* Waits for the request to complete and returns its status: that of embed_instance_encode or
 * embed_instance_generate, EMBED_EXPIRED or EMBED_CANCELLED. EMBED_PENDING if it has not completed
 * after `milliseconds` (0: do not wait). Thread-safe. */
EMBED_API embed_status embed_ticket_wait(embed_ticket *ticket, unsigned milliseconds);

/* Wait without limit. */
#define EMBED_WAIT_FOREVER 0xFFFFFFFFu

/* Cancels what is still queued of the request, which completes with EMBED_CANCELLED: at once, or
 * when the batches that already contain parts of it finish. Has no effect on a completed
 * request. */
EMBED_API void embed_ticket_cancel(embed_ticket *ticket);

/* Frees the ticket; the request itself continues. A ticket may outlive its pool. NULL is
 * allowed. */
EMBED_API void embed_ticket_free(embed_ticket *ticket);

/* The pool's model on its first device, for embed_tokenize and embed_model_get_info. The pool owns
 * it. */
EMBED_API embed_model *embed_pool_model(const embed_pool *pool);

/* The sum over all instances, with weights once per device. */
EMBED_API embed_status embed_pool_get_memory(const embed_pool *pool, embed_memory *memory);

/* Stops accepting requests, keeps computing queued ones for at most `drain_milliseconds`, and
 * completes the rest with EMBED_CANCELLED. Returns when all have completed, except in a `done` of
 * its requests, where it does not wait. Thread-safe; may be called any number of times. */
EMBED_API embed_status embed_pool_close(embed_pool *pool, unsigned drain_milliseconds);

/* Closes the pool immediately, if it is open, and frees it. No thread may be in a call with it, and
 * a `done` of its requests must not call this. NULL is allowed. */
EMBED_API void embed_pool_destroy(embed_pool *pool);

/* ---- metrics ------------------------------------------------------------------------------- */

/* A histogram with power-of-two buckets: buckets[0] counts values below 1, buckets[k] those in
 * [2^(k-1), 2^k), the last one everything above. Percentiles are accurate to 7%. */
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
    EMBED_POOL_DEGRADED = 2, /* fewer instances than at first; `reason` says why */
    EMBED_POOL_CLOSED = 3
} embed_pool_state;

/* Totals since the pool was created, unless marked "now". If the model generates, a batch is a
 * document: it is computed from when it leaves the queue until its summary ends, has the tokens of
 * its source, and counts as one text, or as none while other pieces of that text are still to
 * come. */
typedef struct embed_metrics {
    size_t size;
    embed_pool_state state; /* now */
    char reason[256];
    double seconds;                            /* the pool's age */
    uint64_t requests[32];                     /* completed or rejected, by embed_status; without
                                                  those that were invalid */
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
    size_t instance_batch_tokens;              /* now: most tokens of a batch, or of all documents
                                                  in flight in an instance */
    uint64_t instance_bytes, weight_bytes;     /* now: the instances' own bytes, shared bytes */
    uint64_t device_free_bytes, device_bytes;  /* now, of the pool's GPUs together */
    uint64_t generated_tokens; /* of summaries; `tokens` counts their sources */
} embed_metrics;

#define EMBED_DISTRIBUTION_NONE {0, 0, 0, 0, 0, 0, {0}}

#define EMBED_METRICS_INIT                                                                       \
    {                                                                                            \
        sizeof(embed_metrics), EMBED_POOL_READY, {0}, 0, {0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   \
            EMBED_DISTRIBUTION_NONE, EMBED_DISTRIBUTION_NONE, EMBED_DISTRIBUTION_NONE,           \
            EMBED_DISTRIBUTION_NONE, EMBED_DISTRIBUTION_NONE, 0, 0, 0, 0, 0, 0, 0, 0             \
    }

EMBED_API embed_status embed_pool_get_metrics(const embed_pool *pool, embed_metrics *metrics);

/* Formats metrics in Prometheus' text format, with `labels` on every line (such as
 * `model="minilm"`; NULL: none). Writes at most capacity bytes, NUL included, and the full length
 * to *length: if that is not below capacity, call again with more room. */
EMBED_API embed_status embed_metrics_text(const embed_metrics *metrics, const char *labels,
                                          char *out, size_t capacity, size_t *length);

/* ---- cache --------------------------------------------------------------------------------- */

/* A cache keeps several models by folder, each behind a pool. A model is loaded when first
 * acquired, once however many threads ask for it, and evicted, least recently used first, when
 * others need its room. Models that are in use or pinned are never evicted. Thread-safe.
 *
 * Folders are identified by their canonical path. A resident model stays as it was loaded even if
 * its files change; they are read again when it is next loaded. The limits hold at all times: a
 * model that is being loaded counts with its planned size. Weights that models share count for each
 * of them; a fallback counts only if it is EMBED_FALLBACK_READY. */
typedef struct embed_cache embed_cache;

typedef struct embed_cache_options {
    size_t size;
    unsigned max_models; /* resident at the same time; 0: no limit */
    uint64_t max_bytes;  /* of their weights and instances together; 0: no limit */
    unsigned wait_milliseconds; /* how long to wait for room if everything resident is in use,
                                   before failing with EMBED_BUSY. Waiters are served first come,
                                   first served. */
    const embed_model_options *model; /* for every model; copied; NULL: defaults */
    const embed_pool_options *pool;   /* likewise */
} embed_cache_options;

#define EMBED_CACHE_OPTIONS_INIT                                                                 \
    {                                                                                            \
        sizeof(embed_cache_options), 0, 0, 0, NULL, NULL                                         \
    }

EMBED_API embed_status embed_cache_create(embed_cache **cache, const embed_cache_options *options);

/* Gets the pool of the folder's model, loading it if necessary. The model is in use until
 * embed_cache_release, to be called once for each success; requests submitted before that still
 * complete if the model is evicted. The caller must not close the pool, nor call this within a
 * `done`. EMBED_OUT_OF_MEMORY if the model's plan alone exceeds max_bytes. Threads that wait for
 * another thread's load share its failure; the next call tries again. */
EMBED_API embed_status embed_cache_acquire(embed_cache *cache, const char *folder,
                                           embed_pool **pool);
EMBED_API void embed_cache_release(embed_cache *cache, embed_pool *pool);

/* embed_cache_pin loads the folder's model if it is not resident, and protects it from eviction
 * until embed_cache_unpin has been called as often. */
EMBED_API embed_status embed_cache_pin(embed_cache *cache, const char *folder);
EMBED_API void embed_cache_unpin(embed_cache *cache, const char *folder);

typedef struct embed_cache_metrics {
    size_t size;
    uint64_t hits; /* acquired or pinned without loading */
    uint64_t loads, load_failures, evictions, refusals; /* refusals: EMBED_BUSY */
    double load_seconds;                                      /* total of all loads */
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

/* Frees the cache and all its models, none of which may be in use. NULL is allowed. */
EMBED_API void embed_cache_destroy(embed_cache *cache);

#ifdef __cplusplus
}
#endif

#endif
