/* What every source of the library shares. It needs no Python.h: kernels.py loads it by ctypes. */
#ifndef CHARSEQ_NATIVE_H
#define CHARSEQ_NATIVE_H

#include <stdint.h>

/* Grows with every change of an exported function; kernels.py has the same number and refuses a
   library with another one, which an editable install may have left behind. */
#define CHARSEQ_VERSION 7

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define CHARSEQ_X86 1
#else
#define CHARSEQ_X86 0
#endif
/* Tiles need a compiler that knows them and a system that lends their registers. */
#if CHARSEQ_X86 && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#define CHARSEQ_AMX 1
#else
#define CHARSEQ_AMX 0
#endif

/* What the processor has, each level with all that the ones before it have. */
enum level { PLAIN = 0, AVX2 = 1, AVX512 = 2, AMX = 3 };

enum cell { TANH = 0, RESIDUAL = 1, GRU = 2, LSTM = 3 };

/* Numbers in a vector. Rows are filled up with zeros to whole vectors, so nothing is left over. */
#define WIDE 16

/* Rows of a table that are given by their numbers, one for each row of a step; without numbers, one
   after the other; without a table, nothing. Numbers are checked against `limit`, the rows that there
   are, before any is used. */
struct gather {
  const float *table;
  const int64_t *rows;
  int64_t limit;
};

/* One direction of one layer over N sequences of up to S symbols. All rows have whole vectors. */
struct run {
  int64_t cell, count, steps, hidden, backward;
  int64_t width, offset;  /* M, and where in a row of it to write */
  const int64_t *order;   /* N: the rows by falling length, so that those that go on come first */
  const int64_t *lengths; /* N, each from 1 to S */
  struct gather first;    /* N S: what is added to the gates at each symbol */
  struct gather second;   /* N: what is added at every symbol of a row */
  const float *recurrent; /* packed */
  float *memory;          /* N S M: h goes to its place in each row, the rest stays */
  float *last;            /* K N M: what is kept at the end of each row */
};

/* One step of one layer for N rows. */
struct step {
  int64_t cell, count, hidden;
  struct gather first, second; /* N: what is added to the gates */
  const float *recurrent;      /* packed */
  const float *state;          /* K N H */
  float *after;                /* K N H */
};

/* Y = X W^T + b and what `more` adds, of N rows; with `squash` tanh of it. */
struct product {
  int64_t count, depth, columns, squash;
  const float *rows;   /* N depth */
  const float *weight; /* packed */
  const float *bias;   /* columns, or none */
  struct gather more;  /* N, columns wide */
  float *out;          /* N columns */
};

/* Scaled dot-product attention: W rows look at each of T texts out of N. */
struct look {
  int64_t texts, width, stored, steps, hidden, value;
  const int64_t *numbers; /* T, each below N */
  const float *queries;   /* T W hidden */
  const float *keys;      /* N S hidden, already scaled */
  const float *values;    /* N S value */
  const int64_t *lengths; /* N, each from 1 to S */
  float *context;         /* T W value */
};

/* Logits to log-probabilities, in place. With `ended` of hard attention: a row that has come to the
   end of its text may not write what goes on, from `going` on; any other may not write `stop`. */
struct softmax {
  int64_t count, columns, going, stop;
  const uint8_t *ended; /* N, or none */
  float *rows;          /* N columns */
};

/* A network that writes: the weights of steps and products, layer by layer. */
struct decoder {
  int64_t cell, layers, hidden, value, columns;   /* H, numbers of the readout and of the logits */
  int64_t symbols, given, begin, stop, going;     /* what can be written, what can be read; see softmax */
  const float *table;                             /* given GH: what the first layer's gates get */
  const float *const *input, *const *bias;        /* by layer, none of the first: packed; GH */
  const float *const *recurrent;                  /* of all layers, packed */
  const float *readout, *readout_bias, *output, *output_bias;
};

/* A beam search for the texts from `first` to `last` of N that were read. With soft attention there
   are keys and values, with hard attention there is what is heard and said at each place. Of each text
   up to W outputs are told, the best first, of up to `most` symbols each. */
struct search {
  int64_t texts, steps, first, last, width, most;
  const struct decoder *decoder;
  const float *state;          /* layers K N H: where each text begins */
  const float *keys, *values;  /* N S H, N S value, or none */
  const int64_t *lengths;      /* N, each from 1 to S */
  const float *heard, *said;   /* N S GH, N S value, or none */
  const int64_t *ends;         /* N, each below S */
  struct gather likely;        /* N S: what is added to the logits at a place */
  const int64_t *limits;       /* N, none beyond `most` */
  const double *penalties;     /* most + 2: what a score is divided by, by the length */
  int64_t *found, *sizes;      /* N: its outputs; N W: their symbols */
  double *scores;              /* N W */
  uint8_t *cut;                /* N W: whether the limit ended it */
  int32_t *written;            /* N W most */
};

/* What the functions of a level give back. */
enum outcome { DONE = 0, NO_MEMORY = 1, OUT_OF_RANGE = 2 };

/* The functions of one level. */
struct functions {
  void (*pack)(const float *rows, int64_t columns, int64_t depth, int64_t panel, float *packed);
  int (*run)(const struct run *);
  int (*step)(const struct step *);
  int (*product)(const struct product *);
  int (*look)(const struct look *);
  int (*softmax)(const struct softmax *);
};

/* A text's best continuations, and the search that is made of them: search.c. */
EXPORT void charseq_expand(const double *scores, const float *logs, int64_t texts, int64_t width,
                           int64_t symbols, int64_t apart, int64_t wanted, int64_t *parents,
                           int64_t *chosen, double *totals);
int search_texts(const struct functions *level, const struct search *s);

extern const struct functions plain_functions;
#if CHARSEQ_X86
extern const struct functions avx2_functions, avx512_functions;
#endif
#if CHARSEQ_AMX
extern const struct functions amx_functions;
int amx_available(void);
#endif

/* Vectors side by side in a panel of weights. Of cells with gates these are the gates of the same
   sixteen units, so that a unit's step is done as soon as its products are. */
#define MOST_PANEL 4
static inline int64_t panel_of(int64_t cell) { return cell == GRU ? 3 : MOST_PANEL; }

#endif
