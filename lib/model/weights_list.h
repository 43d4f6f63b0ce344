/* weights_list.h - which tensors make up each weight; for the weights_*.c only */
#ifndef LIB_MODEL_WEIGHTS_LIST_H
#define LIB_MODEL_WEIGHTS_LIST_H

#include "description/weight_names.h"
#include "model/weights.h"

#define MAX_PARTS 3
#define NAME_SIZE 128

enum slot_need {
    SLOT_REQUIRED,
    SLOT_LAYERNORM,   /* old names, gamma and beta, are accepted */
    SLOT_WORDS,       /* other names are accepted, where a decoder has the words too */
    SLOT_WORDS_AGAIN, /* the tensor that SLOT_WORDS has found, in another layout */
    SLOT_WORDS_COPY,  /* no weight: a tensor that must equal the words, if it is there */
    SLOT_OR_ZEROS,    /* zeros where the checkpoint does not have the tensor */
    SLOT_DENSE        /* in the files of a Dense module */
};

struct slot {
    void **weight; /* NULL for SLOT_WORDS_COPY */
    enum weight_kind kind;
    enum slot_need need;
    size_t parts;         /* tensors that follow each other along the rows */
    size_t rows, columns; /* read from each part */
    size_t dense;         /* of SLOT_DENSE: which of them */
    size_t tensor_rows;   /* each part's shape is (tensor_rows, columns); one row: or (columns) */
    float scale;          /* what the tensor's numbers are multiplied by */
    char names[MAX_PARTS][NAME_SIZE];
    struct checkpoint_tensor tensors[MAX_PARTS]; /* NULLs: not there */
    size_t offset; /* in the block */
};

struct slot_list {
    struct slot *slots; /* the first has the words */
    size_t count;
};

/* The slots of all weights of weights->encoder.config and files->dense; layers are allocated. The
 * caller releases
 * list->slots and the weights, also after a failure. */
embed_status weights_list(struct slot_list *list, struct weights *weights,
                          const struct backend *backend, const struct weight_files *files);

/* A tensor's name by a pattern of weight_names.h: "encoder.layer.3.output.dense.weight". */
void weight_name(char out[NAME_SIZE], const char *pattern, size_t layer, const char *suffix);

/* Is the table of words in memory as the head of a decoder wants its matrix? Then it has none of
 * its own. */
bool weights_share_words(const struct transformer_config *config, const struct backend *backend);

/* Finds the tensors and checks their shapes. *parameters: their numbers, each tensor once. */
embed_status weights_find(struct slot_list *list, uint64_t *parameters,
                          const struct weight_files *files, const struct weight_names *names);

/* A warning where the files have more layers than config.json wants: transformers, too, runs the
 * first of them and warns of the rest. */
void weights_warn_of_layers(const struct transformer_config *config,
                            const struct weight_files *files);

#endif
