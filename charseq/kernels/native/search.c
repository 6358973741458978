/* Beam search: the best continuations of a beam, and whole searches, as in decoding/search.py.

   The search only adds and compares, so one function serves all levels. The network's steps are made
   by a level's functions, for many texts side by side. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* Rows that are computed side by side, unless one text has more. */
enum { ROWS = 128 };

/* Log-probabilities that are compared with the threshold together. */
enum { BLOCK = 16 };

/* Whether any total of a block may exceed `threshold`: rounding errs towards yes. */
static int may_pass(const float *logs, double score, double threshold) {
  float least = (float)(threshold - score);
  least -= fabsf(least) * 1e-6f;
  int any = 0;
  /* an unrolled loop would not be vectorised */
  _Pragma("GCC unroll 1") for (int i = 0; i < BLOCK; i++) any |= logs[i] > least;
  return any;
}

/* The `wanted` largest totals scores[w] + logs[w][v] of each text, largest first, ties by index: the
   row w, the symbol v and the total of each. Rows of `logs` are `stride` values apart. */
void charseq_expand(const double *scores, const float *logs, int64_t texts, int64_t width,
                    int64_t symbols, int64_t stride, int64_t wanted, int64_t *parents,
                    int64_t *chosen, double *totals) {
  for (int64_t text = 0; text < texts; text++) {
    int64_t found = 0;
    for (int64_t w = 0; w < width; w++, scores++, logs += stride)
      for (int64_t v = 0; v < symbols;) {
        int64_t end = v + BLOCK < symbols ? v + BLOCK : symbols;
        if (found == wanted && end - v == BLOCK && !may_pass(logs + v, *scores, totals[wanted - 1])) {
          v = end;
          continue;
        }
        for (; v < end; v++) {
          double total = *scores + (double)logs[v];
          if (found == wanted && !(total > totals[wanted - 1])) continue;
          int64_t rank = found < wanted ? found++ : wanted - 1;
          for (; rank && total > totals[rank - 1]; rank--) {
            totals[rank] = totals[rank - 1];
            parents[rank] = parents[rank - 1];
            chosen[rank] = chosen[rank - 1];
          }
          totals[rank] = total, parents[rank] = w, chosen[rank] = v;
        }
      }
    parents += wanted, chosen += wanted, totals += wanted;
  }
}

/* A row's predecessor: the parent row one symbol before, and the symbol in between. */
struct backpointer {
  int32_t parent, symbol;
};

/* A finished output: the row that wrote it, and its score over the length penalty. Or a truncated one,
   with the log-probability of its end. */
struct output {
  double score, normalised, end;
  int64_t size, row, truncated;
};

/* The search of one text. An impossible continuation gets no row, so there are at most `width` rows. */
struct beam {
  int64_t text, size, rows, first; /* size: symbols so far; first: its first row among all rows */
  int64_t blank;                   /* the row that has written nothing and cannot end; -1: none */
  int64_t found;                   /* finished outputs */
  double threshold;                /* normalised score of output number `width`, once there is one */
  double *scores;                  /* of its rows */
  int64_t *nodes;                  /* of its rows: their states of the automaton */
  struct backpointer *backpointers; /* of its rows, for each symbol so far */
  struct output *outputs;          /* best first */
};

/* A running search and its buffers. It outlives a call: the next one goes on from it. */
struct work {
  const struct functions *level;
  const struct search *s;
  const struct decoder *d;
  int64_t gates, states;      /* G H; K of the cell */
  int64_t slots, next;        /* texts side by side; the next text to start */
  int64_t active, rows, left; /* texts under way, their rows; multiplications left to this call */
  int64_t attended;           /* rows of a begun step that have their context; -1 between steps */
  struct beam *beams;
  double *scores, *totals;
  struct backpointer *backpointers;
  struct output *outputs;
  int64_t *parents, *chosen;                              /* a text's best continuations */
  int64_t *symbols, *positions, *numbers, *prior, *texts; /* of each row of a step */
  int64_t *from, *next_positions;                         /* of each row of the next step */
  int64_t *nodes, *next_nodes;                            /* of each row; of a text's next rows */
  uint8_t *ended;
  float *state, *after, *given, *mixed, *context, *logs;
};

