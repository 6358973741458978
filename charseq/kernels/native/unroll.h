/* What the loop over time is given: one struct, whose fields unroll.py repeats.

   D directions, T steps, B rows, H hidden, G inputs of gates, N values kept of a unit, K = 1 (h) or
   2 (h and c). "Low" is the format of the products, bfloat16 or float32. Steps are counted as their
   direction reads them; what lies "in place" lies where the input of the step lies. */
#ifndef CHARSEQ_UNROLL_H
#define CHARSEQ_UNROLL_H

#include "native.h"

struct loop {
  int64_t cell, level, coarse;              /* coarse: low is bfloat16 */
  int64_t directions, steps, batch, hidden; /* D, T, B, H */
  int64_t first, end;                       /* the rows to work on */
  int64_t rows, width;                      /* of `current`, for each direction */
  const int64_t *lengths;                   /* B, or NULL: every row is T long */
  const void *projected;                    /* T B D GH, low, in place: W_x x + b */
  const void *product;                      /* D B GH, back D B H, low, where another makes it */
  const uint16_t *weights;                  /* D packed matrices (see matrix.c), or NULL */
  float *states;                            /* K D T+1 B H, with that before the first step */
  float *gates;                             /* D T B NH */
  void *current;                            /* D rows width, low: what is multiplied next */
  void *before;                             /* T B D H, low, in place: h before the step */
  void *outputs;                            /* T B D H, low, in place: h after it */
  float *final;                             /* K B D H: the state after each row's last symbol */
  const void *arriving;                     /* T B D H, low, in place: the gradient of outputs */
  const float *finally;                     /* K B D H: that of final */
  float *delta;                             /* K D B H: what travels back beside the products */
  void *collected;                          /* T B D GH, low, in place: that of projected */
  void *through;                            /* the same of W h: of the GRU an array of its own */
};

#endif
