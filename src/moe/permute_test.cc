// Plan, permute and unpermute: against naive loops, as each other's adjoints, by finite
// differences, with empty and hot experts, drops, strides and guard bytes, on several threads.
#include "moe/permute.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "moe/plan.h"

namespace conclave::moe {
namespace {

enum Load { kRandom, kOneHot, kUnused, kDropped, kLoadCount };

// A decision of T tokens, E experts and K slots with the given kind of load.
template <class Real>
RoutingDecisionOf<Real> make_decision(int n_tokens, int n, int k, Load load) {
  RoutingDecisionOf<Real> decision;
  decision.n_tokens = n_tokens;
  decision.n_experts = n;
  decision.k = k;
  const Rng rng(7, static_cast<std::uint64_t>(load));
  for (int t = 0; t < n_tokens; ++t) {
    const auto first = static_cast<int>(
        load == kOneHot ? 0 : rng.below(static_cast<std::uint64_t>(t), static_cast<unsigned>(n)));
    for (int i = 0; i < k; ++i) {
      const auto slot = static_cast<std::uint64_t>(t * k + i);
      const bool unused = load == kUnused && rng.fork(1).below(slot, 2) == 0;
      decision.topk_ids_TK.push_back(unused ? kNoExpert : (first + i) % n);
      decision.topk_weights_TK.push_back(unused ? Real(0)
                                                : static_cast<Real>(rng.fork(2).uniform(slot)));
      if (load == kDropped) {
        decision.dropped_TK.push_back(static_cast<std::uint8_t>(rng.fork(3).below(slot, 2)));
      }
    }
  }
  return decision;
}

// A matrix with a row stride beyond its width; the gaps are guards.
template <class Real>
struct Guarded {
  static constexpr Real kGuard = Real(-12345.5);
  std::vector<Real> memory;
  std::int64_t rows, cols, stride;

  Guarded(std::int64_t r, std::int64_t c, std::uint64_t seed) : rows(r), cols(c), stride(c + 3) {
    memory.assign(static_cast<std::size_t>(rows * stride + 1), kGuard);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < cols; ++j) {
        view()(i, j) =
            static_cast<Real>(Rng(seed).normal(static_cast<std::uint64_t>(i * cols + j)));
      }
    }
  }
  MatrixView<Real> view() { return {memory.data() + 1, rows, cols, stride}; }
  bool guards_hold() const {
    if (memory[0] != kGuard) return false;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = cols; j < stride; ++j) {
        if (memory[static_cast<std::size_t>(1 + i * stride + j)] != kGuard) return false;
      }
    }
    return true;
  }
};

struct Shape {
  int n_tokens, n_experts, k;
  std::int64_t width;
};
const Shape kShapes[] = {{0, 4, 2, 8},   {1, 1, 1, 1},   {3, 4, 2, 0},   {5, 16, 3, 7},
                         {17, 4, 4, 16}, {40, 7, 2, 33}, {65, 300, 2, 5}};

TEST(Plan, SortsByExpertThenTokenAndIsInvertible) {
  for (const Shape& shape : kShapes) {
    for (int load = 0; load < kLoadCount; ++load) {
      const auto decision =
          make_decision<float>(shape.n_tokens, shape.n_experts, shape.k, static_cast<Load>(load));
      const DispatchPlan plan = make_plan(decision);
      ASSERT_EQ(plan.n_experts, shape.n_experts);
      ASSERT_EQ(plan.expert_offsets_E1.size(), static_cast<std::size_t>(shape.n_experts) + 1);
      // The naive plan: experts in order, tokens in order.
      std::vector<std::int32_t> tokens;
      std::vector<std::int32_t> slots;
      std::vector<std::int32_t> counts;
      std::int64_t dropped = 0;
      for (int e = 0; e < shape.n_experts; ++e) {
        ASSERT_EQ(plan.expert_offsets_E1[static_cast<std::size_t>(e)],
                  static_cast<std::int32_t>(tokens.size()));
        counts.push_back(0);
        for (int slot = 0; slot < shape.n_tokens * shape.k; ++slot) {
          if (decision.topk_ids_TK[static_cast<std::size_t>(slot)] != e) continue;
          if (decision.is_dropped(slot)) {
            ++dropped;
            continue;
          }
          tokens.push_back(slot / shape.k);
          slots.push_back(slot);
          ++counts.back();
        }
      }
      ASSERT_EQ(plan.expert_offsets_E1.back(), static_cast<std::int32_t>(tokens.size()));
      ASSERT_EQ(plan.row_token_N, tokens);
      ASSERT_EQ(plan.row_slot_N, slots);
      ASSERT_EQ(plan.tokens_per_expert_E, counts);
      ASSERT_EQ(plan.n_dropped, dropped);
      std::vector<std::int32_t> inverse(static_cast<std::size_t>(shape.n_tokens * shape.k), -1);
      for (std::size_t row = 0; row < slots.size(); ++row) {
        inverse[static_cast<std::size_t>(slots[row])] = static_cast<std::int32_t>(row);
      }
      ASSERT_EQ(plan.slot_row_TK, inverse);
    }
  }
}

