/* A panel of X W^T on AMX tiles, with nearly the accuracy of float32.

   AMX multiplies bfloat16 (8 bits of precision) and sums in float32. Each float32 is split into a high
   and a low bfloat16, and three of the four products are added: high by high, high by low, low by high.
   The fourth is below 2^-16 of the product. A tile has sixteen rows side by side, so a row's bits depend
   on that row alone. */

#define SIDE 16
#define PAIR 32 /* steps of the depth in a tile: sixteen pairs */

/* Values in a tile, and in its high and low tile together. */
#define HALVES 512
#define BOTH 1024

/* Rows in whole tiles, sixteen after sixteen: 32 steps of the depth after 32, high and low. */
struct operand {
  uint16_t *parts;
  int64_t depth, padded;
};

INLINE void renew(struct operand *x, const float *rows, int64_t count) {
  for (int64_t row = 0; row < count; row++, rows += x->depth) {
    uint16_t *to = x->parts + row / SIDE * SIDE * x->padded * 2 + row % SIDE * PAIR;
    for (int64_t k = 0; k < x->depth; k += VECTOR) {
      vec value = load(rows + k);
      __m256i high = (__m256i)_mm512_cvtneps_pbh(value);
      vec back = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
      __m256i low = (__m256i)_mm512_cvtneps_pbh(sub(value, back));
      _mm256_storeu_si256((__m256i *)(to + k / PAIR * BOTH + k % PAIR), high);
      _mm256_storeu_si256((__m256i *)(to + k / PAIR * BOTH + k % PAIR + HALVES), low);
    }
  }
}

INLINE int prepare(struct operand *x, const float *rows, int64_t count, int64_t depth) {
  int64_t padded = (depth + PAIR - 1) / PAIR * PAIR;
  size_t bytes = (size_t)((count + SIDE - 1) / SIDE * SIDE * padded * 2) * sizeof *x->parts;
  *x = (struct operand){aligned_alloc(64, bytes), depth, padded};
  if (!x->parts) return 0;
  /* padded rows may hold anything, padded depths must be zero */
  if (depth < padded) memset(x->parts, 0, bytes);
  if (rows) renew(x, rows, count);
  return 1;
}

INLINE void release(struct operand *x) { free(x->parts); }

INLINE void begin(void) {
  struct {
    uint8_t palette, start, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } __attribute__((packed, aligned(64))) shape = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) shape.bytes[tile] = 64, shape.rows[tile] = SIDE;
  _tile_loadconfig(&shape);
}
INLINE void end(void) { _tile_release(); }

/* The three products of a high and a low tile of X, 4 and 5, with those of W, 6 and 7. */
#define ADD_TO(SUM)            \
  _tile_dpbf16ps(SUM, 4, 6);   \
  _tile_dpbf16ps(SUM, 5, 6);   \
  _tile_dpbf16ps(SUM, 4, 7);
#define FETCH_X(AT) _tile_loadd(4, AT, 64); _tile_loadd(5, AT + HALVES, 64);
#define FETCH_W(C) _tile_loadd(6, w + (C) * BOTH, 64); _tile_loadd(7, w + (C) * BOTH + HALVES, 64);
#define KEEP(SUM, ROWS, C) _tile_stored(SUM, out + (ROWS) * width + (C) * VECTOR, width * 4);

/* Blocks of 32 x 32, 32 x 16, 16 x 32 and 16 x 16. W exceeds the first cache, so as many rows as there
   are tiles for share each tile of W. */
static TARGET void block_2_2(const uint16_t *x, int64_t padded, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * padded * 2;
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  for (int64_t k = 0; k < padded; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_W(0) FETCH_X(x) ADD_TO(0) FETCH_X(below) ADD_TO(2)
    FETCH_W(1) ADD_TO(3) FETCH_X(x) ADD_TO(1)
  }
  KEEP(0, 0, 0) KEEP(1, 0, 1) KEEP(2, SIDE, 0) KEEP(3, SIDE, 1)
}
static TARGET void block_2_1(const uint16_t *x, int64_t padded, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * padded * 2;
  _tile_zero(0); _tile_zero(2);
  for (int64_t k = 0; k < padded; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_W(0) FETCH_X(x) ADD_TO(0) FETCH_X(below) ADD_TO(2)
  }
  KEEP(0, 0, 0) KEEP(2, SIDE, 0)
}
static TARGET void block_1_2(const uint16_t *x, int64_t padded, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * padded * 2;
  _tile_zero(0); _tile_zero(1);
  for (int64_t k = 0; k < padded; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_X(x) FETCH_W(0) ADD_TO(0) FETCH_W(1) ADD_TO(1)
  }
  KEEP(0, 0, 0) KEEP(1, 0, 1)
}
static TARGET void block_1_1(const uint16_t *x, int64_t padded, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * padded * 2;
  _tile_zero(0);
  for (int64_t k = 0; k < padded; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_X(x) FETCH_W(0) ADD_TO(0)
  }
  KEEP(0, 0, 0)
}

/* out has padded for whole tiles of rows. */
INLINE void panel(const struct operand *x, int64_t first, int64_t rows, const float *weight,
                  int64_t vectors, float *out, int64_t width) {
  int64_t step = vectors * BOTH;
  for (int64_t v = 0; v < vectors; v += 2) {
    const uint16_t *w = (const uint16_t *)weight + v * BOTH;
    for (int64_t row = 0; row < rows; row += 2 * SIDE) {
      const uint16_t *from = x->parts + (first + row) * x->padded * 2;
      float *to = out + row * width + v * VECTOR;
      int tall = rows - row > SIDE, two = vectors - v > 1;
      (tall ? two ? block_2_2 : block_2_1 : two ? block_1_2 : block_1_1)(from, x->padded, w, step,
                                                                         to, width);
    }
  }
}

/* Floats in a packed panel; each holds two bfloat16. */
INLINE int64_t panel_size(int64_t depth, int64_t vectors) {
  return (depth + PAIR - 1) / PAIR * PAIR * vectors * VECTOR;
}

/* Rounds to the nearest bfloat16, ties to even, as the processor does; weights are finite. */
INLINE uint16_t bf16_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
INLINE float float_of(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Panel by panel, 32 steps of the depth after 32, vector by vector: the high tile, the low tile, of
   which each row has two steps side by side for every column. */
static TARGET void pack(const float *rows, int64_t columns, int64_t depth, int64_t most,
                        float *packed) {
  uint16_t *to = (uint16_t *)packed;
  for (int64_t column = 0; column < columns; column += most * VECTOR) {
    int64_t wide = columns - column < most * VECTOR ? columns - column : most * VECTOR;
    for (int64_t k = 0; k < depth; k += PAIR)
      for (int64_t v = 0; v < wide; v += VECTOR, to += BOTH)
        for (int64_t step = 0; step < PAIR; step++)
          for (int64_t c = 0; c < VECTOR; c++) {
            float value = k + step < depth ? rows[(column + v + c) * depth + k + step] : 0.0f;
            uint16_t high = bf16_of(value);
            int64_t index = step / 2 * PAIR + c * 2 + step % 2;
            to[index] = high;
            to[HALVES + index] = bf16_of(value - float_of(high));
          }
  }
}
