/* The kernels at the level "avx512". */
#include "native.h"

#if CHARSEQ_X86
#define LEVEL_AVX512
#define LEVEL(name) avx512_##name
#include "steps.h"
#endif
