/* The functions of one level. Each level includes this file once, with LEVEL_... and LEVEL(name)
   defined. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "vector.h"
#ifdef LEVEL_AMX
#include "tiles.h"
#else
#include "products.h"
#endif

/* Rows of a product that share one panel of weights before the next panel is read. */
#define GROUP 512

INLINE const float *row_of(struct gather from, int64_t index, int64_t width) {
  return from.table ? from.table + (from.rows ? from.rows[index] : index) * width : 0;
}

INLINE float *allocate(int64_t count) {
  return aligned_alloc(64, (size_t)((count + VECTOR - 1) / VECTOR * VECTOR) * sizeof(float));
}

/* Prefetch some vectors while something else is computed: rows of a table are far apart in memory. */
INLINE void prefetch(const float *from, int64_t vectors) {
  for (int64_t v = 0; v < vectors; v++) __builtin_prefetch(from + v * VECTOR);
}

/* A cell's step for sixteen units of one row; the equations are those of bptt.py. `s` has the products
   of each gate, `a` and `b` the addends; weights of sigmoid gates are halved, see sigmoid_of. */
INLINE void units(int64_t cell, const float *s, const float *a, const float *b, const float *hidden,
                  const float *kept, float *hidden_after, float *kept_after) {
  vec given[MAX_PANEL];
  int gates = cell == LSTM ? 4 : cell == GRU ? 3 : 1;
  for (int gate = 0; gate < gates; gate++) {
    given[gate] = load(a + gate * VECTOR);
    if (b) given[gate] = add(given[gate], load(b + gate * VECTOR));
  }
  if (cell == GRU) {
    vec reset = sigmoid_of(add(given[0], load(s)));
    vec update = sigmoid_of(add(given[1], load(s + VECTOR)));
    vec new = tanh_of(fused(reset, load(s + 2 * VECTOR), given[2]));
    store(hidden_after, fused(sub(load(hidden), new), update, new));
  } else if (cell == LSTM) {
    vec enter = sigmoid_of(add(given[0], load(s)));
    vec forget = sigmoid_of(add(given[1], load(s + VECTOR)));
    vec new = tanh_of(add(given[2], load(s + 2 * VECTOR)));
    vec leave = sigmoid_of(add(given[3], load(s + 3 * VECTOR)));
    vec memory = fused(forget, load(kept), mul(enter, new));
    store(kept_after, memory);
    store(hidden_after, mul(leave, tanh_of(memory)));
  } else {
    vec new = tanh_of(add(given[0], load(s)));
    store(hidden_after, cell == RESIDUAL ? add(new, load(hidden)) : new);
  }
}

/* One step of up to CHUNK rows; `x` is prepared for their hidden states. */
INLINE void advance(int64_t cell, int64_t count, int64_t hidden, const struct operand *x,
                    const float *weight, const float *const *first, const float *const *second,
                    const float *h, const float *c, float *h_after, float *c_after) {
  int gates = cell == LSTM ? 4 : cell == GRU ? 3 : 1;
  int64_t vectors = gates * hidden / VECTOR, most = panel_of(cell);
  float out[CHUNK * MAX_PANEL * VECTOR];
  for (int64_t v = 0; v < vectors; v += most) {
    int64_t wide = vectors - v < most ? vectors - v : most;
    for (int64_t row = 0; row < count; row++) {
      prefetch(first[row] + v * VECTOR, wide);
      if (second[row]) prefetch(second[row] + v * VECTOR, wide);
    }
    panel(x, 0, count, weight, wide, out, wide * VECTOR);
    weight += panel_size(hidden, wide);
    for (int64_t row = 0; row < count; row++)
      for (int64_t one = 0; one < wide; one += gates) {
        const float *b = second[row] ? second[row] + (v + one) * VECTOR : 0;
        int64_t unit = (v + one) / gates * VECTOR + row * hidden;
        units(cell, out + (row * wide + one) * VECTOR, first[row] + (v + one) * VECTOR, b, h + unit,
              c + unit, h_after + unit, c_after + unit);
      }
  }
}

/* One function for each cell, so that the compiler specialises the loops. */
#define ADVANCE(cell_)                                                                        \
  static TARGET void advance_##cell_(int64_t count, int64_t hidden, const struct operand *x,  \
                                     const float *weight, const float *const *first,          \
                                     const float *const *second, const float *h, const float *c, \
                                     float *h_after, float *c_after) {                        \
    advance(cell_, count, hidden, x, weight, first, second, h, c, h_after, c_after);          \
  }
ADVANCE(TANH) ADVANCE(RESIDUAL) ADVANCE(GRU) ADVANCE(LSTM)
static void (*const advances[])(int64_t, int64_t, const struct operand *, const float *,
                                const float *const *, const float *const *, const float *,
                                const float *, float *, float *) = {advance_TANH, advance_RESIDUAL,
                                                                    advance_GRU, advance_LSTM};

