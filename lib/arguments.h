/* arguments.h - what callers hand in, checked and completed */
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

/* Copies the caller's options over the defaults: what an older program does not know stays as it
 * is, and a newer program may set only what we know. NULL: all defaults. */
embed_status take_options(void *options, size_t size, const void *caller, const char *what);

/* The other way: as much as the caller's struct has room for, its size left as it was. `what` is the
 * argument's name. */
embed_status give_struct(void *caller, const void *filled, size_t size, const char *function,
                         const char *what);
/* Whether it can be given, before the work for it. */
embed_status check_struct(const void *caller, const char *function, const char *what);

#define CHECK_STRUCT(argument)   TRY(check_struct(argument, __func__, #argument))
#define GIVE_STRUCT(argument, filled)                                                            \
    give_struct(argument, &(filled), sizeof(filled), __func__, #argument)

embed_status take_model_options(embed_model_options *all, const embed_model_options *options);

embed_status check_texts(const embed_text *texts, size_t n);
embed_status check_switch(embed_switch value, const char *name);
/* 0 becomes the model's own. */
embed_status check_max_tokens(size_t *max_tokens, const embed_model *model);

/* For an instance and a pool: options completed, texts and the room for their rows checked. */
embed_status take_encode(embed_encode_options *all, const embed_encode_options *options,
                         const embed_model *model, const embed_text *texts, size_t n,
                         const float *out, size_t capacity);

/* What the model's folder sets; EMBED_UNSUPPORTED where it does not generate. */
embed_status take_generation(embed_generate_options *all, const embed_model *model);
/* As take_encode, within the beams and the length that the instances are for. */
embed_status take_generate(embed_generate_options *all, const embed_generate_options *options,
                           const embed_model *model, size_t most_beams, size_t most_length,
                           const embed_text *texts, size_t n);

#endif
