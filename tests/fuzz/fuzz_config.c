/* fuzz_config.c - config.json and generation_config.json
 *
 * An input contains both files; see fuzz_write_files.
 */
#include "description/generation_config.h"

#include "base/status.h"
#include "fuzz.h"

static const char *const names[] = {"config.json", "generation_config.json", NULL};

/* Claims that every size that enters a product is within its bounds, and that the head sizes divide
 * the width. */
static void check_config(const struct transformer_config *c)
{
    fuzz_claim(c->family != NULL);
    fuzz_claim(c->C >= 1 && c->C <= 16384 && c->L >= 1 && c->L <= 512);
    fuzz_claim(c->NH >= 1 && c->NH <= 256 && c->NH * c->HS == c->C);
    fuzz_claim(c->F >= 1 && c->F <= 65536 && c->V >= 1 && c->V <= (size_t)1 << 21);
    fuzz_claim(c->positions <= ((size_t)1 << 20) + 2 && c->positions > c->first_position);
    fuzz_claim(c->token_types <= 1024 && c->distance_buckets <= 1024);
    fuzz_claim(c->epsilon > 0 && c->epsilon < 1);
    fuzz_claim(c->decoder.L <= 512);
    fuzz_claim(c->decoder.NH * c->decoder.HS == (c->decoder.L > 0 ? c->C : 0));
    fuzz_claim(transformer_config_max_tokens(c) >= 1);
}

static bool is_token(int32_t id, size_t V)
{
    return id == NO_TOKEN || (id >= 0 && (size_t)id < V);
}

static void check_rules(const struct generation_rules *r, const struct transformer_config *c)
{
    fuzz_claim(r->start_token != NO_TOKEN && is_token(r->start_token, c->V));
    fuzz_claim(is_token(r->end_token, c->V));
    fuzz_claim(is_token(r->forced_first_token, c->V) && is_token(r->forced_end_token, c->V));
    fuzz_claim(r->num_beams >= 1 && r->num_beams <= MOST_BEAMS);
    fuzz_claim(r->min_length >= 0 && r->min_length <= r->max_length);
    fuzz_claim((size_t)r->max_length <= transformer_config_max_tokens(c));
    fuzz_claim(r->no_repeat_ngram_size >= 0);
    fuzz_claim(r->length_penalty > -MOST_LENGTH_PENALTY && r->length_penalty < MOST_LENGTH_PENALTY);
}

static void fuzz_input(const uint8_t *input, size_t length)
{
    struct transformer_config config;
    struct generation_rules rules;
    fuzz_write_files(input, length, names);
    embed_status status = transformer_config_read(&config, fuzz_folder());
    if (status == EMBED_OK) {
        check_config(&config);
        if (config.decoder.L > 0) {
            status = generation_config_read(&rules, &config, fuzz_folder());
            if (status == EMBED_OK) check_rules(&rules, &config);
        }
    }
    if (status != EMBED_OK) fuzz_claim_message(error_message(), fuzz_folder());
}
