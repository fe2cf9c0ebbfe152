// The kernels are tested in their folders; here: the split over threads, the gradients' rule (= or
// +=), and what is refused.
#include "ops/pointwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/rng.h"

namespace conclave::ops {
namespace {

using Floats = std::vector<float>;

Floats normal(std::uint64_t seed, std::int64_t count) {
  const Rng rng(seed);
  Floats x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

template <class T>
MatrixView<T> view(std::vector<T>& x, std::int64_t rows) {
  return {x.data(), rows, rows == 0 ? 0 : static_cast<std::int64_t>(x.size()) / rows};
}

// body(context) makes the results; they must be the same on 1, 2 and 3 threads.
template <class Body>
void expect_same_over_threads(const Body& body) {
  Context one(1);
  const std::vector<Floats> wanted = body(one);
  for (int threads : {2, 3}) {
    Context context(threads);
    EXPECT_EQ(body(context), wanted) << threads << " threads";
  }
}

constexpr std::int64_t kRows = 400, kCols = 200;  // several grains of rows

TEST(Pointwise, RmsNorm) {
  const Floats w = normal(1, kCols);
  expect_same_over_threads([&](Context& context) -> std::vector<Floats> {
    Floats x = normal(2, kRows * kCols), dy = normal(3, kRows * kCols), y(x.size()), dx = x;
    Floats rstd(kRows), dw = normal(4, kCols);
    rmsnorm_forward(context, view(x, kRows), w.data(), 1e-6f, view(y, kRows), rstd.data());
    rmsnorm_backward(context, view(x, kRows), w.data(), rstd.data(), view(dy, kRows),
                     view(dx, kRows), true, dw.data());
    double squares = 0;
    for (std::int64_t i = 0; i < kCols; ++i) squares += double{x[7 * kCols + i]} * x[7 * kCols + i];
    EXPECT_NEAR(rstd[7], 1 / std::sqrt(squares / kCols + 1e-6), 1e-6);
    EXPECT_NEAR(y[7 * kCols + 3], x[7 * kCols + 3] * rstd[7] * w[3], 1e-6);
    double sum = normal(4, kCols)[3];
    for (std::int64_t t = 0; t < kRows; ++t) {
      sum += double{dy[t * kCols + 3]} * x[t * kCols + 3] * rstd[t];
    }
    EXPECT_NEAR(dw[3], sum, 2e-4);
    Floats assigned(x.size());
    rmsnorm_backward(context, view(x, kRows), w.data(), rstd.data(), view(dy, kRows),
                     view(assigned, kRows), false, dw.data());
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(dx[i], x[i] + assigned[i], 1e-5);
    rmsnorm_forward(context, view(x, kRows), w.data(), 1e-6f, view(x, kRows), nullptr);
    EXPECT_EQ(x, y);
    return {y, dx, dw, rstd};
  });
}

TEST(Pointwise, Swiglu) {
  expect_same_over_threads([&](Context& context) -> std::vector<Floats> {
    Floats gate_up = normal(1, kRows * 2 * kCols), h(kRows * kCols), dh = normal(2, kRows * kCols);
    Floats d(gate_up.size());
    swiglu_forward(context, view(gate_up, kRows), view(h, kRows));
    swiglu_backward(context, view(gate_up, kRows), view(dh, kRows), view(d, kRows));
    const double gate = gate_up[5 * 2 * kCols + 9], up = gate_up[5 * 2 * kCols + kCols + 9];
    const double sigmoid = 1 / (1 + std::exp(-gate));
    EXPECT_NEAR(h[5 * kCols + 9], gate * sigmoid * up, 1e-6);
    EXPECT_NEAR(d[5 * 2 * kCols + kCols + 9], dh[5 * kCols + 9] * gate * sigmoid, 1e-6);
    return {h, d};
  });
}

TEST(Pointwise, RopeTurnsAndTurnsBack) {
  constexpr int kHeads = 3, kDim = 20, kRotary = 16;
  Floats cos_sin;
  for (int p = 0; p < 10; ++p) {
    for (int i = 0; i < 8; ++i) cos_sin.push_back(std::cos(static_cast<float>(p * (i + 1))));
    for (int i = 0; i < 8; ++i) cos_sin.push_back(std::sin(static_cast<float>(p * (i + 1))));
  }
  const RopeTable table{10, kRotary, cos_sin};
  std::vector<std::int32_t> positions(kRows);
  for (std::size_t t = 0; t < positions.size(); ++t) {
    positions[t] = static_cast<std::int32_t>(t % 10);
  }
  expect_same_over_threads([&](Context& context) -> std::vector<Floats> {
    const Floats before = normal(1, kRows * 70);
    Floats x = before;
    rope_inplace(context, view(x, kRows), kHeads, kDim, table, positions, false);
    EXPECT_NEAR(x[70 + 2], before[72] * std::cos(3.f) - before[80] * std::sin(3.f), 1e-6);
    const Floats turned = x;
    rope_inplace(context, view(x, kRows), kHeads, kDim, table, positions, true);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], before[i], 2e-6);
    return {turned, x};
  });
  Context context(1);
  Floats x = normal(1, kRows * 70);
  positions[3] = 10;
  EXPECT_THROW(rope_inplace(context, view(x, kRows), kHeads, kDim, table, positions, false), Error);
}

TEST(Pointwise, EmbeddingCountsEveryOccurrence) {
  std::vector<std::int32_t> ids(kRows);
  for (std::size_t t = 0; t < ids.size(); ++t) ids[t] = static_cast<std::int32_t>(t * t % 11);
  expect_same_over_threads([&](Context& context) -> std::vector<Floats> {
    Floats table = normal(1, 11 * kCols), x(kRows * kCols), d_table = normal(2, 11 * kCols);
    Floats wanted = d_table;
    embedding_forward(context, view(table, 11), ids, view(x, kRows));
    Floats dx = normal(3, kRows * kCols);
    embedding_backward(context, ids, view(dx, kRows), view(d_table, 11));
    for (std::int64_t t = 0; t < kRows; ++t) {
      for (std::int64_t c = 0; c < kCols; ++c) {
        const std::int64_t id = ids[static_cast<std::size_t>(t)];
        EXPECT_EQ(x[t * kCols + c], table[id * kCols + c]);
        wanted[id * kCols + c] += dx[t * kCols + c];
      }
    }
    EXPECT_EQ(d_table, wanted);
    return {x, d_table};
  });
}

TEST(Pointwise, IdsAndTargetsAreChecked) {
  Context context(1);
  Floats table(4 * 3), x(3), logits(5), nll(1);
  for (std::int32_t id : {-1, 4, 1 << 30}) {
    const std::vector<std::int32_t> ids = {id};
    EXPECT_THROW(embedding_forward(context, view(table, 4), ids, view(x, 1)), Error);
    EXPECT_THROW(embedding_backward(context, ids, view(x, 1), view(table, 4)), Error);
  }
  for (std::int32_t target : {-2, 5}) {
    const std::vector<std::int32_t> targets = {target};
    EXPECT_THROW(cross_entropy_forward(context, view(logits, 1), targets, nll.data()), Error);
    EXPECT_THROW(cross_entropy_forward_backward(context, view(logits, 1), targets, 1, nll.data()),
                 Error);
  }
}

TEST(Pointwise, CrossEntropy) {
  std::vector<std::int32_t> targets(kRows);
  for (std::size_t t = 0; t < targets.size(); ++t) {
    targets[t] = static_cast<std::int32_t>(t % 7) * 20 - (t % 7 == 0 ? 1 : 0);
  }
  expect_same_over_threads([&](Context& context) -> std::vector<Floats> {
    Floats logits = normal(1, kRows * kCols), nll(kRows, 9), again(kRows, 9);
    cross_entropy_forward(context, view(logits, kRows), targets, nll.data());
    const Floats before = logits;
    cross_entropy_forward_backward(context, view(logits, kRows), targets, 0.5f, again.data());
    EXPECT_EQ(nll, again);
    for (std::int64_t t = 0; t < kRows; ++t) {
      const std::int32_t target = targets[static_cast<std::size_t>(t)];
      double sum = 0;
      for (std::int64_t i = 0; i < kCols; ++i) sum += std::exp(double{before[t * kCols + i]});
      if (target < 0) {
        EXPECT_EQ(nll[t], 0);
        EXPECT_EQ(logits[t * kCols + 3], 0);
        continue;
      }
      EXPECT_NEAR(nll[t], std::log(sum) - before[t * kCols + target], 1e-5);
      const double p = std::exp(double{before[t * kCols + target]}) / sum;
      EXPECT_NEAR(logits[t * kCols + target], 0.5 * (p - 1), 1e-6);
    }
    return {nll, logits};
  });
}

TEST(Pointwise, AddWithStrides) {
  expect_same_over_threads([&](Context& context) -> std::vector<Floats> {
    Floats x = normal(1, kRows * kCols), y = normal(2, kRows * (kCols + 3));
    const Floats before = y;
    add_inplace(context, view(x, kRows), {y.data(), kRows, kCols, kCols + 3});
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t c = 0; c < kCols + 3; ++c) {
        const std::int64_t at = r * (kCols + 3) + c;
        EXPECT_EQ(y[at], before[at] + (c < kCols ? x[r * kCols + c] : 0));
      }
    }
    return {y};
  });
}

TEST(Pointwise, NoTokens) {
  Context context(2);
  const MatrixView<float> none(nullptr, 0, 8), wide(nullptr, 0, 16);
  Floats w(8, 1), dw(8), table(8);
  rmsnorm_forward(context, none, w.data(), 1e-6f, none, nullptr);
  rmsnorm_backward(context, none, w.data(), nullptr, none, none, false, dw.data());
  swiglu_forward(context, wide, none);
  swiglu_backward(context, wide, none, wide);
  embedding_forward(context, view(table, 1), {}, none);
  embedding_backward(context, {}, none, view(table, 1));
  add_inplace(context, none, none);
  cross_entropy_forward(context, none, {}, nullptr);
  cross_entropy_forward_backward(context, none, {}, 1, nullptr);
  rope_inplace(context, none, 1, 8, RopeTable{}, {}, false);
  EXPECT_EQ(dw, Floats(8));
}

}  // namespace
}  // namespace conclave::ops
