/* A panel of X W^T on the tile unit (AMX), with the accuracy of almost float32.

   A tile multiplies numbers of 8 bits' precision (bfloat16) and adds them up in float32. Every number
   is cut into two of those, high and low, and three of their four products are added: high by high,
   high by low, low by high. What is left out is 2^-16 of each product. A row's bits depend on that
   row alone here as well: tiles are of sixteen rows, computed side by side. */

#define SIDE 16
#define PAIR 32 /* steps of the depth in a tile: sixteen pairs */

/* Numbers in a tile, and in the tiles, high and low, of the same place. */
#define HALVES 512
#define BOTH 1024

/* Rows in whole tiles, sixteen after sixteen: 32 steps of the depth after 32, high and low. */
struct operand {
  uint16_t *parts;
  int64_t depth, room;
};

INLINE void renew(struct operand *x, const float *rows, int64_t count) {
  for (int64_t row = 0; row < count; row++, rows += x->depth) {
    uint16_t *to = x->parts + row / SIDE * SIDE * x->room * 2 + row % SIDE * PAIR;
    for (int64_t k = 0; k < x->depth; k += WIDE) {
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
  int64_t room = (depth + PAIR - 1) / PAIR * PAIR;
  size_t bytes = (size_t)((count + SIDE - 1) / SIDE * SIDE * room * 2) * sizeof *x->parts;
  *x = (struct operand){aligned_alloc(64, bytes), depth, room};
  if (!x->parts) return 0;
  /* of rows that are not there anything may be computed, but not of depths */
  if (depth < room) memset(x->parts, 0, bytes);
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
#define KEEP(SUM, ROWS, C) _tile_stored(SUM, out + (ROWS) * width + (C) * WIDE, width * 4);

/* 32 rows and 32 columns, 32 and 16, 16 and 32, 16 and 16. What W has is more than the cache
   nearest to the processor holds, so as many rows as there are tiles for share what is fetched. */
static TARGET void block_2_2(const uint16_t *x, int64_t room, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * room * 2;
  _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  for (int64_t k = 0; k < room; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_W(0) FETCH_X(x) ADD_TO(0) FETCH_X(below) ADD_TO(2)
    FETCH_W(1) ADD_TO(3) FETCH_X(x) ADD_TO(1)
  }
  KEEP(0, 0, 0) KEEP(1, 0, 1) KEEP(2, SIDE, 0) KEEP(3, SIDE, 1)
}
static TARGET void block_2_1(const uint16_t *x, int64_t room, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * room * 2;
  _tile_zero(0); _tile_zero(2);
  for (int64_t k = 0; k < room; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_W(0) FETCH_X(x) ADD_TO(0) FETCH_X(below) ADD_TO(2)
  }
  KEEP(0, 0, 0) KEEP(2, SIDE, 0)
}
static TARGET void block_1_2(const uint16_t *x, int64_t room, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * room * 2;
  _tile_zero(0); _tile_zero(1);
  for (int64_t k = 0; k < room; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_X(x) FETCH_W(0) ADD_TO(0) FETCH_W(1) ADD_TO(1)
  }
  KEEP(0, 0, 0) KEEP(1, 0, 1)
}
static TARGET void block_1_1(const uint16_t *x, int64_t room, const uint16_t *w, int64_t step,
                             float *out, int64_t width) {
  const uint16_t *below = x + SIDE * room * 2;
  _tile_zero(0);
  for (int64_t k = 0; k < room; k += PAIR, x += BOTH, below += BOTH, w += step) {
    FETCH_X(x) FETCH_W(0) ADD_TO(0)
  }
  KEEP(0, 0, 0)
}

/* out has room for whole tiles of rows. */
INLINE void panel(const struct operand *x, int64_t first, int64_t rows, const float *weight,
                  int64_t vectors, float *out, int64_t width) {
  int64_t step = vectors * BOTH;
  for (int64_t v = 0; v < vectors; v += 2) {
    const uint16_t *w = (const uint16_t *)weight + v * BOTH;
    for (int64_t row = 0; row < rows; row += 2 * SIDE) {
      const uint16_t *from = x->parts + (first + row) * x->room * 2;
      float *to = out + row * width + v * WIDE;
      int tall = rows - row > SIDE, two = vectors - v > 1;
      (tall ? two ? block_2_2 : block_2_1 : two ? block_1_2 : block_1_1)(from, x->room, w, step,
                                                                         to, width);
    }
  }
}

/* In floats, each of which has room for two halves. */
INLINE int64_t panel_size(int64_t depth, int64_t vectors) {
  return (depth + PAIR - 1) / PAIR * PAIR * vectors * WIDE;
}

/* The nearest bfloat16, of two the even one, as the processor rounds; weights are finite. */
INLINE uint16_t half_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
INLINE float whole_of(uint16_t half) {
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
  for (int64_t column = 0; column < columns; column += most * WIDE) {
    int64_t wide = columns - column < most * WIDE ? columns - column : most * WIDE;
    for (int64_t k = 0; k < depth; k += PAIR)
      for (int64_t v = 0; v < wide; v += WIDE, to += BOTH)
        for (int64_t step = 0; step < PAIR; step++)
          for (int64_t c = 0; c < WIDE; c++) {
            float value = k + step < depth ? rows[(column + v + c) * depth + k + step] : 0.0f;
            uint16_t high = half_of(value);
            int64_t place = step / 2 * PAIR + c * 2 + step % 2;
            to[place] = high;
            to[HALVES + place] = half_of(value - whole_of(high));
          }
  }
}
