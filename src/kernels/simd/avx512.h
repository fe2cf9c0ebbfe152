// The AVX-512 intrinsics, or with CONCLAVE_EMULATE_AVX512 what does the same with AVX2. Only for
// *_avx512*.cc and what they include.
#pragma once

// GCC 12 takes the header's deliberately undefined vectors for a mistake.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#ifdef CONCLAVE_EMULATE_AVX512
#include "kernels/simd/avx512_emulated.h"
#endif
