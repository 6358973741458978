/* One step of AdamW (Loshchilov & Hutter 2019) and of the weights' running average, in one pass over
   memory; see kernels/adamw.py. */
#include <math.h>

#include "native.h"

struct adam {
  float scale;       /* of the gradient: clips its norm */
  float shrink;      /* 1 - learning rate * weight decay */
  float first;       /* 1 - beta1 */
  float second;      /* beta2 */
  float rate, root;  /* learning rate / (1 - beta1^t); 1 / sqrt(1 - beta2^t) */
  float epsilon;
  float follow;      /* the weights' share in their new average */
};

static inline __attribute__((always_inline)) void update(
    const struct adam *adam, int64_t count, float *restrict weights,
    const float *restrict gradient, float *restrict mean, float *restrict square,
    float *restrict average, int averaged) {
  const struct adam by = *adam;
  for (int64_t i = 0; i < count; i++) {
    const float slope = gradient[i] * by.scale;
    const float moved = mean[i] + (slope - mean[i]) * by.first;
    const float spread = square[i] * by.second + slope * slope * (1.0f - by.second);
    const float weight =
        weights[i] * by.shrink - by.rate * (moved / (sqrtf(spread) * by.root + by.epsilon));
    mean[i] = moved;
    square[i] = spread;
    weights[i] = weight;
    if (averaged) average[i] += (weight - average[i]) * by.follow;
  }
}

static inline void all(const struct adam *adam, int64_t count, float *weights,
                       const float *gradient, float *mean, float *square, float *average) {
  if (average)
    update(adam, count, weights, gradient, mean, square, average, 1);
  else
    update(adam, count, weights, gradient, mean, square, average, 0);
}

#if CHARSEQ_X86
static __attribute__((target("avx2"), flatten)) void all_avx2(
    const struct adam *adam, int64_t count, float *weights, const float *gradient, float *mean,
    float *square, float *average) {
  all(adam, count, weights, gradient, mean, square, average);
}

static __attribute__((target("avx512f,prefer-vector-width=512"), flatten)) void all_avx512(
    const struct adam *adam, int64_t count, float *weights, const float *gradient, float *mean,
    float *square, float *average) {
  all(adam, count, weights, gradient, mean, square, average);
}
#endif

/* All arrays have `count` values and do not overlap; there may be no average. */
EXPORT void charseq_adam(const struct adam *adam, int64_t level, int64_t count, float *weights,
                         const float *gradient, float *mean, float *square, float *average) {
#if CHARSEQ_X86
  if (level >= AVX512)
    all_avx512(adam, count, weights, gradient, mean, square, average);
  else if (level >= AVX2)
    all_avx2(adam, count, weights, gradient, mean, square, average);
  else
#endif
    all(adam, count, weights, gradient, mean, square, average);
  (void)level;
}
