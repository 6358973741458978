/* The kernels at the level "avx2". */
#include "native.h"

#if CHARSEQ_X86
#define LEVEL_AVX2
#define LEVEL(name) avx2_##name
#include "steps.h"
#endif
