#include "ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "ops/attention_testing.h"

namespace conclave::ops {
namespace {

struct Sequence {
  std::int64_t length;
  testing::KvMemory<KvType::kF32> cache;
};

// A ragged batch of whole sequences and everything that attention makes of it.
struct Batch {
  AttentionShape shape;
  std::vector<Sequence> sequences;
  std::vector<float> q, k, v, out, lse, d_out, dq, dk, dv;

  Batch(const AttentionShape& s, const std::vector<std::int64_t>& lengths, std::uint64_t seed)
      : shape(s) {
    for (std::int64_t length : lengths) {
      const auto n = static_cast<std::uint64_t>(sequences.size());
      sequences.push_back({length, {1, s, length + 1}});
      // A sequence's content depends on its place from `seed` on, so that it can be made alone.
      append(&q, seed + n, 0, length * width());
      append(&k, seed + n, 1, length * kv_width());
      append(&v, seed + n, 2, length * kv_width());
      append(&d_out, seed + n, 3, length * width());
    }
    out.resize(q.size()), dq.resize(q.size()), dk.resize(k.size()), dv.resize(v.size());
    lse.resize(static_cast<std::size_t>(rows() * s.n_heads));
  }
  static void append(std::vector<float>* to, std::uint64_t seed, std::uint64_t stream,
                     std::int64_t count) {
    const Rng rng(seed, stream);
    for (std::int64_t i = 0; i < count; ++i) {
      to->push_back(static_cast<float>(rng.normal(static_cast<std::uint64_t>(i))));
    }
  }
  std::int64_t width() const { return std::int64_t{shape.n_heads} * shape.head_dim; }
  std::int64_t kv_width() const { return std::int64_t{shape.n_kv_heads} * shape.head_dim; }
  std::int64_t rows() const { return static_cast<std::int64_t>(q.size()) / width(); }

