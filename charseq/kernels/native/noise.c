/* Dropout in one pass: values whose random byte lies below the limit become 0, others are scaled.

   It waits for memory, so one version for all processors is enough. */
#include "coarse.h"
#include "native.h"

EXPORT void charseq_thin(const float *restrict from, const uint8_t *restrict bytes, int64_t count,
                         int32_t limit, float scale, float *restrict to) {
  for (int64_t i = 0; i < count; i++) to[i] = from[i] * (bytes[i] < limit ? 0.0f : scale);
}

EXPORT void charseq_thin_coarse(const uint16_t *restrict from, const uint8_t *restrict bytes,
                                int64_t count, int32_t limit, float scale, uint16_t *restrict to) {
  for (int64_t i = 0; i < count; i++)
    to[i] = coarse_of(value_of((uint32_t)from[i] << 16) * (bytes[i] < limit ? 0.0f : scale));
}
