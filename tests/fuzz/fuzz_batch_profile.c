/* fuzz_batch_profile.c - a batch profile, for the same model as tests/batch-profile.json */
#include "service/batch_profile.h"

#include "base/status.h"
#include "fuzz.h"

static void check(const struct batch_profile *p)
{
    const size_t most = (size_t)1 << 24;
    fuzz_claim(p->chunk_tokens >= 1 && p->chunk_tokens <= most);
    fuzz_claim(p->batch_tokens >= 1 && p->batch_tokens <= p->largest_safe_batch_tokens);
    fuzz_claim(p->largest_safe_batch_tokens <= most && p->batch_texts <= most);
    fuzz_claim(p->instances >= 1 && p->instances <= 1024);
    fuzz_claim(p->delay_microseconds <= 60000000);
    fuzz_claim(p->peak_bytes >= 1 && p->peak_bytes <= (uint64_t)1 << 50);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    struct batch_profile profile;
    embed_model_info info = EMBED_MODEL_INFO_INIT;
    strcpy(info.family, "bert");
    strcpy(info.device_name, "NVIDIA H200");
    strcpy(info.instruction_set, "sm_90");
    info.dtype = EMBED_DTYPE_F16;
    info.width = 384, info.layers = 6, info.parameters = 22565376;
    info.vocabulary = 30522, info.max_tokens = 256;

    const char *path = fuzz_write("profile.json", input, length);
    embed_status status = batch_profile_read(&profile, path, &info);
    if (status == EMBED_OK) {
        check(&profile);
    } else {
        fuzz_claim(status == EMBED_BAD_FILE || status == EMBED_UNSUPPORTED);
        fuzz_claim_message(error_message(), path);
    }
}
