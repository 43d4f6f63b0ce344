/* summarize.c - summarizes texts and prints each summary as it ends
 *
 *   usage: summarize FOLDER TEXT...
 *
 * The model must be generative, such as bart-large-cnn. Several texts are in progress at a time,
 * and short ones may end before earlier ones: the callback gets the text's number, and the
 * summaries that the call returns are in the order of the texts.
 */
#include <embed.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int on_summary(void *user, size_t i, const embed_generated *summary)
{
    size_t *ended = user;
    ++*ended;
    if (summary->status != EMBED_OK) return 1;
    printf("text %zu: %s\n", i + 1, summary->text);
    printf("  %zu of %s tokens read, %zu written, score %.4f\n", summary->source_tokens,
           summary->truncated ? "more" : "all", summary->tokens, summary->score);
    return 1; /* 0 would cancel the others */
}

static embed_status summarize(embed_model *model, const embed_text *texts, size_t n)
{
    size_t ended = 0;
    embed_instance *instance = NULL;
    embed_strings summaries = EMBED_STRINGS_INIT;
    embed_generate_options options = EMBED_GENERATE_OPTIONS_INIT;
    embed_status status = embed_model_get_generation(model, &options); /* the folder's settings */
    options.long_texts = EMBED_LONG_SPLIT; /* longer texts are summarized in pieces */
    options.done = on_summary;
    options.user = &ended;
    if (status == EMBED_OK) status = embed_instance_create(&instance, model, NULL);
    if (status == EMBED_OK)
        status = embed_instance_generate(instance, texts, n, &options, &summaries);
    if (status == EMBED_OK) printf("%zu of %zu texts summarized\n", ended, summaries.count);
    embed_strings_free(&summaries);
    embed_instance_destroy(instance);
    return status;
}

int main(int argc, char **argv)
{
    embed_model *model = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: summarize FOLDER TEXT...\n");
        return 2;
    }
    size_t n = (size_t)argc - 2;
    embed_text *texts = calloc(n, sizeof *texts);
    if (texts == NULL) return 1;
    for (size_t i = 0; i < n; i++)
        texts[i] = (embed_text){argv[i + 2], NULL, strlen(argv[i + 2])};
    embed_status status = embed_model_open(&model, argv[1], NULL);
    if (status == EMBED_OK) status = summarize(model, texts, n);
    if (status != EMBED_OK) fprintf(stderr, "summarize: %s\n", embed_error_message());
    embed_model_close(model);
    free(texts);
    return status == EMBED_OK ? 0 : 1;
}
