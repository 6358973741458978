/* Sixteen numbers at once, as each level does it; TARGET is for every function that uses them.

   The same operations in the same order on every level, so that their bits are the same wherever
   fma() is fused: on all levels but plain on x86, which has no such instruction. */
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
INLINE vec all(float x) { return _mm512_set1_ps(x); }
INLINE vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
INLINE vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
INLINE vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
INLINE vec quotient(vec a, vec b) { return _mm512_div_ps(a, b); }
INLINE vec least(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec most(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec fused(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec nearest(vec a) { return _mm512_roundscale_ps(a, 8); }
/* 2^a for whole a from -127 to 127; 2^-127 is 0 here */
INLINE vec power(vec a) {
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
INLINE vec all(float x) { return (vec){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE vec add(vec x, vec y) { return BOTH(_mm256_add_ps); }
INLINE vec sub(vec x, vec y) { return BOTH(_mm256_sub_ps); }
INLINE vec mul(vec x, vec y) { return BOTH(_mm256_mul_ps); }
INLINE vec quotient(vec x, vec y) { return BOTH(_mm256_div_ps); }
INLINE vec least(vec x, vec y) { return BOTH(_mm256_min_ps); }
INLINE vec most(vec x, vec y) { return BOTH(_mm256_max_ps); }
INLINE vec fused(vec x, vec y, vec z) {
  return (vec){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE vec nearest(vec x) { return (vec){_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
INLINE __m256 power_of(__m256 a) {
  __m256i whole = _mm256_cvtps_epi32(a);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23));
}
INLINE vec power(vec x) { return (vec){power_of(x.a), power_of(x.b)}; }
#undef BOTH

#else

#define TARGET
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif
typedef struct {
  float v[WIDE];
} vec;
#define EACH(what)                                 \
  do {                                             \
    vec r;                                         \
    for (int i = 0; i < WIDE; i++) r.v[i] = what;  \
    return r;                                      \
  } while (0)
INLINE vec load(const float *p) { EACH(p[i]); }
INLINE void store(float *p, vec x) { memcpy(p, x.v, sizeof x.v); }
INLINE vec all(float x) { EACH(x); }
INLINE vec add(vec x, vec y) { EACH(x.v[i] + y.v[i]); }
INLINE vec sub(vec x, vec y) { EACH(x.v[i] - y.v[i]); }
INLINE vec mul(vec x, vec y) { EACH(x.v[i] * y.v[i]); }
INLINE vec quotient(vec x, vec y) { EACH(x.v[i] / y.v[i]); }
INLINE vec least(vec x, vec y) { EACH(x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
INLINE vec most(vec x, vec y) { EACH(x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
#ifdef FP_FAST_FMAF
INLINE vec fused(vec x, vec y, vec z) { EACH(fmaf(x.v[i], y.v[i], z.v[i])); }
#else
INLINE vec fused(vec x, vec y, vec z) { EACH(x.v[i] * y.v[i] + z.v[i]); }
#endif
/* adding and taking away 1.5 2^23 rounds what is smaller than 2^22 */
INLINE vec nearest(vec x) { EACH((x.v[i] + 12582912.0f) - 12582912.0f); }
INLINE vec power(vec x) {
  vec r;
  for (int i = 0; i < WIDE; i++) {
    uint32_t bits = (uint32_t)((int32_t)x.v[i] + 127) << 23;
    memcpy(&r.v[i], &bits, sizeof bits);
  }
  return r;
}
#undef EACH

#endif

/* tanh as x P(x^2) / Q(x^2), fitted for the least relative error up to 9, beyond which it is 1 to
   the last bit. The absolute error is below 4e-7; NumPy's is smaller, but no result shows it. */
INLINE vec tanh_of(vec x) {
  x = least(most(x, all(-9.0f)), all(9.0f));
  vec t = mul(x, x);
  vec p = all(1.3354889e-08f), q = all(7.776656e-07f);
  p = fused(p, t, all(2.060926e-05f)), q = fused(q, t, all(0.0003285653f));
  p = fused(p, t, all(0.0034955996f)), q = fused(q, t, all(0.025877027f));
  p = fused(p, t, all(0.13381036f)), q = fused(q, t, all(0.4671435f));
  p = fused(p, t, all(1.0f)), q = fused(q, t, all(1.0f));
  return least(most(quotient(mul(x, p), q), all(-1.0f)), all(1.0f));
}

/* The logistic function of 2 x. */
INLINE vec sigmoid_of(vec x) { return fused(tanh_of(x), all(0.5f), all(0.5f)); }

/* e^x for x up to 88; below -87 it is 0. x = n log 2 + r, and e^r is a polynomial of r. */
INLINE vec exp_of(vec x) {
  x = least(most(x, all(-88.0f)), all(88.0f));
  vec n = nearest(mul(x, all(1.44269504f)));
  vec r = fused(n, all(-0.693359375f), x);
  r = fused(n, all(2.12194440e-4f), r);
  vec p = all(0.0013814465f);
  p = fused(p, r, all(0.008368781f));
  p = fused(p, r, all(0.041668393f));
  p = fused(p, r, all(0.1666652f));
  p = fused(p, r, all(0.49999994f));
  p = fused(mul(r, r), p, r);
  vec scale = power(n);
  return fused(p, scale, scale);
}

/* The sum and the largest of the sixteen, in one order for all levels. */
INLINE float sum_of(vec x) {
  float v[WIDE];
  store(v, x);
  for (int gap = WIDE / 2; gap; gap /= 2)
    for (int i = 0; i < gap; i++) v[i] += v[i + gap];
  return v[0];
}

INLINE float largest_of(vec x) {
  float v[WIDE];
  store(v, x);
  for (int gap = WIDE / 2; gap; gap /= 2)
    for (int i = 0; i < gap; i++) v[i] = v[i] > v[i + gap] ? v[i] : v[i + gap];
  return v[0];
}
