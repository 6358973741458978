/* The kernels at the level "amx". */
#include "native.h"

#if CHARSEQ_AMX
#define LEVEL_AMX
#define LEVEL(name) amx_##name
#include "steps.h"

/* Whether there is a tile unit, and the system lends this process its registers. */
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

int amx_available(void) {
  enum { BF16 = 1 << 22, TILE = 1 << 24, AVX512_BF16 = 1 << 5 };
  enum { ASK_FOR_STATE = 0x1023, TILE_DATA = 18 }; /* of arch_prctl, in asm/prctl.h */
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & BF16) || !(d & TILE)) return 0;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & AVX512_BF16)) return 0;
  return syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0;
}
#endif
