/* Back-propagation through time of kernels/bptt.py, with one pass over memory for each step.

   With weights packed for matrix.c one call makes all steps; else the caller makes each product and
   calls once a step. Rows are independent, so threads may share them. The gradient of the weights, a
   sum over rows and steps, is a product of the caller. */
#include "unroll.h"

#include "bf16.h"
#include "matrix.h"

#include <stdlib.h>
#include <string.h>

/* The pointers of one row of one step; of the backward pass in brackets. */
struct row {
  const float *product, *state, *memory; /* W h (of the later step), h and c before the step */
  const void *given;                     /* projected (arriving) */
  float *gates, *next, *held;            /* values saved for the backward pass; h and c after */
  void *low;                             /* h (gradient of projected), low */
  const float *finally, *last;           /* gradient of h and c at the row's last symbol */
  float *delta, *carried;
  void *through;
};

struct set {
  void (*forward)(const struct loop *, const struct row *);
  void (*backward)(const struct loop *, const struct row *);
  void (*widen)(const void *, float *, int64_t);
};

#define TARGET
#define FMA(a, b, c) ((a) * (b) + (c))
#define NAME(x) x##_plain_f32
#define BF16 0
#include "rows.h"
#define NAME(x) x##_plain_bf16
#define BF16 1
#include "rows.h"
#undef FMA
#undef TARGET

#if CHARSEQ_X86
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define TARGET __attribute__((target("avx2,fma")))
#define NAME(x) x##_avx2_f32
#define BF16 0
#include "rows.h"
#define NAME(x) x##_avx2_bf16
#define BF16 1
#include "rows.h"
#undef TARGET
#define TARGET \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")))
#define NAME(x) x##_avx512_f32
#define BF16 0
#include "rows.h"
#define NAME(x) x##_avx512_bf16
#define BF16 1
#include "rows.h"
#endif

static const struct set *set_of(const struct loop *loop) {
#if CHARSEQ_X86
  if (loop->level >= AVX512) return loop->bf16 ? &set_avx512_bf16 : &set_avx512_f32;
  if (loop->level >= AVX2) return loop->bf16 ? &set_avx2_bf16 : &set_avx2_f32;
#endif
  return loop->bf16 ? &set_plain_bf16 : &set_plain_f32;
}

static const int64_t GATES[] = {1, 1, 3, 4}, KEPT[] = {0, 1, 4, 5};

/* Shared by all rows of a call. */
struct work {
  const struct loop *loop;
  const struct set *set;
  int64_t gates, bytes; /* G H; bytes of a low value */
  float *wide;          /* products of 32 rows */
  float *nothing;       /* zeros, of the same size */
  int64_t columns;      /* of `wide` */
};

static void *at(const void *base, int64_t values, int64_t bytes) {
  return (char *)base + values * bytes;
}

/* The time of a step's input: the second direction reads a row from its last symbol, then padding. */
static int64_t time_of(const struct loop *loop, int64_t direction, int64_t step, int64_t row) {
  const int64_t length = loop->lengths ? loop->lengths[row] : loop->steps;
  return direction && step < length ? length - 1 - step : step;
}

static int is_last(const struct loop *loop, int64_t step, int64_t row) {
  return step == (loop->lengths ? loop->lengths[row] : loop->steps) - 1;
}

/* An index into T B D. */
static int64_t input_index(const struct loop *loop, int64_t direction, int64_t step, int64_t row) {
  const int64_t time = time_of(loop, direction, step, row);
  return (time * loop->batch + row) * loop->directions + direction;
}

static float *state_at(const struct loop *loop, int64_t kept, int64_t direction, int64_t step,
                       int64_t row) {
  const int64_t steps = loop->steps + 1;
  return loop->states +
         (((kept * loop->directions + direction) * steps + step) * loop->batch + row) * loop->hidden;
}

static float *gates_at(const struct loop *loop, int64_t direction, int64_t step, int64_t row) {
  return loop->gates + ((direction * loop->steps + step) * loop->batch + row) * KEPT[loop->cell] *
                           loop->hidden;
}

/* An index into K B D H. */
static int64_t final_index(const struct loop *loop, int64_t kept, int64_t direction, int64_t row) {
  return ((kept * loop->batch + row) * loop->directions + direction) * loop->hidden;
}

/* Prefetch for writing: else each first write to a cache line waits for it. */
static inline void prefetch(const void *from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)from + i, 1, 3);
}

static void forward_row(const struct work *work, int64_t direction, int64_t step, int64_t row,
                        const float *product) {
  const struct loop *loop = work->loop;
  const int64_t size = loop->hidden, index = input_index(loop, direction, step, row);
  const int64_t bytes = size * work->bytes, memory = loop->cell == LSTM;
  void *low = at(loop->current, (direction * loop->rows + row) * loop->width, work->bytes);
  memcpy(at(loop->before, index, bytes), low, (size_t)bytes);
  const struct row all = {
      .product = product,
      .state = state_at(loop, 0, direction, step, row),
      .memory = state_at(loop, memory, direction, step, row),
      .given = at(loop->projected, index * work->gates, work->bytes),
      .gates = gates_at(loop, direction, step, row),
      .next = state_at(loop, 0, direction, step + 1, row),
      .held = state_at(loop, memory, direction, step + 1, row),
      .low = low,
  };
  if (row + 1 < loop->end) {
    prefetch(gates_at(loop, direction, step, row + 1), KEPT[loop->cell] * size * 4);
    prefetch(state_at(loop, 0, direction, step + 1, row + 1), size * 4);
  }
  work->set->forward(loop, &all);
  memcpy(at(loop->outputs, index, bytes), low, (size_t)bytes);
  for (int64_t kept = 0; is_last(loop, step, row) && kept <= memory; kept++)
    memcpy(loop->final + final_index(loop, kept, direction, row),
           state_at(loop, kept, direction, step + 1, row), (size_t)size * sizeof(float));
}

