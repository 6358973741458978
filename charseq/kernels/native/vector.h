/* A vector of sixteen float32 at each level; functions that use it are declared with TARGET.

   Every level does the same operations in the same order, so bits agree wherever multiply-add is
   fused: on all levels but plain on x86. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(LEVEL_AVX512) || defined(LEVEL_AMX)

#include <immintrin.h>
#ifdef LEVEL_AMX
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#else
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#endif
#define INLINE static inline TARGET __attribute__((always_inline))
typedef __m512 vec;
INLINE vec load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, vec a) { _mm512_storeu_ps(p, a); }
INLINE vec broadcast(float x) { return _mm512_set1_ps(x); }
INLINE vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec divide(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec minimum(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec maximum(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec fused(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec round_nearest(vec a) { return _mm512_roundscale_ps(a, 8); }
/* 2^a for whole a from -127 to 127; 2^-127 is 0 here */
INLINE vec exp2_of(vec a) {
  __m512i whole = _mm512_cvtps_epi32(a);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(whole, _mm512_set1_epi32(127)), 23));
}

#elif defined(LEVEL_AVX2)

#include <immintrin.h>
#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline TARGET __attribute__((always_inline))
typedef struct {
  __m256 a, b;
} vec;
#define BOTH(f) ((vec){f(x.a, y.a), f(x.b, y.b)})
INLINE vec load(const float *p) { return (vec){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store(float *p, vec x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
INLINE vec broadcast(float x) { return (vec){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vec add(vec x, vec y) { return BOTH(_mm256_add_ps); }
INLINE vec sub(vec x, vec y) { return BOTH(_mm256_sub_ps); }
INLINE vec mul(vec x, vec y) { return BOTH(_mm256_mul_ps); }
INLINE vec divide(vec x, vec y) { return BOTH(_mm256_div_ps); }
INLINE vec minimum(vec x, vec y) { return BOTH(_mm256_min_ps); }
INLINE vec maximum(vec x, vec y) { return BOTH(_mm256_max_ps); }
INLINE vec fused(vec x, vec y, vec z) {
  return (vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE vec round_nearest(vec x) { return (vec){_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
INLINE __m256 exp2_half(__m256 a) {
  __m256i whole = _mm256_cvtps_epi32(a);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23));
}
INLINE vec exp2_of(vec x) { return (vec){exp2_half(x.a), exp2_half(x.b)}; }
#undef BOTH

#else

#define TARGET
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif
typedef struct {
  float v[VECTOR];
} vec;
#define EACH(what)                                 \
  do {                                             \
    vec r;                                         \
    for (int i = 0; i < VECTOR; i++) r.v[i] = what;  \
    return r;                                      \
  } while (0)
INLINE vec load(const float *p) { EACH(p[i]); }
INLINE void store(float *p, vec x) { memcpy(p, x.v, sizeof x.v); }
INLINE vec broadcast(float x) { EACH(x); }
INLINE vec add(vec x, vec y) { EACH(x.v[i] + y.v[i]); }
INLINE vec sub(vec x, vec y) { EACH(x.v[i] - y.v[i]); }
INLINE vec mul(vec x, vec y) { EACH(x.v[i] * y.v[i]); }
INLINE vec divide(vec x, vec y) { EACH(x.v[i] / y.v[i]); }
INLINE vec minimum(vec x, vec y) { EACH(x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
INLINE vec maximum(vec x, vec y) { EACH(x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
#ifdef FP_FAST_FMAF
INLINE vec fused(vec x, vec y, vec z) { EACH(fmaf(x.v[i], y.v[i], z.v[i])); }
#else
INLINE vec fused(vec x, vec y, vec z) { EACH(x.v[i] * y.v[i] + z.v[i]); }
#endif
/* adding and subtracting 1.5 * 2^23 rounds numbers below 2^22 */
INLINE vec round_nearest(vec x) { EACH((x.v[i] + 12582912.0f) - 12582912.0f); }
INLINE vec exp2_of(vec x) {
  vec r;
  for (int i = 0; i < VECTOR; i++) {
    uint32_t bits = (uint32_t)((int32_t)x.v[i] + 127) << 23;
    memcpy(&r.v[i], &bits, sizeof bits);
  }
  return r;
}
#undef EACH

#endif

/* tanh as x P(x^2) / Q(x^2), a minimax fit of the relative error up to 9; beyond, tanh is 1 in float32.
   The absolute error is below 4e-7. */
INLINE vec tanh_of(vec x) {
  x = minimum(maximum(x, broadcast(-9.0f)), broadcast(9.0f));
  vec t = mul(x, x);
  vec p = broadcast(1.3354889e-08f), q = broadcast(7.776656e-07f);
  p = fused(p, t, broadcast(2.060926e-05f)), q = fused(q, t, broadcast(0.0003285653f));
  p = fused(p, t, broadcast(0.0034955996f)), q = fused(q, t, broadcast(0.025877027f));
  p = fused(p, t, broadcast(0.13381036f)), q = fused(q, t, broadcast(0.4671435f));
  p = fused(p, t, broadcast(1.0f)), q = fused(q, t, broadcast(1.0f));
  return minimum(maximum(divide(mul(x, p), q), broadcast(-1.0f)), broadcast(1.0f));
}

/* The logistic function of 2 x. */
INLINE vec sigmoid_of(vec x) { return fused(tanh_of(x), broadcast(0.5f), broadcast(0.5f)); }

/* e^x for x up to 88; below -87 it is 0. x = n log 2 + r, and e^r is a polynomial of r. */
INLINE vec exp_of(vec x) {
  x = minimum(maximum(x, broadcast(-88.0f)), broadcast(88.0f));
  vec n = round_nearest(mul(x, broadcast(1.44269504f)));
  vec r = fused(n, broadcast(-0.693359375f), x);
  r = fused(n, broadcast(2.12194440e-4f), r);
  vec p = broadcast(0.0013814465f);
  p = fused(p, r, broadcast(0.008368781f));
  p = fused(p, r, broadcast(0.041668393f));
  p = fused(p, r, broadcast(0.1666652f));
  p = fused(p, r, broadcast(0.49999994f));
  p = fused(mul(r, r), p, r);
  vec scale = exp2_of(n);
  return fused(p, scale, scale);
}

/* Sum and maximum of the sixteen, in one order for all levels. */
INLINE float sum_of(vec x) {
  float v[VECTOR];
  store(v, x);
  for (int gap = VECTOR / 2; gap; gap /= 2)
    for (int i = 0; i < gap; i++) v[i] += v[i + gap];
  return v[0];
}

INLINE float largest_of(vec x) {
  float v[VECTOR];
  store(v, x);
  for (int gap = VECTOR / 2; gap; gap /= 2)
    for (int i = 0; i < gap; i++) v[i] = v[i] > v[i + gap] ? v[i] : v[i + gap];
  return v[0];
}
