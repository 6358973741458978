/* Dropout (Srivastava et al. 2014) in one pass: values whose random byte is below the limit become 0,
   the others are scaled. Bound by memory, so one version serves all levels. */
#include "bf16.h"
#include "native.h"

EXPORT void charseq_dropout(const float *restrict from, const uint8_t *restrict bytes, int64_t count,
                         int32_t limit, float scale, float *restrict to) {
  for (int64_t i = 0; i < count; i++) to[i] = from[i] * (bytes[i] < limit ? 0.0f : scale);
}

EXPORT void charseq_dropout_bf16(const uint16_t *restrict from, const uint8_t *restrict bytes,
                                int64_t count, int32_t limit, float scale, uint16_t *restrict to) {
  for (int64_t i = 0; i < count; i++)
    to[i] = bf16_of(float_of((uint32_t)from[i] << 16) * (bytes[i] < limit ? 0.0f : scale));
}
