/* embed_layernorm.c - y = layernorm(word[ids] + position[positions] + type)
 *
 *   ids, positions (N)   word (V, C)   position (., C)   type (C) or NULL   y (N, C)
 *   floor: 4 * N * C bytes of word rows from memory, scattered; the rest is in cache
 */
#include "layernorm_row.h"
#include "kernels/cpu/kernels_cpu.h"

void KERNEL(embed_layernorm)(float *y, const int32_t *ids, const int32_t *positions,
                             const float *word, const float *position, const float *type,
                             const float *weight, const float *bias, size_t N, size_t C, float eps)
{
    size_t whole = C - C % LANES, rest = C % LANES;
    for (size_t n = 0; n < N; n++, y += C) {
        const float *w = word + (size_t)ids[n] * C;
        const float *p = position + (size_t)positions[n] * C;
        vec sum = vec_set(0);
        for (size_t i = 0; i < whole; i += LANES) {
            vec h = vec_load(w + i);
            if (type != NULL) h = vec_add(h, vec_load(type + i));
            h = vec_add(h, vec_load(p + i));
            sum = vec_add(sum, h);
            vec_store(y + i, h);
        }
        if (rest > 0) {
            vec h = vec_load_first(w + whole, rest);
            if (type != NULL) h = vec_add(h, vec_load_first(type + whole, rest));
            h = vec_add(h, vec_load_first(p + whole, rest));
            sum = vec_add(sum, h);
            vec_store_first(y + whole, h, rest);
        }
        layernorm_row(y, sum, weight, bias, C, eps);
    }
}