static void *allocate(size_t count, size_t size, int *ok) {
  void *found = aligned_alloc(64, (count * size + 63) / 64 * 64 + 64);
  if (!found) *ok = 0;
  return found;
}

static void release(struct work *r) {
  void *all[] = {r->beams, r->scores, r->totals, r->backpointers, r->outputs, r->parents, r->chosen,
                 r->symbols, r->positions, r->numbers, r->prior, r->texts, r->from, r->next_positions, r->nodes,
                 r->next_nodes, r->ended,
                 r->state, r->after, r->given, r->mixed, r->context, r->logs};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static int prepare(struct work *r, const struct functions *level, const struct search *s) {
  const struct decoder *d = s->decoder;
  int64_t texts = ROWS / s->width;
  if (texts > s->texts) texts = s->texts;
  if (texts < 1) texts = 1;
  const int64_t width = s->width, rows = texts * width;
  const int64_t gates = (d->cell == LSTM ? 4 : d->cell == GRU ? 3 : 1) * d->hidden;
  const int64_t states = d->cell == LSTM ? 2 : 1;
  int ok = 1;
  *r = (struct work){
      .level = level, .s = s, .d = d, .gates = gates, .states = states,
      .slots = texts, .attended = -1,
      .beams = allocate(texts, sizeof(struct beam), &ok),
      .scores = allocate(rows, sizeof(double), &ok),
      .totals = allocate(2 * width, sizeof(double), &ok),
      .backpointers = allocate(rows * (s->max_length + 1), sizeof(struct backpointer), &ok),
      .outputs = allocate(texts * (width + 1), sizeof(struct output), &ok),
      .parents = allocate(2 * width, sizeof(int64_t), &ok),
      .chosen = allocate(2 * width, sizeof(int64_t), &ok),
      .symbols = allocate(rows, sizeof(int64_t), &ok),
      .positions = allocate(rows, sizeof(int64_t), &ok),
      .numbers = allocate(rows, sizeof(int64_t), &ok),
      .prior = allocate(rows, sizeof(int64_t), &ok),
      .texts = allocate(rows, sizeof(int64_t), &ok),
      .from = allocate(rows, sizeof(int64_t), &ok),
      .next_positions = allocate(rows, sizeof(int64_t), &ok),
      .nodes = allocate(rows, sizeof(int64_t), &ok),
      .next_nodes = allocate(width, sizeof(int64_t), &ok),
      .ended = allocate(rows, 1, &ok),
      .state = allocate(d->layers * states * rows * d->hidden, sizeof(float), &ok),
      .after = allocate(d->layers * states * rows * d->hidden, sizeof(float), &ok),
      .given = allocate(rows * gates, sizeof(float), &ok),
      .mixed = allocate(rows * d->value, sizeof(float), &ok),
      .context = allocate(rows * d->value, sizeof(float), &ok),
      .logs = allocate(rows * d->columns, sizeof(float), &ok),
  };
  if (!ok) return 0;
  for (int64_t i = 0; i < texts; i++) {
    r->beams[i].scores = r->scores + i * width;
    r->beams[i].nodes = r->nodes + i * width;
    r->beams[i].backpointers = r->backpointers + i * width * (s->max_length + 1);
    r->beams[i].outputs = r->outputs + i * (width + 1);
  }
  return 1;
}

/* The layers of one step, from `state` into `after`; with hard attention also each row's position. */
static int run_layers(const struct work *r) {
  const struct functions *level = r->level;
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  const int64_t rows = r->rows, size = r->states * rows * d->hidden;
  for (int64_t row = 0; s->decoder_input && row < rows; row++) {
    int64_t text = r->texts[row];
    int64_t position = r->positions[row] + (r->symbols[row] >= d->advance_from);
    r->positions[row] = position = position < s->ends[text] ? position : s->ends[text];
    r->numbers[row] = text * s->steps + position;
    r->ended[row] = position == s->ends[text];
    if (s->prior.table) r->prior[row] = s->prior.rows[r->numbers[row]];
  }
  int code = DONE;
  for (int64_t layer = 0; layer < d->layers && !code; layer++) {
    struct gather first = {d->table, r->symbols, 0}, second = {0};
    if (layer) {
      const float *below = r->after + (layer - 1) * size;
      code = level->product(&(struct product){0, rows, d->hidden, r->gates, 0, below, d->input[layer],
                                              d->bias[layer], {0}, r->given});
      first = (struct gather){r->given, 0, 0};
    } else if (s->decoder_input) {
      second = (struct gather){s->decoder_input, r->numbers, 0};
    }
    if (!code)
      code = level->step(&(struct step){d->cell, rows, d->hidden, first, second, d->recurrent[layer],
                                        r->state + layer * size, r->after + layer * size});
  }
  return code;
}

/* The contexts of the rows from `attended` on, as many as the budget has left, and one at least. */
static int attend(struct work *r, const float *top) {
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  int64_t end = r->attended;
  do r->left -= s->lengths[r->texts[end++]] * (d->hidden + d->value);
  while (end < r->rows && r->left > 0);
  int code = r->level->attend(&(struct attend){r->attended, end, r->rows, 1, s->texts, s->steps,
                                               d->hidden, d->value, r->texts, top, s->keys, s->values,
                                               s->lengths, r->context});
  r->attended = end;
  return code;
}

/* One step of the network for all rows, or the rest of one: states into `after`, log-probabilities into
   `logs`. UNFINISHED where the budget ends within it. */
static int step(struct work *r) {
  const struct functions *level = r->level;
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  const int64_t rows = r->rows;
  const float *top = r->after + (d->layers - 1) * r->states * rows * d->hidden;
  struct gather addend = {0}, prior = {0};
  int code = DONE;
  if (r->attended < 0) {
    r->attended = 0;
    r->left -= rows * (2 * d->layers * r->gates * d->hidden + (d->hidden + d->columns) * d->value);
    code = run_layers(r);
  }
  while (s->keys && !code && r->attended < rows) {
    if (r->left <= 0) return UNFINISHED;
    code = attend(r, top);
  }
  r->attended = -1;
  if (s->keys) addend = (struct gather){r->context, 0, 0};
  if (s->decoder_input) addend = (struct gather){s->readout_input, r->numbers, 0};
  if (s->decoder_input && s->prior.table) prior = (struct gather){s->prior.table, r->prior, 0};
  if (!code)
    code = level->product(&(struct product){0, rows, d->hidden, d->value, 1, top, d->readout,
                                            d->readout_bias, addend, r->mixed});
  if (!code)
    code = level->product(&(struct product){0, rows, d->value, d->columns, 0, r->mixed, d->output,
                                            d->output_bias, prior, r->logs});
  if (!code)
    code = level->softmax(&(struct softmax){rows, d->columns, d->advance_from, d->eos,
                                            s->decoder_input ? r->ended : 0, r->logs});
  return code;
}

/* Insert an output by its normalised score; of equal outputs the earlier one stays ahead. */
static void insert(struct beam *b, int64_t width, struct output one) {
  int64_t rank = b->found;
  for (; rank && one.normalised > b->outputs[rank - 1].normalised; rank--)
    b->outputs[rank] = b->outputs[rank - 1];
  b->outputs[rank] = one;
  if (b->found < width) b->found++;
}

/* Make the symbols of a text's rows that have no edge impossible. Returns their probability. */
static double mask(const struct work *r, const struct beam *b) {
  const struct search *s = r->s;
  double removed = 0.0;
  for (int64_t row = 0; row < b->rows; row++) {
    float *logs = r->logs + (b->first + row) * r->d->columns;
    double sum = 0.0;
    int64_t edge = s->edges[b->nodes[row]], end = s->edges[b->nodes[row] + 1];
    for (int64_t v = 0; v < r->d->symbols; v++) {
      if (edge < end && s->edge_symbols[edge] == v) {
        edge++;
      } else {
        if (logs[v] != -INFINITY) sum += exp((double)logs[v]);
        logs[v] = -INFINITY;
      }
    }
    removed += exp(b->scores[row]) * sum;
  }
  return removed;
}

/* The state after a symbol, which has an edge, by bisection. */
static int64_t follow(const struct search *s, int64_t node, int64_t symbol) {
  int64_t first = s->edges[node], last = s->edges[node + 1] - 1;
  while (first < last) {
    int64_t middle = (first + last) / 2;
    if (s->edge_symbols[middle] < symbol)
      first = middle + 1;
    else
      last = middle;
  }
  return s->edge_targets[first];
}

/* Extend a text's beam by one step. Returns the number of its rows, whose backpointers are set; 0 when
   the text is done. */
static int64_t advance(const struct work *r, struct beam *b) {
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  const int64_t width = s->width, limit = s->limits[b->text];
  int64_t wanted = b->rows * d->symbols < 2 * width ? b->rows * d->symbols : 2 * width;
  /* unless an output may be empty, EOS is impossible until a symbol is written */
  if (b->blank >= 0) r->logs[(b->first + b->blank) * d->columns + d->eos] = -INFINITY;
  if (s->edges) s->removed[b->text] += mask(r, b);
  charseq_expand(b->scores, r->logs + b->first * d->columns, 1, b->rows, d->symbols, d->columns,
                 wanted, r->parents, r->chosen, r->totals);
  while (wanted && !(r->totals[wanted - 1] > -INFINITY)) wanted--;
  for (int64_t i = 0; i < wanted && i < width; i++) {
    double normalised = r->totals[i] / s->penalties[b->size + 1];
    if (r->chosen[i] == d->eos && normalised > b->threshold)
      insert(b, width, (struct output){r->totals[i], normalised, 0.0, b->size, r->parents[i], 0});
  }
  if (b->found == width) b->threshold = b->outputs[width - 1].normalised;
  int64_t best = 0, rows = 0;
  while (best < wanted && r->chosen[best] == d->eos) best++;
  if (best == wanted) return 0;
  double normalised = r->totals[best] / s->penalties[limit + 1];
  if (!(normalised > b->threshold)) return 0;
  if (b->size >= limit) { /* the best continuation is cut off: its row is first if it beats all that ended */
    int64_t row = r->parents[best];
    double end = r->logs[(b->first + row) * d->columns + d->eos];
    if (!b->found || normalised > b->outputs[0].normalised)
      insert(b, width, (struct output){b->scores[row], normalised, end, b->size, row, 1});
    return 0;
  }
  const int64_t deletion = d->advance_from ? d->symbols - 1 : -1; /* the action that writes nothing */
  int64_t blank = -1;
  struct backpointer *backpointers = b->backpointers + b->size * width;
  for (int64_t i = best; i < wanted && rows < width; i++)
    if (r->chosen[i] != d->eos) {
      if (r->parents[i] == b->blank && r->chosen[i] == deletion) blank = rows;
      if (s->edges) r->next_nodes[rows] = follow(s, b->nodes[r->parents[i]], r->chosen[i]);
      b->scores[rows] = r->totals[i];
      backpointers[rows++] = (struct backpointer){(int32_t)r->parents[i], (int32_t)r->chosen[i]};
    }
  b->blank = blank;
  if (s->edges) memcpy(b->nodes, r->next_nodes, (size_t)rows * sizeof *b->nodes);
  return rows;
}

/* A text's outputs, read back along the backpointers, into the caller's arrays. */
static void write_outputs(const struct search *s, const struct beam *b) {
  s->found[b->text] = b->found;
  for (int64_t i = 0; i < b->found; i++) {
    const struct output *one = b->outputs + i;
    int64_t slot = b->text * s->width + i, row = one->row;
    s->sizes[slot] = one->size, s->scores[slot] = one->score;
    s->truncated[slot] = (uint8_t)one->truncated, s->end_logs[slot] = one->end;
    for (int64_t at = one->size; at--;) {
      struct backpointer back = b->backpointers[at * s->width + row];
      s->written[slot * s->max_length + at] = back.symbol;
      row = back.parent;
    }
  }
}

/* The states of the next step's rows: each is the state after its parent row, or where `from` is
   negative the first state of a text that starts. */
static void gather_states(struct work *r, int64_t rows, int64_t before) {
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  int64_t same = 0;
  while (same < rows && r->from[same] == same) same++;
  if (same == rows && rows == before) { /* no row has moved: swap the buffers */
    float *after = r->after;
    r->after = r->state, r->state = after;
    return;
  }
  for (int64_t part = 0; part < d->layers * r->states; part++) {
    float *to = r->state + part * rows * d->hidden;
    const float *after = r->after + part * before * d->hidden;
    const float *begin = s->state + part * s->texts * d->hidden;
    for (int64_t row = 0; row < rows; row++, to += d->hidden) {
      int64_t from = r->from[row];
      const float *one = from < 0 ? begin + r->texts[row] * d->hidden : after + from * d->hidden;
      memcpy(to, one, (size_t)d->hidden * sizeof *to);
    }
  }
}

/* The rows of the next step: those of the texts under way, and of texts that start. */
static void choose_rows(struct work *r) {
  const struct search *s = r->s;
  const int64_t before = r->rows, active = r->active;
  int64_t beams = 0, rows = 0;
  for (int64_t i = 0; i < active; i++) { /* texts under way */
    struct beam now = r->beams[i];
    int64_t count = advance(r, &now);
    if (!count) write_outputs(s, &now);
    for (int64_t row = 0; row < count; row++) {
      struct backpointer back = now.backpointers[now.size * s->width + row];
      r->from[rows + row] = now.first + back.parent;
      r->symbols[rows + row] = back.symbol;
      r->next_positions[rows + row] = r->positions[now.first + back.parent];
      r->texts[rows + row] = now.text;
    }
    now.size++, now.rows = count, now.first = rows;
    r->beams[i] = now;
    if (!count) continue;
    r->beams[i] = r->beams[beams];
    r->beams[beams++] = now;
    rows += count;
  }
  for (; beams < r->slots && r->next < s->texts; r->next++, beams++, rows++) { /* texts that start */
    struct beam *b = r->beams + beams;
    b->text = r->next, b->size = 0, b->rows = 1, b->first = rows, b->found = 0, b->threshold = -INFINITY;
    b->blank = s->empty ? -1 : 0;
    b->scores[0] = 0.0, b->nodes[0] = 0;
    r->from[rows] = -1, r->symbols[rows] = s->decoder->bos, r->next_positions[rows] = 0;
    r->texts[rows] = r->next;
  }
  r->active = beams, r->rows = rows;
  gather_states(r, rows, before);
  memcpy(r->positions, r->next_positions, (size_t)rows * sizeof *r->positions);
}

/* Free a search that has not come to its end. */
EXPORT void charseq_search_end(struct search *s) {
  if (s->work) release(s->work);
  free(s->work);
  s->work = 0;
}

int search_texts(const struct functions *level, struct search *s) {
  struct work *r = s->work;
  int code = DONE;
  if (!r) {
    s->work = r = calloc(1, sizeof *r);
    if (!r) return NO_MEMORY;
    code = prepare(r, level, s) ? DONE : NO_MEMORY;
  }
  r->left = s->budget;
  while (!code) {
    if (r->attended < 0 && r->left <= 0) {
      code = UNFINISHED;
      break;
    }
    if (r->attended < 0) choose_rows(r);
    if (!r->rows) break;
    code = step(r);
  }
  if (code != UNFINISHED) charseq_search_end(s);
  return code;
}
