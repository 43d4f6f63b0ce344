/* weights_list.h - lists the tensors that make up each weight; only for the weights_*.c */
#ifndef LIB_MODEL_WEIGHTS_LIST_H
#define LIB_MODEL_WEIGHTS_LIST_H

#include "description/weight_names.h"
#include "model/weights.h"

#define MAX_PARTS 3
#define NAME_SIZE 128

enum slot_need {
    SLOT_REQUIRED,
    SLOT_LAYERNORM,   /* also accepts the old names, gamma and beta */
    SLOT_WORDS,       /* if there is a decoder, also accepts the other names of the words */
    SLOT_WORDS_AGAIN, /* the tensor that SLOT_WORDS found, stored in another layout */
    SLOT_WORDS_COPY,  /* no weight: a tensor that must equal the words, if present */
    SLOT_OR_ZEROS,    /* zeros if the checkpoint does not have the tensor */
    SLOT_DENSE        /* in a Dense module's files */
};

struct slot {
    void **weight; /* NULL for SLOT_WORDS_COPY */
    enum weight_kind kind;
    enum slot_need need;
    size_t parts;         /* number of tensors, concatenated along the rows */
    size_t rows, columns; /* read from each part */
    size_t dense;         /* SLOT_DENSE: index of the module */
    size_t tensor_rows;   /* a part's shape is (tensor_rows, columns), for one row also (columns);
                           * for WEIGHT_SCORES (tensor_rows, rows) */
    float scale;          /* the tensor's numbers are multiplied by this */
    char names[MAX_PARTS][NAME_SIZE];
    struct checkpoint_tensor tensors[MAX_PARTS]; /* all NULL: not in the checkpoint */
    size_t offset; /* in weights->block */
};

struct slot_list {
    struct slot *slots; /* the first has the word table */
    size_t count;
};

/* Lists the slots of all weights that weights->encoder.config and files->dense call for, and
 * allocates the layers. The caller releases list->slots and the layers, also after a failure. */
embed_status weights_list(struct slot_list *list, struct weights *weights,
                          const struct backend *backend, const struct weight_files *files);

/* Writes a tensor's name from a pattern of weight_names.h:
 * "encoder.layer.3.output.dense.weight". */
void weight_name(char out[NAME_SIZE], const char *pattern, size_t layer, const char *suffix);

/* Returns whether the word table has the layout of the decoder head's matrix in memory. If so, the
 * head uses the table and has no matrix of its own. */
bool weights_share_words(const struct transformer_config *config, const struct backend *backend);

/* Finds the tensors and checks their shapes. Adds their number of elements to *parameters, each
 * tensor once. */
embed_status weights_find(struct slot_list *list, uint64_t *parameters,
                          const struct weight_files *files, const struct weight_names *names);

/* Logs a warning if the files have more layers than config.json says: like transformers, which runs
 * the first ones and warns of the rest. */
void weights_warn_of_layers(const struct transformer_config *config,
                            const struct weight_files *files);

#endif
