/* Products of bfloat16 on the matrix unit of newer Intel processors (AMX), weights packed.

   A packed matrix is K x N, both filled up with zeros to multiples of 32, in tiles of 32 x 16: all
   tiles of the first 16 columns, downwards, then the next 16. Inside a tile two values that lie
   below each other stand side by side, as the instruction wants them. */
#define _GNU_SOURCE
#include "unroll.h"

#if CHARSEQ_X86 && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))
#define TILE 512 /* values */

struct configuration {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

EXPORT int32_t charseq_tiles(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if (!(d >> 24 & 1) || !(d >> 22 & 1)) return 0; /* amx-tile, amx-bf16 */
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return 0; /* avx512_bf16 */
  return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
}

/* Another library may rely on the configuration that it has left: it comes back at the end. */
TARGET void charseq_tiles_begin(void *kept) {
  struct configuration own = {.palette = 1};
  for (int i = 0; i < 8; i++) own.bytes[i] = 64, own.rows[i] = 16;
  memset(kept, 0, 64);
  /* the compiler's header says that these read and write a pointer's width only */
  __asm__ volatile("" : : "r"(&own), "r"(kept) : "memory");
  _tile_storeconfig(kept);
  _tile_loadconfig(&own);
  __asm__ volatile("" : : : "memory");
}

TARGET void charseq_tiles_end(const void *kept) {
  __asm__ volatile("" : : "r"(kept) : "memory");
  if (*(const uint8_t *)kept)
    _tile_loadconfig(kept);
  else
    _tile_release();
}

TARGET void charseq_tiles_product(const uint16_t *left, int64_t width, const uint16_t *right,
                                  float *out, int64_t columns) {
  const int64_t depth = width / 32, pitch = 2 * width;
  for (int64_t n = 0; n < columns; n += 32) {
    const uint16_t *one = right + n / 16 * depth * TILE, *other = one + depth * TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < depth; k++) {
      _tile_loadd(4, left + 32 * k, pitch);
      _tile_loadd(6, one + TILE * k, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, other + TILE * k, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, left + 16 * width + 32 * k, pitch);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out + n, 4 * columns);
    _tile_stored(1, out + n + 16, 4 * columns);
    _tile_stored(2, out + 16 * columns + n, 4 * columns);
    _tile_stored(3, out + 16 * columns + n + 16, 4 * columns);
  }
}

/* One tile of a matrix whose rows lie side by side in memory, `down` floats apart. */
static TARGET void pack_rows(const float *from, int64_t down, int64_t deep, int64_t wide,
                             uint32_t *to) {
  const __mmask16 there = (__mmask16)((1u << (wide < 16 ? wide : 16)) - 1);
  for (int64_t k = 0; k < 32; k += 2) {
    __m512 upper = _mm512_maskz_loadu_ps(k < deep ? there : 0, from + k * down);
    __m512 lower = _mm512_maskz_loadu_ps(k + 1 < deep ? there : 0, from + (k + 1) * down);
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(upper));
    __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(lower));
    _mm512_storeu_si512(to + 8 * k, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
}

/* One tile of a matrix whose columns lie side by side in memory, `across` floats apart. */
static TARGET void pack_columns(const float *from, int64_t across, int64_t deep, int64_t wide,
                                uint32_t *to) {
  uint32_t turned[16][16];
  const uint32_t there = deep < 32 ? (1u << deep) - 1 : 0xffffffffu;
  const __m512i places = _mm512_mullo_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(16));
  for (int64_t n = 0; n < 16; n++) {
    const uint32_t some = n < wide ? there : 0;
    __m512 first = _mm512_maskz_loadu_ps((__mmask16)some, from + n * across);
    __m512 second = _mm512_maskz_loadu_ps((__mmask16)(some >> 16), from + n * across + 16);
    _mm512_storeu_si512(turned[n], (__m512i)_mm512_cvtne2ps_pbh(second, first));
  }
  for (int64_t k = 0; k < 16; k++)
    _mm512_storeu_si512(to + 16 * k, _mm512_i32gather_epi32(places, &turned[0][k], 4));
}

/* A matrix K x N in float32, packed. Value (k, n) lies at k * down + n * across; one of both is 1. */
EXPORT TARGET void charseq_pack(const float *from, int64_t down, int64_t across, int64_t depth,
                                int64_t columns, uint16_t *to) {
  for (int64_t n = 0; n < (columns + 31) / 32 * 32; n += 16)
    for (int64_t k = 0; k < depth; k += 32, to += TILE) {
      const float *corner = from + k * down + n * across;
      if (n >= columns)
        memset(to, 0, 2 * TILE);
      else if (across == 1)
        pack_rows(corner, down, depth - k, columns - n, (uint32_t *)to);
      else
        pack_columns(corner, across, depth - k, columns - n, (uint32_t *)to);
    }
}

#else

EXPORT int32_t charseq_tiles(void) { return 0; }
EXPORT void charseq_pack(const float *from, int64_t down, int64_t across, int64_t depth,
                         int64_t columns, uint16_t *to) {
  (void)from, (void)down, (void)across, (void)depth, (void)columns, (void)to;
}
void charseq_tiles_begin(void *kept) { (void)kept; }
void charseq_tiles_end(const void *kept) { (void)kept; }
void charseq_tiles_product(const uint16_t *left, int64_t width, const uint16_t *right, float *out,
                           int64_t columns) {
  (void)left, (void)width, (void)right, (void)out, (void)columns;
}

#endif
