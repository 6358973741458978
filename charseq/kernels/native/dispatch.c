/* The exported functions: the version, the level of this processor, and each function at a level.

   kernels/library.py checks shapes and types; row numbers and lengths are checked here. */
#include "native.h"

EXPORT int32_t charseq_version(void) { return CHARSEQ_VERSION; }

/* The highest level that this processor and its system can run. */
EXPORT int32_t charseq_level(void) {
#if CHARSEQ_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return PLAIN;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return AVX2;
#if CHARSEQ_AMX
  if (amx_available()) return AMX;
#endif
  return AVX512;
#else
  return PLAIN;
#endif
}

static const struct functions *at(int32_t level) {
#if CHARSEQ_AMX
  if (level == AMX) return &amx_functions;
#endif
#if CHARSEQ_X86
  if (level == AVX512) return &avx512_functions;
  if (level == AVX2) return &avx2_functions;
#endif
  (void)level;
  return &plain_functions;
}

static int within(const int64_t *numbers, int64_t count, int64_t least, int64_t limit) {
  for (int64_t i = 0; i < count; i++)
    if (numbers[i] < least || numbers[i] >= limit) return 0;
  return 1;
}

static int gathers(struct gather from, int64_t count) {
  if (!from.table) return 1;
  return from.rows ? within(from.rows, count, 0, from.limit) : count <= from.limit;
}

/* Floats in the packed weights of a product at a level. */
EXPORT int64_t charseq_packed(int32_t level, int64_t columns, int64_t depth) {
  return columns * (level == AMX ? (depth + 31) / 32 * 32 : depth);
}

EXPORT void charseq_pack(int32_t level, const float *rows, int64_t columns, int64_t depth,
                         int64_t cell, float *packed) {
  at(level)->pack(rows, columns, depth, panel_of(cell), packed);
}

/* Floats in the state of a run: h and c of each row, before and after a step. */
EXPORT int64_t charseq_run_state(int64_t count, int64_t hidden) {
  return (count + CHUNK - 1) / CHUNK * CHUNK * 4 * hidden;
}

EXPORT int32_t charseq_run(int32_t level, const struct run *r) {
  if (r->begin < 0 || r->end > r->steps || (!r->state && (r->begin || r->end < r->steps)))
    return OUT_OF_RANGE;
  if (!within(r->order, r->count, 0, r->count) || !within(r->lengths, r->count, 1, r->steps + 1) ||
      !gathers(r->first, r->count * r->steps) || !gathers(r->second, r->count))
    return OUT_OF_RANGE;
  return at(level)->run(r);
}

EXPORT int32_t charseq_step(int32_t level, const struct step *s) {
  if (!gathers(s->first, s->count) || !gathers(s->second, s->count)) return OUT_OF_RANGE;
  return at(level)->step(s);
}

EXPORT int32_t charseq_product(int32_t level, const struct product *p) {
  if (!gathers(p->addend, p->end)) return OUT_OF_RANGE;
  return at(level)->product(p);
}

EXPORT int32_t charseq_attend(int32_t level, const struct attend *a) {
  if (a->begin < 0 || a->end > a->texts * a->width || !within(a->numbers, a->texts, 0, a->stored) ||
      !within(a->lengths, a->stored, 1, a->steps + 1))
    return OUT_OF_RANGE;
  return at(level)->attend(a);
}

EXPORT int32_t charseq_softmax(int32_t level, const struct softmax *f) {
  return at(level)->softmax(f);
}

EXPORT int32_t charseq_search(int32_t level, struct search *s) {
  const struct decoder *d = s->decoder;
  if (s->width < 1 || d->symbols < 1 || d->bos < 0 ||
      d->bos >= d->given || d->symbols > d->given || d->symbols > d->columns ||
      !within(s->limits, s->texts, 0, s->max_length + 1) || !gathers(s->prior, s->texts * s->steps) ||
      (s->keys && !within(s->lengths, s->texts, 1, s->steps + 1)) ||
      (s->decoder_input && !within(s->ends, s->texts, 0, s->steps)))
    return OUT_OF_RANGE;
  return search_texts(at(level), s);
}
