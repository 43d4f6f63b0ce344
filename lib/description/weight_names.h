/* weight_names.h - what the tensors of each family are called in its checkpoints */
#ifndef LIB_DESCRIPTION_WEIGHT_NAMES_H
#define LIB_DESCRIPTION_WEIGHT_NAMES_H

/* Names are those of transformers' modules; ".weight" and ".bias" follow. In a layer's names %zu
 * is its number. */
struct weight_names {
    const char *prefix; /* before all names in some checkpoints, and not in others */
    const char *word, *position, *embeddings_norm;
    const char *type;          /* NULL where the family has no token types */
    const char *relative_bias; /* NULL where it has none */
    const char *query, *key, *value, *attention_output, *attention_norm;
    const char *feed_forward_in, *feed_forward_out, *feed_forward_norm;
    const struct decoder_names *decoder; /* NULL where it has none */
};

/* Of a decoder that shares its words with the encoder. */
struct decoder_names {
    const char *position, *embeddings_norm;
    const char *query, *key, *value, *attention_output, *attention_norm;
    const char *cross_query, *cross_key, *cross_value, *cross_output, *cross_norm;
    const char *feed_forward_in, *feed_forward_out, *feed_forward_norm;
    const char *logits_bias; /* a tensor's whole name */
    /* What else holds the words, where a checkpoint has not left them out or has them instead; NULL
     * ends the list. */
    const char *other_words[4];
};

/* NULL for an unknown family. */
const struct weight_names *weight_names_of(const char *family);

#endif