TEST(PlanDeathTest, AnIllegalIdIsCaughtBeforeItIndexesAnything) {
  for (const std::int32_t id : {-2, 4, 2147483647}) {
    auto decision = make_decision<float>(3, 4, 2, kRandom);
    decision.topk_ids_TK[3] = id;
    EXPECT_DEATH(make_plan(decision), "expert");
  }
}

TEST(Permute, ForwardAndBackwardEqualTheirSums) {
  for (const Shape& shape : kShapes) {
    for (int load = 0; load < kLoadCount; ++load) {
      const auto decision =
          make_decision<double>(shape.n_tokens, shape.n_experts, shape.k, static_cast<Load>(load));
      const DispatchPlan plan = make_plan(decision);
      for (const int threads : {1, 3}) {
        ops::Context context(threads);
        Guarded<double> x(shape.n_tokens, shape.width, 1);
        Guarded<double> rows(plan.n_rows(), shape.width, 2);
        permute_forward(context, x.view(), plan, rows.view());
        for (std::int64_t n = 0; n < plan.n_rows(); ++n) {
          for (std::int64_t d = 0; d < shape.width; ++d) {
            ASSERT_EQ(rows.view()(n, d),
                      x.view()(plan.row_token_N[static_cast<std::size_t>(n)], d));
          }
        }
        Guarded<double> d_rows(plan.n_rows(), shape.width, 3);
        for (const Write write : {Write::kAssign, Write::kAdd}) {
          Guarded<double> d_x(shape.n_tokens, shape.width, 4);
          Guarded<double> expected(shape.n_tokens, shape.width, 4);
          for (std::int64_t t = 0; t < shape.n_tokens; ++t) {
            for (std::int64_t d = 0; d < shape.width; ++d) {
              double sum = write == Write::kAdd ? expected.view()(t, d) : 0;
              for (int i = 0; i < shape.k; ++i) {
                const auto row = plan.slot_row_TK[static_cast<std::size_t>(t * shape.k + i)];
                if (row >= 0) sum += d_rows.view()(row, d);
              }
              expected.view()(t, d) = sum;
            }
          }
          permute_backward(context, d_rows.view(), plan, d_x.view(), write);
          ASSERT_EQ(d_x.memory, expected.memory);
        }
        ASSERT_TRUE(x.guards_hold() && rows.guards_hold() && d_rows.guards_hold());
      }
    }
  }
}

TEST(Permute, IsTheAdjointOfItsBackward) {  // <P x, r> = <x, P^T r>
  const auto decision = make_decision<double>(40, 7, 2, kUnused);
  const DispatchPlan plan = make_plan(decision);
  ops::Context context(1);
  Guarded<double> x(40, 9, 1);
  Guarded<double> r(plan.n_rows(), 9, 2);
  Guarded<double> px(plan.n_rows(), 9, 3);
  Guarded<double> ptr(40, 9, 4);
  permute_forward(context, x.view(), plan, px.view());
  permute_backward(context, r.view(), plan, ptr.view(), Write::kAssign);
  double left = 0;
  double right = 0;
  for (std::int64_t n = 0; n < plan.n_rows(); ++n) {
    for (std::int64_t d = 0; d < 9; ++d) left += px.view()(n, d) * r.view()(n, d);
  }
  for (std::int64_t t = 0; t < 40; ++t) {
    for (std::int64_t d = 0; d < 9; ++d) right += x.view()(t, d) * ptr.view()(t, d);
  }
  EXPECT_NEAR(left, right, 1e-10);
}

TEST(Unpermute, ForwardEqualsTheWeightedSumInSlotOrder) {
  for (const Shape& shape : kShapes) {
    for (int load = 0; load < kLoadCount; ++load) {
      const auto decision =
          make_decision<float>(shape.n_tokens, shape.n_experts, shape.k, static_cast<Load>(load));
      const DispatchPlan plan = make_plan(decision);
      Guarded<float> y(plan.n_rows(), shape.width, 1);
      for (const Write write : {Write::kAssign, Write::kAdd}) {
        Guarded<float> expected(shape.n_tokens, shape.width, 4);
        for (std::int64_t t = 0; t < shape.n_tokens; ++t) {
          for (std::int64_t d = 0; d < shape.width; ++d) {
            float sum = write == Write::kAdd ? expected.view()(t, d) : 0;
            for (int i = 0; i < shape.k; ++i) {
              const auto slot = static_cast<std::size_t>(t * shape.k + i);
              if (plan.slot_row_TK[slot] < 0) continue;
              sum += decision.topk_weights_TK[slot] * y.view()(plan.slot_row_TK[slot], d);
            }
            expected.view()(t, d) = sum;
          }
        }
        for (const int threads : {1, 2}) {
          ops::Context context(threads);
          Guarded<float> out(shape.n_tokens, shape.width, 4);
          unpermute_forward(context, y.view(), plan, decision, out.view(), write);
          ASSERT_EQ(out.memory, expected.memory);  // the same bits, guards included
        }
      }
    }
  }
}

