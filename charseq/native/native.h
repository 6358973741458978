/* What every source of the library shares. It needs no Python.h: kernels.py loads it by ctypes. */
#ifndef CHARSEQ_NATIVE_H
#define CHARSEQ_NATIVE_H

#include <stdint.h>

/* Grows with every change of an exported function; kernels.py has the same number and refuses a
   library with another one, which an editable install may have left behind. */
#define CHARSEQ_VERSION 1

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

/* What the processor has, each level with all that the ones before it have. */
enum level { PLAIN = 0, AVX2 = 1, AVX512 = 2 };

#endif
