/* The version of the library, and what this processor has. */
#include "native.h"

EXPORT int32_t charseq_version(void) { return CHARSEQ_VERSION; }

/* The highest level that this processor and its system can run. */
EXPORT int32_t charseq_level(void) {
#if CHARSEQ_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      return AVX512;
    return AVX2;
  }
#endif
  return PLAIN;
}