static TARGET int step(const struct step *s) {
  int64_t kept = s->cell == LSTM ? s->count * s->hidden : 0;
  int gates = s->cell == LSTM ? 4 : s->cell == GRU ? 3 : 1;
  const float *first[CHUNK], *second[CHUNK];
  struct operand x;
  if (!prepare(&x, 0, CHUNK, s->hidden)) return NO_MEMORY;
  begin();
  for (int64_t row = 0; row < s->count; row += CHUNK) {
    int64_t rows = s->count - row < CHUNK ? s->count - row : CHUNK;
    for (int64_t i = 0; i < rows; i++) {
      first[i] = row_of(s->first, row + i, gates * s->hidden);
      second[i] = row_of(s->second, row + i, gates * s->hidden);
    }
    const float *h = s->state + row * s->hidden;
    float *after = s->after + row * s->hidden;
    renew(&x, h, rows);
    advances[s->cell](rows, s->hidden, &x, s->recurrent, first, second, h, h + kept, after,
                      after + kept);
  }
  end();
  release(&x);
  return DONE;
}

/* The steps of the rows of `order` from `from` on. `state` has 4 CHUNK H: h and c, each before and after
   a step, which change places with every step. */
static TARGET void run_chunk(const struct run *r, int64_t from, int64_t rows, struct operand *x,
                             float *state) {
  int gates = r->cell == LSTM ? 4 : r->cell == GRU ? 3 : 1;
  int64_t size = CHUNK * r->hidden, bytes = r->hidden * (int64_t)sizeof(float);
  const int64_t *order = r->order + from;
  const float *first[CHUNK], *second[CHUNK];
  const int64_t odd = r->begin % 2 * size;
  float *h = state + odd, *h_after = state + size - odd;
  float *c = state + 2 * size + odd, *c_after = state + 3 * size - odd;
  if (!r->begin) memset(state, 0, 4 * size * sizeof *state);
  for (int64_t i = 0; i < rows && !r->begin; i++)
    for (int64_t index = r->lengths[order[i]]; index < r->steps; index++)
      memset(r->memory + (order[i] * r->steps + index) * r->width + r->offset, 0, (size_t)bytes);
  for (int64_t t = r->begin; t < r->end; t++) {
    while (rows && r->lengths[order[rows - 1]] <= t) rows--;
    if (!rows) break;
    for (int64_t i = 0; i < rows; i++) {
      int64_t index = r->backward ? r->lengths[order[i]] - 1 - t : t;
      first[i] = row_of(r->first, order[i] * r->steps + index, gates * r->hidden);
      second[i] = row_of(r->second, order[i], gates * r->hidden);
    }
    renew(x, h, rows);
    advances[r->cell](rows, r->hidden, x, r->recurrent, first, second, h, c, h_after, c_after);
    for (int64_t i = 0; i < rows; i++) {
      int64_t row = order[i], index = r->backward ? r->lengths[row] - 1 - t : t;
      const float *now = h_after + i * r->hidden;
      memcpy(r->memory + (row * r->steps + index) * r->width + r->offset, now, bytes);
      if (r->lengths[row] != t + 1) continue;
      memcpy(r->last + row * r->width + r->offset, now, bytes);
      if (r->cell == LSTM)
        memcpy(r->last + (r->count + row) * r->width + r->offset, c_after + i * r->hidden, bytes);
    }
    float *swap = h;
    h = h_after, h_after = swap;
    swap = c, c = c_after, c_after = swap;
  }
}

static TARGET int run(const struct run *r) {
  struct operand x;
  float *own = r->state ? 0 : allocate(4 * CHUNK * r->hidden);
  if (!prepare(&x, 0, CHUNK, r->hidden) || (!own && !r->state)) {
    free(own);
    release(&x);
    return NO_MEMORY;
  }
  begin();
  for (int64_t from = 0; from < r->count; from += CHUNK)
    run_chunk(r, from, r->count - from < CHUNK ? r->count - from : CHUNK, &x,
              own ? own : r->state + from * 4 * r->hidden);
  end();
  release(&x);
  free(own);
  return DONE;
}

