/* bfloat16: the upper half of a float32. */
#ifndef CHARSEQ_BF16_H
#define CHARSEQ_BF16_H

#include <stdint.h>

static inline float float_of(uint32_t bits) {
  union {
    uint32_t bits;
    float value;
  } both = {bits};
  return both.value;
}

/* Rounds to nearest, ties to even. Infinity stays infinite, the processor's default NaN stays NaN. */
static inline uint16_t bf16_of(float value) {
  union {
    float value;
    uint32_t bits;
  } both = {value};
  return (uint16_t)((both.bits + 0x7fffu + (both.bits >> 16 & 1u)) >> 16);
}

#endif
