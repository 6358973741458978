/* Products of bfloat16 with a packed right factor: by AMX tiles at the level "amx", by VDPBF16PS at
   "avx512" on processors with AVX512_BF16.

   A packed matrix is k x n, padded with zeros to multiples of 32, in tiles of 32 x 16: all tiles of
   the first 16 columns, downwards, then those of the next 16. Within a tile two values of a column
   that follow each other lie side by side, as both instructions read them (VNNI layout). The left
   factor is read in panels of 32 rows. */
#define _GNU_SOURCE
#include "matrix.h"

#if CHARSEQ_X86 && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define WITH_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))
#define TILE 512 /* bfloat16 values in a tile of 32 x 16 */
#define ROUND_UP(size) (((size) + 31) / 32 * 32)

struct configuration {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

/* Whether this processor has products of bfloat16 at a level. */
EXPORT int32_t charseq_has_bf16(int32_t level) {
  unsigned a, b, c, d;
  if (level < AVX512 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return 0;
  if (level == AVX512) return 1;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if (!(d >> 24 & 1) || !(d >> 22 & 1)) return 0; /* amx-tile, amx-bf16 */
  return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
}

/* Another library's tile configuration is saved in `kept`, and restored by charseq_bf16_end. */
WITH_AMX void charseq_bf16_begin(int64_t level, void *kept) {
  struct configuration own = {.palette = 1};
  if (level != AMX) return;
  for (int i = 0; i < 8; i++) own.bytes[i] = 64, own.rows[i] = 16;
  memset(kept, 0, 64);
  /* the intrinsics' headers declare an access of a pointer's width only */
  __asm__ volatile("" : : "r"(&own), "r"(kept) : "memory");
  _tile_storeconfig(kept);
  _tile_loadconfig(&own);
  __asm__ volatile("" : : : "memory");
}

WITH_AMX void charseq_bf16_end(int64_t level, const void *kept) {
  if (level != AMX) return;
  __asm__ volatile("" : : "r"(kept) : "memory");
  if (*(const uint8_t *)kept)
    _tile_loadconfig(kept);
  else
    _tile_release();
}

/* A block of 32 x 32 floats, lines `stride` apart: 32 rows of the left factor, `down` values apart,
   times 32 columns. */
static WITH_AMX void block_by_tiles(const uint16_t *left, int64_t down, int64_t width,
                                  const uint16_t *right, float *out, int64_t stride) {
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
  _tile_stored(0, out, 4 * stride);
  _tile_stored(1, out + 16, 4 * stride);
  _tile_stored(2, out + 16 * stride, 4 * stride);
  _tile_stored(3, out + 16 * stride + 16, 4 * stride);
}

#define EIGHT _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++)

/* The same block, eight rows at a time: their sixteen sums stay in registers. */
static WITH_AVX512 void block_by_pairs(const uint16_t *left, int64_t down, int64_t width,
                                   const uint16_t *right, float *out, int64_t stride) {
  for (int64_t line = 0; line < 32; line += 8, left += 8 * down, out += 8 * stride) {
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
      _mm512_storeu_ps(out + i * stride, sum[i][0]);
      _mm512_storeu_ps(out + i * stride + 16, sum[i][1]);
    }
  }
}

static void multiply_block(int64_t level, const uint16_t *left, int64_t down, int64_t width,
                           const uint16_t *right, float *out, int64_t stride) {
  (level == AMX ? block_by_tiles : block_by_pairs)(left, down, width, right, out, stride);
}

void charseq_bf16_product(int64_t level, const uint16_t *left, int64_t width,
                          const uint16_t *right, float *out, int64_t columns) {
  for (int64_t n = 0; n < columns; n += 32)
    multiply_block(level, left, width, width, right + n * width, out + n, columns);
}

/* The first `count` of 16 values as bfloat16 (none below 1, all from 16 on), then zeros. */
static inline WITH_AVX512 __m256i load(const void *from, int64_t at, int bf16, int64_t count) {
  const __mmask16 some = count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
  if (bf16) return _mm256_maskz_loadu_epi16(some, (const uint16_t *)from + at);
  return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(some, (const float *)from + at));
}

/* 16 rows of 16 words, transposed in at. */
static inline WITH_AVX512 void transpose(__m512i *rows) {
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

/* A tile of 32 x 16 as 16 rows of pairs, from a matrix that is stored by rows. */
static inline WITH_AVX512 void load_pairs(const struct matrix *side, int64_t depth, int64_t column,
                                          int64_t k, int64_t n, __m512i *rows) {
  for (int i = 0; i < 16; i++) {
    const int64_t at = (depth + 2 * i) * side->stride + column;
    __m256i upper = load(side->values, at, side->bf16, depth + 2 * i < k ? n - column : 0);
    __m256i lower =
        load(side->values, at + side->stride, side->bf16, depth + 2 * i + 1 < k ? n - column : 0);
    rows[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(upper),
                              _mm512_slli_epi32(_mm512_cvtepu16_epi32(lower), 16));
  }
}

/* 16 lines of memory from `column` on, 32 values each from `depth` on. */
static inline WITH_AVX512 void load_lines(const struct matrix *side, int64_t depth, int64_t column,
                                          int64_t k, int64_t n, __m512i *rows) {
  for (int i = 0; i < 16; i++) {
    const int64_t at = (column + i) * side->stride + depth;
    const int64_t count = column + i < n ? k - depth : 0;
    __m256i first = load(side->values, at, side->bf16, count);
    __m256i second = load(side->values, at + 16, side->bf16, count - 16);
    rows[i] = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  }
}

static WITH_AVX512 void pack(const struct matrix *side, int64_t k, int64_t n, uint16_t *to) {
  __m512i rows[16];
  for (int64_t column = 0; column < ROUND_UP(n); column += 16)
    for (int64_t depth = 0; depth < k; depth += 32, to += TILE) {
      if (side->transposed) {
        load_lines(side, depth, column, k, n, rows);
        transpose(rows);
      } else {
        load_pairs(side, depth, column, k, n, rows);
      }
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + 32 * i, rows[i]);
    }
}