static TARGET int product(const struct product *p) {
  float out[CHUNK * MAX_PANEL * VECTOR];
  struct operand x;
  begin();
  for (int64_t group = p->begin; group < p->end; group += GROUP) {
    int64_t rows = p->end - group < GROUP ? p->end - group : GROUP;
    if (!prepare(&x, p->rows + group * p->depth, rows, p->depth)) {
      end();
      return NO_MEMORY;
    }
    const float *weight = p->weight;
    for (int64_t column = 0; column < p->columns; column += MAX_PANEL * VECTOR) {
      int64_t wide = p->columns - column < MAX_PANEL * VECTOR ? p->columns - column : MAX_PANEL * VECTOR;
      for (int64_t first = 0; first < rows; first += CHUNK) {
        int64_t some = rows - first < CHUNK ? rows - first : CHUNK;
        for (int64_t row = 0; p->addend.table && row < some; row++)
          prefetch(row_of(p->addend, group + first + row, p->columns) + column, wide / VECTOR);
        panel(&x, first, some, weight, wide / VECTOR, out, wide);
        for (int64_t row = 0; row < some; row++) {
          int64_t index = group + first + row;
          const float *addend = row_of(p->addend, index, p->columns);
          for (int64_t c = 0; c < wide; c += VECTOR) {
            vec sum = load(out + row * wide + c);
            if (p->bias) sum = add(sum, load(p->bias + column + c));
            if (addend) sum = add(sum, load(addend + column + c));
            if (p->tanh) sum = tanh_of(sum);
            store(p->out + index * p->columns + column + c, sum);
          }
        }
      }
      weight += panel_size(p->depth, wide / VECTOR);
    }
    release(&x);
  }
  end();
  return DONE;
}

/* e^(score - largest) of `steps` scores, padded to whole vectors, in place; returns their sum. */
INLINE float exponentials(float *scores, int64_t steps) {
  int64_t padded = (steps + VECTOR - 1) / VECTOR * VECTOR;
  for (int64_t s = steps; s < padded; s++) scores[s] = -INFINITY;
  vec largest = load(scores), sum = broadcast(0.0f);
  for (int64_t s = VECTOR; s < padded; s += VECTOR) largest = maximum(largest, load(scores + s));
  vec top = broadcast(largest_of(largest));
  for (int64_t s = 0; s < padded; s += VECTOR) {
    vec one = exp_of(sub(load(scores + s), top));
    sum = add(sum, one);
    store(scores + s, one);
  }
  return sum_of(sum);
}

static TARGET int attend(const struct attend *k) {
  float *scores = allocate(k->steps);
  if (!scores) return NO_MEMORY;
  for (int64_t row = k->begin; row < k->end; row++) {
    int64_t text = k->numbers[row / k->width], steps = k->lengths[text];
    const float *query = k->queries + row * k->hidden;
    const float *keys = k->keys + text * k->steps * k->hidden;
    const float *values = k->values + text * k->steps * k->value;
    for (int64_t s = 0; s < steps; s += 4) { /* four keys at once; the last key may be repeated */
      const float *key[4];
      vec sum[4];
      for (int j = 0; j < 4; j++) {
        key[j] = keys + (s + j < steps ? s + j : steps - 1) * k->hidden;
        sum[j] = broadcast(0.0f);
      }
      for (int64_t i = 0; i < k->hidden; i += VECTOR) {
        vec one = load(query + i);
        for (int j = 0; j < 4; j++) sum[j] = fused(one, load(key[j] + i), sum[j]);
      }
      for (int j = 0; j < 4 && s + j < steps; j++) scores[s + j] = sum_of(sum[j]);
    }
    vec total = broadcast(exponentials(scores, steps));
    for (int64_t i = 0; i < k->value; i += VECTOR) {
      vec sum = broadcast(0.0f);
      for (int64_t s = 0; s < steps; s++)
        sum = fused(broadcast(scores[s]), load(values + s * k->value + i), sum);
      store(k->context + row * k->value + i, divide(sum, total));
    }
  }
  free(scores);
  return DONE;
}

static TARGET int softmax(const struct softmax *f) {
  for (int64_t row = 0; row < f->count; row++) {
    float *logits = f->rows + row * f->columns;
    if (f->ended && f->ended[row])
      for (int64_t c = f->advance_from; c < f->columns; c++) logits[c] = -INFINITY;
    else if (f->ended)
      logits[f->eos] = -INFINITY;
    vec largest = load(logits), sum[4] = {broadcast(0.0f), broadcast(0.0f), broadcast(0.0f), broadcast(0.0f)};
    for (int64_t c = VECTOR; c < f->columns; c += VECTOR) largest = maximum(largest, load(logits + c));
    vec top = broadcast(largest_of(largest));
    for (int64_t c = 0; c < f->columns; c += VECTOR) {
      vec one = sub(load(logits + c), top);
      store(logits + c, one);
      sum[c / VECTOR % 4] = add(sum[c / VECTOR % 4], exp_of(one));
    }
    float total = sum_of(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
    vec log_total = broadcast((float)log((double)total));
    for (int64_t c = 0; c < f->columns; c += VECTOR) store(logits + c, sub(load(logits + c), log_total));
  }
  return DONE;
}

const struct functions LEVEL(functions) = {pack, run, step, product, attend, softmax};
