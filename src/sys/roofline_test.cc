#include "sys/roofline.h"

#include <gtest/gtest.h>

#include "sys/cpu.h"

namespace conclave::sys {
namespace {

// Bounds that no machine of the last fifteen years leaves and a wrong count by a thousand does.
TEST(Roofline, FiguresAreOfThisWorld) {
  ThreadPool pool(2);
  const Roofline roofline = measure_roofline(pool, 0.05);
  EXPECT_EQ(roofline.threads, 2);
  EXPECT_GT(roofline.f32_gflops, 0.1);
  EXPECT_LT(roofline.f32_gflops, 2000);
  EXPECT_GT(roofline.read_gbps, 0.2);
  EXPECT_LT(roofline.read_gbps, 2000);
  if (executed_isa() >= Isa::kAvx2) {
    EXPECT_GT(roofline.int8_gops, 0.1);
    EXPECT_LT(roofline.int8_gops, 16000);
  } else {
    EXPECT_EQ(roofline.int8_gops, 0);
  }
  if (executed_isa() >= Isa::kAvx512Bf16) {
    // Not compared with f32: on a shared machine the two are measured in different minutes.
    EXPECT_GT(roofline.bf16_gflops, 0.1);
    EXPECT_LT(roofline.bf16_gflops, 4000);
  } else {
    EXPECT_EQ(roofline.bf16_gflops, 0);
  }
}

}  // namespace
}  // namespace conclave::sys
