/* The arguments of the loop over time. kernels/rnn_native.py repeats the struct.

   D directions, T steps, B rows, H hidden, G gates, N values saved of a unit for the backward pass,
   K = 1 (h) or 2 (h and c). "Low" is the format of the products, bfloat16 or float32. Steps are counted
   in the order of their direction; an array "by input" is indexed by the input's time instead. */
#ifndef CHARSEQ_UNROLL_H
#define CHARSEQ_UNROLL_H

#include "native.h"

struct loop {
  int64_t cell, level, bf16;              /* bf16: low is bfloat16, else float32 */
  int64_t directions, steps, batch, hidden; /* D, T, B, H */
  int64_t first, end;                       /* the rows to work on */
  int64_t rows, width;                      /* of `current`, for each direction */
  const int64_t *lengths;                   /* B, or NULL: every row is T long */
  const void *projected;                    /* T B D GH, low, by input: W_x x + b */
  const void *product;                      /* D B GH, backward D B H, low: the caller's product */
  const uint16_t *weights;                  /* D packed matrices (see matrix.c), or NULL */
  float *states;                            /* K D T+1 B H, from the first state on */
  float *gates;                             /* D T B NH */
  void *current;                            /* D rows width, low: left factor of the next product */
  void *before;                             /* T B D H, low, by input: h before the step */
  void *outputs;                            /* T B D H, low, by input: h after the step */
  float *final;                             /* K B D H: the state after each row's last symbol */
  const void *arriving;                     /* T B D H, low, by input: gradient of outputs */
  const float *finally;                     /* K B D H: gradient of final */
  float *delta;                             /* K D B H: the error that bypasses the products */
  void *collected;                          /* T B D GH, low, by input: gradient of projected */
  void *through;                            /* gradient of W h: an array of its own for the GRU */
};

#endif
