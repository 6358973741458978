/* A panel of X W^T in register tiles: some rows of X times up to four vectors of columns.

   Weights are packed by panels: for each step of the depth, the panel's columns side by side. Each
   entry is one chain of fused multiply-adds over the depth, whatever register tile holds it, so a row's
   bits depend on that row alone. */

/* Rows in a register tile, by its vectors of columns: as many as fill the registers. */
#if defined(LEVEL_AVX512)
#define TILES(R) R(1) R(2) R(3) R(4) R(5) R(6) R(7) R(8) R(9) R(10) R(11) R(12)
#define AT_ONCE MAX_PANEL
static const int64_t tile_rows[] = {0, 12, 12, 8, 6};
#elif defined(LEVEL_AVX2)
#define TILES(R) R(1) R(2) R(3) R(4) R(5) R(6)
#define AT_ONCE 1
static const int64_t tile_rows[] = {0, 6};
#else
#define TILES(R) R(1) R(2) R(3) R(4)
#define AT_ONCE 1
static const int64_t tile_rows[] = {0, 4};
#endif

/* X as a product reads it. */
struct operand {
  const float *rows;
  int64_t stride, depth;
};

INLINE int prepare(struct operand *x, const float *rows, int64_t count, int64_t depth) {
  (void)count;
  *x = (struct operand){rows, depth, depth};
  return 1;
}
INLINE void renew(struct operand *x, const float *rows, int64_t count) {
  (void)count;
  x->rows = rows;
}
INLINE void release(struct operand *x) { (void)x; }
INLINE void begin(void) {}
INLINE void end(void) {}

#define TILE(R, B)                                                                        \
  static TARGET void tile_##R##_##B(const float *restrict x, int64_t stride, int64_t depth, \
                                    const float *restrict w, int64_t step, float *restrict out, \
                                    int64_t width) {                                      \
    vec sum[R][B];                                                                        \
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)                                  \
        _Pragma("GCC unroll 4") for (int b = 0; b < B; b++) sum[r][b] = broadcast(0.0f);        \
    for (int64_t k = 0; k < depth; k++, w += step) {                                      \
      vec column[B];                                                                      \
      _Pragma("GCC unroll 4") for (int b = 0; b < B; b++) column[b] = load(w + b * VECTOR); \
      _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                              \
        vec one = broadcast(x[r * stride + k]);                                                 \
        _Pragma("GCC unroll 4") for (int b = 0; b < B; b++)                               \
            sum[r][b] = fused(one, column[b], sum[r][b]);                                 \
      }                                                                                   \
    }                                                                                     \
    _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)                                  \
        _Pragma("GCC unroll 4") for (int b = 0; b < B; b++)                               \
            store(out + r * width + b * VECTOR, sum[r][b]);                                 \
  }

#define TILE_1(R) TILE(R, 1)
TILES(TILE_1)
#if AT_ONCE > 1
#define TILE_2(R) TILE(R, 2)
TILES(TILE_2)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3) TILE(5, 3) TILE(6, 3) TILE(7, 3) TILE(8, 3)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4)
#endif

typedef void (*tile_function)(const float *restrict, int64_t, int64_t, const float *restrict,
                              int64_t, float *restrict, int64_t);
#define NAME_1(R) tile_##R##_1,
#define NAME_2(R) tile_##R##_2,
static const tile_function tiles[][13] = {
    {0},
    {0, TILES(NAME_1)},
#if AT_ONCE > 1
    {0, TILES(NAME_2)},
    {0, tile_1_3, tile_2_3, tile_3_3, tile_4_3, tile_5_3, tile_6_3, tile_7_3, tile_8_3},
    {0, tile_1_4, tile_2_4, tile_3_4, tile_4_4, tile_5_4, tile_6_4},
#endif
};

/* Rows from `first` on times a panel of `vectors` into `out`, whose rows are `width` apart. */
INLINE void panel(const struct operand *x, int64_t first, int64_t rows, const float *w,
                  int64_t vectors, float *out, int64_t width) {
  for (int64_t v = 0; v < vectors; v += AT_ONCE) {
    int64_t at_once = vectors < AT_ONCE ? vectors : AT_ONCE;
    int64_t parts = (rows + tile_rows[at_once] - 1) / tile_rows[at_once];
    for (int64_t part = 0, row = 0; part < parts; part++) {
      int64_t size = rows / parts + (part < rows % parts);
      tiles[at_once][size](x->rows + (first + row) * x->stride, x->stride, x->depth,
                           w + v * VECTOR, vectors * VECTOR, out + row * width + v * VECTOR, width);
      row += size;
    }
  }
}

/* Floats in a packed panel. */
INLINE int64_t panel_size(int64_t depth, int64_t vectors) { return depth * vectors * VECTOR; }

static TARGET void pack(const float *rows, int64_t columns, int64_t depth, int64_t most,
                        float *packed) {
  for (int64_t column = 0; column < columns; column += most * VECTOR) {
    int64_t wide = columns - column < most * VECTOR ? columns - column : most * VECTOR;
    for (int64_t k = 0; k < depth; k++)
      for (int64_t c = 0; c < wide; c++) *packed++ = rows[(column + c) * depth + k];
  }
}
