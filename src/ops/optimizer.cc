#include "ops/optimizer.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/error.h"
#include "kernels/choice.h"
#include "kernels/elementwise/elementwise.h"

namespace conclave::ops {
namespace {

// 16 KiB of each array: several blocks of it fit the first cache, and a block's sum keeps its
// rounding error (in double) far below that of the f32 elements.
constexpr std::int64_t kBlock = 4096;

const kernels::ElementwiseKernel& elementwise() {
  static const auto& chosen = kernels::best(kernels::elementwise_kernels());
  return chosen;
}

}  // namespace

void adamw_step(Context& context, std::span<float> w, std::span<const float> grad,
                std::span<float> m, std::span<float> v, const AdamWStep& step) {
  CONCLAVE_CHECK(grad.size() == w.size() && m.size() == w.size() && v.size() == w.size(),
                 "adamw over {} weights, {} gradients, {} and {} moments", w.size(), grad.size(),
                 m.size(), v.size());
  static const auto& kernel = kernels::best(kernels::adamw_kernels());
  context.pool.parallel_for(static_cast<std::int64_t>(w.size()), kBlock,
                            [&](std::int64_t begin, std::int64_t end) {
                              kernel.step({w.data() + begin, grad.data() + begin, m.data() + begin,
                                           v.data() + begin, end - begin},
                                          step);
                            });
}

double sum_of_squares(Context& context, std::span<const float> x) {
  const auto count = static_cast<std::int64_t>(x.size());
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> sums(static_cast<std::size_t>(blocks));
  context.pool.parallel_for(blocks, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      sums[static_cast<std::size_t>(b)] =
          elementwise().sum_of_squares(x.data() + b * kBlock, std::min(kBlock, count - b * kBlock));
    }
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

bool all_finite(Context& context, std::span<const float> x) {
  std::atomic<bool> finite{true};
  context.pool.parallel_for(static_cast<std::int64_t>(x.size()), 16 * kBlock,
                            [&](std::int64_t begin, std::int64_t end) {
                              if (!elementwise().all_finite(x.data() + begin, end - begin)) {
                                finite.store(false, std::memory_order_relaxed);
                              }
                            });
  return finite.load(std::memory_order_relaxed);
}

}  // namespace conclave::ops
