/* The best continuations of a beam; no arithmetic but one addition, so one function for all levels. */
#include "native.h"

/* The `wanted` largest of scores[w] + logs[w][v] of each text, the largest first, of equals the one
   that comes first: its row w, its symbol v, its total. Rows of logs are `apart` from each other. */
EXPORT void charseq_expand(const double *scores, const float *logs, int64_t texts, int64_t width,
                           int64_t symbols, int64_t apart, int64_t wanted, int64_t *parents,
                           int64_t *chosen, double *totals) {
  for (int64_t text = 0; text < texts; text++) {
    int64_t found = 0;
    for (int64_t w = 0; w < width; w++, scores++, logs += apart)
      for (int64_t v = 0; v < symbols; v++) {
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
    parents += wanted, chosen += wanted, totals += wanted;
  }
}
