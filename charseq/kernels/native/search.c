/* Beam search: the best continuations of a beam, and whole searches, as decoding.py has them.

   No arithmetic but additions and comparisons, so there is one function for all levels. The network
   is computed by a level's functions, for many texts side by side. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

/* Rows that are computed side by side, unless one text has more. */
enum { ROWS = 128 };

/* Logarithms that are looked at together, as far as there are so many. */
enum { BLOCK = 16 };

/* Whether one of a block may get a total above `bar`: rounding errs towards yes. */
static int may_pass(const float *logs, double score, double bar) {
  float least = (float)(bar - score);
  least -= fabsf(least) * 1e-6f;
  int any = 0;
  /* unrolled, the loop would not become vectors */
  _Pragma("GCC unroll 1") for (int i = 0; i < BLOCK; i++) any |= logs[i] > least;
  return any;
}

/* The `wanted` largest of scores[w] + logs[w][v] of each text, the largest first, of equals the one
   that comes first: its row w, its symbol v, its total. Rows of logs are `apart` from each other. */
void charseq_expand(const double *scores, const float *logs, int64_t texts, int64_t width,
                    int64_t symbols, int64_t apart, int64_t wanted, int64_t *parents,
                    int64_t *chosen, double *totals) {
  for (int64_t text = 0; text < texts; text++) {
    int64_t found = 0;
    for (int64_t w = 0; w < width; w++, scores++, logs += apart)
      for (int64_t v = 0; v < symbols;) {
        int64_t end = v + BLOCK < symbols ? v + BLOCK : symbols;
        if (found == wanted && end - v == BLOCK && !may_pass(logs + v, *scores, totals[wanted - 1])) {
          v = end;
          continue;
        }
        for (; v < end; v++) {
          double total = *scores + (double)logs[v];
          if (found == wanted && !(total > totals[wanted - 1])) continue;
          int64_t place = found < wanted ? found++ : wanted - 1;
          for (; place && total > totals[place - 1]; place--) {
            totals[place] = totals[place - 1];
            parents[place] = parents[place - 1];
            chosen[place] = chosen[place - 1];
          }
          totals[place] = total, parents[place] = w, chosen[place] = v;
        }
      }
    parents += wanted, chosen += wanted, totals += wanted;
  }
}

/* How a row of a text came about: from which of the rows one symbol before, and by which symbol. */
struct link {
  int32_t parent, symbol;
};

/* An output that is finished: the row it was written in, and what it is worth beside others. */
struct ending {
  double score, worth;
  int64_t size, row, cut;
};

/* One text's search. What is impossible gets no row, so there are up to `width` rows. */
struct beam {
  int64_t text, size, rows, first; /* symbols so far; where among all rows its rows begin */
  int64_t found;
  double bar;             /* what an output must be worth, once there are `width` */
  double *scores;         /* of its rows */
  struct link *links;     /* of its rows, for each symbol so far */
  struct ending *endings; /* the best first */
};

/* A search under way, and everything that it needs room for. */
struct work {
  const struct functions *level;
  const struct search *s;
  const struct decoder *d;
  int64_t gates, kept; /* numbers of a row of gates; states that a cell keeps */
  struct beam *beams;
  double *scores, *totals;
  struct link *links;
  struct ending *endings;
  int64_t *parents, *chosen;                          /* a text's best continuations */
  int64_t *symbols, *places, *numbers, *likely, *texts; /* of each row of a step */
  int64_t *from, *passed;                              /* of each row of the next one */
  uint8_t *ended;
  float *state, *after, *given, *mixed, *context, *logs;
};

static void *ask(size_t count, size_t size, int *enough) {
  void *found = aligned_alloc(64, (count * size + 63) / 64 * 64 + 64);
  if (!found) *enough = 0;
  return found;
}

