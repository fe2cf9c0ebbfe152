#include "moe/jitter.h"

namespace conclave::moe {

template <class Real>
void apply_jitter(ops::Context& context, double jitter, const Rng& rng, std::uint64_t first_token,
                  MatrixView<Real> x_TD) {
  if (jitter == 0) return;
  // Four factors a Philox block; 32 bits of uniform are plenty for a factor near 1.
  const std::uint64_t blocks = (static_cast<std::uint64_t>(x_TD.cols) + 3) / 4;
  constexpr std::int64_t kGrain = 16;
  context.pool.parallel_for(x_TD.rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      Real* const x = x_TD.row(t);
      const std::uint64_t counter = (first_token + static_cast<std::uint64_t>(t)) * blocks;
      for (std::int64_t d = 0; d < x_TD.cols; d += 4) {
        const auto words = rng.block(counter + static_cast<std::uint64_t>(d) / 4);
        for (std::int64_t i = 0; i < 4 && d + i < x_TD.cols; ++i) {
          const double uniform =
              (static_cast<double>(words[static_cast<std::size_t>(i)]) + 0.5) * 0x1p-32;
          x[d + i] *= static_cast<Real>(1 + jitter * (2 * uniform - 1));
        }
      }
    }
  });
}

template void apply_jitter(ops::Context&, double, const Rng&, std::uint64_t, MatrixView<float>);
template void apply_jitter(ops::Context&, double, const Rng&, std::uint64_t, MatrixView<double>);

}  // namespace conclave::moe
