/* weight_names.h - the names of each family's tensors in its checkpoints */
#ifndef LIB_DESCRIPTION_WEIGHT_NAMES_H
#define LIB_DESCRIPTION_WEIGHT_NAMES_H

/* The names of transformers' modules, without the ".weight" or ".bias" that follows. In a layer's
 * names, %zu is its number. */
struct weight_names {
    const char *prefix; /* precedes all names in some checkpoints, none in others */
    const char *word, *position, *embeddings_norm;
    const char *type;          /* NULL if the family has no token types */
    const char *relative_bias; /* NULL if it has none */
    const char *query, *key, *value, *attention_output, *attention_norm;
    const char *feed_forward_in, *feed_forward_out, *feed_forward_norm;
    const struct decoder_names *decoder; /* NULL if it has none */
};

/* Names of a decoder that shares its word embeddings with the encoder. */
struct decoder_names {
    const char *position, *embeddings_norm;
    const char *query, *key, *value, *attention_output, *attention_norm;
    const char *cross_query, *cross_key, *cross_value, *cross_output, *cross_norm;
    const char *feed_forward_in, *feed_forward_out, *feed_forward_norm;
    const char *logits_bias; /* the full name of a tensor */
    /* Other names of the word embeddings, which a checkpoint may have in addition to `word` or in
     * its place; ends with NULL. */
    const char *other_words[4];
};

/* Returns NULL for an unknown family. */
const struct weight_names *weight_names_of(const char *family);

#endif
