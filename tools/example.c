#include <embed.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    embed_model *model = NULL;
    embed_instance *instance = NULL;
    embed_text texts[] = {EMBED_TEXT("A cat sits on the mat."),
                          EMBED_TEXT("There is a kitten on the rug.")};
    float rows[2][384], cosine = 0; // all-MiniLM-L6-v2 is 384 wide

    if (embed_model_open(&model, argc > 1 ? argv[1] : "weights/all-MiniLM-L6-v2", NULL) ||
        embed_instance_create(&instance, model, NULL) ||
        embed_instance_encode(instance, texts, 2, NULL, rows[0], 2 * 384, NULL)) {
        fprintf(stderr, "%s\n", embed_error_message());
        return 1;
    }
    for (int i = 0; i < 384; i++) cosine += rows[0][i] * rows[1][i];
    printf("%.4f\n", cosine);
    embed_instance_destroy(instance);
    embed_model_close(model);
    return 0;
}
