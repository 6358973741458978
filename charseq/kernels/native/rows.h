/* One row of one step, forward and backward: everything between two products.

   unroll.c includes this file once for each level and each format of the products, by TARGET, FMA(),
   NAME() and BF16. The equations are those of kernels/bptt.py, in plain loops over the units, which
   the compiler vectorises. */

#if BF16
#define low_t uint16_t
#define WIDEN(x) float_of((uint32_t)(x) << 16)
#define NARROW(x) bf16_of(x)
#else
#define low_t float
#define WIDEN(x) (x)
#define NARROW(x) (x)
#endif
#define EACH_UNIT _Pragma("GCC ivdep") for (int64_t i = 0; i < n; i++)

/* e^x within two units of the last place, for |x| <= 87 and as e^87 beyond; after Cephes' expf. */
static inline TARGET float NAME(exponential)(float x) {
  union { float value; uint32_t bits; } turns, scale;
  x = x < -87.0f ? -87.0f : x;
  x = x > 87.0f ? 87.0f : x;
  turns.value = FMA(x, 1.44269504f, 12582912.0f); /* the sum rounds to a whole number */
  scale.bits = (turns.bits << 23) + 0x3f800000u;
  float whole = turns.value - 12582912.0f;
  float rest = FMA(whole, -0.693359375f, x);
  rest = FMA(whole, 2.12194440e-4f, rest);
  float sum = FMA(1.9875691500e-4f, rest, 1.3981999507e-3f);
  sum = FMA(sum, rest, 8.3334519073e-3f);
  sum = FMA(sum, rest, 4.1665795894e-2f);
  sum = FMA(sum, rest, 1.6666665459e-1f);
  sum = FMA(sum, rest, 5.0000001201e-1f);
  sum = FMA(sum, rest * rest, rest) + 1.0f;
  return sum * scale.value;
}

static inline TARGET float NAME(sigmoid)(float x) { return 1.0f / (1.0f + NAME(exponential)(-x)); }

/* 2 σ(2x) - 1: the error is one rounding of 1, as in bptt.py. */
static inline TARGET float NAME(tanh)(float x) {
  return FMA(2.0f, NAME(sigmoid)(2.0f * x), -1.0f);
}

static TARGET void NAME(forward)(const struct loop *loop, const struct row *row) {
  const float *restrict w = row->product, *restrict h = row->state, *restrict c = row->memory;
  const low_t *restrict p = row->given;
  float *restrict kept = row->gates, *restrict after = row->next, *restrict memory = row->held;
  low_t *restrict low = row->low;
  const int64_t n = loop->hidden;
  switch (loop->cell) {
  case TANH:
    EACH_UNIT {
      after[i] = NAME(tanh)(w[i] + WIDEN(p[i]));
      low[i] = NARROW(after[i]);
    }
    break;
  case RESIDUAL:
    EACH_UNIT {
      kept[i] = NAME(tanh)(w[i] + WIDEN(p[i]));
      after[i] = kept[i] + h[i];
      low[i] = NARROW(after[i]);
    }
    break;
  case GRU:
    EACH_UNIT {
      float reset = NAME(sigmoid)(w[i] + WIDEN(p[i]));
      float update = NAME(sigmoid)(w[n + i] + WIDEN(p[n + i]));
      float product = w[2 * n + i];
      float new = NAME(tanh)(FMA(reset, product, WIDEN(p[2 * n + i])));
      kept[i] = reset, kept[n + i] = update, kept[2 * n + i] = new, kept[3 * n + i] = product;
      float value = FMA(update, h[i] - new, new);
      after[i] = value;
      low[i] = NARROW(value);
    }
    break;
  default:
    EACH_UNIT {
      float enter = NAME(sigmoid)(w[i] + WIDEN(p[i]));
      float forget = NAME(sigmoid)(w[n + i] + WIDEN(p[n + i]));
      float new = NAME(tanh)(w[2 * n + i] + WIDEN(p[2 * n + i]));
      float leave = NAME(sigmoid)(w[3 * n + i] + WIDEN(p[3 * n + i]));
      float held = FMA(enter, new, forget * c[i]);
      float shown = NAME(tanh)(held);
      kept[i] = enter, kept[n + i] = forget, kept[2 * n + i] = new, kept[3 * n + i] = leave;
      kept[4 * n + i] = shown;
      memory[i] = held;
      after[i] = leave * shown;
      low[i] = NARROW(leave * shown);
    }
  }
}

static TARGET void NAME(backward)(const struct loop *loop, const struct row *row) {
  const float *restrict w = row->product, *restrict before = row->state;
  const float *restrict memory = row->memory, *restrict after = row->next;
  const float *restrict kept = row->gates, *restrict e = row->finally, *restrict f = row->last;
  const low_t *restrict a = row->given;
  float *restrict delta = row->delta, *restrict carried = row->carried;
  low_t *restrict gate = row->low, *restrict through = row->through;
  const int64_t n = loop->hidden;
  switch (loop->cell) {
  case TANH:
    EACH_UNIT {
      float d = w[i] + WIDEN(a[i]) + e[i];
      gate[i] = NARROW(d - d * after[i] * after[i]);
    }
    break;
  case RESIDUAL:
    EACH_UNIT {
      float d = delta[i] + w[i] + WIDEN(a[i]) + e[i];
      gate[i] = NARROW(d - d * kept[i] * kept[i]);
      delta[i] = d;
    }
    break;
  case GRU:
    EACH_UNIT {
      float reset = kept[i], update = kept[n + i], new = kept[2 * n + i];
      float d = delta[i] + w[i] + WIDEN(a[i]) + e[i];
      float stay = d * update;
      float towards = d - stay;
      towards -= towards * new * new;
      float change = (before[i] - new) * stay;
      float back = towards * reset;
      float of_reset = back * kept[3 * n + i];
      low_t first = NARROW(of_reset - of_reset * reset);
      low_t second = NARROW(change - change * update);
      gate[i] = first, gate[n + i] = second, gate[2 * n + i] = NARROW(towards);
      through[i] = first, through[n + i] = second, through[2 * n + i] = NARROW(back);
      delta[i] = stay;
    }
    break;
  default:
    EACH_UNIT {
      float enter = kept[i], forget = kept[n + i], new = kept[2 * n + i];
      float leave = kept[3 * n + i], shown = kept[4 * n + i];
      float d = w[i] + WIDEN(a[i]) + e[i];
      float seen = d * leave;
      float error = carried[i] + f[i] + (seen - seen * shown * shown);
      float change = error * new * enter;
      gate[i] = NARROW(change - change * enter);
      change = error * memory[i] * forget;
      gate[n + i] = NARROW(change - change * forget);
      change = error * enter;
      gate[2 * n + i] = NARROW(change - change * new * new);
      change = seen * shown;
      gate[3 * n + i] = NARROW(change - change * leave);
      carried[i] = error * forget;
    }
  }
}

static TARGET void NAME(widen)(const void *from, float *restrict to, int64_t n) {
  const low_t *restrict values = from;
  EACH_UNIT to[i] = WIDEN(values[i]);
}

static const struct set NAME(set) = {NAME(forward), NAME(backward), NAME(widen)};

#undef low_t
#undef WIDEN
#undef NARROW
#undef EACH_UNIT
#undef NAME
#undef BF16