// L = <c, unpermute(y, w)> by central differences in y and w; it is linear in both.
TEST(Unpermute, BackwardEqualsCentralDifferences) {
  for (const Shape& shape : kShapes) {
    for (int load = 0; load < kLoadCount; ++load) {
      auto decision =
          make_decision<double>(shape.n_tokens, shape.n_experts, shape.k, static_cast<Load>(load));
      const DispatchPlan plan = make_plan(decision);
      ops::Context context(1);
      Guarded<double> c(shape.n_tokens, shape.width, 1);
      Guarded<double> y(plan.n_rows(), shape.width, 2);
      Guarded<double> d_y(plan.n_rows(), shape.width, 3);
      std::vector<double> d_weights(decision.topk_weights_TK.size() + 1, 777.0);
      unpermute_backward(context, c.view(), y.view(), plan, decision, d_y.view(), d_weights.data());
      ASSERT_EQ(d_weights.back(), 777.0);
      ASSERT_TRUE(d_y.guards_hold());
      Guarded<double> out(shape.n_tokens, shape.width, 4);
      const auto loss = [&] {
        unpermute_forward(context, y.view(), plan, decision, out.view(), Write::kAssign);
        double sum = 0;
        for (std::int64_t t = 0; t < shape.n_tokens; ++t) {
          for (std::int64_t d = 0; d < shape.width; ++d) sum += c.view()(t, d) * out.view()(t, d);
        }
        return sum;
      };
      const auto difference = [&](double& element) {
        const double kept = element;
        element = kept + 1e-3;
        const double up = loss();
        element = kept - 1e-3;
        const double down = loss();
        element = kept;
        return (up - down) / 2e-3;
      };
      for (std::size_t slot = 0; slot < decision.topk_weights_TK.size(); slot += 3) {
        ASSERT_NEAR(d_weights[slot], difference(decision.topk_weights_TK[slot]), 1e-9);
      }
      for (std::int64_t n = 0; n < plan.n_rows(); n += 3) {
        for (std::int64_t d = 0; d < shape.width; d += 5) {
          ASSERT_NEAR(d_y.view()(n, d), difference(y.view()(n, d)), 1e-9);
        }
      }
      // The expert rows' gradient may replace the rows themselves.
      std::vector<double> d_weights_2(decision.topk_weights_TK.size());
      unpermute_backward(context, c.view(), y.view(), plan, decision, y.view(), d_weights_2.data());
      d_weights.pop_back();
      ASSERT_EQ(d_weights_2, d_weights);
      ASSERT_EQ(y.memory, d_y.memory);
    }
  }
}

// Narrow and wide rows, on any number of threads: the same bits.
TEST(Unpermute, BackwardGivesTheSameBitsOnAnyNumberOfThreads) {
  for (std::int64_t width = 0; width <= 35; ++width) {
    const auto decision = make_decision<float>(50, 6, 3, kRandom);
    const DispatchPlan plan = make_plan(decision);
    Guarded<float> c(50, width, 1);
    Guarded<float> y(plan.n_rows(), width, 2);
    std::vector<float> expected(150);
    Guarded<float> expected_y(plan.n_rows(), width, 3);
    ops::Context one(1);
    ops::Context three(3);
    unpermute_backward(one, c.view(), y.view(), plan, decision, expected_y.view(), expected.data());
    for (std::size_t slot = 0; slot < expected.size(); ++slot) {
      double dot = 0;
      for (std::int64_t d = 0; d < width; ++d) {
        dot += static_cast<double>(c.view()(static_cast<std::int64_t>(slot) / 3, d)) *
               static_cast<double>(y.view()(plan.slot_row_TK[slot], d));
      }
      ASSERT_NEAR(expected[slot], dot, 1e-5);
    }
    std::vector<float> found(150);
    Guarded<float> found_y(plan.n_rows(), width, 3);
    unpermute_backward(three, c.view(), y.view(), plan, decision, found_y.view(), found.data());
    ASSERT_EQ(found, expected);
    ASSERT_EQ(found_y.memory, expected_y.memory);
  }
}

}  // namespace
}  // namespace conclave::moe
