/* Products of bfloat16, the right side packed: at the level "amx" on the matrix unit of newer Intel
   processors, at "avx512" by the instruction for pairs that some processors without one have.

   A packed matrix is K x N, both filled up with zeros to multiples of 32, in tiles of 32 x 16: all
   tiles of the first 16 columns, downwards, then the next 16. Inside a tile two values that lie
   below each other stand side by side, as both instructions want them. The left side is read in
   panels of 32 rows. */
#define _GNU_SOURCE
#include "matrix.h"

#if CHARSEQ_X86 && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VECTORS __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define TILES __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))
#define TILE 512 /* values of one */
#define UP(size) (((size) + 31) / 32 * 32)

struct configuration {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

/* Whether this processor multiplies bfloat16 at a level. */
EXPORT int32_t charseq_coarse(int32_t level) {
  unsigned a, b, c, d;
  if (level < AVX512 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return 0;
  if (level == AVX512) return 1;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if (!(d >> 24 & 1) || !(d >> 22 & 1)) return 0; /* amx-tile, amx-bf16 */
  return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
}

/* Another library may rely on the configuration that it has left: it comes back at the end. */
TILES void charseq_coarse_begin(int64_t level, void *kept) {
  struct configuration own = {.palette = 1};
  if (level != AMX) return;
  for (int i = 0; i < 8; i++) own.bytes[i] = 64, own.rows[i] = 16;
  memset(kept, 0, 64);
  /* the compiler's header says that these read and write a pointer's width only */
  __asm__ volatile("" : : "r"(&own), "r"(kept) : "memory");
  _tile_storeconfig(kept);
  _tile_loadconfig(&own);
  __asm__ volatile("" : : : "memory");
}

TILES void charseq_coarse_end(int64_t level, const void *kept) {
  if (level != AMX) return;
  __asm__ volatile("" : : "r"(kept) : "memory");
  if (*(const uint8_t *)kept)
    _tile_loadconfig(kept);
  else
    _tile_release();
}

/* 32 x 32 floats, in lines `pitch` apart: 32 lines of the left side, `down` apart, times 32 columns. */
static TILES void block_by_tiles(const uint16_t *left, int64_t down, int64_t width,
                                  const uint16_t *right, float *out, int64_t pitch) {
  const int64_t depth = width / 32;
  const uint16_t *other = right + depth * TILE;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < depth; k++) {
    _tile_loadd(4, left + 32 * k, 2 * down);
    _tile_loadd(6, right + TILE * k, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, other + TILE * k, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, left + 16 * down + 32 * k, 2 * down);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, 4 * pitch);
  _tile_stored(1, out + 16, 4 * pitch);
  _tile_stored(2, out + 16 * pitch, 4 * pitch);
  _tile_stored(3, out + 16 * pitch + 16, 4 * pitch);
}

#define EIGHT _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++)

/* The same, eight lines at a time: their sixteen sums stay in registers. */
static VECTORS void block_by_pairs(const uint16_t *left, int64_t down, int64_t width,
                                   const uint16_t *right, float *out, int64_t pitch) {
  for (int64_t line = 0; line < 32; line += 8, left += 8 * down, out += 8 * pitch) {
    __m512 sum[8][2];
    EIGHT sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < width; k += 2) {
      __m512i one = _mm512_loadu_si512(right + 16 * k);
      __m512i two = _mm512_loadu_si512(right + 16 * (width + k));
      EIGHT {
        int32_t pair;
        memcpy(&pair, left + i * down + k, sizeof pair);
        __m512i both = _mm512_set1_epi32(pair);
        sum[i][0] = _mm512_dpbf16_ps(sum[i][0], (__m512bh)both, (__m512bh)one);
        sum[i][1] = _mm512_dpbf16_ps(sum[i][1], (__m512bh)both, (__m512bh)two);
      }
    }
    EIGHT {
      _mm512_storeu_ps(out + i * pitch, sum[i][0]);
      _mm512_storeu_ps(out + i * pitch + 16, sum[i][1]);
    }
  }
}

