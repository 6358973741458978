/* Products of bfloat16: see matrix.c. kernels/matmul.py repeats each struct. */
#ifndef CHARSEQ_MATRIX_H
#define CHARSEQ_MATRIX_H

#include "native.h"

/* A factor of a product, in bfloat16 with `bf16`, else in float32. Its lines in memory are `stride`
   values apart; with `transposed` a line is a column of the matrix, else a row. */
struct matrix {
  const void *values;
  int64_t bf16, stride, transposed;
};

/* out (m x n) = left (m x k) right (k x n) + bias. */
struct matmul {
  struct matrix left, right;
  int64_t m, k, n;
  const float *bias; /* n, or NULL */
  void *out;
  int64_t bf16, stride; /* of out */
  int64_t level;
};

/* 32 rows of `width` bfloat16 (a multiple of 32) times a packed matrix, into 32 rows of `columns`
   floats. Calls lie between charseq_bf16_begin and charseq_bf16_end, which save the tile
   configuration in 64 bytes. */
void charseq_bf16_product(int64_t level, const uint16_t *left, int64_t width,
                          const uint16_t *right, float *out, int64_t columns);
void charseq_bf16_begin(int64_t level, void *kept);
void charseq_bf16_end(int64_t level, const void *kept);

#endif
