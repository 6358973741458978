/* bfloat16: the upper half of a float32. */
#ifndef CHARSEQ_COARSE_H
#define CHARSEQ_COARSE_H

#include <stdint.h>

static inline float value_of(uint32_t bits) {
  union {
    uint32_t bits;
    float value;
  } both = {bits};
  return both.value;
}

/* To the nearest, ties to even; infinity stays, and so does what processors call not a number. */
static inline uint16_t coarse_of(float value) {
  union {
    float value;
    uint32_t bits;
  } both = {value};
  return (uint16_t)((both.bits + 0x7fffu + (both.bits >> 16 & 1u)) >> 16);
}

#endif