  std::vector<AttentionSegment> segments() {
    std::vector<AttentionSegment> list;
    std::int64_t row = 0;
    for (Sequence& s : sequences) {
      list.push_back({row, s.length, 0, s.cache.view()});
      row += s.length;
    }
    return list;
  }
  void forward(Context& context) {
    const auto list = segments();
    kv_append(context, shape, list, {k.data(), rows(), kv_width()}, {v.data(), rows(), kv_width()});
    attention_forward(context, shape, list, {q.data(), rows(), width()},
                      {out.data(), rows(), width()}, lse.data());
  }
  // Of the only sequence, `chunk` tokens at a time over a cache of its own or another.
  void forward_in_chunks(Context& context, const KvView& kv, std::int64_t chunk) {
    const auto rows_of = [](std::vector<float>& m, std::int64_t columns, std::int64_t begin,
                            std::int64_t count) {
      return MatrixView<float>(m.data() + begin * columns, count, columns);
    };
    for (std::int64_t begin = 0; begin < rows(); begin += chunk) {
      const std::int64_t count = std::min(chunk, rows() - begin);
      const AttentionSegment segment{0, count, begin, kv};
      attention_append_forward(
          context, shape, {&segment, 1}, rows_of(q, width(), begin, count),
          rows_of(k, kv_width(), begin, count), rows_of(v, kv_width(), begin, count),
          rows_of(out, width(), begin, count), lse.data() + begin * shape.n_heads);
    }
  }
  void backward(Context& context) {
    attention_backward(context, shape, segments(), {q.data(), rows(), width()},
                       {out.data(), rows(), width()}, lse.data(), {d_out.data(), rows(), width()},
                       {dq.data(), rows(), width()}, {dk.data(), rows(), kv_width()},
                       {dv.data(), rows(), kv_width()});
  }
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && !a.empty() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const AttentionShape kShapes[] = {{4, 2, 16, 0.25f, 0},
                                  {6, 1, 24, 0.2f, 0},
                                  {3, 3, 64, 0.125f, 0},
                                  {8, 2, 32, 0.18f, 19},
                                  {4, 2, 64, 0.125f, 0, 0, DType::kBF16},
                                  {6, 2, 20, 0.2f, 0, 0, DType::kBF16}};
const std::vector<std::int64_t> kLengths = {37, 0, 1, 130, 64};

// Straight from the definition, in double.
TEST(Attention, MatchesTheDefinition) {
  for (const AttentionShape& shape : kShapes) {
    Batch batch(shape, {21, 3}, 1);
    Context context(2);
    batch.forward(context);
    const int dim = shape.head_dim;
    for (std::int64_t row = 0; row < batch.rows(); ++row) {
      const std::int64_t first = row < 21 ? 0 : 21;
      for (int h = 0; h < shape.n_heads; ++h) {
        const std::int64_t group = h / (shape.n_heads / shape.n_kv_heads);
        const float* q = batch.q.data() + row * batch.width() + h * dim;
        double total = 0;
        std::vector<double> wanted(static_cast<std::size_t>(dim));
        for (std::int64_t j = first; j <= row; ++j) {
          if (shape.window > 0 && row - j >= shape.window) continue;
          const std::int64_t at = j * batch.kv_width() + group * dim;
          double score = 0;
          for (int d = 0; d < dim; ++d) score += double{q[d]} * batch.k[at + d];
          const double p = std::exp(score * shape.scale);
          total += p;
          for (int d = 0; d < dim; ++d) wanted[d] += p * batch.v[at + d];
        }
        for (int d = 0; d < dim; ++d) {
          ASSERT_NEAR(batch.out[row * batch.width() + h * dim + d], wanted[d] / total, 3e-6);
        }
        ASSERT_NEAR(batch.lse[row * shape.n_heads + h], std::log(total), 3e-6);
      }
    }
  }
}

TEST(Attention, BitsDoNotDependOnThreads) {
  for (const AttentionShape& shape : kShapes) {
    Context one(1);
    Batch wanted(shape, kLengths, 1);
    wanted.forward(one);
    wanted.backward(one);
    for (int threads : {2, 3}) {
      Context context(threads);
      Batch batch(shape, kLengths, 1);
      batch.forward(context);
      batch.backward(context);
      EXPECT_TRUE(same(batch.out, wanted.out) && same(batch.lse, wanted.lse));
      EXPECT_TRUE(same(batch.dq, wanted.dq) && same(batch.dk, wanted.dk) &&
                  same(batch.dv, wanted.dv));
    }
  }
}

TEST(Attention, BitsDoNotDependOnTheBatch) {
  Context context(2);
  for (const AttentionShape& shape : kShapes) {
    Batch batch(shape, kLengths, 1);
    batch.forward(context);
    batch.backward(context);
    std::int64_t row = 0;
    for (std::size_t n = 0; n < kLengths.size(); ++n) {
      Batch alone(shape, {kLengths[n]}, 1 + n);
      alone.forward(context);
      alone.backward(context);
      const auto equal = [&](const std::vector<float>& part, const std::vector<float>& whole,
                             std::int64_t width) {
        return part.empty() ||
               std::memcmp(part.data(), whole.data() + row * width, part.size() * 4) == 0;
      };
      EXPECT_TRUE(equal(alone.out, batch.out, batch.width()));
      EXPECT_TRUE(equal(alone.dq, batch.dq, batch.width()));
      EXPECT_TRUE(equal(alone.dk, batch.dk, batch.kv_width()));
      EXPECT_TRUE(equal(alone.dv, batch.dv, batch.kv_width()));
      row += kLengths[n];
    }
  }
}

// Prefill in chunks and decoding token by token give the bits of the full pass, whatever the
// unused part of the cache holds.
TEST(Attention, BitsDoNotDependOnChunks) {
  for (int threads : {1, 2, 3}) {
    Context context(threads);
    for (const AttentionShape& shape : kShapes) {
      Batch wanted(shape, {130}, 4);
      wanted.forward(context);
      for (std::int64_t chunk : {1, 2, 3, 7, 16}) {
        Batch batch(shape, {130}, 4);
        batch.forward_in_chunks(context, batch.segments()[0].kv, chunk);
        ASSERT_TRUE(same(batch.out, wanted.out) && same(batch.lse, wanted.lse)) << chunk;
        for (std::size_t i = 0; i < 3; ++i) {
          ASSERT_EQ(batch.sequences[0].cache.memory[i], wanted.sequences[0].cache.memory[i]);
        }
      }
    }
  }
}

// A long context is taken apart where few rows are computed at once, and gives the same bits.
TEST(Attention, BitsDoNotDependOnSpans) {
  // Wide enough that one row alone is worth the other thread.
  const AttentionShape shapes[] = {
      {16, 1, 16, 0.25f, 0}, {8, 2, 32, 0.2f, 1100}, {10, 1, 20, 0.2f, 0}};
  for (const AttentionShape& shape : shapes) {
    Context one(1), two(2);
    Batch wanted(shape, {2200}, 4);
    wanted.forward(one);
    for (std::int64_t chunk : {1, 60}) {
      Batch batch(shape, {2200}, 4);
      batch.forward(two);
      ASSERT_TRUE(same(batch.out, wanted.out));
      std::fill(batch.out.begin(), batch.out.end(), 0.0f);
      testing::KvMemory<KvType::kF32> cache(1, shape, 2200);
      batch.forward_in_chunks(two, cache.view(), chunk);
      ASSERT_TRUE(same(batch.out, wanted.out) && same(batch.lse, wanted.lse)) << chunk;
    }
  }
}

// A cache of f16 is read as what it holds: the bits are those of an f32 cache of the same numbers,
// in a full pass, in chunks and decoding.
TEST(Attention, HalfPrecisionIsReadExactly) {
  Context context(2);
  std::vector<std::pair<AttentionShape, std::int64_t>> cases;
  for (const AttentionShape& shape : kShapes) cases.emplace_back(shape, 130);
  cases.emplace_back(AttentionShape{16, 2, 16, 0.25f, 0}, 1300);  // two spans
  cases.emplace_back(AttentionShape{2, 2, 16, 0.25f, 0}, 1300);   // the same on one thread
  for (const auto& [shape, length] : cases) {
    Batch wanted(shape, {length}, 4);
    for (auto* array : {&wanted.k, &wanted.v}) {
      for (float& x : *array) x = to_float(to_f16(x));
    }
    Batch batch = wanted;
    wanted.forward(context);
    for (std::int64_t chunk : {1, 3, 130}) {
      testing::KvMemory<KvType::kF16> cache(1, shape, length);
      batch.forward_in_chunks(context, cache.view(), chunk);
      ASSERT_TRUE(same(batch.out, wanted.out) && same(batch.lse, wanted.lse)) << chunk;
    }
  }
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    length += std::pow(double{b[i]}, 2);
  }
  return std::sqrt(difference / length);
}

// Each group of 32 numbers of a head as Q8_0 keeps it.
void round_to_q8(const AttentionShape& shape, std::vector<float>& x) {
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  for (std::size_t head = 0; head < x.size(); head += dim) {
    for (std::size_t d = 0; d < dim; d += 32) {
      const std::size_t end = std::min(d + 32, dim);
      float largest = 0;
      for (std::size_t i = d; i < end; ++i) largest = std::max(largest, std::abs(x[head + i]));
      const float scale = to_float(to_f16(largest * (1 / 127.f)));
      for (std::size_t i = d; i < end; ++i) {
        float& value = x[head + i];
        value = std::clamp(std::nearbyint(value * (1 / scale)), -127.f, 127.f) * scale;
      }
    }
  }
}

// So does a cache in Q8_0, and it is near what it was made of: 1/254 of a group's largest number.
TEST(Attention, Q8IsReadExactly) {
  Context context(2);
  std::vector<std::pair<AttentionShape, std::int64_t>> cases;
  for (const AttentionShape& shape : kShapes) cases.emplace_back(shape, 130);
  for (const int dim : {33, 80, 128, 144}) {
    cases.emplace_back(AttentionShape{4, 2, dim, 0.25f, 0}, 70);
  }
  cases.emplace_back(AttentionShape{4, 4, 16, 0.25f, 0, 32}, 130);  // chunks
  cases.emplace_back(AttentionShape{16, 2, 16, 0.25f, 0}, 1300);    // two spans
  for (const auto& [shape, length] : cases) {
    Batch exact(shape, {length}, 4);
    Batch batch = exact, wanted = exact;
    for (auto* array : {&wanted.k, &wanted.v}) round_to_q8(shape, *array);
    for (std::size_t i = 0; i < wanted.k.size(); ++i) {
      ASSERT_NEAR(wanted.k[i], exact.k[i], 0.02);  // numbers up to 4 or so
    }
    exact.forward(context);
    wanted.forward(context);
    EXPECT_LT(distance(wanted.out, exact.out), 0.02);
    for (std::int64_t chunk : {1, 3, 130}) {
      testing::KvMemory<KvType::kQ8_0> cache(1, shape, length);
      batch.forward_in_chunks(context, cache.view(), chunk);
      ASSERT_TRUE(same(batch.out, wanted.out) && same(batch.lse, wanted.lse))
          << chunk << ", heads of " << shape.head_dim;
    }
  }
}

struct OldAndNew {
  std::int64_t old, added;  // positions of a sequence
};

template <KvType kType>
void expect_appending_within_is_before(const AttentionShape& shape,
                                       const std::vector<OldAndNew>& sequences) {
  Context context(3);
  std::vector<testing::KvMemory<kType>> before, within;
  std::vector<AttentionSegment> segments;
  std::int64_t rows = 0;
  const auto numbers = [](std::uint64_t stream, std::int64_t count) {
    std::vector<float> x;
    Batch::append(&x, 7, stream, count);
    return x;
  };
  const std::int64_t width = std::int64_t{shape.n_heads} * shape.head_dim;
  const std::int64_t kv_width = std::int64_t{shape.n_kv_heads} * shape.head_dim;
  for (const auto& [old, added] : sequences) {
    testing::KvMemory<kType> cache(1, shape, old + added);
    const std::vector<float> k = numbers(1, old * kv_width), v = numbers(2, old * kv_width);
    const AttentionSegment whole{0, old, 0, cache.view()};
    kv_append(context, shape, {&whole, 1}, {k.data(), old, kv_width}, {v.data(), old, kv_width});
    before.push_back(cache);
    within.push_back(std::move(cache));
    segments.push_back({rows, added, old, {}});
    rows += added;
  }
  const auto over = [&](std::vector<testing::KvMemory<kType>>& caches) {
    for (std::size_t i = 0; i < caches.size(); ++i) segments[i].kv = caches[i].view();
    return std::span<const AttentionSegment>(segments);
  };
  const std::vector<float> q = numbers(3, rows * width);
  const std::vector<float> k = numbers(4, rows * kv_width), v = numbers(5, rows * kv_width);
  const MatrixView<const float> k_rows(k.data(), rows, kv_width), v_rows(v.data(), rows, kv_width);
  std::vector<float> wanted(q.size()), found(q.size());
  std::vector<float> wanted_lse(static_cast<std::size_t>(rows * shape.n_heads));
  std::vector<float> found_lse(wanted_lse.size());
  kv_append(context, shape, over(before), k_rows, v_rows);
  attention_forward(context, shape, over(before), {q.data(), rows, width},
                    {wanted.data(), rows, width}, wanted_lse.data());
  attention_append_forward(context, shape, over(within), {q.data(), rows, width}, k_rows, v_rows,
                           {found.data(), rows, width}, found_lse.data());
  EXPECT_TRUE(same(found, wanted));
  EXPECT_TRUE(same(found_lse, wanted_lse));
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(within[i].memory, before[i].memory) << "sequence " << i;
  }
}

// The same results, and the same caches, as appending first: on one thread, as many tasks, as spans
// of long contexts, and where rows lie in two spans or chunks and are appended first after all.
TEST(Attention, AppendingWithinIsAppendingBefore) {
  const std::vector<OldAndNew> kBatches[] = {
      {{0, 1}},
      {{0, 1}, {5, 1}, {63, 1}, {64, 1}, {1024, 1}, {40, 0}, {900, 1}, {130, 1}},
      {{2500, 1}, {1100, 1}},
      {{1023, 3}, {5, 1}},
      {{62, 3}, {2047, 1}},
  };
  for (const AttentionShape& shape :
       {AttentionShape{4, 4, 16, 0.25f, 0}, AttentionShape{8, 2, 24, 0.2f, 70},
        AttentionShape{2, 1, 16, 0.25f, 0, 1024}, AttentionShape{4, 4, 16, 0.25f, 0, 48}}) {
    for (const auto& sequences : kBatches) {
      expect_appending_within_is_before<KvType::kF32>(shape, sequences);
      expect_appending_within_is_before<KvType::kF16>(shape, sequences);
      expect_appending_within_is_before<KvType::kQ8_0>(shape, sequences);
    }
  }
}

// Numbers that f16 does not hold are cut to its largest, so that no infinity enters a result.
TEST(Attention, HalfPrecisionCutsLargeNumbers) {
  Context context(1);
  const AttentionShape shape{1, 1, 16, 0.25f, 0};
  testing::KvMemory<KvType::kF16> cache(1, shape, 1);
  std::vector<float> q(16, 0), k(16, 1e6f), v(16, -1e6f), out(16);
  const AttentionSegment segment{0, 1, 0, cache.view()};
  kv_append(context, shape, {&segment, 1}, {k.data(), 1, 16}, {v.data(), 1, 16});
  attention_forward(context, shape, {&segment, 1}, {q.data(), 1, 16}, {out.data(), 1, 16}, nullptr);
  for (float x : out) EXPECT_EQ(x, -65504.0f);
}

// Products in bf16 change the gradient by their rounding, 2^-9 of each factor, and nothing more.
TEST(Attention, BackwardInBf16IsNearTheOneInF32) {
  Context context(2);
  AttentionShape shape{4, 2, 64, 0.125f, 0};
  Batch exact(shape, {300, 64, 5}, 1);
  exact.forward(context);
  exact.backward(context);
  shape.backward = DType::kBF16;
  Batch rounded(shape, {300, 64, 5}, 1);
  rounded.forward(context);
  rounded.backward(context);
  EXPECT_TRUE(same(rounded.out, exact.out));
  EXPECT_LT(distance(rounded.dq, exact.dq), 0.005);
  EXPECT_LT(distance(rounded.dk, exact.dk), 0.005);
  EXPECT_LT(distance(rounded.dv, exact.dv), 0.005);
}

TEST(Attention, NothingToDo) {
  Context context(2);
  const AttentionShape shape{2, 1, 8, 1, 0};
  attention_forward(context, shape, {}, {nullptr, 0, 16}, {nullptr, 0, 16}, nullptr);
  kv_append(context, shape, {}, {nullptr, 0, 8}, {nullptr, 0, 8});
  attention_backward(context, shape, {}, {nullptr, 0, 16}, {nullptr, 0, 16}, nullptr,
                     {nullptr, 0, 16}, {nullptr, 0, 16}, {nullptr, 0, 8}, {nullptr, 0, 8});
}

}  // namespace
}  // namespace conclave::ops
