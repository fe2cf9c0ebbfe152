// The limits of this machine, measured: what arithmetic and memory give when nothing else is in the
// way. Every speed that is shown is shown as a share of these (the roofline model, Williams et al.
// 2009). Flops count a multiply-add as two.
#pragma once

#include "sys/thread_pool.h"

namespace conclave::sys {

struct Roofline {
  double f32_gflops = 0;   // all threads together, multiply-adds in registers
  double bf16_gflops = 0;  // likewise with the bf16 dot product instruction; 0 if there is none
  double int8_gops = 0;    // likewise with dot products of int8 into int32, or with AVX2, which has
                           // none, sums of their pairs in 16 bits; 0 on other processors
  double read_gbps = 0;    // 1e9 bytes a second, reading memory far larger than the caches in order
  int threads = 0;
};

// Takes about `seconds` (a tenth is enough on a quiet machine) and up to 1 GiB for the while. Uses
// executed_isa(). Each figure is the best of several rounds, since other work can only slow one
// down. Throws Error(kOutOfMemory).
Roofline measure_roofline(ThreadPool& pool, double seconds);

}  // namespace conclave::sys