static void backward_row(const struct work *work, int64_t direction, int64_t step, int64_t row,
                         const float *product) {
  const struct loop *loop = work->loop;
  const int64_t size = loop->hidden, index = input_index(loop, direction, step, row);
  const int64_t memory = loop->cell == LSTM, last = is_last(loop, step, row);
  const int64_t line = (direction * loop->batch + row) * size;
  const int64_t bytes = work->gates * work->bytes;
  void *collected = at(loop->collected, index, bytes), *through = at(loop->through, index, bytes);
  const struct row all = {
      .product = product,
      .state = state_at(loop, 0, direction, step, row),
      .memory = state_at(loop, memory, direction, step, row),
      .given = at(loop->arriving, index * size, work->bytes),
      .gates = gates_at(loop, direction, step, row),
      .next = state_at(loop, 0, direction, step + 1, row),
      .low = collected,
      .finally = last ? loop->finally + final_index(loop, 0, direction, row) : work->nothing,
      .last = last ? loop->finally + final_index(loop, memory, direction, row) : work->nothing,
      .delta = loop->delta + line,
      .carried = loop->delta + memory * loop->directions * loop->batch * size + line,
      .through = through,
  };
  work->set->backward(loop, &all);
  memcpy(at(loop->current, (direction * loop->rows + row) * loop->width, work->bytes), through,
         (size_t)bytes);
}

typedef void one_row(const struct work *, int64_t, int64_t, int64_t, const float *);

/* One step of the rows of the call: 32 at a time, as many as a packed product has. */
static void all_rows(const struct work *work, int64_t direction, int64_t step, int64_t width,
                     int multiplied, one_row *each) {
  const struct loop *loop = work->loop;
  const int64_t packed = loop->width * work->columns;
  for (int64_t start = loop->first; start < loop->end; start += 32) {
    if (loop->weights && multiplied)
      charseq_bf16_product(
          loop->level,
          at(loop->current, (direction * loop->rows + start) * loop->width, sizeof(uint16_t)),
          loop->width, loop->weights + direction * packed, work->wide, work->columns);
    for (int64_t row = start; row < loop->end && row < start + 32; row++) {
      const float *product = work->wide + (row - start) * work->columns;
      if (!multiplied) {
        product = work->nothing;
      } else if (!loop->weights) {
        product = work->wide;
        work->set->widen(at(loop->product, (direction * loop->batch + row) * width, work->bytes),
                         work->wide, width);
      }
      each(work, direction, step, row, product);
    }
  }
}

/* The buffers of a call; returns 0 without memory. */
static int prepare(struct work *work, const struct loop *loop, int64_t columns) {
  const int64_t wide = (columns + 31) / 32 * 32;
  *work = (struct work){.loop = loop, .set = set_of(loop), .columns = wide};
  work->gates = GATES[loop->cell] * loop->hidden;
  work->bytes = loop->bf16 ? sizeof(uint16_t) : sizeof(float);
  work->wide = aligned_alloc(64, (size_t)(32 * wide) * sizeof(float));
  work->nothing = aligned_alloc(64, (size_t)(32 * wide) * sizeof(float));
  if (!work->wide || !work->nothing) return 0;
  memset(work->nothing, 0, (size_t)(32 * wide) * sizeof(float));
  return 1;
}

static void release(struct work *work) {
  free(work->wide);
  free(work->nothing);
}

/* The gradient of the first state: the first step's product joins the error that bypassed it. */
static void finish_row(const struct work *work, int64_t direction, int64_t step, int64_t row,
                       const float *product) {
  const struct loop *loop = work->loop;
  float *delta = loop->delta + (direction * loop->batch + row) * loop->hidden;
  (void)step;
  for (int64_t i = 0; i < loop->hidden; i++) delta[i] += product[i];
}

/* One step forward, or all steps with packed weights. Returns 0 without memory. */
EXPORT int32_t charseq_unroll(const struct loop *loop, int64_t step) {
  const int64_t width = GATES[loop->cell] * loop->hidden;
  struct work work;
  char tiles[64];
  const int ready = prepare(&work, loop, width);
  if (ready && loop->weights) charseq_bf16_begin(loop->level, tiles);
  for (int64_t direction = 0; ready && direction < loop->directions; direction++)
    if (loop->weights)
      for (int64_t each = 0; each < loop->steps; each++)
        all_rows(&work, direction, each, width, 1, forward_row);
    else
      all_rows(&work, direction, step, width, 1, forward_row);
  if (ready && loop->weights) charseq_bf16_end(loop->level, tiles);
  release(&work);
  return ready;
}

/* One step backward, or all steps with packed weights and the gradient of the first state. Returns 0
   without memory. */
EXPORT int32_t charseq_unroll_back(const struct loop *loop, int64_t step) {
  const int64_t last = loop->steps - 1, width = loop->hidden;
  struct work work;
  char tiles[64];
  const int ready = prepare(&work, loop, width);
  if (ready && loop->weights) charseq_bf16_begin(loop->level, tiles);
  for (int64_t direction = 0; ready && direction < loop->directions; direction++)
    if (loop->weights) {
      for (int64_t each = last; each >= 0; each--)
        all_rows(&work, direction, each, width, each < last, backward_row);
      all_rows(&work, direction, 0, width, 1, finish_row);
    } else {
      all_rows(&work, direction, step, width, step < last, backward_row);
    }
  if (ready && loop->weights) charseq_bf16_end(loop->level, tiles);
  release(&work);
  return ready;
}