EXPORT void charseq_pack_matrix(const struct matrix *side, int64_t k, int64_t n, uint16_t *to) {
  pack(side, k, n, to);
}

/* 32 rows of the left factor from `row` on: 32 x ROUND_UP(k). */
static WITH_AVX512 void pack_panel(const struct matrix *side, int64_t row, int64_t m, int64_t k,
                                   uint16_t *to) {
  const int64_t width = ROUND_UP(k);
  __m512i rows[16];
  for (int64_t half = 0; half < 32; half += 16)
    for (int64_t depth = 0; depth < k; depth += 32) {
      if (side->transposed) {
        load_pairs(side, depth, row + half, k, m, rows);
        transpose(rows);
      } else {
        load_lines(side, depth, row + half, k, m, rows);
      }
      for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + (half + i) * width + depth, rows[i]);
    }
}

/* A block of the product plus the bias, into `out` at `row` and `column`. */
static WITH_AVX512 void store_block(const struct matmul *product, const float *block, int64_t row,
                                    int64_t column) {
  for (int64_t line = 0; line < 32 && row + line < product->m; line++)
    for (int64_t half = 0; half < 32 && column + half < product->n; half += 16) {
      const int64_t count = product->n - column - half;
      const int64_t at = (row + line) * product->stride + column + half;
      const __mmask16 some = count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
      __m512 value = _mm512_loadu_ps(block + 32 * line + half);
      if (product->bias)
        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(some, product->bias + column + half));
      if (product->bf16)
        _mm256_mask_storeu_epi16((uint16_t *)product->out + at, some,
                                 (__m256i)_mm512_cvtneps_pbh(value));
      else
        _mm512_mask_storeu_ps((float *)product->out + at, some, value);
    }
}

/* The sum of m rows of n bfloat16, in float32. */
EXPORT WITH_AVX512 void charseq_sum_rows(const uint16_t *from, int64_t stride, int64_t m, int64_t n,
                                         float *to) {
  memset(to, 0, (size_t)n * sizeof(float));
  for (int64_t row = 0; row < m; row++)
    for (int64_t column = 0; column < n; column += 16) {
      const __mmask16 some = n - column >= 16 ? 0xffff : (__mmask16)((1u << (n - column)) - 1);
      __m512i line = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, from + row * stride + column));
      __m512 sum = _mm512_maskz_loadu_ps(some, to + column);
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(line, 16)));
      _mm512_mask_storeu_ps(to + column, some, sum);
    }
}

EXPORT WITH_AVX512 int32_t charseq_multiply(const struct matmul *product) {
  const int64_t width = ROUND_UP(product->k), columns = ROUND_UP(product->n);
  uint16_t *right = aligned_alloc(64, (size_t)(width * columns) * sizeof(uint16_t));
  uint16_t *panel = aligned_alloc(64, (size_t)(32 * width) * sizeof(uint16_t));
  float *block = aligned_alloc(64, 1024 * sizeof(float));
  const int ready = right && panel && block;
  const int direct = product->left.bf16 && !product->left.transposed && product->k % 32 == 0;
  char tiles[64];
  if (ready) {
    pack(&product->right, product->k, product->n, right);
    charseq_bf16_begin(product->level, tiles);
    for (int64_t row = 0; row < product->m; row += 32) {
      const uint16_t *left = panel;
      int64_t stride = width;
      if (direct && row + 32 <= product->m)
        left = (const uint16_t *)product->left.values + row * (stride = product->left.stride);
      else
        pack_panel(&product->left, row, product->m, product->k, panel);
      for (int64_t column = 0; column < product->n; column += 32) {
        multiply_block(product->level, left, stride, width, right + column * width, block, 32);
        store_block(product, block, row, column);
      }
    }
    charseq_bf16_end(product->level, tiles);
  }
  free(right);
  free(panel);
  free(block);
  return ready;
}

#else

EXPORT int32_t charseq_has_bf16(int32_t level) { return (void)level, 0; }
EXPORT void charseq_pack_matrix(const struct matrix *side, int64_t k, int64_t n, uint16_t *to) {
  (void)side, (void)k, (void)n, (void)to;
}
EXPORT void charseq_sum_rows(const uint16_t *from, int64_t stride, int64_t m, int64_t n, float *to) {
  (void)from, (void)stride, (void)m, (void)n, (void)to;
}
EXPORT int32_t charseq_multiply(const struct matmul *product) {
  (void)product;
  return 0;
}
void charseq_bf16_begin(int64_t level, void *kept) { (void)level, (void)kept; }
void charseq_bf16_end(int64_t level, const void *kept) { (void)level, (void)kept; }
void charseq_bf16_product(int64_t level, const uint16_t *left, int64_t width,
                          const uint16_t *right, float *out, int64_t columns) {
  (void)level, (void)left, (void)width, (void)right, (void)out, (void)columns;
}

#endif
