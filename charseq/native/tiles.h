/* A panel of X W^T on the tile unit (AMX), with the accuracy of almost float32.

   A tile multiplies numbers of 8 bits' precision (bfloat16) and adds them up in float32. Every number
   is cut into two of those, high and low, and three of their four products are added: high by high,
   high by low, low by high. What is left out is 2^-16 of each product. A row's bits depend on that
   row alone here as well: tiles are of sixteen rows, computed side by side. */

#define SIDE 16
#define PAIR 32 /* steps of the depth in a tile: sixteen pairs */

struct operand {
  uint16_t *high, *low; /* rows in whole tiles, depth in whole pairs */
  int64_t depth, room;
};

INLINE void renew(struct operand *x, const float *rows, int64_t count) {
  for (int64_t row = 0; row < count; row++, rows += x->depth)
    for (int64_t k = 0; k < x->depth; k += WIDE) {
      vec value = load(rows + k);
      __m256i high = (__m256i)_mm512_cvtneps_pbh(value);
      vec back = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
      __m256i low = (__m256i)_mm512_cvtneps_pbh(sub(value, back));
      _mm256_storeu_si256((__m256i *)(x->high + row * x->room + k), high);
      _mm256_storeu_si256((__m256i *)(x->low + row * x->room + k), low);
    }
}

INLINE int prepare(struct operand *x, const float *rows, int64_t count, int64_t depth) {
  int64_t room = (depth + PAIR - 1) / PAIR * PAIR;
  int64_t size = (count + SIDE - 1) / SIDE * SIDE * room;
  uint16_t *high = aligned_alloc(64, 2 * size * sizeof *high);
  *x = (struct operand){high, high + size, depth, room};
  if (!high) return 0;
  memset(high, 0, 2 * size * sizeof *high);
  if (rows) renew(x, rows, count);
  return 1;
}

INLINE void release(struct operand *x) { free(x->high); }

INLINE void begin(void) {
  struct {
    uint8_t palette, start, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } __attribute__((packed)) shape = {.palette = 1};
  for (int tile = 0; tile < 8; tile++) shape.bytes[tile] = 64, shape.rows[tile] = SIDE;
  _tile_loadconfig(&shape);
}
INLINE void end(void) { _tile_release(); }

/* Tiles 0 to 3 add up, 4 and 5 are X, high and low, 6 and 7 are W in turn. A sum takes a product every
   fourth time only, since the one before takes that long; so high tiles of W are fetched twice. */
#define ONCE(C, X, W, PLACE)                \
  _tile_loadd(W, w + C * 1024 + PLACE, 64); \
  _tile_dpbf16ps(C, X, W);
#define BLOCK(NAME, EACH, C)                                                                \
  static TARGET void NAME(const uint16_t *high, const uint16_t *low, int64_t room,          \
                          const uint16_t *w, float *out, int64_t width) {                   \
    EACH(ZERO, , ) for (int64_t k = 0; k < room; k += PAIR, w += C * 1024) {                \
      _tile_loadd(4, high + k, room * 2);                                                   \
      _tile_loadd(5, low + k, room * 2);                                                    \
      EACH(ONCE, 4, 0) EACH(ONCE, 5, 0) EACH(ONCE, 4, 512)                                  \
    }                                                                                       \
    EACH(KEEP, , )                                                                          \
  }
#define ZERO(C, X, W, PLACE) _tile_zero(C);
#define KEEP(C, X, W, PLACE) _tile_stored(C, out + C * WIDE, width * 4);
#define EACH_1(DO, X, PLACE) DO(0, X, 6, PLACE)
#define EACH_2(DO, X, PLACE) EACH_1(DO, X, PLACE) DO(1, X, 7, PLACE)
#define EACH_3(DO, X, PLACE) EACH_2(DO, X, PLACE) DO(2, X, 6, PLACE)
#define EACH_4(DO, X, PLACE) EACH_3(DO, X, PLACE) DO(3, X, 7, PLACE)
BLOCK(block_1, EACH_1, 1)
BLOCK(block_2, EACH_2, 2)
BLOCK(block_3, EACH_3, 3)
BLOCK(block_4, EACH_4, 4)

/* out has room for whole tiles of rows. */
INLINE void panel(const struct operand *x, int64_t first, int64_t rows, const float *weight,
                  int64_t vectors, float *out, int64_t width) {
  const uint16_t *w = (const uint16_t *)weight;
  for (int64_t row = 0; row < rows; row += SIDE) {
    const uint16_t *high = x->high + (first + row) * x->room;
    const uint16_t *low = x->low + (first + row) * x->room;
    float *to = out + row * width;
    switch (vectors) {
      case 1: block_1(high, low, x->room, w, to, width); break;
      case 2: block_2(high, low, x->room, w, to, width); break;
      case 3: block_3(high, low, x->room, w, to, width); break;
      default: block_4(high, low, x->room, w, to, width);
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
      for (int64_t v = 0; v < wide; v += WIDE, to += 1024)
        for (int64_t step = 0; step < PAIR; step++)
          for (int64_t c = 0; c < WIDE; c++) {
            float value = k + step < depth ? rows[(column + v + c) * depth + k + step] : 0.0f;
            uint16_t high = half_of(value);
            int64_t place = step / 2 * PAIR + c * 2 + step % 2;
            to[place] = high;
            to[512 + place] = half_of(value - whole_of(high));
          }
  }
}