static void leave(struct work *r) {
  void *all[] = {r->beams, r->scores, r->totals, r->links, r->endings, r->parents, r->chosen,
                 r->symbols, r->places, r->numbers, r->likely, r->texts, r->from, r->passed, r->ended,
                 r->state, r->after, r->given, r->mixed, r->context, r->logs};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static int enter(struct work *r, const struct functions *level, const struct search *s, int64_t texts) {
  const struct decoder *d = s->decoder;
  const int64_t width = s->width, rows = texts * width;
  const int64_t gates = (d->cell == LSTM ? 4 : d->cell == GRU ? 3 : 1) * d->hidden;
  const int64_t kept = d->cell == LSTM ? 2 : 1;
  int enough = 1;
  *r = (struct work){
      .level = level, .s = s, .d = d, .gates = gates, .kept = kept,
      .beams = ask(texts, sizeof(struct beam), &enough),
      .scores = ask(rows, sizeof(double), &enough),
      .totals = ask(2 * width, sizeof(double), &enough),
      .links = ask(rows * (s->most + 1), sizeof(struct link), &enough),
      .endings = ask(texts * (width + 1), sizeof(struct ending), &enough),
      .parents = ask(2 * width, sizeof(int64_t), &enough),
      .chosen = ask(2 * width, sizeof(int64_t), &enough),
      .symbols = ask(rows, sizeof(int64_t), &enough),
      .places = ask(rows, sizeof(int64_t), &enough),
      .numbers = ask(rows, sizeof(int64_t), &enough),
      .likely = ask(rows, sizeof(int64_t), &enough),
      .texts = ask(rows, sizeof(int64_t), &enough),
      .from = ask(rows, sizeof(int64_t), &enough),
      .passed = ask(rows, sizeof(int64_t), &enough),
      .ended = ask(rows, 1, &enough),
      .state = ask(d->layers * kept * rows * d->hidden, sizeof(float), &enough),
      .after = ask(d->layers * kept * rows * d->hidden, sizeof(float), &enough),
      .given = ask(rows * gates, sizeof(float), &enough),
      .mixed = ask(rows * d->value, sizeof(float), &enough),
      .context = ask(rows * d->value, sizeof(float), &enough),
      .logs = ask(rows * d->columns, sizeof(float), &enough),
  };
  if (!enough) return 0;
  for (int64_t i = 0; i < texts; i++) {
    r->beams[i].scores = r->scores + i * width;
    r->beams[i].links = r->links + i * width * (s->most + 1);
    r->beams[i].endings = r->endings + i * (width + 1);
  }
  return 1;
}

/* The next symbol of `rows` rows: their states are written to `after`, log-probabilities to `logs`. */
static int step(const struct work *r, int64_t rows) {
  const struct functions *level = r->level;
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  const int64_t size = r->kept * rows * d->hidden;
  const float *top = r->after + (d->layers - 1) * size;
  struct gather more = {0}, likely = {0};
  if (s->heard) {
    for (int64_t row = 0; row < rows; row++) {
      int64_t text = r->texts[row], place = r->places[row] + (r->symbols[row] >= d->going);
      r->places[row] = place = place < s->ends[text] ? place : s->ends[text];
      r->numbers[row] = text * s->steps + place;
      r->ended[row] = place == s->ends[text];
      if (s->likely.table) r->likely[row] = s->likely.rows[r->numbers[row]];
    }
    more = (struct gather){s->said, r->numbers, 0};
    if (s->likely.table) likely = (struct gather){s->likely.table, r->likely, 0};
  }
  int code = DONE;
  for (int64_t layer = 0; layer < d->layers && !code; layer++) {
    struct gather first = {d->table, r->symbols, 0}, second = {0};
    if (layer) {
      const float *below = r->after + (layer - 1) * size;
      code = level->product(&(struct product){rows, d->hidden, r->gates, 0, below, d->input[layer],
                                              d->bias[layer], {0}, r->given});
      first = (struct gather){r->given, 0, 0};
    } else if (s->heard) {
      second = (struct gather){s->heard, r->numbers, 0};
    }
    if (!code)
      code = level->step(&(struct step){d->cell, rows, d->hidden, first, second, d->recurrent[layer],
                                        r->state + layer * size, r->after + layer * size});
  }
  if (s->keys && !code) {
    code = level->look(&(struct look){rows, 1, s->texts, s->steps, d->hidden, d->value, r->texts, top,
                                      s->keys, s->values, s->lengths, r->context});
    more = (struct gather){r->context, 0, 0};
  }
  if (!code)
    code = level->product(&(struct product){rows, d->hidden, d->value, 1, top, d->readout,
                                            d->readout_bias, more, r->mixed});
  if (!code)
    code = level->product(&(struct product){rows, d->value, d->columns, 0, r->mixed, d->output,
                                            d->output_bias, likely, r->logs});
  if (!code)
    code = level->softmax(&(struct softmax){rows, d->columns, d->going, d->stop,
                                            s->heard ? r->ended : 0, r->logs});
  return code;
}

/* Keep an ending among the best; of equals the one that came first stays before the other. */
static void keep(struct beam *b, int64_t width, struct ending one) {
  int64_t place = b->found;
  for (; place && one.worth > b->endings[place - 1].worth; place--)
    b->endings[place] = b->endings[place - 1];
  b->endings[place] = one;
  if (b->found < width) b->found++;
}

/* Take in what a step has found for a text. What goes on is in b->links; how many rows those are. */
static int64_t go_on(const struct work *r, struct beam *b) {
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  const int64_t width = s->width, limit = s->limits[b->text];
  int64_t wanted = b->rows * d->symbols < 2 * width ? b->rows * d->symbols : 2 * width;
  charseq_expand(b->scores, r->logs + b->first * d->columns, 1, b->rows, d->symbols, d->columns,
                 wanted, r->parents, r->chosen, r->totals);
  while (wanted && !(r->totals[wanted - 1] > -INFINITY)) wanted--;
  for (int64_t i = 0; i < wanted && i < width; i++) {
    double worth = r->totals[i] / s->penalties[b->size + 1];
    if (r->chosen[i] == d->stop && worth > b->bar)
      keep(b, width, (struct ending){r->totals[i], worth, b->size, r->parents[i], 0});
  }
  if (b->found == width) b->bar = b->endings[width - 1].worth;
  int64_t best = 0, rows = 0;
  while (best < wanted && r->chosen[best] == d->stop) best++;
  if (best == wanted || !(r->totals[best] / s->penalties[limit + 1] > b->bar)) return 0;
  if (b->size >= limit) {
    if (b->found) return 0;
    int64_t row = 0;
    for (int64_t i = 1; i < b->rows; i++)
      if (b->scores[i] > b->scores[row]) row = i;
    keep(b, width, (struct ending){b->scores[row], 0.0, b->size, row, 1});
    return 0;
  }
  struct link *links = b->links + b->size * width;
  for (int64_t i = best; i < wanted && rows < width; i++)
    if (r->chosen[i] != d->stop) {
      b->scores[rows] = r->totals[i];
      links[rows++] = (struct link){(int32_t)r->parents[i], (int32_t)r->chosen[i]};
    }
  return rows;
}

/* Write down a text's outputs. */
static void tell(const struct search *s, const struct beam *b) {
  s->found[b->text] = b->found;
  for (int64_t i = 0; i < b->found; i++) {
    const struct ending *one = b->endings + i;
    int64_t place = b->text * s->width + i, row = one->row;
    s->sizes[place] = one->size, s->scores[place] = one->score, s->cut[place] = (uint8_t)one->cut;
    for (int64_t at = one->size; at--;) {
      struct link link = b->links[at * s->width + row];
      s->written[place * s->most + at] = link.symbol;
      row = link.parent;
    }
  }
}

/* The states of the next step's rows: those after rows of this one, or where (below zero) texts
   begin. */
static void fill(struct work *r, int64_t rows, int64_t before) {
  const struct search *s = r->s;
  const struct decoder *d = r->d;
  int64_t same = 0;
  while (same < rows && r->from[same] == same) same++;
  if (same == rows && rows == before) { /* nothing has moved */
    float *after = r->after;
    r->after = r->state, r->state = after;
    return;
  }
  for (int64_t part = 0; part < d->layers * r->kept; part++) {
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

int search_texts(const struct functions *level, const struct search *s) {
  int64_t most = ROWS / s->width, beams = 0, rows = 0, next = s->first;
  if (most > s->last - s->first) most = s->last - s->first;
  if (most < 1) most = 1;
  struct work r;
  int code = enter(&r, level, s, most) ? DONE : NO_MEMORY;
  while (!code) {
    int64_t before = rows, going = beams;
    beams = rows = 0;
    for (int64_t i = 0; i < going; i++) { /* what goes on */
      struct beam now = r.beams[i];
      int64_t count = go_on(&r, &now);
      if (!count) tell(s, &now);
      for (int64_t row = 0; row < count; row++) {
        struct link link = now.links[now.size * s->width + row];
        r.from[rows + row] = now.first + link.parent;
        r.symbols[rows + row] = link.symbol;
        r.passed[rows + row] = r.places[now.first + link.parent];
        r.texts[rows + row] = now.text;
      }
      now.size++, now.rows = count, now.first = rows;
      r.beams[i] = now;
      if (!count) continue;
      r.beams[i] = r.beams[beams];
      r.beams[beams++] = now;
      rows += count;
    }
    for (; beams < most && next < s->last; next++, beams++, rows++) { /* what begins */
      struct beam *b = r.beams + beams;
      b->text = next, b->size = 0, b->rows = 1, b->first = rows, b->found = 0, b->bar = -INFINITY;
      b->scores[0] = 0.0;
      r.from[rows] = -1, r.symbols[rows] = s->decoder->begin, r.passed[rows] = 0, r.texts[rows] = next;
    }
    if (!rows) break;
    fill(&r, rows, before);
    memcpy(r.places, r.passed, (size_t)rows * sizeof *r.places);
    code = step(&r, rows);
  }
  leave(&r);
  return code;
}
