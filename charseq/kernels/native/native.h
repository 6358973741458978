/* Structures, levels and constants that all sources share. The library needs no Python.h:
   kernels/library.py loads it with ctypes. */
#ifndef CHARSEQ_NATIVE_H
#define CHARSEQ_NATIVE_H

#include <stdint.h>

/* Grows with every change of an exported function. kernels/library.py has the same number and refuses
   a library with another one, which an older editable install may have left behind. */
#define CHARSEQ_VERSION 12

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
/* AMX needs a compiler with its intrinsics, and Linux, which grants its registers on request. */
#if CHARSEQ_X86 && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#define CHARSEQ_AMX 1
#else
#define CHARSEQ_AMX 0
#endif

/* Instruction sets, each with those of the levels before it. */
enum level { PLAIN = 0, AVX2 = 1, AVX512 = 2, AMX = 3 };

enum cell { TANH = 0, RESIDUAL = 1, GRU = 2, LSTM = 3 };

/* float32 numbers in a vector. Rows are padded with zeros to whole vectors, so no loop has a rest. */
#define VECTOR 16

/* Rows of a table by their numbers, one for each row of a step. Without `rows`, row i of the table
   belongs to row i; without a table nothing is added. dispatch.c checks numbers against `limit`, the
   number of rows in the table, before one is read. */
struct gather {
  const float *table;
  const int64_t *rows;
  int64_t limit;
};

/* Rows whose states stay in the cache while a panel of weights is used. */
#define CHUNK 64

/* One direction of one layer over N sequences of up to S symbols. All rows have whole vectors. A call
   makes the steps from `begin` to `end`; the next call begins there, with the same `state`. */
struct run {
  int64_t cell, count, steps, hidden, backward;
  int64_t width, offset;  /* M, and the first column of `memory` to write */
  int64_t begin, end;     /* of the steps, from 0 to S */
  const int64_t *order;   /* N: the rows by falling length */
  const int64_t *lengths; /* N, each from 1 to S */
  struct gather first;    /* N S: added to the gates at each symbol */
  struct gather second;   /* N: added to the gates at every symbol of a row */
  const float *recurrent; /* packed */
  float *memory;          /* N S M: h after each symbol */
  float *last;            /* K N M: the state after the last symbol of each row */
  float *state;           /* charseq_run_state() numbers for the next call, or NULL: all steps at once */
};

/* One step of one layer for N rows. */
struct step {
  int64_t cell, count, hidden;
  struct gather first, second; /* N: added to the gates */
  const float *recurrent;      /* packed */
  const float *state;          /* K N H */
  float *after;                /* K N H */
};

/* Y = X W^T + b + addend of the rows from `begin` to `end` of N; with `tanh` its tanh. */
struct product {
  int64_t begin, end, depth, columns, tanh;
  const float *rows;    /* N depth */
  const float *weight;  /* packed */
  const float *bias;    /* columns, or NULL */
  struct gather addend; /* N, columns wide */
  float *out;           /* N columns */
};

/* Scaled dot-product attention (Vaswani et al. 2017, eq. 1): W rows attend to each of T texts out of
   N. A call computes the rows from `begin` to `end` of T W. */
struct attend {
  int64_t begin, end, texts, width, stored, steps, hidden, value;
  const int64_t *numbers; /* T, each below N */
  const float *queries;   /* T W hidden */
  const float *keys;      /* N S hidden, already scaled by 1/sqrt(hidden) */
  const float *values;    /* N S value */
  const int64_t *lengths; /* N, each from 1 to S */
  float *context;         /* T W value */
};

/* Logits to log-probabilities, in place. With hard attention `ended` has the rows at the last position
   of their text: these may not write an advancing action, which are the symbols from `advance_from`
   on. All other rows may not write `eos`. */
struct softmax {
  int64_t count, columns, advance_from, eos;
  const uint8_t *ended; /* N, or NULL */
  float *rows;          /* N columns */
};

/* A decoder: the weights of its steps and products, layer by layer. */
struct decoder {
  int64_t cell, layers, hidden, value, columns;  /* value: of the readout; columns: of the logits */
  int64_t symbols, given, bos, eos, advance_from; /* symbols: outputs; given: rows of the table */
  const float *table;                            /* given GH: the first layer's projected inputs */
  const float *const *input, *const *bias;       /* by layer, NULL for the first: packed; GH */
  const float *const *recurrent;                 /* by layer, packed */
  const float *readout, *readout_bias, *output, *output_bias;
};

/* A beam search for the N texts that were encoded. Soft attention has keys and values, hard attention
   has the decoder's and the readout's input at each position. Up to W outputs of each text are written,
   best first, of up to `max_length` symbols each. With an automaton (see data/text/automaton.py) a row
   has a state of it, at first 0, and symbols without an edge there are impossible. A call ends after about `budget` multiplications;
   while it returns UNFINISHED, the next call goes on from `work`. */
struct search {
  int64_t texts, steps, width, max_length, budget;
  int64_t empty;               /* whether an output may be empty */
  const struct decoder *decoder;
  const float *state;          /* layers K N H: the bridge's output */
  const float *keys, *values;  /* N S H, N S value, or NULL */
  const int64_t *lengths;      /* N, each from 1 to S */
  const float *decoder_input;  /* N S GH, or NULL */
  const float *readout_input;  /* N S value, or NULL */
  const int64_t *ends;         /* N, each below S: the last position of each text */
  struct gather prior;         /* N S: added to the logits at a position */
  const int64_t *limits;       /* N, none above max_length */
  const double *penalties;     /* max_length + 2: the length penalty of each length */
  const int64_t *edges;        /* the first edge of each state, and the number of edges; or NULL */
  const int32_t *edge_symbols; /* of each edge, ascending in each state */
  const int32_t *edge_targets; /* of each edge: the next state */
  double *removed;             /* N: the probability of a text's impossible continuations; or NULL */
  int64_t *found, *sizes;      /* N: outputs of each text; N W: symbols of each output */
  double *scores;              /* N W */
  uint8_t *truncated;          /* N W: whether the limit ended it */
  double *end_logs;            /* N W: log-probability of EOS after a truncated output, else 0 */
  int32_t *written;            /* N W max_length */
  void *work;                  /* NULL at first; charseq_search_end() frees it */
};

/* Return codes. */
enum outcome { DONE = 0, NO_MEMORY = 1, OUT_OF_RANGE = 2, UNFINISHED = 3 };

/* The functions of one level. */
struct functions {
  void (*pack)(const float *rows, int64_t columns, int64_t depth, int64_t panel, float *packed);
  int (*run)(const struct run *);
  int (*step)(const struct step *);
  int (*product)(const struct product *);
  int (*attend)(const struct attend *);
  int (*softmax)(const struct softmax *);
};

/* search.c: a beam's best continuations, and whole searches. */
EXPORT void charseq_expand(const double *scores, const float *logs, int64_t texts, int64_t width,
                           int64_t symbols, int64_t stride, int64_t wanted, int64_t *parents,
                           int64_t *chosen, double *totals);
int search_texts(const struct functions *level, struct search *s);

extern const struct functions plain_functions;
#if CHARSEQ_X86
extern const struct functions avx2_functions, avx512_functions;
#endif
#if CHARSEQ_AMX
extern const struct functions amx_functions;
int amx_available(void);
#endif

/* Vectors side by side in a panel of weights. Of gated cells they are the gates of the same sixteen
   units, so that a unit's step follows its products at once. */
#define MAX_PANEL 4
static inline int64_t panel_of(int64_t cell) { return cell == GRU ? 3 : MAX_PANEL; }

#endif
