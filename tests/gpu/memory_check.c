/* memory_check.c - compares the GPU memory that a model and its instances take with the plan
 *
 *   usage: memory_check FOLDER f16|f32
 *
 * Prints CSV, one row for each check (memory_checks.h). Exit status 1 if one fails. Nothing else
 * may use the GPU meanwhile.
 */
#include "memory_checks.h"

int main(int argc, char **argv)
{
    bool f32 = argc == 3 && strcmp(argv[2], "f32") == 0;
    if (argc != 3 || (!f32 && strcmp(argv[2], "f16") != 0)) {
        fputs("usage: memory_check FOLDER f16|f32\n", stderr);
        return 2;
    }
    struct memory_check c = {.folder = argv[1],
                             .options = EMBED_MODEL_OPTIONS_INIT,
                             .instance_options = EMBED_INSTANCE_OPTIONS_INIT,
                             .requests = 2000,
                             .kinds = 50,
                             .most_texts = 64};
    c.options.device = EMBED_DEVICE_CUDA;
    c.options.dtype = f32 ? EMBED_DTYPE_F32 : EMBED_DTYPE_F16;
    setvbuf(stdout, NULL, _IOLBF, 0);
    return memory_check_run(&c) ? 0 : 1;
}