static void multiply_block(int64_t level, const uint16_t *left, int64_t down, int64_t width,
                           const uint16_t *right, float *out, int64_t pitch) {
  (level == AMX ? block_by_tiles : block_by_pairs)(left, down, width, right, out, pitch);
}

void charseq_coarse_product(int64_t level, const uint16_t *left, int64_t width,
                            const uint16_t *right, float *out, int64_t columns) {
  for (int64_t n = 0; n < columns; n += 32)
    multiply_block(level, left, width, width, right + n * width, out + n, columns);
}

/* The first `count` of 16 values, 0 or fewer to 16 or more, as bfloat16; the others are zero. */
static inline VECTORS __m256i load(const void *from, int64_t place, int coarse, int64_t count) {
  const __mmask16 some = count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
  if (coarse) return _mm256_maskz_loadu_epi16(some, (const uint16_t *)from + place);
  return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, (const float *)from + place));
}

/* 16 rows of 16 words, turned. */
static inline VECTORS void turn(__m512i *rows) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + 2 + j]);
      b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + 2 + j]);
    }
  for (int j = 0; j < 4; j++) {
    __m512i one = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88);
    __m512i two = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
    __m512i three = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
    __m512i four = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
    rows[j] = _mm512_shuffle_i32x4(one, three, 0x88);
    rows[4 + j] = _mm512_shuffle_i32x4(two, four, 0x88);
    rows[8 + j] = _mm512_shuffle_i32x4(one, three, 0xdd);
    rows[12 + j] = _mm512_shuffle_i32x4(two, four, 0xdd);
  }
}

/* A tile of 32 x 16 as 16 rows of pairs, from rows side by side in memory. */
static inline VECTORS void load_pairs(const struct side *side, int64_t k, int64_t n, int64_t deep,
                                     int64_t wide, __m512i *rows) {
  for (int i = 0; i < 16; i++) {
    const int64_t place = (k + 2 * i) * side->pitch + n;
    __m256i upper = load(side->values, place, side->coarse, k + 2 * i < deep ? wide - n : 0);
    __m256i lower =
        load(side->values, place + side->pitch, side->coarse, k + 2 * i + 1 < deep ? wide - n : 0);
    rows[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(upper),
                              _mm512_slli_epi32(_mm512_cvtepu16_epi32(lower), 16));
  }
}

/* 16 rows of 32 values: those of the memory's lines from n on. */
static inline VECTORS void load_lines(const struct side *side, int64_t k, int64_t n, int64_t deep,
                                     int64_t wide, __m512i *rows) {
  for (int i = 0; i < 16; i++) {
    const int64_t place = (n + i) * side->pitch + k, count = n + i < wide ? deep - k : 0;
    __m256i first = load(side->values, place, side->coarse, count);
    __m256i second = load(side->values, place + 16, side->coarse, count - 16);
    rows[i] = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  }
}

static VECTORS void pack(const struct side *side, int64_t deep, int64_t wide, uint16_t *to) {
  __m512i rows[16];
  for (int64_t n = 0; n < UP(wide); n += 16)
    for (int64_t k = 0; k < deep; k += 32, to += TILE) {
      if (side->turned) {
        load_lines(side, k, n, deep, wide, rows);
        turn(rows);
      } else {
        load_pairs(side, k, n, deep, wide, rows);
      }
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + 32 * i, rows[i]);
    }
}

EXPORT void charseq_pack_matrix(const struct side *side, int64_t deep, int64_t wide, uint16_t *to) {
  pack(side, deep, wide, to);
}

/* 32 rows of the left side, from row m on: 32 x UP(deep). */
static VECTORS void lay_panel(const struct side *side, int64_t m, int64_t high, int64_t deep,
                             uint16_t *to) {
  const int64_t width = UP(deep);
  __m512i rows[16];
  for (int64_t half = 0; half < 32; half += 16)
    for (int64_t k = 0; k < deep; k += 32) {
      if (side->turned) {
        load_pairs(side, k, m + half, deep, high, rows);
        turn(rows);
      } else {
        load_lines(side, k, m + half, deep, high, rows);
      }
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + (half + i) * width + k, rows[i]);
    }
}

