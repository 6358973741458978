/* Products of bfloat16: see matrix.c. Each struct has its twin in products.py. */
#ifndef CHARSEQ_MATRIX_H
#define CHARSEQ_MATRIX_H

#include "native.h"

/* One side of a product, in bfloat16 if coarse, else float32; its lines lie `pitch` values apart.
   Turned, a line of the memory is a column of the matrix. */
struct side {
  const void *values;
  int64_t coarse, pitch, turned;
};

/* out (high x wide) = left (high x deep) right (deep x wide) + bias. */
struct multiplication {
  struct side left, right;
  int64_t high, deep, wide;
  const float *bias; /* wide, or NULL */
  void *out;
  int64_t coarse, pitch; /* of out */
  int64_t level;
};

/* 32 rows of `width` bfloat16 (a multiple of 32) times a packed matrix, into 32 rows of `columns`
   floats; between charseq_coarse_begin and charseq_coarse_end, which keep 64 bytes. */
void charseq_coarse_product(int64_t level, const uint16_t *left, int64_t width,
                            const uint16_t *right, float *out, int64_t columns);
void charseq_coarse_begin(int64_t level, void *kept);
void charseq_coarse_end(int64_t level, const void *kept);

#endif
