/* arguments.h - checks and completes callers' arguments */
#ifndef LIB_ARGUMENTS_H
#define LIB_ARGUMENTS_H

#include "base/status.h"
#include "model/model.h"

#define REQUIRE(pointer)                                                                         \
    do {                                                                                         \
        if ((pointer) == NULL) return fail(EMBED_INVALID_ARGUMENT, "%s: " #pointer " is NULL",   \
                                           __func__);                                            \
    } while (0)

/* Offsets into a chunk are 32 bits. */
#define MAX_BATCH_TOKENS ((size_t)1 << 24)

/* Copies the caller's options over the defaults in `options`: fields that an older program does not
 * know keep their defaults, and a newer program may set only fields known here. If `caller` is
 * NULL, all defaults remain. `what` names the struct in messages. */
embed_status take_options(void *options, size_t size, const void *caller, const char *what);

/* Copies `filled` to the caller's struct, as much as that has room for, and leaves its `size`
 * unchanged. `what` is the argument's name. */
embed_status give_struct(void *caller, const void *filled, size_t size, const char *function,
                         const char *what);
/* Checks, before any work, that give_struct will be able to. */
embed_status check_struct(const void *caller, const char *function, const char *what);

/* The same for strings and tokens, which need room for what they are to own. */
embed_status check_strings(const embed_strings *strings, const char *function, const char *what);
embed_status check_tokens(const embed_tokens *tokens, const char *function, const char *what);

#define CHECK_STRINGS(argument)  TRY(check_strings(argument, __func__, #argument))
#define GIVE_STRUCT(argument, filled)                                                            \
    give_struct(argument, &(filled), sizeof(filled), __func__, #argument)

embed_status take_model_options(embed_model_options *all, const embed_model_options *options);

embed_status check_texts(const embed_text *texts, size_t n);
embed_status check_switch(embed_switch value, const char *name);
/* Checks *max_tokens; 0 becomes the model's own limit. */
embed_status check_max_tokens(size_t *max_tokens, const embed_model *model);

/* Completes the options and checks the texts and the room for their rows; for instances and
 * pools. */
embed_status take_encode(embed_encode_options *all, const embed_encode_options *options,
                         const embed_model *model, const embed_text *texts, size_t n,
                         const float *out, size_t capacity);

/* Gets what the model folder sets. Fails with EMBED_UNSUPPORTED if the model does not generate. */
embed_status take_generation(embed_generate_options *all, const embed_model *model);
/* As take_encode, for summaries; the instances allow `most_beams` beams and `most_length`
 * tokens. */
embed_status take_generate(embed_generate_options *all, const embed_generate_options *options,
                           const embed_model *model, size_t most_beams, size_t most_length,
                           const embed_text *texts, size_t n);

#endif