/* A block of results, with the bias, to where it belongs. */
static VECTORS void put_block(const struct multiplication *product, const float *block, int64_t m,
                             int64_t n) {
  for (int64_t row = 0; row < 32 && m + row < product->high; row++)
    for (int64_t half = 0; half < 32 && n + half < product->wide; half += 16) {
      const int64_t count = product->wide - n - half, place = (m + row) * product->pitch + n + half;
      const __mmask16 some = count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
      __m512 value = _mm512_loadu_ps(block + 32 * row + half);
      if (product->bias)
        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(some, product->bias + n + half));
      if (product->coarse)
        _mm256_mask_storeu_epi16((uint16_t *)product->out + place, some,
                                 (__m256i)_mm512_cvtneps_pbh(value));
      else
        _mm512_mask_storeu_ps((float *)product->out + place, some, value);
    }
}

/* The sum of each column of `high` lines of bfloat16. */
EXPORT VECTORS void charseq_sum(const uint16_t *from, int64_t pitch, int64_t high, int64_t wide,
                               float *to) {
  memset(to, 0, (size_t)wide * sizeof(float));
  for (int64_t m = 0; m < high; m++)
    for (int64_t n = 0; n < wide; n += 16) {
      const __mmask16 some = wide - n >= 16 ? 0xffff : (__mmask16)((1u << (wide - n)) - 1);
      __m512i line = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, from + m * pitch + n));
      __m512 sum = _mm512_maskz_loadu_ps(some, to + n);
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(line, 16)));
      _mm512_mask_storeu_ps(to + n, some, sum);
    }
}

EXPORT VECTORS int32_t charseq_multiply(const struct multiplication *product) {
  const int64_t width = UP(product->deep), columns = UP(product->wide);
  uint16_t *right = aligned_alloc(64, (size_t)(width * columns) * sizeof(uint16_t));
  uint16_t *panel = aligned_alloc(64, (size_t)(32 * width) * sizeof(uint16_t));
  float *block = aligned_alloc(64, 1024 * sizeof(float));
  const int ready = right && panel && block;
  const int direct = product->left.coarse && !product->left.turned && product->deep % 32 == 0;
  char tiles[64];
  if (ready) {
    pack(&product->right, product->deep, product->wide, right);
    charseq_coarse_begin(product->level, tiles);
    for (int64_t m = 0; m < product->high; m += 32) {
      const uint16_t *left = panel;
      int64_t pitch = width;
      if (direct && m + 32 <= product->high)
        left = (const uint16_t *)product->left.values + m * (pitch = product->left.pitch);
      else
        lay_panel(&product->left, m, product->high, product->deep, panel);
      for (int64_t n = 0; n < product->wide; n += 32) {
        multiply_block(product->level, left, pitch, width, right + n * width, block, 32);
        put_block(product, block, m, n);
      }
    }
    charseq_coarse_end(product->level, tiles);
  }
  free(right);
  free(panel);
  free(block);
  return ready;
}

#else

EXPORT int32_t charseq_coarse(int32_t level) { return (void)level, 0; }
EXPORT void charseq_pack_matrix(const struct side *side, int64_t deep, int64_t wide, uint16_t *to) {
  (void)side, (void)deep, (void)wide, (void)to;
}
EXPORT void charseq_sum(const uint16_t *from, int64_t pitch, int64_t high, int64_t wide, float *to) {
  (void)from, (void)pitch, (void)high, (void)wide, (void)to;
}
EXPORT int32_t charseq_multiply(const struct multiplication *product) {
  (void)product;
  return 0;
}
void charseq_coarse_begin(int64_t level, void *kept) { (void)level, (void)kept; }
void charseq_coarse_end(int64_t level, const void *kept) { (void)level, (void)kept; }
void charseq_coarse_product(int64_t level, const uint16_t *left, int64_t width,
                            const uint16_t *right, float *out, int64_t columns) {
  (void)level, (void)left, (void)width, (void)right, (void)out, (void)columns;
}

#endif
